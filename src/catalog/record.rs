//! `record.json`, the commit record whose presence makes a backup exist, and the facts that pgv-snap
//! hands to whoever writes it.

use crate::catalog::{BackupType, Label, Mode, decimal_string};
use crate::error::{Error, Result};
use crate::pg::{Lsn, wal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const RECORD_FORMAT: &str = "pgv-record/1";
pub const FACTS_FORMAT: &str = "pgv-facts/1";

/// What pgv-snap knows of the backup it made (`--facts FILE`). Byte counts are integers, times
/// RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub format: String,
    #[serde(flatten)]
    pub backup: BackupFacts,
}

/// The fields that facts and record share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupFacts {
    pub label: Label,
    #[serde(rename = "type")]
    pub backup_type: BackupType,
    /// null for a full.
    pub mode: Option<Mode>,
    pub parent: Option<Label>,
    /// Of a merged full: the backups in it, oldest first. Its state is that of the last of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged_from: Vec<Label>,
    #[serde(with = "decimal_string")]
    pub system_identifier: u64,
    pub pg_version: String,
    pub host: String,
    pub started_at: String,
    pub stopped_at: String,
    pub start_lsn: Lsn,
    pub stop_lsn: Lsn,
    pub timeline: u32,
    pub wal_first: String,
    pub wal_last: String,
    pub wal_included: bool,
    pub tablespaces: Vec<Tablespace>,
    /// Whether tablespaces came or went while it ran: those that came are left to recovery, which makes them at the
    /// original's places.
    #[serde(default)]
    pub tablespaces_changed: bool,
    /// Whether the server was told to archive its WAL when the backup began: an archive that begins later has no gap.
    #[serde(default = "yes")]
    pub archiving: bool,
    /// Bytes of the files in the data directory that were backed up, as they lie on disk.
    pub database_bytes: u64,
    /// Bytes of the tar stream.
    pub stream_bytes: u64,
    pub files: Files,
    pub blocks: Blocks,
    pub findings: Findings,
    /// The configuration files that the stream has beside the data directory's own: members below pgv/config.
    #[serde(default)]
    pub configuration: Vec<String>,
    pub tool_version: String,
}

impl BackupFacts {
    /// The names of the WAL segments that it needs; none if `wal_first` and `wal_last` are not what its LSNs say.
    pub fn segments(&self) -> Option<Vec<String>> {
        let named = |size| wal::segment_names(self.timeline, self.start_lsn, self.stop_lsn, size);
        let fits = |names: &Vec<String>| {
            names.first() == Some(&self.wal_first) && names.last() == Some(&self.wal_last)
        };
        wal::SEGMENT_SIZES.into_iter().map(named).find(fits)
    }

    /// Why it cannot be true, by itself: a record is not authenticated, and what is kept and chosen goes by it.
    pub fn contradiction(&self) -> Option<String> {
        let parent = self.parent.as_ref();
        match (self.label.backup_type(), parent, self.mode) {
            (BackupType::Full, None, None | Some(Mode::Full)) => {}
            (BackupType::Full, None, Some(_)) => return Some("it is a full backup with a mode".to_owned()),
            (BackupType::Full, Some(parent), _) => {
                return Some(format!("it is a full backup that builds on {parent}"));
            }
            (_, None, _) => return Some("it is an increment without a parent".to_owned()),
            (_, Some(_), None | Some(Mode::Full)) => {
                return Some("it is an increment without a mode".to_owned());
            }
            (_, Some(parent), Some(_)) => {
                let is_of_chain = parent.full_part() == self.label.full_part();
                if !is_of_chain || parent.time_part() >= self.label.time_part() {
                    return Some(format!("{} cannot build on {parent}", self.label));
                }
            }
        }
        if self.stop_lsn < self.start_lsn {
            return Some(format!("it ends at {}, before its start at {}", self.stop_lsn, self.start_lsn));
        }
        match self.segments() {
            Some(_) => None,
            None => Some(format!(
                "its WAL segments {} to {} do not match {} to {} on timeline {}",
                self.wal_first.escape_default(),
                self.wal_last.escape_default(),
                self.start_lsn,
                self.stop_lsn,
                self.timeline
            )),
        }
    }
}

/// What records of before this field mean.
fn yes() -> bool {
    true
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tablespace {
    pub oid: u32,
    pub name: String,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Files {
    pub total: u64,
    pub whole: u64,
    pub blocks: u64,
    pub same: u64,
    pub removed: u64,
}

/// In pages of PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Blocks {
    pub read: u64,
    pub sent: u64,
}

/// Counts of what an operator must look at. `links`: symbolic links in the data directory that are
/// not part of the backup. `unread`: configuration files that the server reads and the backup could not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    pub bad_pages: u64,
    pub links: u64,
    #[serde(default)]
    pub unread: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectEntry {
    /// Below the backup's directory: `data.pgv`.
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub format: String,
    #[serde(flatten)]
    pub backup: BackupFacts,
    pub cluster: String,
    pub objects: Vec<ObjectEntry>,
    pub key_name: Option<String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Facts {
    pub fn new(backup: BackupFacts) -> Self {
        Facts { format: FACTS_FORMAT.to_owned(), backup }
    }

    pub fn parse(json: &[u8]) -> Result<Self> {
        let facts: Facts = serde_json::from_slice(json).map_err(|e| Error::damaged(format!("facts: {e}")))?;
        known_format(&facts.format, FACTS_FORMAT)?;
        Ok(facts)
    }
}

impl Record {
    pub fn parse(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: String,
        }
        // The format first: a record of the future may lack fields that this version needs.
        let head: Format =
            serde_json::from_slice(json).map_err(|e| Error::damaged(format!("record: {e}")))?;
        known_format(&head.format, RECORD_FORMAT)?;
        serde_json::from_slice(json).map_err(|e| Error::damaged(format!("record: {e}")))
    }
}

fn known_format(found: &str, known: &str) -> Result<()> {
    match found == known {
        true => Ok(()),
        false => Err(Error::damaged(format!(
            "unknown format \"{}\", this pgv knows {known}",
            found.escape_default()
        ))
        .hint("a newer pgv may have written it")),
    }
}
