//! Reads the data of a running server: no faster than asked for, with a pulse for its session, and with a second look
//! at pages that seem bad, and a last one at the end: since 19 a server may switch its checksums off and on meanwhile.

use crate::catalog::Blocks;
use crate::error::{IoContext, Result};
use crate::io::Pace;
use crate::pg::{Lsn, page};
use crate::report;
use crate::snap::session::Session;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bad pages named one by one, per file.
const NAMED_PAGES: u64 = 10;
/// Pages that are remembered for the last look, some hundred bytes each; what is bad beyond these is bad.
const MOST_SUSPECTS: usize = 10_000;

/// How pages of relation files are checked.
#[derive(Clone, Copy)]
pub struct PageRules {
    /// Bytes, BLCKSZ.
    pub page_size: usize,
    pub segment_pages: u32,
    /// Whether pages carry checksums.
    pub checked: bool,
    pub start_lsn: Lsn,
}

/// A file that is read.
#[derive(Clone, Copy)]
pub struct Opened<'a> {
    pub file: &'a File,
    pub path: &'a Path,
}

/// A page that seems bad.
struct Suspect {
    path: PathBuf,
    /// In bytes, in that file.
    at: u64,
    block: u32,
}

pub struct Reading {
    pub rules: PageRules,
    pace: Pace,
    /// None: the server is down, nothing changes.
    pub session: Option<Session>,
    pub blocks: Blocks,
    suspects: Vec<Suspect>,
    /// More than are remembered.
    more: u64,
}

impl Reading {
    pub fn new(rules: PageRules, pace: Pace, session: Option<Session>) -> Self {
        Reading { rules, pace, session, blocks: Blocks::default(), suspects: Vec::new(), more: 0 }
    }

    /// Counts the pages of a relation file that were read.
    pub fn count(&mut self, bytes: u64) {
        self.blocks.read += bytes.div_ceil(self.rules.page_size as u64);
    }

    /// Waits until `bytes` more may have passed, with the session's pulse meanwhile.
    pub fn wait(&mut self, bytes: u64) -> Result<()> {
        self.pace.pass(bytes);
        loop {
            if let Some(session) = &mut self.session {
                session.pulse()?;
            }
            let early = self.pace.early();
            if early.is_zero() {
                return Ok(());
            }
            std::thread::sleep(early.min(Duration::from_secs(1)));
        }
    }

    /// Looks at the pages of `data`, which is sent and lies at `at` in segment `segment`.
    pub fn check_pages(&mut self, source: Opened<'_>, segment: u32, at: u64, data: &mut [u8]) -> Result<()> {
        let size = self.rules.page_size;
        let pages = data.len().div_ceil(size) as u64;
        self.blocks.sent += pages;
        if !self.rules.checked {
            return Ok(());
        }
        let first = segment.wrapping_mul(self.rules.segment_pages).wrapping_add((at / size as u64) as u32);
        for (index, page) in data.chunks_exact_mut(size).enumerate() {
            let block = first.wrapping_add(index as u32);
            let offset = at + (index * size) as u64;
            if page::is_good(page, block) || self.is_explained(source.file, offset, page, block)? {
                continue;
            }
            if self.suspects.len() < MOST_SUSPECTS {
                self.suspects.push(Suspect { path: source.path.to_owned(), at: offset, block });
            } else {
                self.more += 1;
            }
        }
        Ok(())
    }

    /// The last look at what seemed bad: warns of what is still bad, and returns how many pages that are. Nothing is bad
    /// if the server has no checksums any more.
    pub fn settle(&mut self) -> Result<u64> {
        let suspects = std::mem::take(&mut self.suspects);
        let still = |session: &mut Session| session.data_checksums();
        if !suspects.is_empty() && !self.session.as_mut().map_or(Ok(true), still)? {
            report::warn("the page checksums were switched off while the backup ran: pages were not checked");
            return Ok(0);
        }
        let mut bad = self.more;
        for of_file in suspects.chunk_by(|a, b| a.path == b.path) {
            let bad_of_file = self.settle_file(of_file)?;
            if bad_of_file > NAMED_PAGES {
                report::warn(format_args!("{}: {bad_of_file} bad pages in all", of_file[0].path.display()));
            }
            bad += bad_of_file;
        }
        if self.more > 0 {
            report::warn(format_args!("{} more pages are bad", self.more));
        }
        Ok(bad)
    }

    fn settle_file(&mut self, suspects: &[Suspect]) -> Result<u64> {
        let mut bad = 0;
        let Some(Suspect { path, .. }) = suspects.first() else { return Ok(0) };
        let file = match File::open(path) {
            // It is no longer of the cluster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            file => file.during_path("open", path)?,
        };
        let mut page = vec![0; self.rules.page_size];
        for suspect in suspects {
            match file.read_exact_at(&mut page, suspect.at) {
                // Truncated meanwhile; WAL knows.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                read => read.during_path("read", path)?,
            }
            if page::is_good(&page, suspect.block)
                || self.is_explained(&file, suspect.at, &mut page, suspect.block)?
            {
                continue;
            }
            bad += 1;
            if bad <= NAMED_PAGES {
                let Suspect { path, at, block } = suspect;
                report::warn(format_args!("{}: bad page at byte {at}, block {block}", path.display()));
            }
        }
        Ok(bad)
    }

    /// A page that was just being written: it is good, or other, at the second look. One whose LSN lies
    /// between the backup's start and now comes back from WAL; one beyond that is corrupt.
    fn is_explained(&mut self, file: &File, offset: u64, page: &mut [u8], block: u32) -> Result<bool> {
        let mut again = vec![0; page.len()];
        if file.read_exact_at(&mut again, offset).is_err() {
            // Truncated meanwhile; WAL knows.
            return Ok(self.session.is_some());
        }
        if page::is_good(&again, block) {
            page.copy_from_slice(&again);
            return Ok(true);
        }
        let Some(session) = &mut self.session else { return Ok(false) };
        if again != *page {
            return Ok(true);
        }
        let lsn = page::lsn(page);
        Ok(!page::is_new(page) && lsn >= self.rules.start_lsn && lsn <= session.newest_lsn()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 8192;

    fn page(block: u32, is_good: bool) -> Vec<u8> {
        let mut page: Vec<u8> = (0..SIZE).map(|at| (at * 7 % 251) as u8).collect();
        let sum = page::checksum(&page, block);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        page[SIZE - 1] ^= u8::from(!is_good);
        page
    }

    #[test]
    fn a_page_is_bad_that_is_still_bad_at_the_end() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("16384");
        let rules = PageRules { page_size: SIZE, segment_pages: 131_072, checked: true, start_lsn: Lsn(0) };
        let settled = |meanwhile: &dyn Fn()| {
            let mut data = [page(0, true), page(1, false), page(2, true), page(3, false)].concat();
            std::fs::write(&path, &data).unwrap();
            let mut reading = Reading::new(rules, Pace::new(None), None);
            let file = File::open(&path).unwrap();
            reading.check_pages(Opened { file: &file, path: &path }, 0, 0, &mut data).unwrap();
            meanwhile();
            reading.settle().unwrap()
        };
        assert_eq!(settled(&|| {}), 2);
        let repaired = [page(0, true), page(1, true), page(2, true), page(3, false)].concat();
        assert_eq!(settled(&|| std::fs::write(&path, &repaired).unwrap()), 1);
        let truncated = [page(0, true), page(1, false)].concat();
        assert_eq!(settled(&|| std::fs::write(&path, &truncated).unwrap()), 1);
        assert_eq!(settled(&|| std::fs::remove_file(&path).unwrap()), 0);
    }
}
