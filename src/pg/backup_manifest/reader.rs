//! Reads a `backup_manifest` file by file, and checks its own checksum at the end.
//!
//! It takes the layout that the server and [`super::Writer`] write, one file a line, and nothing else:
//! a manifest is then never larger in memory than its longest line.

use crate::error::{Error, IoContext, Result};
use crate::pg::Lsn;
use crate::pg::backup_manifest::PATH;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::io::{BufRead, Read};

/// The longest line, in bytes: a path of 4096 bytes in hexadecimal, and what stands beside it.
const LINE_LIMIT: u64 = 16 << 10;
const FILES: &[u8] = b"\"Files\": [\n";
const RANGE: &[u8] = b"{ \"Timeline\":";
const LIST_END: &[u8] = b"],\n";

/// One file of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: Vec<u8>,
    pub size: u64,
    pub crc32c: u32,
}

/// WAL of one timeline that the backup needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WalRange {
    pub timeline: u32,
    #[serde(rename = "Start-LSN")]
    pub start: Lsn,
    #[serde(rename = "End-LSN")]
    pub end: Lsn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "Path")]
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Last-Modified")]
    _last_modified: Option<String>,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: String,
    #[serde(rename = "Checksum")]
    checksum: String,
}

#[must_use]
pub struct Reader<R> {
    source: R,
    sha256: Sha256,
}

impl<R: BufRead> Reader<R> {
    /// Reads up to the list of files.
    pub fn new(source: R) -> Result<Self> {
        let mut reader = Reader { source, sha256: Sha256::new() };
        let version = reader.line()?;
        if !version.starts_with(b"{ \"PostgreSQL-Backup-Manifest-Version\": ") {
            return Err(damaged("it does not begin with a version"));
        }
        let mut line = reader.line()?;
        if line.starts_with(b"\"System-Identifier\": ") {
            line = reader.line()?;
        }
        match line == FILES {
            true => Ok(reader),
            false => Err(damaged("it has no list of files")),
        }
    }

    /// The next file; `None` after the last.
    pub fn next_file(&mut self) -> Result<Option<Entry>> {
        let line = self.line()?;
        if line == LIST_END {
            return Ok(None);
        }
        let json = line.strip_suffix(b",\n").unwrap_or(&line);
        let parsed: Line = serde_json::from_slice(json).map_err(|e| damaged(&format!("a line: {e}")))?;
        let Line { path, encoded_path, size, algorithm, checksum, .. } = parsed;
        let path = match (path, encoded_path) {
            (Some(path), None) => path.into_bytes(),
            (None, Some(hex)) => unhex(&hex).ok_or_else(|| damaged("an encoded path is not hexadecimal"))?,
            _ => return Err(damaged("a file has no path, or two")),
        };
        let crc = unhex(&checksum).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        match crc.filter(|_| algorithm == "CRC32C") {
            // Printed as the bytes lie in memory.
            Some(bytes) => Ok(Some(Entry { path, size, crc32c: u32::from_le_bytes(bytes) })),
            None => Err(damaged("a checksum is not CRC32C")),
        }
    }

    /// Reads the rest, checks the checksum, and insists on the end. Returns the WAL that the backup needs.
    pub fn finish(mut self) -> Result<Vec<WalRange>> {
        let mut ranges = Vec::new();
        loop {
            let before = self.sha256.clone();
            let line = self.line()?;
            if line.starts_with(RANGE) {
                let json = line.strip_suffix(b",\n").unwrap_or(&line);
                let range =
                    serde_json::from_slice(json).map_err(|e| damaged(&format!("a WAL range: {e}")))?;
                ranges.push(range);
            }
            let Some(rest) = line.strip_prefix(b"\"Manifest-Checksum\": \"") else { continue };
            let stated = rest.strip_suffix(b"\"}\n").and_then(|hex| std::str::from_utf8(hex).ok());
            if stated.and_then(unhex).as_deref() != Some(before.finalize().as_slice()) {
                return Err(damaged("its own checksum does not match"));
            }
            let mut rest = [0; 1];
            return match self.source.read(&mut rest).during("read backup_manifest")? {
                0 => Ok(ranges),
                _ => Err(damaged("it continues after its end")),
            };
        }
    }

    fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.source).take(LINE_LIMIT);
        limited.read_until(b'\n', &mut line).during("read backup_manifest")?;
        if line.last() != Some(&b'\n') {
            return Err(damaged("it is truncated, or a line is too long"));
        }
        self.sha256.update(&line);
        Ok(line)
    }
}

fn damaged(why: &str) -> Error {
    Error::damaged(format!("{PATH}: {why}"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::backup_manifest::Writer;

    fn sample(major: u32) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), major, 7).unwrap();
        writer.file(b"base/1/\"x\"", 3, 0, 0x0102_0304).unwrap();
        writer.file(b"a\xff", 0, 0, 0).unwrap();
        writer.finish(Some((1, Lsn(0x28), Lsn(0x100)))).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Entry>> {
        let mut reader = Reader::new(bytes)?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_file()? {
            entries.push(entry);
        }
        assert_eq!(reader.finish()?, [WalRange { timeline: 1, start: Lsn(0x28), end: Lsn(0x100) }]);
        Ok(entries)
    }

    #[test]
    fn reads_what_the_writer_writes() {
        for major in [13, 17] {
            let entries = read(&sample(major)).unwrap();
            let first = Entry { path: b"base/1/\"x\"".to_vec(), size: 3, crc32c: 0x0102_0304 };
            assert_eq!(entries, [first, Entry { path: b"a\xff".to_vec(), size: 0, crc32c: 0 }]);
        }
    }

    #[test]
    fn any_change_is_refused() {
        let good = sample(17);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(read(&bad).is_err(), "byte {at}");
            assert!(read(&good[..at]).is_err(), "cut at {at}");
        }
        assert!(read(&[&good[..], b"\n"].concat()).is_err());
    }
}
