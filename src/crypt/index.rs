//! Where each record of a sealed stream lies in its object, so that a part of the plaintext can be opened without the
//! rest: `pgv-format(5)`, INDEX. An index decides nothing: every record that it leads to is authenticated as in a whole
//! stream, so that a wrong index can only make opening fail.
//!
//! Memory: 8 bytes for each record, 2 MiB for a terabyte of plaintext.

use crate::crypt::format::{
    BLOCK_BYTES, FIRST_LINE_BYTES, HEADER_BYTES, MAX_PLAIN_BYTES, SALT_BYTES, SALTED,
};
use crate::error::{Error, IoContext, Result};
use crate::io::{from_hex, hex, random};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Range;

const FORMAT: &str = "pgv-index/1";
/// First line, magic and salt: what precedes the first record.
pub(super) const START_BYTES: u64 = (FIRST_LINE_BYTES + SALTED.len() + SALT_BYTES) as u64;
/// The END record and the padding.
const END_BYTES: u64 = (HEADER_BYTES + BLOCK_BYTES) as u64;
/// A head line has some hundred bytes.
const HEAD_LIMIT: u64 = 4096;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub(super) iterations: u32,
    pub(super) salt: [u8; SALT_BYTES],
    pub(super) records: Vec<Entry>,
}

/// Bytes of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub plain: u32,
    /// In the object: header, pad and payload.
    pub stored: u32,
}

/// Records next to each other that hold wanted bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub records: Range<usize>,
    /// Of the first record in the object, and of the end of the last.
    pub stored: Range<u64>,
    /// Bytes of plaintext before the first record.
    pub offset: u64,
    /// Of the plaintext, what is wanted of these records.
    pub wanted: Vec<Range<u64>>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    iter: u32,
    salt: String,
    object_bytes: u64,
    records: u64,
}

impl Index {
    /// Bytes of the plaintext.
    pub fn plain_bytes(&self) -> u64 {
        self.records.iter().map(|record| u64::from(record.plain)).sum()
    }

    /// Bytes of the sealed stream.
    pub fn object_bytes(&self) -> u64 {
        START_BYTES + self.records.iter().map(|record| u64::from(record.stored)).sum::<u64>() + END_BYTES
    }

    pub fn write(&self, writer: &mut impl Write) -> Result<()> {
        let head = Head {
            format: FORMAT.to_owned(),
            iter: self.iterations,
            salt: hex(&self.salt),
            object_bytes: self.object_bytes(),
            records: self.records.len() as u64,
        };
        let mut bytes = serde_json::to_vec(&head).map_err(|e| Error::failed(format!("JSON: {e}")))?;
        bytes.push(b'\n');
        for record in &self.records {
            bytes.extend_from_slice(&record.plain.to_le_bytes());
            bytes.extend_from_slice(&record.stored.to_le_bytes());
        }
        writer.write_all(&bytes).during("write the index")
    }

    /// Reads an index to its end. What is none is damaged.
    pub fn read(reader: impl Read) -> Result<Self> {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        (&mut reader).take(HEAD_LIMIT).read_until(b'\n', &mut line).during("read the index")?;
        let head: Head = serde_json::from_slice(&line).map_err(|_| wrong("it has no head line"))?;
        if head.format != FORMAT {
            return Err(wrong(&format!("its format is \"{}\"", head.format.escape_default())));
        }
        let mut records = Vec::new();
        let mut pair = [0; 8];
        for _ in 0..head.records {
            reader.read_exact(&mut pair).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => wrong("it is truncated"),
                _ => Error::io("read the index", error),
            })?;
            let [plain, stored] = [0, 4].map(|at| u32::from_le_bytes(std::array::from_fn(|n| pair[at + n])));
            let has_form = stored as usize > HEADER_BYTES && (stored as usize).is_multiple_of(BLOCK_BYTES);
            if !has_form || !(1..=MAX_PLAIN_BYTES).contains(&plain) {
                return Err(wrong("it has a record of an impossible length"));
            }
            records.push(Entry { plain, stored });
        }
        if reader.read(&mut pair).during("read the index")? > 0 {
            return Err(wrong("data follows its last record"));
        }
        let salt = from_hex(&head.salt).and_then(|salt| salt.try_into().ok());
        let salt = salt.ok_or_else(|| wrong("its salt is none"))?;
        let index = Index { iterations: head.iter, salt, records };
        match index.object_bytes() == head.object_bytes {
            true => Ok(index),
            false => Err(wrong("its records do not add up to its object")),
        }
    }

    /// So many percent of the records by chance, at least one if there is one, as ranges of the plaintext.
    pub fn sample(&self, percent: u8) -> Result<Vec<Range<u64>>> {
        let all = self.records.len();
        let wanted = all.saturating_mul(usize::from(percent)).div_ceil(100).min(all);
        let mut chosen: Vec<usize> = (0..all).collect();
        for at in 0..wanted {
            // Of some millions of records each is as likely as the others.
            let by_chance = u64::from_le_bytes(random()?) % (all - at) as u64;
            chosen.swap(at, at + by_chance as usize);
        }
        chosen.truncate(wanted);
        chosen.sort_unstable();
        let mut chosen = chosen.into_iter().peekable();
        let (mut ranges, mut offset) = (Vec::with_capacity(wanted), 0);
        for (number, record) in self.records.iter().enumerate() {
            let end = offset + u64::from(record.plain);
            if chosen.next_if_eq(&number).is_some() {
                ranges.push(offset..end);
            }
            offset = end;
        }
        Ok(ranges)
    }

    /// Where in the object to find what opens `wanted`, in ascending order: the beginning, and for each run of records
    /// the cipher block before it and the records. `wanted`: of the plaintext, ascending, without overlap.
    pub fn object_ranges(&self, wanted: &[Range<u64>]) -> Result<Vec<Range<u64>>> {
        let with_block_before = |run: Run| match run.records.start {
            0 => run.stored,
            _ => run.stored.start - BLOCK_BYTES as u64..run.stored.end,
        };
        let runs = self.runs(wanted)?.into_iter().map(with_block_before);
        Ok(std::iter::once(0..START_BYTES).chain(runs).collect())
    }

    pub(super) fn runs(&self, wanted: &[Range<u64>]) -> Result<Vec<Run>> {
        let total = self.plain_bytes();
        if let Some(beyond) = wanted.iter().find(|range| range.end > total) {
            return Err(Error::usage(format!(
                "bytes {}-{} are wanted of a stream of {total} bytes",
                beyond.start,
                beyond.end.saturating_sub(1)
            )));
        }
        let mut runs: Vec<Run> = Vec::new();
        let (mut offset, mut at) = (0, START_BYTES);
        let mut wanted = wanted.iter().filter(|range| !range.is_empty()).cloned().peekable();
        for (number, record) in self.records.iter().enumerate() {
            let end = offset + u64::from(record.plain);
            let mut pieces = Vec::new();
            while let Some(range) = wanted.peek_mut().filter(|range| range.start < end) {
                let piece = range.start..range.end.min(end);
                range.start = piece.end;
                pieces.push(piece);
                match range.is_empty() {
                    true => wanted.next(),
                    false => break,
                };
            }
            let stored = at..at + u64::from(record.stored);
            if !pieces.is_empty() {
                match runs.last_mut().filter(|run| run.records.end == number) {
                    Some(run) => {
                        run.records.end = number + 1;
                        run.stored.end = stored.end;
                        run.wanted.append(&mut pieces);
                    }
                    None => runs.push(Run {
                        records: number..number + 1,
                        stored: stored.clone(),
                        offset,
                        wanted: pieces,
                    }),
                }
            }
            (offset, at) = (end, stored.end);
        }
        Ok(runs)
    }
}

fn wrong(why: &str) -> Error {
    Error::damaged(format!("not an index of a sealed stream: {why}"))
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // a list of ranges may have one
mod tests {
    use super::*;

    fn index() -> Index {
        let record = |plain, stored| Entry { plain, stored };
        Index {
            iterations: 1000,
            salt: [1; 8],
            records: vec![record(10, 112), record(10, 128), record(5, 112)],
        }
    }

    fn written(index: &Index) -> Vec<u8> {
        let mut bytes = Vec::new();
        index.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let bytes = written(&index());
        assert_eq!(Index::read(&bytes[..]).unwrap(), index());
        for cut in 0..bytes.len() {
            assert_eq!(Index::read(&bytes[..cut]).unwrap_err().kind, crate::error::Kind::Damaged, "{cut}");
        }
        assert!(Index::read(&[&bytes[..], b"x"].concat()[..]).is_err());
        let text = String::from_utf8_lossy(&bytes[..bytes.len() - 24]).into_owned();
        let with =
            |from: &str, to: &str| [text.replace(from, to).as_bytes(), &bytes[bytes.len() - 24..]].concat();
        assert!(text.contains("\"object_bytes\":608"), "{text}");
        for changed in
            [with("608", "624"), with("index/1", "index/2"), with("\"records\":3", "\"records\":4")]
        {
            assert!(Index::read(&changed[..]).is_err());
        }
    }

    #[test]
    fn a_sample_is_of_whole_records() {
        let sample = |percent| index().sample(percent).unwrap();
        assert_eq!(sample(100), [0..10, 10..20, 20..25]);
        for _ in 0..20 {
            let (one, two) = (sample(1), sample(34));
            assert!(one.len() == 1 && sample(100).contains(&one[0]), "{one:?}");
            assert!(two.len() == 2 && two[0].end <= two[1].start, "{two:?}");
        }
        assert!((0..100).any(|_| sample(1) != sample(1)));
        assert_eq!(Index::default().sample(50).unwrap(), []);
    }

    #[test]
    fn neighbours_are_one_run_and_gaps_are_left_out() {
        let runs = |wanted: &[Range<u64>]| {
            let runs = index().runs(wanted).unwrap();
            runs.into_iter().map(|run| (run.records, run.wanted)).collect::<Vec<_>>()
        };
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[3..3]), []);
        assert_eq!(runs(&[3..4]), [(0..1, vec![3..4])]);
        assert_eq!(runs(&[9..11]), [(0..2, vec![9..10, 10..11])]);
        assert_eq!(runs(&[0..1, 2..3, 24..25]), [(0..1, vec![0..1, 2..3]), (2..3, vec![24..25])]);
        assert_eq!(runs(&[0..25]), [(0..3, vec![0..10, 10..20, 20..25])]);
        assert!(index().runs(&[24..26]).is_err());
        assert_eq!(index().object_ranges(&[0..1]).unwrap(), [0..144, 144..256]);
        assert_eq!(index().object_ranges(&[12..13]).unwrap(), [0..144, 240..384]);
    }
}
