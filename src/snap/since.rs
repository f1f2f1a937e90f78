//! What changed since the parent: by content, whatever page LSNs say, because four ways are known in
//! which those lose data. Times and inode numbers only spare the reading of files that nobody touched.
//!
//! A relation file is read twice: once to learn which blocks changed, because their number comes before
//! them in the stream, and once to send those. A block that changes in between and was not on the list
//! equals the parent's as it was first read, and WAL brings the change.

use crate::catalog::Mode;
use crate::error::{Error, IoContext, Result};
use crate::io::from_hex;
use crate::manifest::{self, Base, Chain, FileHasher, FileLine, HASH_BYTES, Head};
use crate::pg::incremental::Header;
use crate::snap::ledger::{BUFFER, Start, timestamp};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub struct Since {
    chain: Chain,
    pub mode: Mode,
    key: [u8; 32],
    /// Bytes of a page, and of what is under one hash.
    page: u64,
    block: u64,
    /// Whether unchanged times are believed.
    times: bool,
}

/// What becomes of a file.
pub enum Decision {
    Whole,
    Same { crc32c: u32 },
    Blocks(Changes),
}

/// A relation file in the order of its blocks.
pub struct Changes {
    pub pieces: Vec<Piece>,
}

pub enum Piece {
    Kept {
        crc32c: u32,
        bytes: u64,
    },
    /// In blocks as they are hashed.
    Changed {
        first: u32,
        count: u32,
    },
}

impl Since {
    /// `times`: false if the clock went back since.
    pub fn new(chain: Chain, mode: Mode, times: bool) -> Result<Self> {
        let Head { page_size, hash_pages, hash_key, .. } = chain.head();
        let key = manifest::decode_hash_key(hash_key)?;
        let block = u64::from(page_size * hash_pages);
        let page = u64::from(*page_size);
        if !(BUFFER as u64).is_multiple_of(block) || !block.is_multiple_of(page.max(1)) {
            return Err(Error::damaged("manifest: impossible size of a block"));
        }
        Ok(Since { mode, key, page, block, times, chain })
    }

    pub fn head(&self) -> &Head {
        self.chain.head()
    }

    pub fn parent_sha256(&self) -> String {
        self.chain.sha256().to_owned()
    }

    /// How many of the parent's files are gone.
    pub fn finish(self) -> Result<u64> {
        self.chain.finish()
    }

    /// Files must come in the manifests' order. `tick` is told of the bytes that are read.
    pub fn decide(
        &mut self,
        file: &File,
        source: &Path,
        start: &Start,
        tick: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Decision> {
        let Some(base) = self.chain.find(&start.path)? else { return Ok(Decision::Whole) };
        let relation = start.listed.as_ref().is_some_and(|listed| listed.relation);
        let in_blocks = relation && start.size > 0 && start.size.is_multiple_of(self.page);
        if self.mode == Mode::Blocks && !in_blocks {
            return Ok(Decision::Whole);
        }
        if self.times && is_untouched(base.line(), start) {
            return Ok(Decision::Same { crc32c: crc_of(base.line())? });
        }
        match self.mode {
            Mode::Blocks => self.compare_blocks(file, source, start.size, &base, tick),
            _ if base.line().size != start.size => Ok(Decision::Whole),
            _ => self.compare_whole(file, source, start.size, relation, &base, tick),
        }
    }

    fn compare_blocks(
        &self,
        file: &File,
        source: &Path,
        size: u64,
        base: &Base,
        tick: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Decision> {
        let known = base.hashes()?;
        let mut changes = Changes { pieces: Vec::new() };
        let mut changed = 0;
        let mut index = 0;
        read_through(file, source, size, tick, &mut |data| {
            for block in data.chunks(self.block as usize) {
                let hash = known.get(index as usize * HASH_BYTES..(index as usize + 1) * HASH_BYTES);
                match hash == Some(&manifest::hash(&self.key, block)[..]) {
                    true => changes.keep(block),
                    false => {
                        changed += block.len() as u64;
                        changes.change(index);
                    }
                }
                index += 1;
            }
        })?;
        Ok(match (&changes.pieces[..], changed) {
            ([Piece::Kept { crc32c, .. }], 0) if base.line().size == size => {
                Decision::Same { crc32c: *crc32c }
            }
            // As PostgreSQL does.
            _ if changed > size / 10 * 9 => Decision::Whole,
            _ => Decision::Blocks(changes),
        })
    }

    fn compare_whole(
        &self,
        file: &File,
        source: &Path,
        size: u64,
        relation: bool,
        base: &Base,
        tick: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Decision> {
        let mut hasher = FileHasher::new(&self.key, relation.then_some(self.block as usize));
        read_through(file, source, size, tick, &mut |data| hasher.update(data))?;
        match hasher.finish() == manifest::encode_hashes(&base.hashes()?) {
            true => Ok(Decision::Same { crc32c: crc_of(base.line())? }),
            false => Ok(Decision::Whole),
        }
    }

    /// The header of the increment of a file of `size` bytes.
    pub fn header(&self, changes: &Changes, size: u64) -> Header {
        let pages = size / self.page;
        let per_block = self.block / self.page;
        let numbers = |piece: &Piece| match piece {
            Piece::Kept { .. } => 0..0,
            Piece::Changed { first, count } => {
                let first = u64::from(*first) * per_block;
                first..(first + u64::from(*count) * per_block).min(pages)
            }
        };
        // A segment has fewer than 2^32 pages.
        let blocks = changes.pieces.iter().flat_map(numbers).map(|page| page as u32).collect();
        Header { blocks, truncation: pages as u32 }
    }

    /// Bytes of a changed piece, from and to, in a file of `size` bytes.
    pub fn range(&self, first: u32, count: u32, size: u64) -> (u64, u64) {
        let from = u64::from(first) * self.block;
        (from, (from + u64::from(count) * self.block).min(size))
    }

    /// Appends the hashes of what is sent, which begins at a block's start.
    pub fn hash(&self, data: &[u8], hashes: &mut Vec<u8>) {
        for block in data.chunks(self.block as usize) {
            hashes.extend_from_slice(&manifest::hash(&self.key, block));
        }
    }
}

impl Changes {
    fn keep(&mut self, data: &[u8]) {
        let length = data.len() as u64;
        match self.pieces.last_mut() {
            Some(Piece::Kept { crc32c, bytes }) => {
                *crc32c = crc32c::crc32c_append(*crc32c, data);
                *bytes += length;
            }
            _ => self.pieces.push(Piece::Kept { crc32c: crc32c::crc32c(data), bytes: length }),
        }
    }

    fn change(&mut self, index: u32) {
        match self.pieces.last_mut() {
            Some(Piece::Changed { count, .. }) => *count += 1,
            _ => self.pieces.push(Piece::Changed { first: index, count: 1 }),
        }
    }

    /// As the manifest lists them.
    pub fn blocks(&self) -> Vec<(u32, u32)> {
        let changed = |piece: &Piece| match piece {
            Piece::Kept { .. } => None,
            Piece::Changed { first, count } => Some((*first, *count)),
        };
        self.pieces.iter().filter_map(changed).collect()
    }
}

/// Reads `size` bytes; what is missing meanwhile is zeros.
fn read_through(
    file: &File,
    source: &Path,
    size: u64,
    tick: &mut dyn FnMut(u64) -> Result<()>,
    each: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).map_or(BUFFER, |rest| rest.min(BUFFER));
        read_at(file, &mut buffer[..length], at).during_path("read", source)?;
        each(&buffer[..length]);
        at += length as u64;
        tick(length as u64)?;
    }
    Ok(())
}

/// Fills the buffer from a place in the file, with zeros behind its end.
pub fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer[filled..].fill(0);
    Ok(())
}

/// Nobody wrote to it since it was read for the parent: git's rule, with the inode and ctime.
fn is_untouched(line: &FileLine, start: &Start) -> bool {
    start.listed.as_ref().is_some_and(|listed| {
        !line.racy
            && line.size == start.size
            && line.mtime == timestamp(start.mtime)
            && line.ctime == timestamp(listed.ctime)
            && (line.dev, line.ino) == (listed.dev, listed.ino)
    })
}

fn crc_of(line: &FileLine) -> Result<u32> {
    let bytes = from_hex(&line.crc32c).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_le_bytes).ok_or_else(|| Error::damaged("manifest: a file without a checksum"))
}
