//! Counts the pages of the merged full that have a wrong checksum. The records of a chain say only how many it can have: a
//! page that was bad in one backup may have come back good, or been dropped, with a newer one.
//!
//! What a server was just writing looks bad as well, and comes back from WAL. `pgv-snap` looks again; here only the LSN can
//! tell, so more may seem bad than were found.

use crate::pg::{Lsn, page, relation};
use crate::report;

/// Bad pages named one by one, per file.
const NAMED: u64 = 10;
/// Lines in all.
const LINES: usize = 1000;

/// Of all files.
pub struct BadPages {
    /// Bytes, BLCKSZ.
    page_size: usize,
    segment_pages: u32,
    /// WAL that is replayed on the merged full brings back what was changed in between.
    replayed: std::ops::RangeInclusive<Lsn>,
    count: u64,
    /// What is to be said of them.
    lines: Vec<String>,
}

/// Of the file that is being written.
pub struct OfFile {
    path: Vec<u8>,
    /// Of the next page.
    block: u32,
    count: u64,
    /// The beginning of a page whose end has not come.
    begun: Vec<u8>,
}

impl BadPages {
    /// `start`, `stop`: of the newest backup.
    pub fn new(page_size: u32, segment_pages: u32, start: Lsn, stop: Lsn) -> Self {
        BadPages {
            page_size: page_size as usize,
            segment_pages,
            replayed: start..=stop,
            count: 0,
            lines: Vec::new(),
        }
    }

    /// None: pages have no place in this file.
    pub fn begin(&self, path: &[u8]) -> Option<OfFile> {
        let segment = relation::segment_of(path)?;
        let block = segment.wrapping_mul(self.segment_pages);
        Some(OfFile { path: path.to_vec(), block, count: 0, begun: Vec::new() })
    }

    /// The next bytes of the file, however many.
    pub fn add(&mut self, file: &mut OfFile, mut data: &[u8]) {
        if !file.begun.is_empty() {
            let missing = (self.page_size - file.begun.len()).min(data.len());
            file.begun.extend_from_slice(&data[..missing]);
            data = &data[missing..];
            if file.begun.len() < self.page_size {
                return;
            }
            let page = std::mem::take(&mut file.begun);
            self.look(file, &page);
        }
        let pages = data.chunks_exact(self.page_size);
        file.begun.extend_from_slice(pages.remainder());
        for page in pages {
            self.look(file, page);
        }
    }

    /// What is less than a page at the end of a file is none.
    pub fn end(&mut self, file: &OfFile) {
        if file.count > NAMED {
            self.note(format!("{}: {} bad pages in all", file.path.escape_ascii(), file.count));
        }
        self.count += file.count;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Names them.
    pub fn warn(&self) {
        self.lines.iter().for_each(report::warn);
    }

    fn note(&mut self, line: String) {
        if self.lines.len() < LINES {
            self.lines.push(line);
        }
    }

    fn look(&mut self, file: &mut OfFile, page: &[u8]) {
        let block = file.block;
        file.block = block.wrapping_add(1);
        if page::is_good(page, block) || (!page::is_new(page) && self.replayed.contains(&page::lsn(page))) {
            return;
        }
        file.count += 1;
        if file.count <= NAMED {
            self.note(format!("{}: bad page, block {block}", file.path.escape_ascii()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 8192;

    /// `lsn`: its low half. `damage`: what is added to its last byte.
    fn page(block: u32, lsn: u32, damage: u8) -> Vec<u8> {
        let mut page: Vec<u8> = (0..SIZE).map(|at| (at * 7 % 251) as u8).collect();
        page[..4].fill(0);
        page[4..8].copy_from_slice(&lsn.to_le_bytes());
        let sum = page::checksum(&page, block);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        page[SIZE - 1] ^= damage;
        page
    }

    fn counted(path: &[u8], content: &[u8], piece: usize) -> u64 {
        let mut pages = BadPages::new(SIZE as u32, 1000, Lsn(50), Lsn(60));
        let Some(mut file) = pages.begin(path) else { return 0 };
        for piece in content.chunks(piece) {
            pages.add(&mut file, piece);
        }
        pages.end(&file);
        pages.count()
    }

    #[test]
    fn what_neither_fits_nor_is_replayed_is_bad() {
        let pages = |first: u32| {
            let new = vec![0; SIZE];
            let pages = [(0, 1, 0), (1, 1, 9), (2, 50, 9), (3, 60, 9), (4, 61, 9), (5, 49, 9), (6, 55, 0)];
            let made = pages.map(|(block, lsn, damage)| page(first + block, lsn, damage)).concat();
            [made, new, vec![7; 100]].concat()
        };
        for piece in [1, 512, SIZE, SIZE + 1, 3 * SIZE, 1 << 20] {
            assert_eq!(counted(b"base/5/16384", &pages(0), piece), 3, "pieces of {piece}");
            assert_eq!(counted(b"pg_tblspc/16400/PG_15_202209061/5/16384_fsm.2", &pages(2000), piece), 3);
        }
        // Of another segment all block numbers are wrong; those in the replayed WAL pass.
        assert_eq!(counted(b"base/5/16384.1", &pages(0), SIZE), 4);
        for other in [&b"base/5/PG_VERSION"[..], b"global/pg_filenode.map", b"pg_xact/0000", b"16384"] {
            assert_eq!(counted(other, &pages(0), SIZE), 0);
        }
    }
}
