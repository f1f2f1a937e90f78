//! Everything that is said to a person, on stderr: errors, hints, warnings, progress.
//!
//! stdout is data, so nothing but a tool's result ever goes there. Under systemd or cron stderr is
//! the log, so progress is drawn only on a terminal. Level and tool name are process-wide because
//! they are facts of the process (its argv), set once before any thread starts.

use crate::error::{Error, Result};
use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicI8, Ordering};
use std::sync::{LazyLock, OnceLock};

static TOOL: OnceLock<&'static str> = OnceLock::new();
static LEVEL: AtomicI8 = AtomicI8::new(0);
/// Whether stderr is systemd's journal, which takes a priority from the beginning of a line.
static IS_JOURNAL: LazyLock<bool> = LazyLock::new(is_journal);

/// What syslog calls them.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFO: u8 = 6;

/// JOURNAL_STREAM is inherited by children whose stderr is another: it names the journal by device and inode.
fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Sets the prefix of all messages and how much is said: -1 only errors, 0 normal, 1 verbose.
pub fn start(tool: &'static str, level: i8) {
    // A second call would come from a second main in one process; the first name stands.
    let _already_set = TOOL.set(tool).is_err();
    LEVEL.store(level, Ordering::Relaxed);
}

pub fn error(error: &Error) {
    line(ERROR, "error", format_args!("{error}"));
    for hint in error.hints() {
        line(ERROR, "hint", format_args!("{hint}"));
    }
}

/// Something a person should look at; said unless `--quiet`.
pub fn warn(message: impl fmt::Display) {
    if LEVEL.load(Ordering::Relaxed) >= 0 {
        line(WARNING, "warning", format_args!("{message}"));
    }
}

pub fn hint(message: impl fmt::Display) {
    if LEVEL.load(Ordering::Relaxed) >= 0 {
        line(INFO, "hint", format_args!("{message}"));
    }
}

/// Said only with `--verbose`.
pub fn verbose(message: impl fmt::Display) {
    if LEVEL.load(Ordering::Relaxed) > 0 {
        line(INFO, "info", format_args!("{message}"));
    }
}

/// A failing stderr cannot be reported anywhere; the exit status still tells.
fn line(priority: u8, kind: &str, message: fmt::Arguments<'_>) {
    let tool = TOOL.get().copied().unwrap_or("pgv");
    let mark = if *IS_JOURNAL { format!("<{priority}>") } else { String::new() };
    let text = format!("{mark}{tool}: {kind}: {message}\n");
    let _unreportable = std::io::stderr().lock().write_all(text.as_bytes()).is_err();
}

/// Bytes done, rate and time, redrawn on one line of stderr. Costs nothing when it is off.
pub struct Progress {
    bar: indicatif::ProgressBar,
}

impl Progress {
    /// `total` in bytes, if known; `shown` as decided by [`progress_wanted`].
    pub fn new(what: &str, total: Option<u64>, shown: bool) -> Result<Self> {
        if !shown {
            return Ok(Progress { bar: indicatif::ProgressBar::hidden() });
        }
        let template = match total {
            Some(_) => "{prefix}: {bytes} of {total_bytes} ({percent}%), {bytes_per_sec}, {eta} left",
            None => "{prefix}: {bytes}, {bytes_per_sec}, {elapsed}",
        };
        let style = indicatif::ProgressStyle::with_template(template)
            .map_err(|e| Error::failed(format!("progress template: {e}")))?;
        let bar = match total {
            Some(bytes) => indicatif::ProgressBar::new(bytes),
            None => indicatif::ProgressBar::no_length(),
        };
        Ok(Progress { bar: bar.with_style(style).with_prefix(what.to_owned()) })
    }

    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// `--progress` and `--no-progress` decide; else progress is drawn when stderr is a terminal and the
/// tool is not between two pipes (of several stages one terminal would get all the lines).
pub fn progress_wanted(progress: bool, no_progress: bool) -> bool {
    let between_pipes = !std::io::stdin().is_terminal() && !std::io::stdout().is_terminal();
    progress || (!no_progress && std::io::stderr().is_terminal() && !between_pipes)
}
