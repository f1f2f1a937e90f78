//! The one error type, and the one table of exit codes.
//!
//! Every failure in pgv ends as a message for a person and an exit status for a script. Scripts act
//! on the status (retry on 75, stop on 4 or 5), so it is part of the interface of every tool; the
//! table is `pgv(7)`, section EXIT STATUS.

use std::fmt;
use std::io;
use std::path::Path;

/// What went wrong, as a script needs to know it. The number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The operation failed; retrying blindly will not help.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// The thing asked for is proved absent.
    NotFound = 3,
    /// Wrong key or context.
    Key = 4,
    /// Altered, truncated, not a pgv stream, or a failed checksum.
    Damaged = 5,
    /// It exists with other content; nothing was overwritten.
    Exists = 6,
    /// Network, throttling, a busy lock: worth another try later.
    Temporary = 75,
}

impl Kind {
    /// By the exit status of a tool of pgv, whose meaning stays through the tool that ran it. Of any other tool it is a
    /// failure, if the number means nothing here.
    pub fn of_status(code: i32) -> Self {
        let known = [Kind::Usage, Kind::NotFound, Kind::Key, Kind::Damaged, Kind::Exists, Kind::Temporary];
        known.into_iter().find(|kind| *kind as i32 == code).unwrap_or(Kind::Failed)
    }
}

/// How an operation that was carried out ended. The number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[must_use]
pub enum Status {
    /// Done, complete and durable.
    Done = 0,
    /// Done and complete, but something was found that a person must look at.
    Findings = 7,
}

/// A failure: its kind, one line that names the object, and hints on what to do about it.
#[derive(Clone, Debug)]
pub struct Error {
    pub kind: Kind,
    message: String,
    hints: Vec<String>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `message`: lower case, no full stop, names the object, never a secret.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hints: Vec::new() }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    pub fn damaged(message: impl Into<String>) -> Self {
        Self::new(Kind::Damaged, message)
    }

    /// An I/O error while doing `what` ("read /a/b").
    pub fn io(what: impl fmt::Display, error: io::Error) -> Self {
        // One of ours that passed through a reader or writer stays what it is.
        match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(error) => Self::failed(format!("{what}: {}", io_reason(&error))),
        }
    }

    /// Adds a line that says what the person can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Puts what was being done in front of the message.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Puts a detail behind the message, in parentheses.
    #[must_use]
    pub fn supplement(mut self, detail: impl fmt::Display) -> Self {
        self.message = format!("{} ({detail})", self.message);
        self
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// An error that crossed an `io::Read` or `io::Write` boundary comes back as it was: the filters of
/// this crate hand their own errors through `io::Error::other`.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

/// Names the object of an I/O error.
pub trait IoContext<T> {
    /// `what` is the operation with its object: "read /a/b". A pgv error that travelled inside the
    /// `io::Error` is unwrapped, with its kind and hints, instead of being worded anew.
    fn during(self, what: impl fmt::Display) -> Result<T>;

    /// The same for a path: `during_path("read", path)`.
    fn during_path(self, verb: &str, path: &Path) -> Result<T>
    where
        Self: Sized,
    {
        self.during(format_args!("{verb} {}", path.display()))
    }
}

impl<T> IoContext<T> for io::Result<T> {
    fn during(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::io(what, error))
    }
}

/// "no such file or directory" rather than "No such file or directory (os error 2)".
pub(crate) fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(std::iter::once(second)).chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_read_like_our_messages() {
        let error = Error::io("read /x", io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "read /x: no such file or directory");
    }

    #[test]
    fn a_pgv_error_survives_an_io_boundary() {
        let inner = Error::new(Kind::Key, "wrong key").hint("try another");
        let outer: Result<()> = Err(io::Error::from(inner)).during("read stdin");
        let error = outer.unwrap_err();
        assert_eq!((error.kind, error.message()), (Kind::Key, "wrong key"));
        assert_eq!(error.hints(), ["try another"]);
    }
}
