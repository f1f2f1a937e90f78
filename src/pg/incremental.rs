//! `INCREMENTAL.<name>` files, as PostgreSQL 17 and later write and merge them (basebackup_incremental.h,
//! pg_combinebackup's reconstruct.c): which blocks of a relation segment follow, and how long the
//! segment is at least.

use crate::error::{Error, Result};
use crate::io::read_full;
use crate::pg::relation;
use std::io::Read;

/// `INCREMENTAL_MAGIC`.
const MAGIC: u32 = 0xd3ae_1f0d;
/// `INCREMENTAL_PREFIX`.
const PREFIX: &[u8] = b"INCREMENTAL.";
const FIXED: usize = 12;

/// What stands before the blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Numbers within the segment, ascending.
    pub blocks: Vec<u32>,
    /// `truncation_block_length`: blocks below it that are not listed come from older backups.
    pub truncation: u32,
}

impl Header {
    /// Padded with zeros to a whole page if blocks follow.
    pub fn encode(&self, page_size: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_length(page_size));
        let numbers = [MAGIC, self.blocks.len() as u32, self.truncation];
        numbers.iter().chain(&self.blocks).for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        bytes.resize(self.encoded_length(page_size), 0);
        bytes
    }

    /// Reads it from the begin of a file of `size` bytes, which must be what it announces. Refuses
    /// everything else as damaged. `segment_pages`: how many blocks a segment may have.
    pub fn read(source: &mut impl Read, size: u64, page_size: u32, segment_pages: u32) -> Result<Self> {
        let mut fixed = [0u8; FIXED];
        read_exactly(source, &mut fixed)?;
        let [magic, count, truncation] = [0, 4, 8].map(|at| number(&fixed[at..]));
        if magic != MAGIC || count > segment_pages || truncation > segment_pages {
            return Err(Error::damaged("not an INCREMENTAL file"));
        }
        let mut header = Header { blocks: vec![0; count as usize], truncation };
        let length = header.encoded_length(page_size);
        let mut rest = vec![0u8; length - FIXED];
        read_exactly(source, &mut rest)?;
        for (slot, bytes) in header.blocks.iter_mut().zip(rest.chunks_exact(4)) {
            *slot = number(bytes);
        }
        let ascending = header.blocks.is_sorted_by(|a, b| a < b);
        let inside = header.blocks.last().is_none_or(|last| *last < segment_pages);
        let padding_is_zero = rest[header.blocks.len() * 4..].iter().all(|byte| *byte == 0);
        let fits = size == length as u64 + u64::from(count) * u64::from(page_size);
        match ascending && inside && padding_is_zero && fits {
            true => Ok(header),
            false => Err(Error::damaged("an INCREMENTAL file whose size does not match its header")),
        }
    }

    /// Bytes from the begin of the file to its first block.
    pub fn encoded_length(&self, page_size: u32) -> usize {
        match self.blocks.len() {
            0 => FIXED,
            count => (FIXED + 4 * count).next_multiple_of(page_size as usize),
        }
    }

    /// Pages of the merged file.
    pub fn result_pages(&self) -> u32 {
        self.blocks.last().map_or(self.truncation, |last| self.truncation.max(last + 1))
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn read_exactly(source: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    let got = read_full(source, buffer).map_err(|error| Error::io("read an INCREMENTAL file", error))?;
    match got == buffer.len() {
        true => Ok(()),
        false => Err(Error::damaged("an INCREMENTAL file that ends too early")),
    }
}

/// `base/5/1259` as `base/5/INCREMENTAL.1259`.
pub fn incremental_path(path: &[u8]) -> Vec<u8> {
    let (directory, name) = split(path);
    [directory, PREFIX, name].concat()
}

/// The way back; `None` for a path that is not of this kind. Only where relations lie a file of an increment in blocks
/// is taken for changed blocks.
pub fn plain_path(path: &[u8]) -> Option<Vec<u8>> {
    let (directory, name) = split(path);
    let plain = name.strip_prefix(PREFIX)?;
    let parent = std::str::from_utf8(directory.strip_suffix(b"/")?).ok()?;
    relation::is_relation_directory(parent).then(|| [directory, plain].concat())
}

/// Whether a file would be taken for changed blocks, whatever is in it, by one of the programs that merge:
/// pg_combinebackup does so in `global` and anywhere below `base/` and `pg_tblspc/` (process_directory_recursively in its
/// pg_combinebackup.c), pgv and pgv-unstack in some of these directories. PostgreSQL itself has no such file.
/// `directory`: its path below the data directory, without a slash at its end.
pub fn is_reserved(directory: &[u8], name: &[u8]) -> bool {
    let is_merged =
        directory == b"global" || directory.starts_with(b"base/") || directory.starts_with(b"pg_tblspc/");
    is_merged && name.starts_with(PREFIX)
}

/// The directory with its slash, and the name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], pages: u64) -> Result<Header> {
        Header::read(&mut &bytes[..], bytes.len() as u64 + pages * 8192, 8192, 131_072)
    }

    #[test]
    fn headers_come_back() {
        let none = Header { blocks: Vec::new(), truncation: 7 };
        assert_eq!(none.encode(8192).len(), 12);
        assert_eq!(read(&none.encode(8192), 0).unwrap(), none);
        let some = Header { blocks: vec![0, 3, 131_071], truncation: 5 };
        assert_eq!(some.encode(8192).len(), 8192);
        assert_eq!(read(&some.encode(8192), 3).unwrap(), some);
        assert_eq!(some.result_pages(), 131_072);
        let many = Header { blocks: (0..5000).collect(), truncation: 5000 };
        assert_eq!(many.encode(8192).len(), 3 * 8192);
        assert_eq!(read(&many.encode(8192), 5000).unwrap(), many);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let good = Header { blocks: vec![1, 2], truncation: 5 };
        assert!(read(&good.encode(8192), 1).is_err());
        for blocks in [vec![2, 1], vec![1, 1], vec![131_072]] {
            assert!(read(&Header { blocks, truncation: 1 }.encode(8192), 2).is_err());
        }
        let mut bytes = good.encode(8192);
        bytes[100] = 1;
        assert!(read(&bytes, 2).is_err());
        bytes[0] ^= 1;
        assert!(read(&bytes, 2).is_err());
        assert!(read(&good.encode(8192)[..50], 2).is_err());
    }

    #[test]
    fn names() {
        assert_eq!(incremental_path(b"base/5/1259.1"), b"base/5/INCREMENTAL.1259.1");
        assert_eq!(plain_path(b"base/5/INCREMENTAL.1259.1").unwrap(), b"base/5/1259.1");
        for other in [&b"base/5/1259"[..], b"INCREMENTAL.1", b"base/INCREMENTAL.1", b"base/5/x/INCREMENTAL.1"]
        {
            assert_eq!(plain_path(other), None);
        }
    }

    /// Whatever is merged here is a name that no file of the cluster may have.
    #[test]
    fn reserved_names() {
        for directory in [&b"global"[..], b"base/5", b"base/5/mine", b"pg_tblspc/16384/PG_15_202209061/5"] {
            assert!(is_reserved(directory, b"INCREMENTAL.1259") && is_reserved(directory, b"INCREMENTAL."));
            assert!(!is_reserved(directory, b"1259") && !is_reserved(directory, b"INCREMENTAL"));
        }
        for directory in [&b""[..], b"base", b"global/mine", b"mine/base/5", b"pg_tblspc"] {
            assert!(!is_reserved(directory, b"INCREMENTAL.1259"));
            assert_eq!(plain_path(&[directory, b"/INCREMENTAL.1259"].concat()), None);
        }
    }
}
