//! `record.json`, the commit record whose presence makes a backup exist, and the facts that pgv-snap
//! hands to whoever writes it.

use crate::catalog::{BackupType, Label, Mode, decimal_string};
use crate::error::{Error, Result};
use crate::pg::{Lsn, wal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const RECORD_FORMAT: &str = "pgv-record/1";
pub const FACTS_FORMAT: &str = "pgv-facts/1";
/// The type under which a full is shown that was made of other backups. Its record says `full`.
pub const SYNTHETIC: &str = "synthetic";

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
    /// Of a synthetic full: the backups in it, oldest first. LSNs, times and WAL are those of the last of them.
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

    /// Whether other backups were merged into this one: its label tells when that was done, and not how old its content is.
    pub fn is_synthetic(&self) -> bool {
        !self.merged_from.is_empty()
    }

    /// The label that tells when the content was backed up: by it backups are compared with one another.
    pub fn content_label(&self) -> &Label {
        self.merged_from.last().unwrap_or(&self.label)
    }

    /// For people and programs: `full`, `diff`, `incr` or `synthetic`.
    pub fn type_name(&self) -> &'static str {
        match self.is_synthetic() {
            true => SYNTHETIC,
            false => self.backup_type.name(),
        }
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
        if let Some(why) = self.merge_contradiction() {
            return Some(why);
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

impl BackupFacts {
    /// Why these cannot be the backups in a synthetic full: they are one chain, all of it older than what it became.
    fn merge_contradiction(&self) -> Option<String> {
        let first = self.merged_from.first()?;
        if self.label.backup_type() != BackupType::Full {
            return Some("it is an increment into which backups were merged".to_owned());
        }
        if first.backup_type() != BackupType::Full {
            return Some(format!("the first backup merged into it, {first}, is not a full"));
        }
        let own = self.label.time_part();
        if let Some(late) = self.merged_from.iter().find(|link| link.time_part() >= own) {
            return Some(format!("backup {late}, which was merged into it, is not older"));
        }
        let pairs = self.merged_from.windows(2);
        let is_next = |pair: &&[Label]| {
            pair[1].full_part() == first.as_str()
                && pair[1].backup_type() != BackupType::Full
                && pair[0].time_part() < pair[1].time_part()
        };
        let wrong = pairs.into_iter().find(|pair| !is_next(pair));
        wrong
            .map(|pair| format!("{} was merged into it after {}, on which it cannot build", pair[1], pair[0]))
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
/// not part of the backup. `unread`: configuration files that the server reads and the backup could not. `reserved`: files
/// that are not part of it because increments have files of such names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    pub bad_pages: u64,
    pub links: u64,
    #[serde(default)]
    pub unread: u64,
    #[serde(default)]
    pub reserved: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(label: &str, merged_from: &[&str]) -> BackupFacts {
        let label: Label = label.parse().unwrap();
        BackupFacts {
            backup_type: label.backup_type(),
            mode: (label.backup_type() != BackupType::Full).then_some(Mode::Blocks),
            parent: (label.backup_type() != BackupType::Full).then(|| label.full_part().parse().unwrap()),
            merged_from: merged_from.iter().map(|label| label.parse().unwrap()).collect(),
            label,
            system_identifier: 7,
            pg_version: "15.20".to_owned(),
            host: "h".to_owned(),
            started_at: "2026-11-01T01:00:00Z".to_owned(),
            stopped_at: "2026-11-01T01:00:01Z".to_owned(),
            start_lsn: Lsn(0x100_0028),
            stop_lsn: Lsn(0x100_0100),
            timeline: 1,
            wal_first: "000000010000000000000001".to_owned(),
            wal_last: "000000010000000000000001".to_owned(),
            wal_included: true,
            tablespaces: Vec::new(),
            tablespaces_changed: false,
            archiving: true,
            database_bytes: 1,
            stream_bytes: 1,
            files: Files::default(),
            blocks: Blocks::default(),
            findings: Findings::default(),
            configuration: Vec::new(),
            tool_version: String::new(),
        }
    }

    const FULL: &str = "20261101-010000F";
    const INCR: &str = "20261101-010000F_20261102-010000I";
    const DIFF: &str = "20261101-010000F_20261103-010000D";
    const NEW: &str = "20261104-010000F";

    #[test]
    fn what_was_merged_is_one_chain_and_older() {
        for good in [&[][..], &[FULL], &[FULL, INCR], &[FULL, INCR, DIFF], &["20261103-235959F"]] {
            assert_eq!(facts(NEW, good).contradiction(), None, "{good:?}");
        }
        for (label, bad) in [
            (NEW, &[INCR][..]),
            (NEW, &[FULL, DIFF, INCR]),
            (NEW, &[FULL, INCR, INCR]),
            (NEW, &[FULL, "20261102-010000F"]),
            (NEW, &[FULL, "20261031-010000F_20261102-010000I"]),
            (NEW, &[NEW]),
            (NEW, &[FULL, "20261101-010000F_20261105-010000I"]),
            (INCR, &[FULL]),
        ] {
            let why = facts(label, bad).contradiction();
            assert!(why.is_some(), "{label} {bad:?}");
        }
    }

    #[test]
    fn a_synthetic_full_is_as_old_as_the_last_in_it() {
        let synthetic = facts(NEW, &[FULL, INCR]);
        assert_eq!((synthetic.content_label().as_str(), synthetic.type_name()), (INCR, "synthetic"));
        let full = facts(NEW, &[]);
        assert_eq!((full.content_label().as_str(), full.type_name()), (NEW, "full"));
    }

    /// Readers of before this field see a full, and what they wrote is one.
    #[test]
    fn an_ordinary_record_does_not_have_the_field() {
        let text = |facts| serde_json::to_string(&Facts::new(facts)).unwrap();
        assert!(!text(facts(NEW, &[])).contains("merged_from"));
        let synthetic = text(facts(NEW, &[FULL, INCR]));
        assert!(synthetic.contains(r#""type":"full""#), "{synthetic}");
        let parsed = Facts::parse(synthetic.as_bytes()).unwrap();
        assert_eq!(parsed.backup, facts(NEW, &[FULL, INCR]));
    }
}
