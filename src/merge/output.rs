//! The merged stream: tar, the manifest that will travel in it, and what is compared with the newest backup's own.

use crate::error::{Error, IoContext, Result};
use crate::io::{TemporaryFile, for_pieces, temporary_file};
use crate::merge::bad_pages::{BadPages, OfFile};
use crate::pg::backup_manifest::{self, Entry, WalRange};
use crate::stream::Seen;
use crate::tar::{Attributes, Member, TarWriter};
use std::io::{BufReader, BufWriter, Seek, Write};

/// Bytes of the manifest that are read at a time.
const SPOOL_BUFFER: usize = 64 << 10;

type Spooled = backup_manifest::Writer<BufWriter<TemporaryFile>>;

pub struct Output<W: Write> {
    pub tar: TarWriter<W>,
    manifest: Spooled,
    /// None: it was compared.
    seen: Option<Seen>,
    /// Of the files of the cluster: how many, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// None: the records tell that there are none, or nobody asks.
    pub bad_pages: Option<BadPages>,
}

/// What is written last.
pub struct Last {
    pub control: Member,
    pub content: Vec<u8>,
    /// Of the newest backup's manifest: this one gets its attributes.
    pub manifest: Member,
    pub range: Option<WalRange>,
    /// Whether the pages of the cluster carry checksums.
    pub page_checksums: bool,
}

/// A file whose bytes are being written.
pub struct File {
    path: Vec<u8>,
    size: u64,
    mtime: i64,
    crc32c: u32,
    pages: Option<OfFile>,
}

impl<W: Write> Output<W> {
    /// `major`: of PostgreSQL.
    pub fn new(sink: W, major: u32, system_identifier: u64) -> Result<Self> {
        let spool = BufWriter::new(temporary_file()?);
        let manifest = backup_manifest::Writer::new(spool, major, system_identifier)?;
        let seen = Some(Seen::new()?);
        Ok(Output { tar: TarWriter::new(sink), manifest, seen, files: 0, bytes: 0, bad_pages: None })
    }

    pub fn begin(&mut self, path: &[u8], size: u64, attributes: Attributes) -> Result<File> {
        self.tar.begin_file(path, size, attributes)?;
        let pages = self.bad_pages.as_ref().and_then(|pages| pages.begin(path));
        Ok(File { path: path.to_vec(), size, mtime: attributes.mtime, crc32c: 0, pages })
    }

    pub fn data(&mut self, file: &mut File, data: &[u8]) -> Result<()> {
        file.crc32c = crc32c::crc32c_append(file.crc32c, data);
        if let (Some(bad), Some(pages)) = (&mut self.bad_pages, &mut file.pages) {
            bad.add(pages, data);
        }
        self.tar.data(data)
    }

    /// A file of the cluster.
    pub fn end_data(&mut self, file: File) -> Result<()> {
        self.files += 1;
        self.bytes += file.size;
        self.end(file)
    }

    pub fn end(&mut self, file: File) -> Result<()> {
        let File { path, size, mtime, crc32c, pages } = file;
        if let (Some(bad), Some(pages)) = (&mut self.bad_pages, &pages) {
            bad.end(pages);
        }
        self.manifest.file(&path, size, mtime, crc32c)?;
        self.seen()?.add(&Entry { path, size, crc32c })
    }

    /// A file that is in the manifest only.
    pub fn list_unsent(&mut self, entry: &Entry) -> Result<()> {
        self.manifest.file(&entry.path, entry.size, 0, entry.crc32c)
    }

    /// A file of known content; `as_listed`: what the newest backup's manifest has in its place, where that differs.
    pub fn small(
        &mut self,
        path: &[u8],
        content: &[u8],
        from: &Member,
        as_listed: Option<&[u8]>,
    ) -> Result<()> {
        let attributes = from.attributes();
        self.tar.begin_file(path, content.len() as u64, attributes)?;
        self.tar.data(content)?;
        self.manifest.file(path, content.len() as u64, attributes.mtime, crc32c::crc32c(content))?;
        let listed = as_listed.unwrap_or(content);
        let entry = Entry { path: path.to_vec(), size: listed.len() as u64, crc32c: crc32c::crc32c(listed) };
        self.seen()?.add(&entry)
    }

    /// What was written, to be compared with the newest backup's manifest. Refuses a second one.
    pub fn take_seen(&mut self) -> Result<Seen> {
        self.seen.take().ok_or_else(|| Error::damaged("the stream has the manifest of its result twice"))
    }

    /// The manifest, `global/pg_control` and the end marker. Returns the sink, and the bytes of the stream.
    pub fn finish(mut self, last: &Last) -> Result<(W, u64)> {
        const WHAT: &str = "write backup_manifest";
        let Last { control, content, manifest, range, .. } = last;
        let size = content.len() as u64;
        self.manifest.file(&control.path, size, control.mtime, crc32c::crc32c(content))?;
        let range = range.map(|range| (range.timeline, range.start, range.end));
        let spool = self.manifest.finish(range)?.into_inner();
        let mut spool = spool.map_err(|e| e.into_error()).during(WHAT)?;
        let length = spool.stream_position().during(WHAT)?;
        spool.rewind().during(WHAT)?;
        self.tar.begin_file(&manifest.path, length, manifest.attributes())?;
        let mut spool = BufReader::with_capacity(SPOOL_BUFFER, spool);
        let failed = |error| Error::io(WHAT, error);
        for_pieces(&mut spool, length, SPOOL_BUFFER, failed, |piece| self.tar.data(piece))?;
        self.tar.begin_file(&control.path, size, control.attributes())?;
        self.tar.data(content)?;
        self.tar.finish()
    }

    fn seen(&mut self) -> Result<&mut Seen> {
        self.seen.as_mut().ok_or_else(|| Error::damaged("a file comes after the manifest of the result"))
    }
}
