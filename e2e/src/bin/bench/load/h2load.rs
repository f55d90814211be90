//! h2load: HTTP/2 by prior knowledge from one thread.

use super::{Answered, Shot};
use crate::backend::{GRPC, GRPC_MESSAGE, SMALL};
use crate::process::{LOAD_CORE, Programs, pinned};
use anyhow::Result;
use std::process::Command;

pub(super) fn command(programs: &Programs, shot: Shot, connections: u32, streams: u32, grpc: bool) -> Result<Command> {
    let mut command = pinned(LOAD_CORE, &programs.host("h2load")?);
    command.args(["-t1", &format!("-c{connections}"), &format!("-m{streams}"), &format!("-D{}", shot.seconds)]);
    let path = if grpc {
        command.arg("-d").arg(programs.write("grpc-message", GRPC_MESSAGE)?);
        command.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
        GRPC
    } else {
        SMALL
    };
    command.arg(format!("http://127.0.0.1:{}{path}", shot.port));
    Ok(command)
}

/// `requests: … done, …` and `status codes: … 2xx, …`: what wasn't a success has failed.
pub(super) fn read(text: &str) -> Option<Answered> {
    let requests = counts(text, "requests: ")?;
    let statuses = counts(text, "status codes: ")?;
    let of = |list: &[(u64, &str)], what: &str| list.iter().find(|(_, name)| *name == what).map(|(count, _)| *count);
    let (done, good) = (of(&requests, "done")?, of(&statuses, "2xx")?);
    let lost = of(&requests, "failed")? + of(&requests, "timeout")?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("finished in "))?.split_once("s,")?.0.parse().ok()?;
    Some(Answered { requests: good, failed: done.saturating_sub(good).max(lost), seconds, ..Answered::default() })
}

/// `5 total, 4 done` after a label.
fn counts<'a>(text: &'a str, label: &str) -> Option<Vec<(u64, &'a str)>> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split(", ").map(|pair| pair.split_once(' ').and_then(|(count, name)| Some((count.parse().ok()?, name)))).collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    fn report(requests: &str, statuses: &str) -> String {
        format!("finished in 2.00s, 16033.50 req/s, 1.67MB/s\nrequests: {requests}\nstatus codes: {statuses}\n")
    }

    #[test]
    fn what_is_no_success_has_failed() {
        let good = report(
            "100 total, 116 started, 100 done, 100 succeeded, 0 failed, 0 errored, 0 timeout",
            "100 2xx, 0 3xx, 0 4xx, 0 5xx",
        );
        let answered = read(&good).expect("a result");
        assert_eq!((answered.requests, answered.failed, answered.seconds), (100, 0, 2.0));
        let bad = report(
            "100 total, 116 started, 100 done, 93 succeeded, 7 failed, 3 errored, 0 timeout",
            "93 2xx, 0 3xx, 0 4xx, 4 5xx",
        );
        let answered = read(&bad).expect("a result");
        assert_eq!((answered.requests, answered.failed), (93, 7));
        assert!(read("[ERROR] Could not connect to the host\n").is_none());
    }
}
