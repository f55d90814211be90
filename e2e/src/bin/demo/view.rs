//! What the demo shows: bars that move on a terminal, a line a second elsewhere, and the table of claims at the end. Decides nothing.

use crate::acts::Claim;
use crate::stage::NAMES;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The screen.
pub(crate) struct View {
    terminal: bool,
    drawn: bool,
    last: Option<Instant>,
}

impl View {
    /// Looks whether anybody watches.
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), drawn: false, last: None }
    }

    /// A paragraph.
    pub(crate) fn text(&mut self, text: &str) {
        self.drawn = false;
        println!("{text}");
    }

    /// The head of an act.
    pub(crate) fn act(&mut self, title: &str, what: &str) {
        self.drawn = false;
        let (bold, plain) = if self.terminal { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        println!("\n{bold}{title}{plain}\n{what}");
    }

    /// Something that happened while bars are shown.
    pub(crate) fn event(&mut self, text: &str) {
        self.drawn = false;
        println!("  → {text}");
    }

    /// Requests a second and backend, since the last time.
    pub(crate) fn rates(&mut self, rates: [f64; 4]) {
        let sum = rates.iter().sum::<f64>().max(1e-9);
        if !self.terminal {
            if self.last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
                return;
            }
            let words: Vec<String> =
                NAMES.iter().zip(rates).map(|(name, rate)| format!("{name} {:3.0} %", rate / sum * 100.0)).collect();
            println!("    {}   {sum:.0} requests/s", words.join("   "));
        } else {
            if self.drawn {
                print!("\x1b[{}A", NAMES.len());
            }
            for (name, rate) in NAMES.iter().zip(rates) {
                let width = (rate / sum * 60.0).round() as usize;
                println!("\x1b[2K    {name} {:60} {:3.0} % {rate:6.0}/s", "█".repeat(width.min(60)), rate / sum * 100.0);
            }
            let _ = std::io::stdout().flush();
            self.drawn = true;
        }
        self.last = Some(Instant::now());
    }

    /// All claims, and how many held.
    pub(crate) fn summary(&mut self, claims: &[Claim]) {
        println!();
        for claim in claims {
            let (colour, plain) = match (self.terminal, claim.held) {
                (true, true) => ("\x1b[32m", "\x1b[0m"),
                (true, false) => ("\x1b[31m", "\x1b[0m"),
                (false, _) => ("", ""),
            };
            println!("{colour}{}{plain}  {}: {}", if claim.held { "held  " } else { "BROKEN" }, claim.says, claim.seen);
        }
        let held = claims.iter().filter(|claim| claim.held).count();
        println!("\n{held} of {} claims held", claims.len());
    }
}
