//! wrk: HTTP/1.1 from one thread.

use super::{Answered, Shot};
use crate::process::{LOAD_CORE, Programs, pinned};
use anyhow::Result;
use std::process::Command;

/// Exact figures in place of rounded ones.
const SCRIPT: &str = r#"done = function(s)
  local e = s.errors
  local failed = e.connect + e.read + e.write + e.timeout + e.status
  io.write(string.format('{"requests":%d,"failed":%d,"bytes":%d,"seconds":%f,"p99_us":0}\n', s.requests, failed, s.bytes, s.duration / 1e6))
end
"#;

pub(super) fn command(programs: &Programs, shot: Shot, connections: u32, path: &str, tls: bool) -> Result<Command> {
    let script = programs.write("wrk.lua", SCRIPT)?;
    let scheme = if tls { "https" } else { "http" };
    let mut command = pinned(LOAD_CORE, &programs.host("wrk")?);
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{}s", shot.seconds), "-s"]).arg(script);
    command.arg(format!("{scheme}://127.0.0.1:{}{path}", shot.port));
    Ok(command)
}

pub(super) fn read(text: &str) -> Option<Answered> {
    serde_json::from_str(text.lines().last()?).ok()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_last_line_is_the_result() {
        let text = "Running 1s test @ http://127.0.0.1:1/\nTransfer/sec: 5MB\n{\"requests\":5000,\"failed\":10,\"bytes\":7,\"seconds\":1.5,\"p99_us\":0}\n";
        let answered = read(text).expect("a result");
        assert_eq!((answered.requests, answered.failed, answered.bytes), (5000, 10, 7));
        assert!(read("unable to connect to 127.0.0.1:1 Connection refused\n").is_none());
    }
}
