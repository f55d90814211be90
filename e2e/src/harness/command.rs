//! Programs of the host with a deadline. A program that isn't done in time is ended, and what it said is in the error.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a finished program said.
#[derive(Debug, Clone)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// The output of a success; anything else is an error that says all.
    pub fn successful(self, what: &str) -> Result<String> {
        if !self.status.success() {
            bail!("{what}: {}\n{}{}", self.status, self.out, self.err);
        }
        Ok(self.out)
    }

    /// The error text of a failure; a success is an error.
    pub fn refused(self, what: &str) -> Result<String> {
        if self.status.success() {
            bail!("{what} was not refused: {}{}", self.out, self.err);
        }
        Ok(self.err)
    }
}

/// A program under way; dropped, it is ended.
pub struct Running {
    what: String,
    child: Child,
    out: Option<JoinHandle<String>>,
    err: Option<JoinHandle<String>>,
    /// Something has come from its standard output.
    speaks: Arc<AtomicBool>,
}

/// Starts a program; `input` is its standard input.
pub fn start(command: &mut Command, input: &[u8]) -> Result<Running> {
    let what = what(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {what}"))?;
    let mut stdin = child.stdin.take().context("no input")?;
    // Inputs are smaller than a pipe's buffer or are read at once; one that isn't read must not hang the test.
    let input = input.to_vec();
    std::thread::spawn(move || stdin.write_all(&input));
    let speaks = Arc::new(AtomicBool::new(false));
    let out = child.stdout.take().map(|pipe| collect(pipe, Arc::clone(&speaks)));
    let err = child.stderr.take().map(|pipe| collect(pipe, Arc::default()));
    Ok(Running { what, child, out, err, speaks })
}

/// Runs a program to its end.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Said> {
    start(command, input)?.finish(limit)
}

fn what(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    command.get_args().fold(name, |text, word| format!("{text} {}", word.to_string_lossy())).chars().take(300).collect()
}

fn collect(mut pipe: impl Read + Send + 'static, speaks: Arc<AtomicBool>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = vec![0];
        let first = pipe.read(&mut bytes).unwrap_or(0);
        bytes.truncate(first);
        speaks.store(first > 0, Ordering::Release);
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Running {
    /// Waits for the end.
    pub fn finish(mut self, limit: Duration) -> Result<Said> {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                bail!("{}: not done in {limit:?}\n{}{}", self.what, text(self.out.take()), text(self.err.take()));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Ok(Said { status, out: text(self.out.take()), err: text(self.err.take()) })
    }

    /// Whether anything has come from its standard output yet.
    pub fn speaks(&self) -> bool {
        self.speaks.load(Ordering::Acquire)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it, and what it had said until then.
    pub fn end(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        text(self.out.take()) + &text(self.err.take())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(reader: Option<JoinHandle<String>>) -> String {
    reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_ended_and_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo before; exec sleep 60"]);
        let error = run(&mut command, b"", Duration::from_millis(300)).expect_err("it hangs");
        assert!(error.to_string().contains("before"), "{error}");
    }

    #[test]
    fn a_failure_shows_what_was_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo why >&2; exit 3"]);
        let said = run(&mut command, b"input", Duration::from_secs(5)).expect("it ran");
        let error = said.successful("it").expect_err("a failure").to_string();
        assert!(error.contains("input") && error.contains("why") && error.contains('3'), "{error}");
    }
}
