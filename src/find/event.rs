//! What was found, in words.

use crate::catalog::{escape, rfc3339};
use crate::error::{Error, Result};
use crate::pg::Lsn;
use std::fmt;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

const UTC: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
const LOCAL: &[BorrowedFormatItem<'static>] = format_description!(
    "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6][offset_hour sign:mandatory]:[offset_minute]"
);
/// More names than these are only counted.
const NAMES: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Drop,
    Truncate,
    Delete,
    Update,
    Rewrite,
    RestorePoint,
    Commit,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Drop,
        Kind::Truncate,
        Kind::Delete,
        Kind::Update,
        Kind::Rewrite,
        Kind::RestorePoint,
        Kind::Commit,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Drop => "drop",
            Kind::Truncate => "truncate",
            Kind::Delete => "delete",
            Kind::Update => "update",
            Kind::Rewrite => "rewrite",
            Kind::RestorePoint => "restore-point",
            Kind::Commit => "commit",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Database {
        oid: u32,
        name: Option<String>,
        is_sure: bool,
    },
    /// `count` relations: those that are named, or some of them. Indexes and the like are counted, and named only if
    /// nothing else is.
    Drop {
        count: usize,
        is_exact: bool,
        names: Vec<String>,
        files: usize,
    },
    Truncate {
        names: Vec<String>,
        files: usize,
    },
    Rewrite {
        names: Vec<String>,
        files: usize,
    },
    Delete {
        rows: u64,
        name: String,
    },
    Update {
        rows: u64,
        name: String,
    },
    /// Files, by a transaction whose beginning was not read.
    Removed {
        names: Vec<String>,
    },
    RestorePoint {
        name: String,
    },
    Commit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When its transaction ended; of a restore point, when the one before it did.
    pub time: Option<OffsetDateTime>,
    /// Recovery that ends just before this record undoes it.
    pub lsn: Lsn,
    pub xid: u32,
    /// Its transaction may have begun before the search did.
    pub is_cut: bool,
    pub what: What,
}

impl What {
    pub fn kind(&self) -> Kind {
        match self {
            What::Database { .. } | What::Drop { .. } | What::Removed { .. } => Kind::Drop,
            What::Truncate { .. } => Kind::Truncate,
            What::Rewrite { .. } => Kind::Rewrite,
            What::Delete { .. } => Kind::Delete,
            What::Update { .. } => Kind::Update,
            What::RestorePoint { .. } => Kind::RestorePoint,
            What::Commit => Kind::Commit,
        }
    }
}

impl Event {
    /// In words, without control characters.
    pub fn text(&self) -> String {
        let least = if self.is_cut { "at least " } else { "" };
        let text = match &self.what {
            What::Database { oid, name, is_sure } => {
                let name =
                    name.as_ref().map_or_else(|| format!("OID {oid}"), |name| format!("{name} (OID {oid})"));
                let doubt = if *is_sure { "" } else { "; what prepared it was not found: see pgv-find(1)" };
                format!("database {name} dropped{doubt}")
            }
            What::Drop { count, is_exact, names, files } => {
                let of = if *is_exact { String::new() } else { format!(" {count} of") };
                format!(
                    "dropped{of}: {} ({}, {})",
                    Names(names),
                    counted(*count, "relation"),
                    counted(*files, "file")
                )
            }
            What::Truncate { names, files } => {
                format!("truncated: {} ({})", Names(names), counted(*files, "file"))
            }
            What::Rewrite { names, files } => {
                format!("rewritten or reindexed: {} ({})", Names(names), counted(*files, "file"))
            }
            What::Removed { names } => {
                let words = "dropped, truncated or rewritten by a transaction that began before the search";
                format!("{words}: {}", Names(names))
            }
            What::Delete { rows, name } => format!("{least}{} deleted from {name}", rows_of(*rows)),
            What::Update { rows, name } => format!("{least}{} updated in {name}", rows_of(*rows)),
            What::RestorePoint { name } => format!("restore point {name}"),
            What::Commit => "commit".to_owned(),
        };
        escape(text.as_bytes())
    }

    /// Fields, separated by tabs: when in UTC and here, LSN, transaction, kind, words, command.
    pub fn line(&self, command: &str) -> Result<String> {
        let (utc, local) = match self.time {
            Some(time) => (format(time, UTC)?, format(local(time), LOCAL)?),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let (lsn, xid, kind) = (self.lsn, self.xid, self.what.kind().name());
        Ok(format!("{utc}\t{local}\t{lsn}\t{xid}\t{kind}\t{}\t{command}\n", self.text()))
    }

    /// For people.
    pub fn paragraph(&self, command: &str) -> Result<String> {
        let when = match self.time {
            Some(time) => format!("{} ({})", format(local(time), LOCAL)?, rfc3339(time)),
            None => "before the first commit".to_owned(),
        };
        let xid = if self.xid == 0 { String::new() } else { format!("  xid {}", self.xid) };
        Ok(format!("{when}  {}{xid}\n  {}\n  just before it: {command}\n", self.lsn, self.text()))
    }
}

/// The zone of this process, or UTC where it is not known.
fn local(time: OffsetDateTime) -> OffsetDateTime {
    time.to_offset(UtcOffset::local_offset_at(time).unwrap_or(UtcOffset::UTC))
}

fn format(time: OffsetDateTime, format: &[BorrowedFormatItem<'_>]) -> Result<String> {
    time.format(format).map_err(|error| Error::failed(format!("write a time: {error}")))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn rows_of(rows: u64) -> String {
    format!("{rows} row{}", if rows == 1 { "" } else { "s" })
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(NAMES);
        write!(f, "{}", self.0[..shown].join(", "))?;
        match self.0.len() - shown {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
