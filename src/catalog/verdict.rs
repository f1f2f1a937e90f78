//! `check/UTC-verify.json` and `check/UTC-drill.json` of a backup: what was found when it was looked at; and
//! `check/UTC-wal.json`, beside the newest backup: what was found when all of the archived WAL was.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset};

pub const VERDICT_FORMAT: &str = "pgv-verdict/1";
/// Of a backup's directory, where its verdicts lie.
pub const VERDICT_DIRECTORY: &str = "check/";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictKind {
    /// All of it was opened and compared with its manifest.
    Verify,
    /// It was restored, started and looked at.
    Drill,
    /// The archived WAL was opened, and what is missing looked for. It tells nothing of the backup beside which it lies.
    Wal,
}

impl VerdictKind {
    pub fn name(self) -> &'static str {
        match self {
            VerdictKind::Verify => "verify",
            VerdictKind::Drill => "drill",
            VerdictKind::Wal => "wal",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub format: String,
    pub kind: VerdictKind,
    /// RFC 3339, UTC.
    pub started_at: String,
    pub seconds: u64,
    /// Of a drill: of these, those of the restore, without recovery and checks. Verdicts of 0.1.0 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_seconds: Option<u64>,
    /// Of the backup and its chain that were read; of a drill, of the cluster that was restored.
    pub bytes: u64,
    pub ok: bool,
    /// What was wrong, or could not be looked at.
    pub findings: Vec<String>,
}

impl Verdict {
    pub fn parse(json: &[u8]) -> Result<Self> {
        let verdict: Verdict =
            serde_json::from_slice(json).map_err(|e| Error::damaged(format!("verdict: {e}")))?;
        match verdict.format == VERDICT_FORMAT {
            true => Ok(verdict),
            false => Err(Error::damaged("the verdict has an unknown format")),
        }
    }
}

/// Its object's name below the backup; what comes later sorts later.
pub fn verdict_name(kind: VerdictKind, now: OffsetDateTime) -> String {
    check_name(kind.name(), now)
}

pub(super) fn check_name(kind: &str, now: OffsetDateTime) -> String {
    let now = now.to_offset(UtcOffset::UTC);
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second, fraction) = (now.hour(), now.minute(), now.second(), now.microsecond());
    // Two in one second must not have one name; readers of 0.1.0 look at the order and the kind only.
    let time = format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}.{fraction:06}");
    format!("{VERDICT_DIRECTORY}{time}-{kind}.json")
}

/// The kind of a verdict by its object's name below the backup; what comes later sorts later.
pub fn verdict_kind(name: &str) -> Option<VerdictKind> {
    let name = name.strip_prefix(VERDICT_DIRECTORY)?.strip_suffix(".json")?;
    let (_, kind) = name.rsplit_once('-')?;
    [VerdictKind::Verify, VerdictKind::Drill, VerdictKind::Wal].into_iter().find(|known| known.name() == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_kinds() {
        let now = OffsetDateTime::from_unix_timestamp(1_795_000_090).unwrap();
        assert_eq!(verdict_name(VerdictKind::Wal, now), "check/20261118-110810.000000-wal.json");
        assert_eq!(verdict_kind(&verdict_name(VerdictKind::Wal, now)), Some(VerdictKind::Wal));
        assert!(verdict_name(VerdictKind::Wal, now).as_str() > "check/20261118-110810-wal.json");
        assert_eq!(verdict_kind("check/20261123-010000-verify.json"), Some(VerdictKind::Verify));
        assert_eq!(verdict_kind("check/20261123-010000-drill.json"), Some(VerdictKind::Drill));
        assert_eq!(verdict_kind("check/20261123-010000-other.json"), None);
        assert_eq!(verdict_kind("data.pgv"), None);
    }
}
