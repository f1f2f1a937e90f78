//! `--retry`: a command that may fail for now.

use crate::command::{not_run, process};
use pgv::error::{Kind, Result, Status};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

/// How long it waits before the next try.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs `command` until it ends with another status than 75, or `limit` is over: the last try may end later. Its status
/// is ours, and it has said why.
#[expect(clippy::exit, reason = "it may be a status that is none of ours")]
pub fn run(limit: Duration, command: &[OsString]) -> Result<Status> {
    let begun = Instant::now();
    loop {
        let status = process(command)?.status().map_err(|error| not_run(command, error))?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let left = limit.saturating_sub(begun.elapsed());
        if code != Kind::Temporary as i32 || left.is_zero() {
            std::process::exit(code);
        }
        thread::sleep(left.min(PAUSE));
    }
}
