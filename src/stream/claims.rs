//! What is said of a stream from outside, by whoever asks for it and by the backup's record, against what
//! the stream itself says. A record is not authenticated: it serves to choose, and nothing more.

use crate::catalog::{Label, Mode, Record, StreamIdentity};
use crate::error::{Error, Result};
use crate::pg::Lsn;
use std::fmt::Display;
use time::OffsetDateTime;

#[derive(Default)]
pub struct Claims {
    /// The only label that is taken.
    pub expect: Option<Label>,
    /// The only cluster.
    pub system_id: Option<u64>,
    /// The moment that recovery is to end at: the backup must have begun before it.
    pub before: Option<OffsetDateTime>,
    pub record: Option<Record>,
}

/// What only the end of a stream tells.
pub struct End {
    pub stop_lsn: Lsn,
    /// Whether the segment that the record calls its last was there.
    pub wal_last_seen: bool,
}

impl Claims {
    /// Before anything is written. Refuses as damaged.
    pub fn check(&self, stream: &StreamIdentity) -> Result<()> {
        if let Some(expected) = self.expect.as_ref().filter(|expected| !stream.is_state_of(expected)) {
            return Err(Error::damaged(format!("the stream is backup {}, not {expected}", stream.label))
                .hint("nothing was written; objects of the repository may have been exchanged"));
        }
        if let Some(expected) = self.system_id.filter(|expected| *expected != stream.system_identifier) {
            return Err(Error::damaged(format!(
                "the stream is a backup of the cluster {}, not of {expected}",
                stream.system_identifier
            ))
            .hint("nothing was written; objects of the repository may have been exchanged"));
        }
        if let Some(record) = &self.record {
            check_record(record, stream)?;
        }
        self.before.map_or(Ok(()), |before| check_time(stream, before))
    }

    /// Before a server can start. Refuses as damaged.
    pub fn check_end(&self, end: &End) -> Result<()> {
        let Some(Record { backup, .. }) = &self.record else { return Ok(()) };
        same("stop_lsn", &backup.stop_lsn, &end.stop_lsn)
            .and_then(|()| same("wal_included", &backup.wal_included, &end.wal_last_seen))
            .map_err(|error| error.hint("record.json does not belong to this stream"))
    }

    /// A segment's name, as the record says it.
    pub fn wal_last(&self) -> Option<&str> {
        self.record.as_ref().map(|record| record.backup.wal_last.as_str())
    }
}

/// A stream that was merged is held against the record of the last backup in it, or against its own.
fn check_record(record: &Record, stream: &StreamIdentity) -> Result<()> {
    let backup = &record.backup;
    let parent = |parent: Option<&Label>| parent.map_or("none".to_owned(), Label::to_string);
    let is_merged = stream.merged_from.last() == Some(&backup.label);
    let origin = || -> Result<()> {
        if is_merged {
            let before = stream.merged_from.len().checked_sub(2).and_then(|at| stream.merged_from.get(at));
            return same("parent", &parent(backup.parent.as_ref()), &parent(before));
        }
        same("label", &backup.label, &stream.label)?;
        same("type", backup.backup_type.name(), stream.label.backup_type().name())?;
        same("mode", backup.mode.unwrap_or(Mode::Full).name(), stream.mode.name())?;
        same("parent", &parent(backup.parent.as_ref()), &parent(stream.parent.as_ref()))?;
        same("merged_from", &labels(&backup.merged_from), &labels(&stream.merged_from))
    };
    let checked = same("system_identifier", &backup.system_identifier, &stream.system_identifier)
        .and_then(|()| origin())
        .and_then(|()| same("pg_version", &backup.pg_version, &stream.pg_version))
        .and_then(|()| same("timeline", &backup.timeline, &stream.timeline))
        .and_then(|()| same("start_lsn", &backup.start_lsn, &stream.start_lsn))
        .and_then(|()| check_tablespaces(record, stream));
    checked.map_err(|error| error.hint("nothing was written; record.json does not belong to this stream"))
}

fn labels(labels: &[Label]) -> String {
    match labels.is_empty() {
        true => "none".to_owned(),
        false => labels.iter().map(Label::as_str).collect::<Vec<_>>().join(" "),
    }
}

/// Those that came while the backup ran are not in the stream's beginning.
fn check_tablespaces(record: &Record, stream: &StreamIdentity) -> Result<()> {
    for space in &record.backup.tablespaces {
        match stream.tablespaces.iter().find(|there| there.oid == space.oid) {
            Some(there) => same("tablespaces", &space.name, &there.name)?,
            None if record.backup.tablespaces_changed => {}
            None => return Err(differs("tablespaces", space.oid, "no tablespace of this OID")),
        }
    }
    Ok(())
}

/// The label tells when a backup began: recovery cannot end before that. A merged full is as old as the
/// last backup in it.
fn check_time(stream: &StreamIdentity, before: OffsetDateTime) -> Result<()> {
    let label = stream.merged_from.last().unwrap_or(&stream.label);
    match label.time() {
        Some(began) if began < before => Ok(()),
        _ => Err(Error::damaged(format!(
            "backup {label} began at or after {before}, the target of the recovery"
        ))
        .hint("nothing was written; record.json says otherwise, and does not belong to this stream")
        .hint("name an older backup with --label")),
    }
}

fn same<T: PartialEq + Display + ?Sized>(field: &str, recorded: &T, found: &T) -> Result<()> {
    match recorded == found {
        true => Ok(()),
        false => Err(differs(field, recorded, found)),
    }
}

fn differs(field: &str, recorded: impl Display, found: impl Display) -> Error {
    let recorded = recorded.to_string();
    Error::damaged(format!(
        "record.json: {field} is {}, but the stream has {found}",
        recorded.escape_default()
    ))
}
