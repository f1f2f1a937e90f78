//! Everything that is said to a person, on stderr: errors, hints, warnings, progress.
//!
//! stdout is data, so nothing but a tool's result ever goes there. Under systemd or cron stderr is
//! the log, so progress is drawn only on a terminal. Level and tool name are process-wide because
//! they are facts of the process (its argv), set once before any thread starts.

use crate::error::{Error, Result};
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI8, Ordering};
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

/// What the parser of the arguments says, which begins with "error: ", before anything else is known.
pub fn usage(tool: &'static str, message: &str) {
    start(tool, 0);
    let mark = if *IS_JOURNAL { format!("<{ERROR}>") } else { String::new() };
    let _unreportable = write!(std::io::stderr().lock(), "{mark}{tool}: {message}").is_err();
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
    /// Of bytes, as long as it is not exceeded: it was an estimate then.
    total: Option<u64>,
    exceeded: AtomicBool,
}

const WITH_TOTAL: &str = "{prefix}: {bytes} of {total_bytes} ({percent}%), {bytes_per_sec}, {eta} left";
const WITHOUT_TOTAL: &str = "{prefix}: {bytes}, {bytes_per_sec}, {elapsed}";

impl Progress {
    /// `total` in bytes, if known.
    pub fn new(what: &str, total: Option<u64>, drawn: Drawn) -> Result<Self> {
        let Some(target) = drawn.target()? else {
            let bar = indicatif::ProgressBar::hidden();
            return Ok(Progress { bar, total: None, exceeded: AtomicBool::new(false) });
        };
        let style = style(if total.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL })?;
        let bar = indicatif::ProgressBar::with_draw_target(total, target);
        let bar = bar.with_style(style).with_prefix(what.to_owned());
        Ok(Progress { bar, total, exceeded: AtomicBool::new(false) })
    }

    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
        if self.total.is_some_and(|total| self.bar.position() > total)
            && !self.exceeded.swap(true, Ordering::Relaxed)
            && let Ok(style) = style(WITHOUT_TOTAL)
        {
            self.bar.set_style(style);
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> Result<indicatif::ProgressStyle> {
    indicatif::ProgressStyle::with_template(template)
        .map_err(|e| Error::failed(format!("progress template: {e}")))
}

/// Where progress is drawn, as the options say.
#[derive(Clone, Copy, Debug)]
pub enum Drawn {
    Nowhere,
    /// On stderr, which is a terminal.
    OnTerminal,
    /// Whatever that is.
    OnStderr,
    /// Of a tool without a result there: whoever runs it may want its stderr for himself.
    OnStdout,
}

/// Unless options say it, progress is drawn when stderr is a terminal and the tool is not between two pipes: of several
/// stages one terminal would get all the lines.
pub fn drawn_by_default() -> Drawn {
    let between_pipes = !io::stdin().is_terminal() && !io::stdout().is_terminal();
    if io::stderr().is_terminal() && !between_pipes { Drawn::OnTerminal } else { Drawn::Nowhere }
}

impl Drawn {
    fn target(self) -> Result<Option<indicatif::ProgressDrawTarget>> {
        let to = match self {
            Drawn::Nowhere => return Ok(None),
            Drawn::OnTerminal => return Ok(Some(indicatif::ProgressDrawTarget::stderr())),
            Drawn::OnStderr => Line::on(io::stderr().as_fd()),
            Drawn::OnStdout => Line::on(io::stdout().as_fd()),
        };
        let to = to.map_err(|e| Error::failed(format!("progress cannot be drawn: {e}")))?;
        Ok(Some(indicatif::ProgressDrawTarget::term_like_with_hz(Box::new(to), DRAWN_PER_SECOND)))
    }
}

/// What is readable, and no load for a slow line.
const DRAWN_PER_SECOND: u8 = 4;

/// One line that is drawn over itself, also where nothing knows of cursors: as git draws.
#[derive(Debug)]
struct Line(File);

impl Line {
    fn on(stream: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Line(stream.try_clone_to_owned()?.into()))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        (&self.0).write_all(text.as_bytes())
    }
}

impl indicatif::TermLike for Line {
    /// More than any of the lines has.
    fn width(&self) -> u16 {
        120
    }

    fn move_cursor_up(&self, _lines: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _lines: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write(text)
    }

    /// Blanks up to the width, which is none that is known, are left out.
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.write(text.trim_end())
    }

    /// Erase in line, ECMA-48 8.3.41.
    fn clear_line(&self) -> io::Result<()> {
        self.write(if self.0.is_terminal() { "\r\x1b[K" } else { "\r" })
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_size_that_is_exceeded_is_not_drawn_as_a_total() {
        let progress = Progress::new("x", Some(10), Drawn::OnStdout).unwrap();
        progress.add(10);
        assert!(!progress.exceeded.load(Ordering::Relaxed));
        progress.add(1);
        assert!(progress.exceeded.load(Ordering::Relaxed));
        progress.finish();
    }
}
