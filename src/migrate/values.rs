//! Values as pgBackRest writes them.

use crate::error::{Error, Result};

pub fn count(option: &str, value: &str) -> Result<u64> {
    let is_digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let parsed = value.parse().ok().filter(|_| is_digits);
    parsed.ok_or_else(|| Error::usage(format!("{option} is no number")))
}

/// pgBackRest takes nothing else, either: what is in quotes, or begins where it is called from.
pub fn path<'v>(option: &str, value: &'v str) -> Result<&'v str> {
    match value.starts_with('/') {
        true => Ok(value),
        false => Err(Error::usage(format!("{option} is no path that begins with /"))
            .hint("write it without quotes, as pgBackRest reads it")),
    }
}

/// A number of backups or days to keep.
pub fn kept(option: &str, value: &str) -> Result<u64> {
    match count(option, value)? {
        0 => Err(Error::usage(format!("{option} is 0, but something must be kept"))),
        number => Ok(number),
    }
}

pub fn yes(option: &str, value: &str) -> Result<bool> {
    match value {
        "y" => Ok(true),
        "n" => Ok(false),
        _ => Err(Error::usage(format!("{option} is neither y nor n"))),
    }
}

/// In whole seconds, rounded up: `60`, `1.5`, `500ms`, `2m`.
pub fn seconds(option: &str, value: &str) -> Result<u64> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds = match &value[digits.len()..] {
        "ms" => 1.0,
        "" | "s" => 1e3,
        "m" => 60e3,
        "h" => 3600e3,
        "d" => 86400e3,
        "w" => 7.0 * 86400e3,
        _ => return Err(Error::usage(format!("{option} is no time"))),
    };
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: Option<f64> = digits.parse().ok().filter(|number| is_plain && (0.0..1e9).contains(number));
    let number = number.ok_or_else(|| Error::usage(format!("{option} is no time")))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bounds, see above")]
    Ok((number * milliseconds / 1e3).ceil() as u64)
}

/// In bytes: `1048576`, `128MiB`, `4GB`, `64k`: all of them binary.
pub fn bytes(option: &str, value: &str) -> Result<u64> {
    let wrong = || Error::usage(format!("{option} is no size"));
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = value[digits.len()..].to_ascii_lowercase();
    let letter = unit.trim_end_matches("ib").trim_end_matches('b');
    let shift = match letter {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(wrong()),
    };
    let number = count(option, digits).map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_pgbackrest_reads_them() {
        let all = |values: &[&str], read: fn(&str, &str) -> Result<u64>| {
            values.iter().map(|value| read("x", value).ok()).collect::<Vec<_>>()
        };
        assert_eq!(all(&["60", "0.1", "1m", "500ms", "2d"], seconds), [60, 1, 60, 1, 172_800].map(Some));
        assert_eq!(all(&["", "x", "-1", "1y", "1e3", "inf"], seconds), [None; 6]);
        assert_eq!(
            all(&["7", "128MiB", "4GB", "64k", "1b"], bytes),
            [7, 128 << 20, 4 << 30, 64 << 10, 1].map(Some)
        );
        assert_eq!(all(&["", "x", "-1", "1x", "99999999999pb"], bytes), [None; 5]);
        assert_eq!(all(&["2", "+2", ""], count), [Some(2), None, None]);
        assert_eq!(all(&["2", "0", "2 # two"], kept), [Some(2), None, None]);
        assert!(path("x", "/r x").is_ok() && path("x", "\"/r\"").is_err() && path("x", "r").is_err());
    }
}
