//! How one stream is put together: a text file, one step a line, which one run of pgv-apply writes and another reads.

use crate::error::{Error, Result};
use crate::io::{from_hex, hex};
use crate::pg::incremental::Header;
use std::fmt::{self, Write as _};

/// Bytes of a line: the numbers of all changed pages of a segment, and more.
pub const LINE_LIMIT: u64 = 16 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Whole members of the stream, as they are.
    Members(u64),
    /// A directory of which only path and mode matter.
    Directory { path: Vec<u8>, mode: u32 },
    /// A file, whose content follows in steps.
    File { path: Vec<u8>, size: u64, mode: u32, mtime: i64 },
    /// Where the directory has what [`Step::Present`] takes.
    From(Vec<u8>),
    /// The head of a file of changed pages.
    Pages { page_size: u32, header: Header },
    /// Bytes that were fetched.
    Fetched(u64),
    /// Bytes that the directory has, from an offset.
    Present { at: u64, bytes: u64 },
    /// Bytes that nobody reads.
    Unused(u64),
    /// What ends the stream of an older backup, of which only the data are of use.
    End,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Members(bytes) => write!(f, "members {bytes}"),
            Step::Directory { path, mode } => write!(f, "directory {mode} {}", hex(path)),
            Step::File { path, size, mode, mtime } => {
                write!(f, "file {size} {mode} {mtime} {}", hex(path))
            }
            Step::From(path) => write!(f, "from {}", hex(path)),
            Step::Pages { page_size, header } => {
                write!(f, "pages {page_size} {} {}", header.truncation, runs_text(&header.blocks))
            }
            Step::Fetched(bytes) => write!(f, "fetched {bytes}"),
            Step::Present { at, bytes } => write!(f, "present {at} {bytes}"),
            Step::Unused(bytes) => write!(f, "unused {bytes}"),
            Step::End => f.write_str("end"),
        }
    }
}

impl Step {
    pub fn parse(line: &[u8]) -> Result<Self> {
        let step = std::str::from_utf8(line).ok().and_then(|line| parse(line.trim_end_matches('\n')));
        step.ok_or_else(|| Error::failed(format!("\"{}\" is no step", line.escape_ascii())))
    }
}

fn parse(line: &str) -> Option<Step> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let mut word = || words.next();
    let step = match name {
        "members" => Step::Members(word()?.parse().ok()?),
        "directory" => Step::Directory { mode: word()?.parse().ok()?, path: from_hex(word()?)? },
        "file" => Step::File {
            size: word()?.parse().ok()?,
            mode: word()?.parse().ok()?,
            mtime: word()?.parse().ok()?,
            path: from_hex(word()?)?,
        },
        "from" => Step::From(from_hex(word()?)?),
        "pages" => Step::Pages {
            page_size: word()?.parse().ok()?,
            header: Header { truncation: word()?.parse().ok()?, blocks: parse_runs(word()?)? },
        },
        "fetched" => Step::Fetched(word()?.parse().ok()?),
        "present" => Step::Present { at: word()?.parse().ok()?, bytes: word()?.parse().ok()? },
        "unused" => Step::Unused(word()?.parse().ok()?),
        "end" => Step::End,
        _ => return None,
    };
    words.next().is_none().then_some(step)
}

/// `3+2,9+1` for 3, 4 and 9.
fn runs_text(numbers: &[u32]) -> String {
    let mut text = String::new();
    for run in numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
        let comma = if text.is_empty() { "" } else { "," };
        // A String takes everything.
        let _written = write!(text, "{comma}{}+{}", run.first().copied().unwrap_or(0), run.len()).is_ok();
    }
    text
}

fn parse_runs(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for run in text.split(',').filter(|run| !run.is_empty()) {
        let (first, count) = run.split_once('+')?;
        let first: u32 = first.parse().ok()?;
        numbers.extend(first..first.checked_add(count.parse().ok()?)?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_back() {
        let path = b"base/5/\xff 1\n".to_vec();
        for step in [
            Step::Members(7),
            Step::Directory { path: path.clone(), mode: 0o700 },
            Step::File { path: path.clone(), size: 1 << 40, mode: 0o600, mtime: -1 },
            Step::From(path),
            Step::Pages { page_size: 8192, header: Header { blocks: vec![], truncation: 9 } },
            Step::Pages {
                page_size: 8192,
                header: Header { blocks: vec![0, 1, 2, 5, 131_071], truncation: 131_072 },
            },
            Step::Fetched(1),
            Step::Present { at: 8192, bytes: 8192 },
            Step::Unused(3),
            Step::End,
        ] {
            assert_eq!(Step::parse(format!("{step}\n").as_bytes()).unwrap(), step, "{step}");
        }
        for wrong in
            ["", "end 1", "members", "members x", "pages 1 1", "pages 8192 1 4294967295+1", "file 1 2 3 0"]
        {
            assert!(Step::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
