//! What a record says in words. It is not sealed: anybody may have written it.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub fn time_of(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// Nothing in it may break a line, or command a terminal.
pub fn one_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}
