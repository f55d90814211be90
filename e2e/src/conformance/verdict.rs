//! What a proxy made of a message, in one word, so that proxies can be compared. Where something went on, the sidecar's own
//! parser is asked whether that still breaks a rule.

use super::lane::{Lane, Observed, is_head};
use crate::cases::{Case, Kind, Verdict as Expected};
use crate::stand::client::has_answers;
use crate::stand::request::{Extent, Kind as Side, extent, status};
use anyhow::Result;
use std::fmt;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Refused with this status; 0: the connection was closed, or an answer broke off.
    Refused(u16),
    /// Something went on, and it breaks no rule.
    Repaired,
    /// What went on still breaks a rule.
    Passed,
    /// A good message that was served.
    Served,
    /// Nothing came, and more is waited for.
    Waits,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(0) => f.write_str("refused: closed"),
            Self::Refused(status) => write!(f, "refused: {status}"),
            Self::Repaired => f.write_str("repaired"),
            Self::Passed => f.write_str("**passed on**"),
            Self::Served => f.write_str("served"),
            Self::Waits => f.write_str("waits"),
        }
    }
}

/// Whether the table wants the message to be served.
pub fn is_good(case: &Case) -> bool {
    case.verdict == Expected::Passes
}

/// The word for what became of it. `reference` is a lane of the sidecar's.
pub fn verdict(case: &Case, observed: &Observed, reference: &mut Lane) -> Result<Verdict> {
    match case.kind {
        Kind::Answer => of_answer(case, observed, reference),
        Kind::Head | Kind::Body => of_request(case, observed, reference),
    }
}

fn of_request(case: &Case, observed: &Observed, reference: &mut Lane) -> Result<Verdict> {
    let Observed { heard, upstream, .. } = observed;
    let whole: usize = upstream.iter().map(|seen| seen.requests).sum();
    if is_good(case) {
        return Ok(if !upstream.is_empty() && heard.status() < 400 { Verdict::Served } else { ended(observed) });
    }
    match whole {
        0 => return Ok(ended(observed)),
        1 => {}
        // More than one request out of a bad one is what smuggling is.
        _ => return Ok(Verdict::Passed),
    }
    for seen in upstream {
        if reference.replay_request(&seen.bytes)?.status() != 200 {
            return Ok(Verdict::Passed);
        }
    }
    Ok(Verdict::Repaired)
}

fn of_answer(case: &Case, observed: &Observed, reference: &mut Lane) -> Result<Verdict> {
    let heard = &observed.heard;
    let is_own_refusal = heard.status() >= 500 && heard.status() != status(&case.send);
    if is_good(case) {
        return Ok(if is_own_refusal || heard.bytes.is_empty() { ended(observed) } else { Verdict::Served });
    }
    if is_own_refusal || heard.bytes.is_empty() {
        return Ok(ended(observed));
    }
    let side = Side::Answer { to_head: is_head(&case.after) };
    let ends_by_closing = extent(&heard.bytes, side) == Extent::UntilClose && heard.ended && !heard.reset;
    if !has_answers(&heard.bytes, &[is_head(&case.after)], 1) && !ends_by_closing {
        return Ok(if heard.ended { Verdict::Refused(0) } else { Verdict::Waits });
    }
    // A cut-off answer that looks whole has lost the cut.
    if matches!(case.verdict, Expected::Cut { .. }) {
        return Ok(Verdict::Passed);
    }
    let again = reference.replay_answer(&case.after, &heard.bytes)?;
    Ok(if again.status() == heard.status() { Verdict::Repaired } else { Verdict::Passed })
}

fn ended(observed: &Observed) -> Verdict {
    match observed.heard.status() {
        0 if observed.heard.ended => Verdict::Refused(0),
        0 => Verdict::Waits,
        status => Verdict::Refused(status),
    }
}
