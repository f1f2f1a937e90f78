//! Byte ranges as people and tools write them: `FROM-TO`, counted from 0, both included.

use crate::error::{Error, IoContext, Result};
use std::io::{BufRead, Read};
use std::ops::Range;

/// Bytes of a line.
const LINE_LIMIT: u64 = 64;
const FORM: &str = "must be FROM-TO, in bytes counted from 0, both included";

/// `FROM-TO` or `FROM-`: the first byte, and the end behind the last, if one is given.
pub fn parse_range(text: &str) -> std::result::Result<(u64, Option<u64>), String> {
    let wrong = || FORM.replace("FROM-TO", "FROM-TO or FROM-");
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let number =
        |digits: &str| digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    let from = number(from).ok_or_else(wrong)?;
    let end = match to {
        "" => None,
        to => Some(number(to).and_then(|to| to.checked_add(1)).ok_or_else(wrong)?),
    };
    match end.is_some_and(|end| end <= from) {
        true => Err(wrong()),
        false => Ok((from, end)),
    }
}

/// One range a line, `FROM-TO`, in ascending order and without overlap. `name`: of the input, for messages.
pub fn read_ranges(mut input: impl BufRead, name: &str) -> Result<Vec<Range<u64>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        let length =
            (&mut input).take(LINE_LIMIT).read_line(&mut line).during(format_args!("read {name}"))?;
        if length == 0 {
            return Ok(ranges);
        }
        let number = ranges.len() + 1;
        let text = line.trim_end_matches('\n');
        let refuse =
            |why: &str| Error::usage(format!("{name}, line {number}: \"{}\" {why}", text.escape_debug()));
        let range = match parse_range(text) {
            Ok((from, Some(end))) => from..end,
            _ => return Err(refuse(FORM)),
        };
        if ranges.last().is_some_and(|before| range.start < before.end) {
            return Err(refuse("overlaps the range before it, or precedes it"));
        }
        ranges.push(range);
    }
}

/// The same lines.
pub fn ranges_text(ranges: &[Range<u64>]) -> String {
    ranges.iter().map(|range| format!("{}-{}\n", range.start, range.end.saturating_sub(1))).collect()
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // a list of ranges may have one
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_written() {
        let ranges = [0..1, 1..2, 5..10, u64::MAX - 1..u64::MAX];
        assert_eq!(read_ranges(ranges_text(&ranges).as_bytes(), "x").unwrap(), ranges);
        assert_eq!(read_ranges(&b""[..], "x").unwrap(), []);
        for wrong in
            ["1", "1-", "-1", "2-1", "+1-2", "1-2-3", "1-2 ", "", "0-18446744073709551615", "0-5\n5-6"]
        {
            let error = read_ranges(format!("{wrong}\n").as_bytes(), "x").unwrap_err();
            assert_eq!(error.kind, crate::error::Kind::Usage, "{wrong}");
        }
        assert_eq!(parse_range("7-"), Ok((7, None)));
    }
}
