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

#[cfg(test)]
mod tests {
    use super::*;

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
