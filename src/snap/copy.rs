//! Copies files into the stream: read once, pages checked, written, then hashed beside.

use crate::catalog::{Blocks, Findings};
use crate::error::{Error, IoContext, Result};
use crate::io::{Output, read_full};
use crate::pg::{Lsn, page};
use crate::report::{self, Progress};
use crate::snap::archive::{Archive, Attributes};
use crate::snap::ledger::{BUFFER, Ledger, Listed, Start};
use crate::snap::session::Session;
use std::fs::{File, Metadata};
use std::io::{self, BufWriter};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Clocks of file systems tick; times younger than this prove nothing (git's racy rule).
const RACY_SECONDS: i64 = 2;
/// Bad pages named one by one, per file.
const NAMED_PAGES: u64 = 10;

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

pub struct Copier {
    pub archive: Archive<BufWriter<Output>>,
    pub ledger: Ledger<Output>,
    /// None: the server is down, nothing changes.
    pub session: Option<Session>,
    pub rules: PageRules,
    pub pace: Pace,
    pub progress: Progress,
    pub findings: Findings,
    pub blocks: Blocks,
    pub files: u64,
    pub bytes: u64,
}

/// Which list a file is for.
#[derive(Clone, Copy)]
pub enum Listing {
    /// Both manifests; `Some`: the segment number of a relation file.
    Data(Option<u32>),
    /// WAL is in no list.
    Unlisted,
}

impl Copier {
    /// Copies the file at `source` as `name`. False: it is gone, which is no error.
    pub fn file(&mut self, source: &Path, name: &[u8], listing: Listing) -> Result<bool> {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let file = match File::open(source) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.during_path("open", source)?,
        };
        let metadata = file.metadata().during_path("stat", source)?;
        self.archive.begin_file(name, metadata.len(), attributes(&metadata))?;
        if !matches!(listing, Listing::Unlisted) {
            self.ledger.begin(start(name, &metadata, listing, i64::try_from(began).unwrap_or(0)))?;
        }
        self.contents(&file, source, metadata.len(), listing)?;
        if !matches!(listing, Listing::Unlisted) {
            self.ledger.end()?;
        }
        Ok(true)
    }

    /// A member made up in memory, listed in backup_manifest if `listed`.
    pub fn small(&mut self, name: &str, data: &[u8], listed: bool, attributes: Attributes) -> Result<()> {
        self.archive.begin_file(name.as_bytes(), data.len() as u64, attributes)?;
        self.archive.data(data)?;
        if listed {
            let mtime = (attributes.mtime, 0);
            let path = name.as_bytes().to_vec();
            self.ledger.begin(Start { path, size: data.len() as u64, mtime, listed: None })?;
            self.ledger.small(data.to_vec())?;
            self.ledger.end()?;
        }
        Ok(())
    }

    /// Sends exactly `size` bytes: what grew since belongs to WAL, what shrank is made up of zeros
    /// (as pg_basebackup does; WAL will truncate it again).
    fn contents(&mut self, file: &File, source: &Path, size: u64, listing: Listing) -> Result<()> {
        let mut at = 0;
        let mut bad = 0;
        let mut reader = file;
        while at < size {
            let mut buffer = self.ledger.buffer()?;
            let len = usize::try_from(size - at).map_or(BUFFER, |rest| rest.min(BUFFER));
            let got = read_full(&mut reader, &mut buffer[..len]).during_path("read", source)?;
            buffer[got..len].fill(0);
            if let Listing::Data(Some(segment)) = listing {
                bad += self.check_pages(file, source, segment, at, &mut buffer[..len], bad)?;
            }
            self.archive.data(&buffer[..len])?;
            match listing {
                Listing::Unlisted => self.ledger.give_back(buffer)?,
                _ => self.ledger.data(buffer, len)?,
            }
            at += len as u64;
            self.progress.add(len as u64);
            self.pace.wait(len as u64, self.session.as_mut())?;
        }
        if bad > NAMED_PAGES {
            report::warn(format_args!("{}: {bad} bad pages in all", source.display()));
        }
        self.findings.bad_pages += bad;
        if matches!(listing, Listing::Data(_)) {
            self.files += 1;
            self.bytes += size;
        }
        Ok(())
    }

    /// Returns the number of bad pages in `data`, which lies at `at` in its file.
    fn check_pages(
        &mut self,
        file: &File,
        source: &Path,
        segment: u32,
        at: u64,
        data: &mut [u8],
        named: u64,
    ) -> Result<u64> {
        let size = self.rules.page_size;
        let pages = data.len().div_ceil(size) as u64;
        self.blocks.read += pages;
        self.blocks.sent += pages;
        if !self.rules.checked {
            return Ok(0);
        }
        let first = segment.wrapping_mul(self.rules.segment_pages).wrapping_add((at / size as u64) as u32);
        let mut bad = 0;
        for (index, page) in data.chunks_exact_mut(size).enumerate() {
            let block = first.wrapping_add(index as u32);
            let offset = at + (index * size) as u64;
            if page::is_good(page, block) || self.is_explained(file, offset, page, block)? {
                continue;
            }
            bad += 1;
            if named + bad <= NAMED_PAGES {
                report::warn(format_args!("{}: bad page at byte {offset}, block {block}", source.display()));
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

/// The attributes of a member that stands for what is on disk.
pub fn attributes(metadata: &Metadata) -> Attributes {
    Attributes {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: metadata.mtime(),
    }
}

fn start(name: &[u8], metadata: &Metadata, listing: Listing, began: i64) -> Start {
    let listed = |segment: Option<u32>| Listed {
        ctime: (metadata.ctime(), metadata.ctime_nsec()),
        dev: metadata.dev(),
        ino: metadata.ino(),
        mode: metadata.mode() & 0o7777,
        racy: metadata.mtime().max(metadata.ctime()) > began - RACY_SECONDS,
        relation: segment.is_some(),
    };
    Start {
        path: name.to_vec(),
        size: metadata.len(),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        listed: match listing {
            Listing::Data(segment) => Some(listed(segment)),
            Listing::Unlisted => None,
        },
    }
}

/// `--rate`, and the session's pulse while waiting for it.
pub struct Pace {
    /// Bytes a second.
    rate: Option<u64>,
    begun: Instant,
    sent: u64,
}

impl Pace {
    pub fn new(rate: Option<u64>) -> Self {
        Pace { rate, begun: Instant::now(), sent: 0 }
    }

    fn wait(&mut self, sent: u64, mut session: Option<&mut Session>) -> Result<()> {
        self.sent += sent;
        loop {
            if let Some(session) = &mut session {
                session.pulse()?;
            }
            let Some(rate) = self.rate else { return Ok(()) };
            let due = Duration::from_secs_f64(self.sent as f64 / rate as f64);
            let early = due.saturating_sub(self.begun.elapsed());
            if early.is_zero() {
                return Ok(());
            }
            std::thread::sleep(early.min(Duration::from_secs(1)));
        }
    }
}

/// What a file that must be there says when it is not.
pub fn missing(path: &Path) -> Error {
    Error::failed(format!("{} is not there", path.display()))
}
