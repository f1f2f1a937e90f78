//! Copies files into the stream: read once, pages checked, written, then hashed beside. Of an increment
//! only what changed.

use crate::catalog::{Files, Mode};
use crate::error::{Error, IoContext, Result};
use crate::io::read_full;
use crate::manifest::Kind;
use crate::pg::incremental;
use crate::report::Progress;
use crate::snap::changed::Increment;
use crate::snap::ledger::{BUFFER, Entry, Listed, Member, Start};
use crate::snap::reading::{Opened, Reading};
use crate::snap::since::{Changes, Decision, Since};
use crate::snap::stream::Stream;
use crate::tar::Attributes;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Clocks of file systems tick; times younger than this prove nothing (git's racy rule).
const RACY_SECONDS: i64 = 2;

pub struct Copier {
    pub stream: Stream,
    pub reading: Reading,
    /// None: a full backup.
    pub increment: Option<Increment>,
    pub progress: Progress,
    pub files: Files,
    /// Of the files as they lie on disk.
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
    pub fn new(stream: Stream, reading: Reading, since: Option<Since>, progress: Progress) -> Self {
        let increment = since.map(Increment::new);
        Copier { stream, reading, increment, progress, files: Files::default(), bytes: 0 }
    }

    /// Copies the file at `path` as `name`. False: it is gone, which is no error.
    pub fn file(&mut self, path: &Path, name: &[u8], listing: Listing) -> Result<bool> {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.during_path("open", path)?,
        };
        let metadata = file.metadata().during_path("stat", path)?;
        let start = start(name, &metadata, listing, i64::try_from(began).unwrap_or(0));
        let attributes = Attributes::of(&metadata);
        let source = Opened { file: &file, path };
        match (self.decide(source, &start)?, listing, &mut self.increment) {
            (Decision::Same { crc32c }, _, _) => self.same(&start, crc32c, attributes)?,
            (Decision::Blocks(changes), Listing::Data(Some(segment)), Some(increment)) => {
                let place = (&start, segment, attributes);
                increment.send_changes(&mut self.stream, &mut self.reading, source, place, &changes)?;
                self.files.blocks += 1;
                self.count(start.size);
                self.progress.add(start.size);
            }
            _ => self.whole(source, start, listing, attributes)?,
        }
        Ok(true)
    }

    fn decide(&mut self, source: Opened<'_>, start: &Start) -> Result<Decision> {
        let Copier { increment, reading, .. } = self;
        match (increment, &start.listed) {
            (Some(Increment { since, .. }), Some(listed)) => {
                since.decide(source.file, source.path, start, &mut |bytes| {
                    if listed.relation {
                        reading.count(bytes);
                    }
                    reading.wait(bytes)
                })
            }
            _ => Ok(Decision::Whole),
        }
    }

    fn whole(
        &mut self,
        source: Opened<'_>,
        start: Start,
        listing: Listing,
        attributes: Attributes,
    ) -> Result<()> {
        let size = start.size;
        self.stream.tar.begin_file(&start.path, size, attributes)?;
        if matches!(listing, Listing::Unlisted) {
            return self.contents(source, size, listing);
        }
        self.stream.ledger.begin(start)?;
        self.contents(source, size, listing)?;
        self.files.whole += 1;
        self.count(size);
        self.stream.ledger.end()
    }

    fn count(&mut self, size: u64) {
        self.files.total += 1;
        self.bytes += size;
    }

    /// An increment's file as its parent has it: in blocks an empty list of them, in files nothing.
    fn same(&mut self, start: &Start, crc32c: u32, attributes: Attributes) -> Result<()> {
        let result = Member { path: start.path.clone(), size: start.size, mtime: start.mtime.0, crc32c };
        let sent = match &self.increment {
            Some(Increment { since, .. }) if since.mode == Mode::Blocks => {
                let header = since.header(&Changes { pieces: Vec::new() }, start.size);
                let data = header.encode(self.reading.rules.page_size as u32);
                let path = incremental::incremental_path(&start.path);
                self.stream.tar.begin_file(&path, data.len() as u64, attributes)?;
                self.stream.tar.data(&data)?;
                let crc32c = crc32c::crc32c(&data);
                Member { path, size: data.len() as u64, mtime: start.mtime.0, crc32c }
            }
            _ => result.clone(),
        };
        self.files.same += 1;
        self.count(start.size);
        self.progress.add(start.size);
        let line = start.line(Kind::Same, crc32c);
        self.stream.ledger.enter(Entry { sent: Some(sent), result: Some(result), line })
    }

    /// Sends exactly `size` bytes: what grew since belongs to WAL, what shrank is made up of zeros
    /// (as pg_basebackup does; WAL will truncate it again).
    fn contents(&mut self, source: Opened<'_>, size: u64, listing: Listing) -> Result<()> {
        let Copier { stream, reading, progress, .. } = self;
        let mut at = 0;
        let mut file = source.file;
        while at < size {
            let mut buffer = stream.ledger.buffer()?;
            let len = usize::try_from(size - at).map_or(BUFFER, |rest| rest.min(BUFFER));
            let got = read_full(&mut file, &mut buffer[..len]).during_path("read", source.path)?;
            buffer[got..len].fill(0);
            if let Listing::Data(Some(segment)) = listing {
                reading.count(len as u64);
                reading.check_pages(source, segment, at, &mut buffer[..len])?;
            }
            stream.tar.data(&buffer[..len])?;
            match listing {
                Listing::Unlisted => stream.ledger.give_back(buffer)?,
                _ => stream.ledger.data(buffer, len)?,
            }
            at += len as u64;
            progress.add(len as u64);
            reading.wait(len as u64)?;
        }
        Ok(())
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

/// What a file that must be there says when it is not.
pub fn missing(path: &Path) -> Error {
    Error::failed(format!("{} does not exist", path.display()))
}
