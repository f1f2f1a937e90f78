//! Whether a WAL segment is what its surroundings say: its name, its cluster, its length, and how far its records reach.

use crate::error::{Error, IoContext, Kind, Result};
use crate::io::{Input, read_full};
use crate::pg::wal::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::pg::{Lsn, timeline};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// What a segment must be; what is `None` is not asked.
#[derive(Default)]
pub struct Expected<'a> {
    pub name: Option<&'a str>,
    /// The text of the history file of the name's timeline.
    pub history: Option<&'a str>,
    pub system_identifier: Option<u64>,
    /// Bytes of the file.
    pub file_bytes: Option<u64>,
}

/// A file that begins with a segment's header; `-` is stdin.
pub struct Opened {
    pub header: SegmentHeader,
    /// Bytes; none of a pipe.
    pub file_bytes: Option<u64>,
}

/// Reads all of it: only then is it known that its producer, or what it was sealed with, ends well. Memory: a buffer.
pub fn open_all(input: &mut Input) -> Result<Opened> {
    let name = input.name().to_owned();
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let length = read_full(input, &mut bytes).during(format_args!("read {name}"))?;
    let rest = std::io::copy(input, &mut std::io::sink()).during(format_args!("read {name}"))?;
    if length < bytes.len() {
        return Err(Error::damaged(format!("{name}: not a WAL segment: it has {length} bytes")));
    }
    let header = SegmentHeader::parse(&bytes).map_err(|error| error.context(&name))?;
    Ok(Opened { header, file_bytes: Some(length as u64 + rest) })
}

/// Reads the header. What is shorter, or begins otherwise, is damaged; what cannot be read has failed.
pub fn open(file: &Path) -> Result<Opened> {
    let mut input = Input::open(Some(file))?;
    let name = input.name().to_owned();
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let length = read_full(&mut input, &mut bytes).during(format_args!("read {name}"))?;
    if length < bytes.len() {
        return Err(Error::damaged(format!("{name}: not a WAL segment: it has {length} bytes")));
    }
    let header = SegmentHeader::parse(&bytes).map_err(|error| error.context(&name))?;
    let metadata = input.file().metadata().during(format_args!("stat {name}"))?;
    Ok(Opened { header, file_bytes: metadata.is_file().then_some(metadata.len()) })
}

/// The whole content of a segment, with its header. Memory: one segment.
pub fn read(file: &Path) -> Result<(Vec<u8>, SegmentHeader)> {
    let mut input = Input::open(Some(file))?;
    let name = input.name().to_owned();
    let mut content = Vec::new();
    input.read_to_end(&mut content).during(format_args!("read {name}"))?;
    let header = content.first_chunk().ok_or_else(|| Error::damaged("it is too short"));
    let header = header.and_then(SegmentHeader::parse).map_err(|error| error.context(name))?;
    Ok((content, header))
}

/// The contents of consecutive segments, and the first one's header. Pages before that of `from` are not read, and stay
/// zero. Memory: what is read.
pub fn read_all(files: &[PathBuf], from: Option<Lsn>) -> Result<(Vec<u8>, SegmentHeader)> {
    let [first, others @ ..] = files else { return Err(Error::usage("no segment is given")) };
    let begin = open(first)?;
    let Some(bytes) = begin.file_bytes else {
        // A pipe.
        return if others.is_empty() {
            read(first)
        } else {
            Err(Error::usage("only one segment can be a pipe"))
        };
    };
    let header = begin.header;
    let mut lengths = vec![bytes];
    for file in others {
        let next = open(file)?;
        let length = next.file_bytes.ok_or_else(|| Error::usage("only one segment can be a pipe"))?;
        if header.address.0.wrapping_add(lengths.iter().sum()) != next.header.address.0 {
            return Err(Error::damaged(format!(
                "{}: it does not follow the previous segment",
                file.display()
            )));
        }
        lengths.push(length);
    }
    let total = usize::try_from(lengths.iter().sum::<u64>());
    let mut content = vec![0; total.map_err(|_| Error::damaged("segments of so many bytes"))?];
    let skipped = from.map_or(0, |from| from.0.saturating_sub(header.address.0));
    let skipped = (skipped - skipped % u64::from(header.block_bytes).max(1)).min(bytes);
    let mut at = skipped as usize;
    for (index, (file, length)) in files.iter().zip(lengths).enumerate() {
        let skipped = if index == 0 { skipped } else { 0 };
        let end = at + (length - skipped) as usize;
        let mut input = std::fs::File::open(file).during_path("open", file)?;
        input.seek(SeekFrom::Start(skipped)).during_path("seek in", file)?;
        let place = content.get_mut(at..end).unwrap_or_default();
        input.read_exact(place).during_path("read", file)?;
        at = end;
    }
    Ok((content, header))
}

/// The history of the timeline that a segment's `name` begins with, if it lies beside the segment, as in pg_wal.
pub fn history_beside(file: &Path, name: &str) -> Result<Option<String>> {
    let timeline = name.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(timeline) = timeline else { return Ok(None) };
    let path = file.with_file_name(timeline::history_name(timeline));
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        text => text.during_path("read", &path).map(Some),
    }
}

/// Refuses a segment whose records end before it does.
pub fn refuse_unfinished(file: &Path) -> Result<()> {
    let (content, header) = read(file)?;
    match wal::is_full(&content, &header) {
        true => Ok(()),
        false => Err(Error::damaged(format!("{}: its records end before it does", file.display()))),
    }
}

/// Whether `file` holds more records than `other`. Refuses two that do not begin alike: they are of two histories.
pub fn holds_more(file: &Path, other: &Path) -> Result<bool> {
    let ((content, header), (other_content, other_header)) = (read(file)?, read(other)?);
    let (written, other_written) =
        (wal::written(&content, &header), wal::written(&other_content, &other_header));
    let common = written.min(other_written);
    match header == other_header && content[..common] == other_content[..common] {
        true => Ok(written > other_written),
        false => Err(Error::new(Kind::Exists, format!("{}: it belongs to another history", file.display()))),
    }
}

/// A segment under a name, in a cluster or of a length that is not its own is damaged, or a stranger.
pub fn check(header: &SegmentHeader, expected: &Expected<'_>) -> Result<()> {
    let bad = |why: String| Err(Error::damaged(why));
    match (expected.name, header.name()) {
        (Some(name), own) if name != own && !is_first_of_timeline(header, name, expected.history) => {
            return bad(format!("it is not segment {name}: its header says {own}"));
        }
        _ => {}
    }
    match (expected.system_identifier, header.system_identifier) {
        (Some(wanted), own) if wanted != own => {
            return bad(format!(
                "it is a segment of another cluster: its header says system identifier {own}, not {wanted}"
            ));
        }
        _ => {}
    }
    match (expected.file_bytes, header.segment_bytes) {
        (Some(length), whole) if length != u64::from(whole) => {
            bad(format!("it is incomplete: it has {length} bytes of {whole}"))
        }
        _ => Ok(()),
    }
}

/// A timeline that was left in the middle of a segment begins with a copy of that segment, whose header is still of the
/// timeline that was left (XLogFileCopy in xlog.c). The history of the new one says whether that is so.
fn is_first_of_timeline(header: &SegmentHeader, name: &str, history: Option<&str>) -> bool {
    let segment_bytes = u64::from(header.segment_bytes);
    let number = header.address.0 / segment_bytes;
    let same_place = wal::segment_number(name, segment_bytes)
        .is_some_and(|(timeline, own)| own == number && timeline > header.timeline);
    let left_here = |history| {
        timeline::left_at(history, header.timeline)
            .is_some_and(|switch| switch > header.address && switch.0 / segment_bytes == number)
    };
    same_place && history.is_some_and(left_here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Lsn;

    const MIB16: u64 = 16 << 20;

    fn accepted(header_timeline: u32, name: &str, history: Option<&str>) -> bool {
        let header = SegmentHeader {
            major: 15,
            timeline: header_timeline,
            address: Lsn(10 * MIB16),
            system_identifier: 1,
            segment_bytes: 16 << 20,
            block_bytes: 8192,
        };
        check(&header, &Expected { name: Some(name), history, ..Expected::default() }).is_ok()
    }

    #[test]
    fn the_first_segment_of_a_timeline_may_have_the_header_of_the_one_that_was_left() {
        let name = "00000003000000000000000A";
        let left_inside = "1\t0/A000100\tx\n2\t0/A800000\tx\n";
        assert!(accepted(3, name, None));
        assert!(accepted(2, name, Some(left_inside)));
        assert!(accepted(1, name, Some(left_inside)));
        assert!(!accepted(2, name, None));
        assert!(!accepted(2, name, Some("")));
        // Left at its beginning, before it, after it; by a younger one; another address.
        assert!(!accepted(2, name, Some("2\t0/A000000\tx\n")));
        assert!(!accepted(2, name, Some("2\t0/9FFFFFF\tx\n")));
        assert!(!accepted(2, name, Some("2\t0/B000000\tx\n")));
        assert!(!accepted(4, name, Some("4\t0/A000100\tx\n")));
        assert!(!accepted(2, "00000003000000000000000B", Some(left_inside)));
    }
}
