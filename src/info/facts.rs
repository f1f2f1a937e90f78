//! What a record says in words. It is not sealed: anybody may have written it.

pub use crate::catalog::time_of;

/// Nothing in it may break a line, or command a terminal.
pub fn one_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}
