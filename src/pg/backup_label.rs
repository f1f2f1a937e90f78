//! The `backup_label` that the server returns at the end of a backup (xlogbackup.c).

use crate::error::{Error, Result};
use crate::pg::Lsn;

/// The path below the data directory.
pub const PATH: &str = "backup_label";

/// The two facts of a label that decide where recovery begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupLabel {
    pub start_lsn: Lsn,
    pub timeline: u32,
}

impl BackupLabel {
    /// Refuses a label without a start as damaged.
    pub fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let missing = |name: &str| Error::damaged(format!("backup label without a usable {name}"));
        let start_lsn = field("START WAL LOCATION: ")
            .and_then(|value| value.split(' ').next())
            .and_then(|lsn| lsn.parse().ok())
            .ok_or_else(|| missing("START WAL LOCATION"))?;
        let timeline = field("START TIMELINE: ")
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| missing("START TIMELINE"))?;
        Ok(BackupLabel { start_lsn, timeline })
    }
}

/// A label as an increment's, which names the start of its parent (`build_backup_content`): PostgreSQL 17
/// and later do not start from it.
pub fn incremental(label: &str, parent: Lsn, parent_timeline: u32) -> String {
    format!("{label}INCREMENTAL FROM LSN: {parent}\nINCREMENTAL FROM TLI: {parent_timeline}\n")
}

/// A label without the lines that name a parent, as `pg_combinebackup` leaves it.
pub fn merged(label: &str) -> String {
    label.split_inclusive('\n').filter(|line| !line.starts_with("INCREMENTAL FROM ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_named_and_forgotten() {
        let label = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nSTART TIMELINE: 3\n";
        let increment = incremental(label, Lsn(0x1_0000_0028), 2);
        assert!(increment.ends_with("\nINCREMENTAL FROM LSN: 1/28\nINCREMENTAL FROM TLI: 2\n"));
        assert_eq!(merged(&increment), label);
    }

    #[test]
    fn reads_what_the_server_writes() {
        let text = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
                    CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
                    START TIME: 2026-11-23 01:40:00 UTC\nLABEL: x\nSTART TIMELINE: 3\n";
        let label = BackupLabel::parse(text).unwrap();
        assert_eq!(label, BackupLabel { start_lsn: Lsn(0x2000028), timeline: 3 });
        assert!(BackupLabel::parse("LABEL: x\n").is_err());
    }
}
