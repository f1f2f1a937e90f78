//! Copies files into the stream: read once, pages checked, written, then hashed beside. Of an increment
//! only what changed.

use crate::catalog::{Blocks, Files, Findings, Mode};
use crate::error::{Error, IoContext, Result};
use crate::io::{Output, Pace, read_full};
use crate::manifest::{self, FileLine, Kind};
use crate::pg::crc::Shift;
use crate::pg::{Lsn, incremental, page};
use crate::report::{self, Progress};
use crate::snap::archive::{Archive, Attributes};
use crate::snap::ledger::{BUFFER, Entry, Ledger, Listed, Member, Start};
use crate::snap::session::Session;
use crate::snap::since::{Changes, Decision, Piece, Since, read_at};
use std::fs::{File, Metadata};
use std::io::{self, BufWriter};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    pub files: Files,
    pub bytes: u64,
    pub shift: Shift,
    /// What an increment builds on.
    pub since: Option<Since>,
}

/// Which manifests list what pgv makes up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    None,
    All,
    /// What is of no use any more once an increment is merged.
    Sent,
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
    /// Whether this is an increment of whole files.
    pub fn is_files(&self) -> bool {
        self.since.as_ref().is_some_and(|since| since.mode == Mode::Files)
    }

    /// Copies the file at `source` as `name`. False: it is gone, which is no error.
    pub fn file(&mut self, source: &Path, name: &[u8], listing: Listing) -> Result<bool> {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let file = match File::open(source) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.during_path("open", source)?,
        };
        let metadata = file.metadata().during_path("stat", source)?;
        let start = start(name, &metadata, listing, i64::try_from(began).unwrap_or(0));
        let attributes = attributes(&metadata);
        match (self.decide(&file, source, &start)?, listing) {
            (Decision::Same { crc32c }, _) => self.same(&start, crc32c, attributes)?,
            (Decision::Blocks(changes), Listing::Data(Some(segment))) => {
                self.changed(&file, source, &start, segment, &changes, attributes)?;
            }
            _ => self.whole(&file, source, start, listing, attributes)?,
        }
        Ok(true)
    }

    fn decide(&mut self, file: &File, source: &Path, start: &Start) -> Result<Decision> {
        let Copier { since, pace, session, blocks, rules, .. } = self;
        match (since, &start.listed) {
            (Some(since), Some(listed)) => since.decide(file, source, start, &mut |bytes| {
                blocks.read += if listed.relation { bytes.div_ceil(rules.page_size as u64) } else { 0 };
                wait(pace, bytes, session.as_mut())
            }),
            _ => Ok(Decision::Whole),
        }
    }

    fn whole(
        &mut self,
        file: &File,
        source: &Path,
        start: Start,
        listing: Listing,
        attributes: Attributes,
    ) -> Result<()> {
        let size = start.size;
        self.archive.begin_file(&start.path, size, attributes)?;
        if matches!(listing, Listing::Unlisted) {
            return self.contents(file, source, size, listing);
        }
        self.ledger.begin(start)?;
        self.contents(file, source, size, listing)?;
        self.files.whole += 1;
        self.count(size);
        self.ledger.end()
    }

    fn count(&mut self, size: u64) {
        self.files.total += 1;
        self.bytes += size;
    }

    /// An increment's file as its parent has it: in blocks an empty list of them, in files nothing.
    fn same(&mut self, start: &Start, crc32c: u32, attributes: Attributes) -> Result<()> {
        let result = Member { path: start.path.clone(), size: start.size, mtime: start.mtime.0, crc32c };
        let sent = match &self.since {
            Some(since) if since.mode == Mode::Blocks => {
                let header = since.header(&Changes { pieces: Vec::new() }, start.size);
                let data = header.encode(self.rules.page_size as u32);
                let path = incremental::incremental_path(&start.path);
                self.archive.begin_file(&path, data.len() as u64, attributes)?;
                self.archive.data(&data)?;
                let crc32c = crc32c::crc32c(&data);
                Member { path, size: data.len() as u64, mtime: start.mtime.0, crc32c }
            }
            _ => result.clone(),
        };
        self.files.same += 1;
        self.count(start.size);
        self.progress.add(start.size);
        let line = start.line(Kind::Same, crc32c);
        self.ledger.enter(Entry { sent: Some(sent), result: Some(result), line })
    }

    /// The changed blocks of a relation file, read again: what is listed and hashed is what is sent.
    fn changed(
        &mut self,
        file: &File,
        source: &Path,
        start: &Start,
        segment: u32,
        changes: &Changes,
        attributes: Attributes,
    ) -> Result<()> {
        let Some(since) = self.since.take() else { return Err(Error::failed("no parent to build on")) };
        let header = since.header(changes, start.size);
        let head = header.encode(self.rules.page_size as u32);
        let path = incremental::incremental_path(&start.path);
        let size = head.len() as u64 + header.blocks.len() as u64 * self.rules.page_size as u64;
        self.archive.begin_file(&path, size, attributes)?;
        self.archive.data(&head)?;
        let mut sums = Sums { sent: crc32c::crc32c(&head), result: 0, hashes: Vec::new(), bad: 0 };
        for piece in &changes.pieces {
            match *piece {
                Piece::Kept { crc32c, bytes } => {
                    sums.result = self.shift.join(sums.result, crc32c, bytes);
                }
                Piece::Changed { first, count } => {
                    let range = since.range(first, count, start.size);
                    self.piece(&since, file, source, segment, range, &mut sums)?;
                }
            }
        }
        self.since = Some(since);
        self.report_bad(source, sums.bad);
        self.files.blocks += 1;
        self.count(start.size);
        self.progress.add(start.size);
        let line = start.line(Kind::Blocks, sums.result).map(|line| FileLine {
            blocks: Some(changes.blocks()),
            hashes: Some(manifest::encode_hashes(&sums.hashes)),
            ..line
        });
        let mtime = start.mtime.0;
        self.ledger.enter(Entry {
            sent: Some(Member { path, size, mtime, crc32c: sums.sent }),
            result: Some(Member { path: start.path.clone(), size: start.size, mtime, crc32c: sums.result }),
            line,
        })
    }

    fn piece(
        &mut self,
        since: &Since,
        file: &File,
        source: &Path,
        segment: u32,
        (mut at, end): (u64, u64),
        sums: &mut Sums,
    ) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(end - at).map_or(BUFFER, |size| size.min(BUFFER))];
        while at < end {
            let length = usize::try_from(end - at).map_or(BUFFER, |rest| rest.min(BUFFER));
            let data = &mut buffer[..length];
            read_at(file, data, at).during_path("read", source)?;
            sums.bad += self.check_pages(file, source, segment, at, data, sums.bad)?;
            self.archive.data(data)?;
            sums.sent = crc32c::crc32c_append(sums.sent, data);
            sums.result = crc32c::crc32c_append(sums.result, data);
            since.hash(data, &mut sums.hashes);
            at += length as u64;
            wait(&mut self.pace, length as u64, self.session.as_mut())?;
        }
        Ok(())
    }

    fn report_bad(&mut self, source: &Path, bad: u64) {
        if bad > NAMED_PAGES {
            report::warn(format_args!("{}: {bad} bad pages in all", source.display()));
        }
        self.findings.bad_pages += bad;
    }

    /// A member made up in memory.
    pub fn small(
        &mut self,
        name: impl AsRef<[u8]>,
        data: &[u8],
        lists: Lists,
        attributes: Attributes,
    ) -> Result<()> {
        let name = name.as_ref();
        self.archive.begin_file(name, data.len() as u64, attributes)?;
        self.archive.data(data)?;
        let member = made_up(name, data, attributes);
        match lists {
            Lists::None => Ok(()),
            Lists::All => {
                self.ledger.enter(Entry { sent: Some(member.clone()), result: Some(member), line: None })
            }
            Lists::Sent => self.ledger.enter(Entry { sent: Some(member), result: None, line: None }),
        }
    }

    /// A file that only the merged increment has.
    pub fn in_result(&mut self, name: &str, data: &[u8], attributes: Attributes) -> Result<()> {
        self.ledger.enter(Entry {
            sent: None,
            result: Some(made_up(name.as_bytes(), data, attributes)),
            line: None,
        })
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
                self.blocks.read += len.div_ceil(self.rules.page_size) as u64;
                bad += self.check_pages(file, source, segment, at, &mut buffer[..len], bad)?;
            }
            self.archive.data(&buffer[..len])?;
            match listing {
                Listing::Unlisted => self.ledger.give_back(buffer)?,
                _ => self.ledger.data(buffer, len)?,
            }
            at += len as u64;
            self.progress.add(len as u64);
            wait(&mut self.pace, len as u64, self.session.as_mut())?;
        }
        self.report_bad(source, bad);
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

/// What is gathered while the blocks of one file are sent.
struct Sums {
    sent: u32,
    result: u32,
    hashes: Vec<u8>,
    bad: u64,
}

fn made_up(name: &[u8], data: &[u8], attributes: Attributes) -> Member {
    Member {
        path: name.to_vec(),
        size: data.len() as u64,
        mtime: attributes.mtime,
        crc32c: crc32c::crc32c(data),
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

/// Waits until `bytes` more may have passed, with the session's pulse meanwhile.
fn wait(pace: &mut Pace, bytes: u64, mut session: Option<&mut Session>) -> Result<()> {
    pace.pass(bytes);
    loop {
        if let Some(session) = &mut session {
            session.pulse()?;
        }
        let early = pace.early();
        if early.is_zero() {
            return Ok(());
        }
        std::thread::sleep(early.min(Duration::from_secs(1)));
    }
}

/// What a file that must be there says when it is not.
pub fn missing(path: &Path) -> Error {
    Error::failed(format!("{} is not there", path.display()))
}
