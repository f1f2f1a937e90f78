//! The first and the last line of a manifest, which say whose it is and what was built on it.

use crate::error::{Error, IoContext, Result};
use crate::manifest::LINE_LIMIT;
use std::io::{BufRead, Read};

/// Reads a manifest to its end and returns those two lines, with their newlines. Memory: two lines. What ends within a
/// line is damaged. `name`: for messages.
pub fn ends(mut source: impl BufRead, name: &str) -> Result<Vec<u8>> {
    let (mut ends, mut last) = (Vec::new(), Vec::new());
    if !next_line(&mut source, &mut ends, name)? {
        return Err(Error::damaged(format!("{name}: not a manifest: it is empty")));
    }
    let mut line = Vec::new();
    while next_line(&mut source, &mut line, name)? {
        std::mem::swap(&mut line, &mut last);
    }
    ends.extend(last);
    Ok(ends)
}

/// Replaces `line` by the next one, or returns false at the end.
fn next_line(source: &mut impl BufRead, line: &mut Vec<u8>, name: &str) -> Result<bool> {
    line.clear();
    Read::take(source, LINE_LIMIT).read_until(b'\n', line).during(format_args!("read {name}"))?;
    match line.last() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) => Err(Error::damaged(format!("{name} ends too early, or has a line that is too long"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn the_ends_are_two_whole_lines() {
        let found = |text: &str| ends(text.as_bytes(), "m").map(|ends| String::from_utf8(ends).unwrap());
        assert_eq!(found("a\nb\nc\n").unwrap(), "a\nc\n");
        assert_eq!(found("a\nc\n").unwrap(), "a\nc\n");
        assert_eq!(found("a\n").unwrap(), "a\n");
        assert_eq!(found("").unwrap_err().kind, Kind::Damaged);
        assert_eq!(found("a\nb").unwrap_err().kind, Kind::Damaged);
    }
}
