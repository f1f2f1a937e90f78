//! Signals: tidy up, then die of them, as a shell expects it.

use crate::error::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io;

/// From here to the end of the process SIGINT, SIGTERM and SIGHUP run `clean_up` first, on a thread of its own, so that a
/// blocking read elsewhere does not delay it. What was ignored at the start (nohup) stays ignored.
pub fn catch_interrupts(clean_up: impl FnOnce() + Send + 'static) -> Result<()> {
    let ignored = ignored_signals();
    let wanted = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals =
        Signals::new(wanted).map_err(|error| Error::io("set up the handling of signals", error))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            clean_up();
            // It does not return for these three.
            let _impossible = emulate_default_handler(signal).is_err();
        }
    });
    Ok(())
}

/// Of a failed write to stdout: whoever read it has seen enough, which is no error worth a message. A
/// filter dies of SIGPIPE then, which Rust's start-up ignores.
pub fn die_if_unread(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        let _impossible = emulate_default_handler(SIGPIPE).is_err();
    }
    error
}

/// A bit for each signal, the first for signal 1. Where /proc is not mounted none counts as ignored.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}
