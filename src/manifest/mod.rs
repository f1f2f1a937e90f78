//! The pgv manifest: what a later increment needs to know of a backup's files, as JSON lines.
//!
//! PostgreSQL's own manifest refuses every field it does not know, so block hashes, inode numbers and
//! times with nanoseconds have this second file. It is written and read as a stream, ordered by path
//! bytes where a directory compares as its name and a slash, so memory does not grow with the number
//! of files. `pgv-format(5)` describes it.

mod chain;
mod ends;
mod merge;
mod reader;

pub use chain::{Base, Chain, MAX_LINKS};
pub use ends::ends;
pub use merge::{Merged, merge};
pub use reader::{Reader, verify};

use crate::catalog::{Label, Mode, decimal_string};
use crate::error::{Error, IoContext, Result};
use crate::io::{from_hex, hex, random};
use crate::pg::Lsn;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Write;

pub const FORMAT: &str = "pgv-manifest/1";
pub const HASH: &str = "blake3-96";
/// Bytes of one block hash: users control page contents, so chance is not the only enemy; 96 bits.
pub const HASH_BYTES: usize = 12;
/// Bytes of the longest line: hashes of a segment of 64 GiB.
const LINE_LIMIT: u64 = 192 << 20;
/// What the block hashes of a backup may amount to.
const HASHES_LIMIT: u64 = 512 << 20;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub format: String,
    pub label: Label,
    pub parent: Option<Label>,
    /// The last line's `sha256` in the parent's manifest.
    pub parent_sha256: Option<String>,
    pub mode: Mode,
    #[serde(with = "decimal_string")]
    pub system_identifier: u64,
    pub pg_version: String,
    pub timeline: u32,
    pub start_lsn: Lsn,
    pub page_size: u32,
    pub segment_pages: u32,
    /// Pages under one hash: 1, 2, 4, 8 or 16, the same for a full and all that builds on it.
    pub hash_pages: u32,
    pub hash: String,
    /// 32 bytes in base64, drawn for the full and inherited: without it nobody can make two blocks of
    /// one hash.
    pub hash_key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Whole,
    Blocks,
    Same,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Instead of `path` where that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    pub size: u64,
    /// `seconds.nnnnnnnnn`, as is `ctime`.
    pub mtime: String,
    pub ctime: String,
    #[serde(with = "decimal_string")]
    pub dev: u64,
    #[serde(with = "decimal_string")]
    pub ino: u64,
    pub mode: u32,
    /// Changed so shortly before it was read that its times prove nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub racy: bool,
    pub kind: Kind,
    /// As in `backup_manifest`: the four bytes as they lie in memory.
    pub crc32c: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<(u32, u32)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<String>,
}

impl FileLine {
    /// `None` if the line has no path, or two.
    pub fn path_bytes(&self) -> Option<Vec<u8>> {
        match (&self.path, &self.path_hex) {
            (Some(path), None) => Some(path.as_bytes().to_vec()),
            (None, Some(text)) => from_hex(text),
            _ => None,
        }
    }
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    pub files: u64,
    pub bytes: u64,
    /// Of all lines before, with their newlines.
    pub sha256: String,
}

/// A random key for the block hashes of a full backup.
pub fn new_hash_key() -> Result<[u8; 32]> {
    random()
}

/// Refuses what is not 32 bytes in base64 as damaged.
pub fn decode_hash_key(text: &str) -> Result<[u8; 32]> {
    let key = STANDARD.decode(text).ok().and_then(|key| key.try_into().ok());
    key.ok_or_else(|| Error::damaged("manifest: hash_key is not 32 bytes long"))
}

pub fn encode_hash_key(key: &[u8; 32]) -> String {
    STANDARD.encode(key)
}

/// How many pages go under one hash, so that `database_bytes` give at most 512 MiB of hashes.
pub fn hash_pages_for(database_bytes: u64, page_size: u32) -> u32 {
    let hashes = |pages: u32| database_bytes / u64::from(page_size * pages) * HASH_BYTES as u64;
    [1, 2, 4, 8].into_iter().find(|pages| hashes(*pages) <= HASHES_LIMIT).unwrap_or(16)
}

/// The hashes of one file, collected while its bytes go by.
pub struct FileHasher {
    key: [u8; 32],
    /// Bytes; `None`: one hash of the whole.
    block: Option<usize>,
    whole: blake3::Hasher,
    hashes: Vec<u8>,
}

impl FileHasher {
    /// `block`: bytes under one hash, or one hash for the whole file.
    pub fn new(key: &[u8; 32], block: Option<usize>) -> Self {
        FileHasher { key: *key, block, whole: blake3::Hasher::new_keyed(key), hashes: Vec::new() }
    }

    /// Each call but the last of a file brings a multiple of the block's size.
    pub fn update(&mut self, data: &[u8]) {
        match self.block {
            None => {
                self.whole.update(data);
            }
            Some(block) => data.chunks(block).for_each(|piece| {
                self.hashes.extend_from_slice(&hash(&self.key, piece));
            }),
        }
    }

    /// All hashes in base64.
    pub fn finish(self) -> String {
        match self.block {
            None => STANDARD.encode(&self.whole.finalize().as_bytes()[..HASH_BYTES]),
            Some(_) => STANDARD.encode(&self.hashes),
        }
    }
}

/// Writes a manifest line by line.
#[must_use]
pub struct Writer<W> {
    sink: W,
    sha256: Sha256,
    files: u64,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(sink: W, head: &Head) -> Result<Self> {
        let mut writer = Writer { sink, sha256: Sha256::new(), files: 0, bytes: 0 };
        writer.line(head)?;
        Ok(writer)
    }

    /// Lines come in the manifest's order.
    pub fn file(&mut self, line: &FileLine) -> Result<()> {
        self.files += 1;
        self.bytes += line.size;
        self.line(line)
    }

    /// Writes the last line and returns the sink, flushed, and that line's checksum.
    pub fn finish(mut self) -> Result<(W, String)> {
        let sha256 = hex(&self.sha256.finalize_reset());
        let (files, bytes) = (self.files, self.bytes);
        self.line(&Tail { files, bytes, sha256: sha256.clone() })?;
        self.sink.flush().during("write manifest")?;
        Ok((self.sink, sha256))
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text =
            serde_json::to_vec(line).map_err(|e| Error::failed(format!("encode a manifest line: {e}")))?;
        text.push(b'\n');
        self.sha256.update(&text);
        self.sink.write_all(&text).during("write manifest")
    }
}

/// The first [`HASH_BYTES`] of keyed BLAKE3.
pub fn hash(key: &[u8; 32], data: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&blake3::keyed_hash(key, data).as_bytes()[..HASH_BYTES]);
    hash
}

pub fn encode_hashes(hashes: &[u8]) -> String {
    STANDARD.encode(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_below_their_limit() {
        assert_eq!(hash_pages_for(0, 8192), 1);
        assert_eq!(hash_pages_for(340 << 30, 8192), 1);
        assert_eq!(hash_pages_for(350 << 30, 8192), 2);
        assert_eq!(hash_pages_for(1 << 60, 8192), 16);
    }

    #[test]
    fn block_hashes_depend_on_key_and_content() {
        let hashes = |key: u8, data: &[u8]| {
            let mut hasher = FileHasher::new(&[key; 32], Some(4));
            hasher.update(data);
            STANDARD.decode(hasher.finish()).unwrap()
        };
        let one = hashes(1, b"aaaabbbbcc");
        assert_eq!(one.len(), 3 * HASH_BYTES);
        assert_ne!(one, hashes(2, b"aaaabbbbcc"));
        assert_eq!(one[..24], hashes(1, b"aaaabbbbdd")[..24]);
    }
}
