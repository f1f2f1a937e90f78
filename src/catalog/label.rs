//! Backup labels: `20261123-010000F`, and for what builds on it `20261123-010000F_20261124-010000I`.
//!
//! A label sorts as its backup's time does, and a parent before its children, so a plain listing of a
//! directory or bucket is in the order of restoring.

use crate::error::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const TIME: &[BorrowedFormatItem<'static>] = format_description!("[year][month][day]-[hour][minute][second]");
const TIME_LEN: usize = "20261123-010000".len();

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    Full,
    Diff,
    Incr,
}

impl BackupType {
    fn letter(self) -> char {
        match self {
            BackupType::Full => 'F',
            BackupType::Diff => 'D',
            BackupType::Incr => 'I',
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            BackupType::Full => "full",
            BackupType::Diff => "diff",
            BackupType::Incr => "incr",
        }
    }
}

/// A valid label; it is also a safe file name and a safe key component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// The label of a full backup begun at `time` (converted to UTC).
    pub fn full(time: OffsetDateTime) -> Result<Self, Error> {
        Ok(Label(format!("{}F", format_time(time)?)))
    }

    /// The label of a backup begun at `time` that builds, directly or not, on the full of `parent`.
    pub fn increment(parent: &Label, backup_type: BackupType, time: OffsetDateTime) -> Result<Self, Error> {
        let text = format!("{}_{}{}", parent.full_part(), format_time(time)?, backup_type.letter());
        text.parse().map_err(|why| Error::usage(format!("{why}: the clock went back")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn backup_type(&self) -> BackupType {
        match self.0.as_bytes().last() {
            Some(b'D') => BackupType::Diff,
            Some(b'I') => BackupType::Incr,
            _ => BackupType::Full,
        }
    }

    /// The label of the full that this backup builds on, or its own.
    pub fn full_part(&self) -> &str {
        &self.0[..TIME_LEN + 1]
    }

    /// When the backup began.
    pub fn time(&self) -> Option<OffsetDateTime> {
        time::PrimitiveDateTime::parse(self.time_part(), TIME).ok().map(time::PrimitiveDateTime::assume_utc)
    }

    /// The part of the label that tells when: `20261124-010000`. Compares as time does, across types.
    pub fn time_part(&self) -> &str {
        &self.0[self.0.len() - 1 - TIME_LEN..self.0.len() - 1]
    }
}

fn format_time(time: OffsetDateTime) -> Result<String, Error> {
    time.to_offset(time::UtcOffset::UTC)
        .format(TIME)
        .map_err(|e| Error::failed(format!("format a label's time: {e}")))
}

fn is_time(text: &str) -> bool {
    text.len() == TIME_LEN && time::PrimitiveDateTime::parse(text, TIME).is_ok()
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let full = |part: &str| part.strip_suffix(BackupType::Full.letter()).is_some_and(is_time);
        let later = |part: &str| part.strip_suffix(['D', 'I']).is_some_and(is_time);
        let good = text.is_ascii()
            && match text.split_once('_') {
                None => full(text),
                Some((parent, own)) => full(parent) && later(own) && parent[..TIME_LEN] < own[..TIME_LEN],
            };
        match good {
            true => Ok(Label(text.to_owned())),
            false => {
                Err(format!("\"{}\" is not a backup label such as 20261123-010000F", text.escape_default()))
            }
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_checked() {
        for good in
            ["20261123-010000F", "20261123-010000F_20261124-010000I", "20261123-010000F_20261124-010000D"]
        {
            assert_eq!(good.parse::<Label>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "20261123-010000",
            "20261323-010000F",
            "20261123-010000I",
            "20261123-010000F_20261122-010000I",
            "20261123-010000F/",
            "../20261123-010000F",
            "20261123-010000F_20261124-010000F",
            "2026112é-01000F",
        ] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts() {
        let label: Label = "20261123-010000F_20261124-020000I".parse().unwrap();
        assert_eq!((label.full_part(), label.time_part()), ("20261123-010000F", "20261124-020000"));
        assert_eq!(label.backup_type(), BackupType::Incr);
    }
}
