//! The files of a backup by name: which there are, and where they lie in its stream.

use crate::catalog::{MembersReader, Mode, Placed, escape};
use crate::error::{Error, Result};
use crate::manifest;
use crate::pg::{incremental, relation};
use crate::tar::Kind;
use glob::{MatchOptions, Pattern};
use std::io::BufRead;
use std::ops::Range;

/// Names as a shell writes them. A name of a directory is one of all that is in it; no name at all is one of everything.
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    pub fn parse(texts: &[String]) -> Result<Self> {
        let parse = |text: &String| {
            let pattern = Pattern::new(text.trim_start_matches("./").trim_end_matches('/'));
            pattern
                .map_err(|error| Error::usage(format!("\"{}\" is no pattern: {error}", text.escape_debug())))
        };
        texts.iter().map(parse).collect::<Result<_>>().map(Patterns)
    }

    fn match_path(&self, path: &[u8]) -> bool {
        let path = String::from_utf8_lossy(path);
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        self.0.is_empty()
            || ends.into_iter().any(|end| self.0.iter().any(|p| p.matches_with(&path[..end], options)))
    }
}

/// Calls `each` with a line, bytes and name, for each file of the backup whose manifest this is. Returns how many there
/// were. `name`: of the manifest, for messages.
pub fn list(
    manifest: impl BufRead,
    name: &str,
    patterns: &Patterns,
    each: &mut dyn FnMut(String) -> Result<()>,
) -> Result<u64> {
    let mut reader = manifest::Reader::open(manifest, name)?;
    let mut found = 0;
    while let Some(line) = reader.take()? {
        let path = line.path_bytes().unwrap_or_default();
        if patterns.match_path(&path) {
            found += 1;
            each(format!("{}\t{}\n", line.size, escape(&path)))?;
        }
    }
    Ok(found)
}

/// Where the chosen files lie in a stream, with what tells which stream that is, the directories above them, and the end
/// of the archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    pub ranges: Vec<Range<u64>>,
    pub files: u64,
}

/// `members`: those of the stream, from their beginning.
pub fn choose<R: BufRead>(mut members: MembersReader<R>, patterns: &Patterns) -> Result<Chosen> {
    let mut chosen = Chosen::default();
    // Directories above the present member, and whether they are taken.
    let mut above: Vec<(Placed, bool)> = Vec::new();
    let mode = members.mode();
    let mut number = 0;
    while let Some(member) = members.next_member()? {
        number += 1;
        if number <= 2 {
            // The root, and who the stream is.
            chosen.take(&member.span);
        } else if member.kind != Kind::File {
            above.retain(|(directory, _)| is_above(&directory.path, &member.path));
            // Elsewhere than in an increment of files only what is above a file matters.
            let taken = mode == Mode::Files;
            if taken {
                chosen.take(&member.span);
            }
            above.push((member, taken));
        } else if patterns.match_path(&plain_path(&member, mode)) {
            let untaken = above.iter_mut().filter(|(directory, _)| is_above(&directory.path, &member.path));
            for (directory, taken) in untaken.filter(|(_, taken)| !taken) {
                chosen.take(&directory.span);
                *taken = true;
            }
            chosen.take(&member.span);
            chosen.files += 1;
        }
    }
    members.end_marker().iter().for_each(|end| chosen.take(end));
    Ok(chosen)
}

impl Chosen {
    pub(super) fn take(&mut self, span: &Range<u64>) {
        match self.ranges.last_mut().filter(|last| last.end == span.start) {
            Some(last) => last.end = span.end,
            None => self.ranges.push(span.clone()),
        }
    }
}

fn is_above(directory: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Changed blocks count as the file that they belong to.
pub(super) fn plain_path(member: &Placed, mode: Mode) -> Vec<u8> {
    let directory =
        std::str::from_utf8(&member.path).ok().and_then(|path| path.rsplit_once('/')).map(|(d, _)| d);
    let plain = directory
        .filter(|directory| mode == Mode::Blocks && relation::is_relation_directory(directory))
        .and_then(|_| incremental::plain_path(&member.path));
    plain.unwrap_or_else(|| member.path.clone())
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // a list of ranges may have one
pub mod tests {
    use super::*;

    /// The list of members of an increment of blocks: each with its kind, place and size; the place of the tail, and bytes.
    pub fn members_of(members: &[(&str, &str, u64, u64)], tail: u64, stream_bytes: u64) -> String {
        let head = "{\"format\":\"pgv-members/1\",\"label\":\"20261123-010000F_20261124-010000I\",\"mode\":\"blocks\"}\n";
        let lines = members.iter().map(|(path, kind, at, size)| {
            format!("{{\"path\":\"{path}\",\"type\":\"{kind}\",\"offset\":{at},\"size\":{size}}}\n")
        });
        let end =
            format!("{{\"tail\":{tail},\"members\":{},\"stream_bytes\":{stream_bytes}}}\n", members.len());
        format!("{head}{}{end}", lines.collect::<String>())
    }

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_directory_is_all_that_is_in_it() {
        let matches = |text: &str, path: &str| patterns(&[text]).match_path(path.as_bytes());
        for text in ["base/1", "base/1/", "./base/1", "base/1/2*", "base/?/25", "base", "base/1/25"] {
            assert!(matches(text, "base/1/25"), "{text}");
        }
        for text in ["base/2", "25", "base/*5", "ase/1", "base/1/2", "*/25"] {
            assert!(!matches(text, "base/1/25"), "{text}");
        }
        assert!(patterns(&[]).match_path(b"x"));
        assert!(Patterns::parse(&["a[".to_owned()]).is_err());
    }

    #[test]
    fn a_file_comes_with_its_directories() {
        let members = [
            (".", "directory", 512, 0),
            ("pgv/stream.json", "file", 1024, 10),
            ("base", "directory", 2048, 0),
            ("base/1", "directory", 2560, 0),
            ("base/1/INCREMENTAL.7", "file", 3072, 512),
            ("base/1/8", "file", 4096, 0),
            ("base/2", "directory", 4608, 0),
            ("base/2/7", "file", 5120, 0),
        ];
        let text = members_of(&members, 5120, 6144);
        let chosen = |texts: &[&str]| {
            choose(MembersReader::open(text.as_bytes(), "members").unwrap(), &patterns(texts)).unwrap()
        };
        let ranges = |ranges: &[Range<u64>]| ranges.to_vec();
        assert_eq!(chosen(&["base/1/7"]).ranges, ranges(&[0..3584, 5120..6144]));
        assert_eq!(chosen(&["base/2"]), Chosen { ranges: ranges(&[0..2048, 4096..6144]), files: 1 });
        assert_eq!(chosen(&["none"]), Chosen { ranges: ranges(&[0..1536, 5120..6144]), files: 0 });
        assert_eq!(chosen(&[]).files, 3);
    }
}
