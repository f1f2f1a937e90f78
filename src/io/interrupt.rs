//! Signals: tidy up, then die of them, as a shell expects it.
//!
//! Whoever leaves something unfinished behind, a temporary file or half an upload, says here how to undo it, and takes
//! that back when it is finished. The process may have several such things at once; they are undone together.

use crate::error::{Error, Result};
use crate::report;
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One wish to end the process may come as several signals: of the terminal or the script, which send it to all processes,
/// and of the tool whose command this is.
const ONE_WISH: Duration = Duration::from_secs(1);
/// A service that does not answer takes back nothing.
const UNDONE_WITHIN: Duration = Duration::from_secs(5);

type Undo = Box<dyn FnOnce() + Send>;

/// What is unfinished, by the order in which it was begun.
static UNFINISHED: Mutex<BTreeMap<u64, Undo>> = Mutex::new(BTreeMap::new());
static WATCHED: OnceLock<std::result::Result<(), io::ErrorKind>> = OnceLock::new();
/// A signal came, and what is unfinished is being undone.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Something unfinished; what would undo it is forgotten with this.
#[must_use]
pub struct Unfinished(u64);

impl Drop for Unfinished {
    fn drop(&mut self) {
        unfinished().remove(&self.0);
    }
}

fn unfinished() -> MutexGuard<'static, BTreeMap<u64, Undo>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on SIGINT, SIGTERM and SIGHUP run `undo` first, on a thread of its own, so that a blocking read elsewhere
/// does not delay it. What was ignored at the start (nohup) stays ignored. A second signal, a second later or more, waits
/// for nothing.
pub fn on_interrupt(undo: impl FnOnce() + Send + 'static) -> Result<Unfinished> {
    WATCHED
        .get_or_init(|| watch().map_err(|error| error.kind()))
        .map_err(|kind| Error::io("set up the handling of signals", kind.into()))?;
    let mut all = unfinished();
    let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
    all.insert(number, Box::new(undo));
    Ok(Unfinished(number))
}

fn watch() -> io::Result<()> {
    let ignored = ignored_signals();
    let wanted = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(wanted)?;
    let watching = move || {
        let mut first = None;
        for signal in signals.forever() {
            INTERRUPTED.store(true, Ordering::Release);
            match first {
                None => {
                    first = Some(Instant::now());
                    // Without a thread for it the next signal waits, too.
                    if thread::Builder::new().spawn(move || end(signal)).is_err() {
                        end(signal);
                    }
                }
                Some(begun) if begun.elapsed() < ONE_WISH => {}
                Some(_) => die_of(signal),
            }
        }
    };
    thread::Builder::new().spawn(watching).map(drop)
}

/// After a signal this does not return: the process ends by it when all is undone, and what failed meanwhile because of
/// that is not what a person is to read.
pub fn end_if_interrupted() {
    while INTERRUPTED.load(Ordering::Acquire) {
        thread::park();
    }
}

fn end(signal: i32) {
    let all = std::mem::take(&mut *unfinished());
    // What has no thread is found by `rm --uploads`.
    let undoing: Vec<_> =
        all.into_values().filter_map(|undo| thread::Builder::new().spawn(undo).ok()).collect();
    // One that panicked has nothing more to undo.
    undoing.into_iter().for_each(|undone| drop(undone.join()));
    die_of(signal);
}

/// At the end of a process: of what is unfinished nothing is left, whichever thread has it. After success that is a command
/// that a thread still reads. The lock is held meanwhile, so no command is reaped whose number is about to be used.
pub fn undo_all() {
    std::mem::take(&mut *unfinished()).into_values().for_each(|undo| undo());
}

/// Ends the process because of an error, whatever it is at; what is unfinished is undone, for [`UNDONE_WITHIN`] at most.
#[expect(clippy::exit, reason = "another thread waits for what does not answer, and cannot end the process")]
pub fn give_up(error: &Error) -> ! {
    INTERRUPTED.store(true, Ordering::Release);
    report::error(error);
    let (sender, receiver) = channel::<()>();
    for undo in std::mem::take(&mut *unfinished()).into_values() {
        let sender = sender.clone();
        let undo_one = move || {
            undo();
            drop(sender);
        };
        // What has no thread is found by `rm --uploads`.
        let _left = thread::Builder::new().spawn(undo_one).is_err();
    }
    drop(sender);
    // Nobody sends: it ends when all are done, or with the time.
    let _ended = receiver.recv_timeout(UNDONE_WITHIN).is_err();
    std::process::exit(error.kind as i32)
}

fn die_of(signal: i32) {
    // It does not return for the signals that are caught here.
    let _impossible = emulate_default_handler(signal).is_err();
}

/// Of a failed write to stdout: whoever read it has seen enough, which is no error worth a message. A
/// filter dies of SIGPIPE then, which Rust's start-up ignores.
pub fn die_if_unread(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        die_of(SIGPIPE);
    }
    error
}

/// A bit for each signal, the first for signal 1. Where /proc is not mounted none counts as ignored.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}
