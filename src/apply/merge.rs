//! Lays the blocks of an `INCREMENTAL` file into the file that its parent left, and tells the checksum of
//! the result without reading it all: a checksum is linear, so that of a changed file follows from that
//! of the old one, the old blocks and the new.

use crate::error::{IoContext, Result};
use crate::pg::backup_manifest::Entry;
use crate::pg::crc::Shift;
use crate::pg::incremental::Header;
use rustix::fs::Advice;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;

/// Bytes of consecutive blocks that are laid down at a time.
const RUN: usize = 1 << 20;
/// How many blocks are asked of the disk before they are needed: one at a time would wait for each.
const AHEAD: usize = 256;

pub struct Merge {
    shift: Shift,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Merge {
    pub fn new() -> Self {
        Merge { shift: Shift::default(), old: vec![0; RUN], new: vec![0; RUN] }
    }

    /// `file` is what the parent's manifest says it is: `before`. `blocks` begins with the first block.
    /// Returns what it is now.
    pub fn blocks(
        &mut self,
        file: &File,
        before: &Entry,
        header: &Header,
        page_size: u32,
        blocks: &mut impl Read,
    ) -> Result<Entry> {
        let size = u64::from(header.result_pages()) * u64::from(page_size);
        let mut crc32c = self.resize(file, before, size)?;
        let mut rest = &header.blocks[..];
        let mut asked = 0;
        while let [first, ..] = rest {
            let done = header.blocks.len() - rest.len();
            for block in header.blocks.iter().take(done + AHEAD).skip(asked.max(done)) {
                ask(file, u64::from(*block) * u64::from(page_size), page_size);
            }
            asked = asked.max(done + AHEAD);
            let limit = RUN / page_size as usize;
            let follows = |(index, block): &(usize, &u32)| **block - first == *index as u32;
            let count = rest.iter().enumerate().take(limit).take_while(follows).count();
            let at = u64::from(*first) * u64::from(page_size);
            let length = count * page_size as usize;
            let (old, new) = (&mut self.old[..length], &mut self.new[..length]);
            blocks.read_exact(new).during("read stdin")?;
            file.read_exact_at(old, at).during(NAME)?;
            // Two strings that differ in one place: the difference of their checksums is that of the
            // places, moved by what follows.
            let difference = crc32c::crc32c(old) ^ crc32c::crc32c(new);
            crc32c ^= self.shift.over(difference, size - at - length as u64);
            file.write_all_at(new, at).during(NAME)?;
            rest = &rest[count..];
        }
        Ok(Entry { path: before.path.clone(), size, crc32c })
    }

    /// Cuts or extends the file, and returns its checksum then.
    fn resize(&mut self, file: &File, before: &Entry, size: u64) -> Result<u32> {
        if size == before.size {
            return Ok(before.crc32c);
        }
        file.set_len(size).during("resize a file")?;
        let from = size.min(before.size);
        // What was cut off cannot be taken out of a checksum: what is left is read.
        let start = if size < before.size { 0 } else { from };
        let mut crc32c = if size < before.size { 0 } else { before.crc32c };
        let mut at = start;
        while at < size {
            let length = usize::try_from(size - at).map_or(RUN, |rest| rest.min(RUN));
            let piece = &mut self.old[..length];
            file.read_exact_at(piece, at).during(NAME)?;
            crc32c = crc32c::crc32c_append(crc32c, piece);
            at += length as u64;
        }
        Ok(crc32c)
    }
}

/// Advice: whether it is taken does not matter.
fn ask(file: &File, at: u64, page_size: u32) {
    let _not_taken =
        rustix::fs::fadvise(file, at, NonZeroU64::new(page_size.into()), Advice::WillNeed).is_err();
}

const NAME: &str = "change a file";

#[cfg(test)]
mod tests {
    use super::*;

    fn page(fill: u8) -> Vec<u8> {
        (0..8192u32).map(|at| (at % 251) as u8 ^ fill).collect()
    }

    #[test]
    fn the_checksum_follows_the_content() {
        let pages = |fills: &[u8]| fills.iter().flat_map(|fill| page(*fill)).collect::<Vec<_>>();
        let before = pages(&[1, 2, 3, 4, 5]);
        let check = |blocks: &[u32], fills: &[u8], truncation: u32, result: &[u8]| {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&before, 0).unwrap();
            let entry =
                Entry { path: b"x".to_vec(), size: before.len() as u64, crc32c: crc32c::crc32c(&before) };
            let header = Header { blocks: blocks.to_vec(), truncation };
            let new = pages(fills);
            let after = Merge::new().blocks(&file, &entry, &header, 8192, &mut &new[..]).unwrap();
            let expected = pages(result);
            let mut content = vec![0; expected.len()];
            file.read_exact_at(&mut content, 0).unwrap();
            assert!(content == expected);
            assert_eq!(file.metadata().unwrap().len(), expected.len() as u64);
            assert_eq!((after.size, after.crc32c), (expected.len() as u64, crc32c::crc32c(&expected)));
        };
        check(&[], &[], 5, &[1, 2, 3, 4, 5]);
        check(&[0, 1, 4], &[7, 8, 9], 5, &[7, 8, 3, 4, 9]);
        check(&[2], &[7], 3, &[1, 2, 7]);
        check(&[], &[], 2, &[1, 2]);
        check(&[4, 5, 6], &[7, 8, 9], 7, &[1, 2, 3, 4, 7, 8, 9]);
    }
}
