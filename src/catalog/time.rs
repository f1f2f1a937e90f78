//! Times as records, verdicts and lists have them: RFC 3339.

use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Clocks of two hosts differ by less, and transactions overtake each other on their way into the WAL by less.
pub const CLOCK_MARGIN: Duration = Duration::from_secs(600);

/// In whole seconds, UTC: `2026-11-23T01:40:00Z`.
pub fn rfc3339(time: OffsetDateTime) -> String {
    let whole = time.to_offset(UtcOffset::UTC).replace_nanosecond(0).unwrap_or(time);
    whole.format(&Rfc3339).unwrap_or_default()
}

/// `None`: it is no such time.
pub fn time_of(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}
