//! Times, lengths and sizes as people read them.

use time::{Duration, OffsetDateTime, UtcOffset};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

pub(in crate::info) fn month(time: OffsetDateTime) -> &'static str {
    MONTHS[usize::from(u8::from(time.month()) - 1)]
}

/// `2026-11-28 22:17:51 UTC`.
pub(in crate::info) fn moment(time: OffsetDateTime) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    let (month, day) = (u8::from(time.month()), time.day());
    format!(
        "{:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// `45 s`, `3 min 20 s`, `1 h 7 min`, `2 d 3 h`.
pub(in crate::info) fn length(length: Duration) -> String {
    let seconds = length.whole_seconds().max(0);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// `7 h 3 min ago`; a clock that is ahead makes it `now`.
pub(in crate::info) fn ago(time: OffsetDateTime, now: OffsetDateTime) -> String {
    match now - time {
        age if age < Duration::SECOND => "now".to_owned(),
        age => format!("{} ago", length(age)),
    }
}

/// `1 backup`, `2 backups`.
pub(in crate::info) fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_moments() {
        let lengths = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (200, "3 min 20 s"),
            (3_600, "1 h"),
            (4_020, "1 h 7 min"),
            (183_600, "2 d 3 h"),
        ];
        for (seconds, words) in lengths {
            assert_eq!(length(Duration::seconds(seconds)), words);
        }
        let time = OffsetDateTime::from_unix_timestamp(1_795_000_090).unwrap();
        assert_eq!(moment(time), "2026-11-18 11:08:10 UTC");
        assert_eq!(
            (ago(time, time), ago(time, time + Duration::HOUR)),
            ("now".to_owned(), "1 h ago".to_owned())
        );
        assert_eq!((count(1, "backup"), count(0, "backup")), ("1 backup".to_owned(), "0 backups".to_owned()));
    }
}
