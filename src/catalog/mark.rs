//! `check/UTC-pin.json` and `check/UTC-note.json` of a backup: what a person decided about it after it was made. Of each
//! kind the newest decides; readers of before they existed take them for no verdicts, and pass over them.

use crate::catalog::verdict::{VERDICT_DIRECTORY, check_name};
use crate::catalog::{rfc3339, time_of};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime, UtcOffset};

pub const PIN_FORMAT: &str = "pgv-pin/1";
pub const NOTE_FORMAT: &str = "pgv-note/1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    Pin,
    Note,
}

impl MarkKind {
    pub fn name(self) -> &'static str {
        match self {
            MarkKind::Pin => "pin",
            MarkKind::Note => "note",
        }
    }
}

/// The kind of a mark by its object's name below the backup; what comes later sorts later.
pub fn mark_kind(name: &str) -> Option<MarkKind> {
    let (_, kind) = name.strip_prefix(VERDICT_DIRECTORY)?.strip_suffix(".json")?.rsplit_once('-')?;
    [MarkKind::Pin, MarkKind::Note].into_iter().find(|known| known.name() == kind)
}

/// The name of a new mark, which sorts after the `newest` of its kind: else that would go on to decide where another
/// host's clock is ahead of this one's.
pub fn mark_name(kind: MarkKind, now: OffsetDateTime, newest: Option<&str>) -> Result<String> {
    let name = check_name(kind.name(), now);
    let Some(newest) = newest.filter(|newest| name.as_str() <= *newest) else { return Ok(name) };
    let after = mark_time(newest).and_then(|time| time.checked_add(Duration::MICROSECOND));
    let later = after.map(|time| check_name(kind.name(), time)).filter(|later| later.as_str() > newest);
    later.ok_or_else(|| {
        Error::failed(format!("no name of a {} is later than {}", kind.name(), newest.escape_default()))
    })
}

const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year][month][day]-[hour][minute][second].[subsecond digits:6]");

fn mark_time(name: &str) -> Option<OffsetDateTime> {
    let (time, _) = name.strip_prefix(VERDICT_DIRECTORY)?.rsplit_once('-')?;
    PrimitiveDateTime::parse(time, TIME).ok().map(PrimitiveDateTime::assume_utc)
}

/// Whether expiry must keep the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub format: String,
    /// RFC 3339, UTC; null is for ever.
    pub until: Option<String>,
    /// False takes back the pins before.
    pub pinned: bool,
    /// What a person says about it.
    pub note: Option<String>,
}

impl Pin {
    /// A pin that ends; or one that is there until it is removed.
    pub fn new(until: Option<OffsetDateTime>, note: Option<String>) -> Result<Self> {
        let until = until.map(whole_second).transpose()?;
        Ok(Pin { format: PIN_FORMAT.to_owned(), until, pinned: true, note })
    }

    pub fn removal(note: Option<String>) -> Self {
        Pin { format: PIN_FORMAT.to_owned(), until: None, pinned: false, note }
    }

    pub fn parse(json: &[u8]) -> Result<Self> {
        let pin: Pin = parse(json, MarkKind::Pin, PIN_FORMAT)?;
        match pin.until.as_ref().is_none_or(|until| time_of(until).is_some()) {
            true => Ok(pin),
            false => Err(Error::damaged("the pin has an invalid time")),
        }
    }

    pub fn holds(&self, now: OffsetDateTime) -> bool {
        let until = self.until.as_deref().and_then(time_of);
        self.pinned && until.is_none_or(|until| now < until)
    }
}

/// The next whole second, so that no pin ends early.
fn whole_second(time: OffsetDateTime) -> Result<String> {
    let utc = time.checked_to_offset(UtcOffset::UTC);
    let whole = utc.and_then(|utc| utc.checked_add(Duration::nanoseconds(999_999_999)));
    whole.map(rfc3339).ok_or_else(|| Error::usage(format!("{time} is too late a time")))
}

/// All that was annotated since the record was written: it lies over the annotations of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub format: String,
    /// null takes an annotation of the record away.
    pub annotations: BTreeMap<String, Option<String>>,
}

impl Note {
    pub fn new(annotations: BTreeMap<String, Option<String>>) -> Self {
        Note { format: NOTE_FORMAT.to_owned(), annotations }
    }

    pub fn parse(json: &[u8]) -> Result<Self> {
        parse(json, MarkKind::Note, NOTE_FORMAT)
    }
}

/// The format first: a mark of the future may lack fields that this version needs.
fn parse<T: serde::de::DeserializeOwned>(json: &[u8], kind: MarkKind, known: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
    }
    let damaged = |e: serde_json::Error| Error::damaged(format!("{}: {e}", kind.name()));
    let head: Head = serde_json::from_slice(json).map_err(damaged)?;
    match head.format == known {
        true => serde_json::from_slice(json).map_err(damaged),
        false => Err(Error::damaged(format!(
            "the {} has the unknown format \"{}\"",
            kind.name(),
            head.format.escape_default()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::verdict_kind;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    #[test]
    fn names_tell_kinds_and_are_no_verdicts() {
        let pin = mark_name(MarkKind::Pin, at(1_795_000_090), None).unwrap();
        let note = mark_name(MarkKind::Note, at(1_795_000_090), None).unwrap();
        assert_eq!(pin, "check/20261118-110810.000000-pin.json");
        assert_eq!((mark_kind(&pin), mark_kind(&note)), (Some(MarkKind::Pin), Some(MarkKind::Note)));
        assert_eq!((verdict_kind(&pin), verdict_kind(&note)), (None, None));
        for other in ["check/20261118-110810.000000-verify.json", "pin.json", "check/x-pin", "x-pin.json"] {
            assert_eq!(mark_kind(other), None, "{other}");
        }
    }

    #[test]
    fn a_new_name_is_later_than_all_names() {
        let name = |newest: &str| mark_name(MarkKind::Pin, at(1_795_000_090), Some(newest));
        assert_eq!(
            name("check/20261118-110809.999999-pin.json").unwrap(),
            "check/20261118-110810.000000-pin.json"
        );
        for (newest, next) in [("110810.000000", "110810.000001"), ("235959.999999", "000000.000000")] {
            let next = name(&format!("check/20261118-{newest}-pin.json")).unwrap()
                == format!("check/20261118-{next}-pin.json");
            assert_eq!(next, newest.starts_with("11"), "{newest}");
        }
        assert_eq!(
            name("check/20261118-235959.999999-pin.json").unwrap(),
            "check/20261119-000000.000000-pin.json"
        );
        // The end of time, and what is no time.
        assert!(name("check/99991231-235959.999999-pin.json").is_err());
        assert!(name("check/later-pin.json").is_err());
    }

    #[test]
    fn a_pin_holds_until_it_ends() {
        let pin = Pin::new(Some(at(100) + Duration::NANOSECOND), None).unwrap();
        assert_eq!(pin.until.as_deref(), Some("1970-01-01T00:01:41Z"));
        assert!(pin.holds(at(100)) && !pin.holds(at(101)));
        assert!(Pin::new(None, None).unwrap().holds(at(1 << 36)));
        assert!(!Pin::removal(None).holds(at(0)));
        let late = OffsetDateTime::new_in_offset(
            time::macros::date!(9999 - 12 - 31),
            time::macros::time!(23:59:59),
            time::macros::offset!(-5),
        );
        assert!(Pin::new(Some(late), None).is_err());
    }

    #[test]
    fn what_is_no_pin_is_damaged() {
        let good = r#"{"format":"pgv-pin/1","until":null,"pinned":true,"note":"x","future":1}"#;
        assert!(Pin::parse(good.as_bytes()).unwrap().holds(at(0)));
        for (part, other) in [
            ("pgv-pin/1", "pgv-pin/2"),
            ("null", "\"never\""),
            ("true", "1"),
            (r#""pinned":true,"#, ""),
            ("}", ""),
        ] {
            assert!(Pin::parse(good.replace(part, other).as_bytes()).is_err(), "{part}");
        }
    }

    #[test]
    fn a_note_takes_away_and_adds() {
        let json = br#"{"format":"pgv-note/1","annotations":{"a":"1","b":null}}"#;
        let note = Note::parse(json).unwrap();
        assert_eq!(note.annotations["b"], None);
        assert_eq!(serde_json::to_vec(&note).unwrap(), json);
        assert!(Note::parse(br#"{"format":"pgv-note/2","annotations":{}}"#).is_err());
        assert!(Note::parse(br#"{"format":"pgv-note/1","annotations":{"a":1}}"#).is_err());
    }
}
