//! Names of the objects below `keys/`: data keys that were wrapped for recipients, and what is said of them in plain.

use crate::catalog::time_of;
use serde::Deserialize;
use std::time::Duration;
use time::OffsetDateTime;

/// Below the system identifier's directory.
pub const DIRECTORY: &str = "keys/";
/// A host seals with one data key no longer, whatever its configuration says.
pub const LONGEST_USE: Duration = Duration::from_secs(90 * 86_400);
const WRAPPED: &str = ".cms";
const DESCRIPTION: &str = ".json";
const FORMAT: &str = "pgv-key/1";
/// Digits of a data key's name.
const NAME_DIGITS: usize = 16;
/// A key that was wrapped anew more often than that was not wrapped by pgv.
const MOST_WRAPPINGS: u32 = 100_000;

/// A key as it was wrapped: `NAME.cms` at first, `NAME.2.cms` when it was wrapped anew, and so on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyObject {
    pub key_name: String,
    /// The first is 1.
    pub wrapping: u32,
}

impl KeyObject {
    /// By the name of its object. `None`: it is no wrapped key.
    pub fn parse(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(WRAPPED)?;
        let (name, wrapping) = match stem.split_once('.') {
            None => (stem, 1),
            Some((name, digits)) => (name, parse_wrapping(digits)?),
        };
        is_data_key_name(name).then(|| KeyObject { key_name: name.to_owned(), wrapping })
    }

    pub fn file_name(&self) -> String {
        match self.wrapping {
            1 => format!("{}{WRAPPED}", self.key_name),
            wrapping => format!("{}.{wrapping}{WRAPPED}", self.key_name),
        }
    }
}

fn parse_wrapping(digits: &str) -> Option<u32> {
    let number = digits.parse().ok().filter(|number| (2..=MOST_WRAPPINGS).contains(number))?;
    (number.to_string() == digits).then_some(number)
}

/// What is said of a key in plain. It is not authenticated.
#[derive(Deserialize)]
pub struct Description {
    format: String,
    made_at: String,
}

impl Description {
    /// `None`: it is none, or of another version.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let description: Self = serde_json::from_slice(json).ok()?;
        (description.format == FORMAT).then_some(description)
    }

    pub fn made_at(&self) -> Option<OffsetDateTime> {
        time_of(&self.made_at)
    }
}

/// The name of the key that an object describes: `NAME.json`.
pub fn described(file: &str) -> Option<&str> {
    file.strip_suffix(DESCRIPTION).filter(|name| is_data_key_name(name))
}

pub fn description_name(key_name: &str) -> String {
    format!("{key_name}{DESCRIPTION}")
}

/// Whether `name` is one of a data key: its fingerprint.
pub fn is_data_key_name(name: &str) -> bool {
    name.len() == NAME_DIGITS && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_that_is_not_understood_says_nothing() {
        let made = |text: &str| Description::parse(text.as_bytes()).and_then(|it| it.made_at());
        let good = r#"{"format":"pgv-key/1","made_at":"2026-11-23T01:00:00Z","host":"h","from_wal":null}"#;
        assert_eq!(made(good), time_of("2026-11-23T01:00:00Z"));
        for wrong in ["", "{}", &good.replace("key/1", "key/2"), &good.replace("2026-", ""), &good[1..]] {
            assert_eq!(made(wrong), None, "{wrong}");
        }
        assert_eq!(described(&description_name("0123456789abcdef")), Some("0123456789abcdef"));
        assert_eq!(described("0123456789abcde.json"), None);
    }

    #[test]
    fn only_wrapped_keys_have_such_names() {
        let first = KeyObject::parse("0123456789abcdef.cms").unwrap();
        let third = KeyObject::parse("0123456789abcdef.3.cms").unwrap();
        assert_eq!((first.wrapping, third.wrapping), (1, 3));
        assert_eq!(third.file_name(), "0123456789abcdef.3.cms");
        assert_eq!(first.file_name(), "0123456789abcdef.cms");
        for other in [
            "0123456789abcdef.json",
            "0123456789abcdef",
            "0123456789abcdef.1.cms",
            "0123456789abcdef.02.cms",
            "0123456789abcdef.+2.cms",
            "0123456789abcdef.2.2.cms",
            "0123456789abcdef.100001.cms",
            "0123456789ABCDEF.cms",
            "0123456789abcde.cms",
            ".cms",
            "../0123456789abcdef.cms",
        ] {
            assert_eq!(KeyObject::parse(other), None, "{other}");
        }
    }
}
