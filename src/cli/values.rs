//! Sizes, rates, durations and times as people write them on a command line.
//!
//! The parsers have the shape of a clap value parser: `fn(&str) -> Result<T, String>`.

use crate::catalog::layout;
use crate::error::{self, Error};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds in a century. Longer durations are mistakes, and their sums could overflow.
const LONGEST_SECONDS: u64 = 100 * 366 * 86_400;

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Bytes: `8MiB`, `5GB`, or a bare number of bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1,
        _ => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(size_help)?,
    };
    let number: u64 = number.parse().map_err(|_| size_help())?;
    number.checked_mul(factor).ok_or_else(|| "larger than 2^64 bytes".to_owned())
}

fn size_help() -> String {
    "a size is a whole number with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB, such as 8MiB".to_owned()
}

/// Bytes a second: `50MiB/s`.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let size = text.strip_suffix("/s").ok_or("a rate is a size a second, such as 50MiB/s")?;
    match parse_size(size)? {
        0 => Err("a rate of zero would never end".to_owned()),
        rate => Ok(rate),
    }
}

/// `90s`, `15min`, `36h`, `7d`, `2w`; a century at most.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let help = "a duration is a whole number with s, min, h, d or w, such as 36h";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(help.to_owned()),
    };
    if number.is_empty() {
        return Err(help.to_owned());
    }
    // What is no number of 64 bits is longer all the more.
    let total = number.parse().ok().and_then(|number: u64| number.checked_mul(seconds));
    let total = total.filter(|total| *total <= LONGEST_SECONDS).ok_or("it is longer than a century")?;
    Ok(Duration::from_secs(total))
}

/// How often something is done: a duration, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Option<Duration>);

/// `7d`, or `never`.
pub fn parse_period(text: &str) -> Result<Period, String> {
    match text {
        "never" => Ok(Period(None)),
        _ => parse_duration(text).map(|every| Period(Some(every))).map_err(|why| format!("{why}, or never")),
    }
}

/// RFC 3339, or as PostgreSQL and people write it: `2026-11-23 01:40:00.123+00`, `2026-11-23 01:40+0530`,
/// `2026-11-23 01:40:00 UTC`. Always with a zone: which one is meant cannot be guessed.
pub fn parse_time(text: &str) -> Result<OffsetDateTime, String> {
    let help = || "a time has a date and a zone: 2026-11-23T01:40:00Z, '2026-11-23 01:40:00+00'".to_owned();
    let text = text.trim();
    let (date, rest) = text.split_once(['T', 't', ' ']).ok_or_else(help)?;
    let (clock, zone) = match rest.find(['+', '-', 'Z', 'z', 'U']) {
        Some(at) => (rest[..at].trim_end(), &rest[at..]),
        None => return Err(help()),
    };
    let zone = match (zone, zone.len()) {
        ("Z" | "z" | "UTC", _) => "Z".to_owned(),
        (_, 3) => format!("{zone}:00"),
        (_, 5) if zone.is_char_boundary(3) => format!("{}:{}", &zone[..3], &zone[3..]),
        _ => zone.to_owned(),
    };
    let seconds = if clock.matches(':').count() == 1 { ":00" } else { "" };
    OffsetDateTime::parse(&format!("{date}T{clock}{seconds}{zone}"), &Rfc3339).map_err(|_| help())
}

/// The value of an environment variable. An empty one means that nothing is set.
pub fn variable(key: &str) -> Option<String> {
    std::env::var_os(key).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

/// `--system-id`, whose value may come from PGV_SYSTEM_ID: an empty one means that nothing is set.
pub fn system_id(text: Option<&str>) -> error::Result<Option<u64>> {
    let parse = |text: &str| {
        layout::parse_system_id(text)
            .ok_or_else(|| Error::usage(format!("\"{}\" is not a system identifier", text.escape_default())))
    };
    text.filter(|text| !text.is_empty()).map(parse).transpose()
}

/// As many as are asked for, else one for each core.
pub fn threads(asked: Option<u16>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or_else(cores, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("8MiB"), Ok(8 << 20));
        assert_eq!(parse_size("5GB"), Ok(5_000_000_000));
        assert_eq!(parse_size("0"), Ok(0));
        for bad in ["", "MiB", "8 MiB", "8mib", "-1", "1.5GiB", "99999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(parse_rate("50MiB/s"), Ok(50 << 20));
        assert!(parse_rate("50MiB").is_err());
        assert!(parse_rate("0B/s").is_err());
    }

    #[test]
    fn periods() {
        assert_eq!(parse_period("7d"), Ok(Period(Some(Duration::from_secs(604_800)))));
        assert_eq!(parse_period("never"), Ok(Period(None)));
        for wrong in ["", "Never", "7", "0"] {
            assert!(parse_period(wrong).unwrap_err().ends_with(", or never"), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        assert!(parse_duration("7").is_err());
        assert!(parse_duration("7m").is_err(), "m could be months");
        assert!(parse_duration("h").is_err());
        assert!(parse_duration("36600d").is_ok());
        for long in ["36601d", "99999999999w", "9999999w", "18446744073709551616s", "18446744073709551615s"] {
            assert_eq!(parse_duration(long), Err("it is longer than a century".to_owned()), "{long}");
        }
    }

    #[test]
    fn times_need_a_zone() {
        let expected = parse_time("2026-11-23T01:40:00Z").unwrap();
        for same in ["2026-11-23 01:40:00+00", "2026-11-23 03:40:00+0200", "2026-11-22 20:10:00-05:30"] {
            assert_eq!(parse_time(same).unwrap(), expected, "{same}");
        }
        for same in
            ["2026-11-23 01:40+00", "2026-11-23 07:10+0530", "2026-11-23 01:40 UTC", "2026-11-23T01:40Z"]
        {
            assert_eq!(parse_time(same).unwrap(), expected, "{same}");
        }
        for bad in [
            "",
            "2026-11-23",
            "2026-11-23 01:40:00",
            "2026-11-23 01:40:00 CET",
            "01:40+00",
            "2026-11-23 01+00",
            "2026-11-23 01:40+1é0",
            "2026-11-23 01:40:00+05300",
            "2026-11-23 01:40:00Unknown",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
