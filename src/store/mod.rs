//! Where objects are kept. The verbs mean the same on every kind of store: an object appears under its
//! name only when it is complete and durable, and nothing is replaced unless that is asked for.

mod check;
mod file;
mod pace;
mod s3;
mod transfer;
mod url;

pub use check::{Outcome, check};
pub use transfer::{Put, Source, get, put};
pub use url::{Scheme, Url};

use crate::cli::StoreOptions;
use crate::error::{Error, IoContext, Result};
use crate::io::AtomicFile;
use std::io::{self, Read, Write};
use std::time::Duration;
use time::OffsetDateTime;

/// One line of a listing.
#[derive(Clone, Debug)]
pub struct Entry {
    /// A directory's URL ends with a slash.
    pub url: Url,
    pub bytes: u64,
    pub modified: Option<OffsetDateTime>,
    /// The store's own name for the content, where it has one.
    pub etag: Option<String>,
}

impl Entry {
    pub fn is_directory(&self) -> bool {
        self.url.is_directory()
    }
}

/// Bytes `from` to before `end`, or to the object's end.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub from: u64,
    pub end: Option<u64>,
}

/// How an object is read.
#[derive(Clone, Debug)]
pub struct GetOptions {
    pub range: Option<Range>,
    /// Requests at once, where there are requests.
    pub jobs: usize,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// Draw it on stderr.
    pub progress: bool,
}

/// How an object is stored. Everything from `expected_size` on is of no meaning for `file://`.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// Bytes a second.
    pub rate: Option<u64>,
    /// Draw it on stderr.
    pub progress: bool,
    /// Whether [`Put`] shall tell the SHA-256.
    pub digest: bool,
    pub replace: bool,
    pub expected_size: Option<u64>,
    pub part_size: Option<u64>,
    pub max_parts: Option<u32>,
    /// Parts on their way at once.
    pub jobs: usize,
    pub storage_class: Option<String>,
    /// `AES256`, `aws:kms` or `aws:kms=KEY`.
    pub sse: Option<String>,
}

impl Default for PutOptions {
    fn default() -> Self {
        PutOptions {
            rate: None,
            progress: false,
            digest: false,
            replace: false,
            expected_size: None,
            part_size: None,
            max_parts: None,
            jobs: 2,
            storage_class: None,
            sse: None,
        }
    }
}

/// What the store says of an object that it took.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub crc64nvme: Option<String>,
    pub etag: Option<String>,
}

/// A store of one kind; objects are named by URLs of that kind.
pub enum Store {
    File(file::FileStore),
    S3(s3::S3Store),
}

impl Store {
    /// The store that `url` is in.
    pub fn open(url: &Url, options: &StoreOptions) -> Result<Self> {
        match url.scheme() {
            Scheme::File => Ok(Store::File(file::FileStore)),
            Scheme::S3 => Ok(Store::S3(s3::S3Store::open(options)?)),
        }
    }

    /// Begins an object. Without `replace` an existing one is refused here already, before anything is
    /// read.
    pub fn create(&self, url: &Url, options: &PutOptions) -> Result<Upload> {
        match self {
            Store::File(store) => {
                store.create(url, options.replace).map(|file| Upload::File(file, options.replace))
            }
            Store::S3(store) => store.create(url, options).map(|upload| Upload::S3(Box::new(upload))),
        }
    }

    /// Begins to read an object, with `jobs` requests at once where there are requests.
    pub fn get(&self, url: &Url, range: Option<Range>, jobs: usize) -> Result<Download> {
        match self {
            Store::File(store) => store.get(url, range).map(Download::File),
            Store::S3(store) => store.get(url, range, jobs).map(|download| Download::S3(Box::new(download))),
        }
    }

    /// A whole object of at most `limit` bytes.
    pub fn read(&self, url: &Url, limit: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        // By a range nothing is asked for but the bytes.
        let whole = self.get(url, Some(Range { from: 0, end: None }), 1)?;
        whole.take(limit.saturating_add(1)).read_to_end(&mut content).during(format_args!("get {url}"))?;
        match content.len() as u64 > limit {
            true => Err(Error::damaged(format!("get {url}: it is larger than {limit} bytes"))),
            false => Ok(content),
        }
    }

    pub fn stat(&self, url: &Url) -> Result<Entry> {
        match self {
            Store::File(store) => store.stat(url),
            Store::S3(store) => store.stat(url),
        }
    }

    /// Calls `each` for what lies in `directory`, in the order of names; `recursive` for all objects
    /// below it. A directory that is not there lists nothing, as a prefix without keys does.
    pub fn list(
        &self,
        directory: &Url,
        recursive: bool,
        each: &mut dyn FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        match self {
            Store::File(store) => store.list(directory, recursive, each),
            Store::S3(store) => store.list(directory, recursive, each),
        }
    }

    /// Removes one object, durably. What is not there is an error of kind NotFound.
    pub fn remove(&self, url: &Url) -> Result<()> {
        match self {
            Store::File(store) => store.remove(url),
            Store::S3(store) => store.remove(url),
        }
    }

    /// Removes what a listing named, in no order.
    pub fn remove_listed(&self, urls: &[Url]) -> Result<()> {
        match self {
            Store::File(store) => urls.iter().try_for_each(|url| store.remove(url)),
            Store::S3(store) => store.remove_listed(urls),
        }
    }

    /// What uploads below `directory` left behind that began longer than `older` ago and were killed.
    pub fn leftovers(
        &self,
        directory: &Url,
        older: Duration,
        each: &mut dyn FnMut(Leftover) -> Result<()>,
    ) -> Result<()> {
        match self {
            Store::File(store) => {
                store.leftovers(directory, older, &mut |url| each(Leftover { url, upload: None }))
            }
            Store::S3(store) => store.leftovers(directory, older, each),
        }
    }

    pub fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        match self {
            Store::File(store) => store.remove(&leftover.url),
            Store::S3(store) => store.remove_leftover(leftover),
        }
    }
}

/// Part of an object that never became one.
pub struct Leftover {
    /// Of the object that it was to become, or of the temporary file.
    pub url: Url,
    upload: Option<String>,
}

/// An object being written. It has no name before [`Upload::commit`].
#[must_use]
pub enum Upload {
    /// And whether it may replace.
    File(AtomicFile, bool),
    S3(Box<s3::Upload>),
}

impl Upload {
    pub fn commit(self) -> Result<Stored> {
        match self {
            Upload::File(file, replace) => file.commit(replace).map(|()| Stored::default()),
            Upload::S3(upload) => upload.commit(),
        }
    }

    /// Nothing of it stays.
    pub fn abandon(self) {
        match self {
            Upload::File(file, _) => file.abandon(),
            Upload::S3(upload) => upload.abandon(),
        }
    }
}

impl Write for Upload {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Upload::File(file, _) => file.write(buf),
            Upload::S3(upload) => upload.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Upload::File(file, _) => file.flush(),
            Upload::S3(upload) => upload.flush(),
        }
    }
}

/// An object being read. A truncated one is an error, never an end.
pub enum Download {
    File(file::Reader),
    S3(Box<s3::Download>),
}

impl Download {
    /// How many there are to come.
    fn length(&self) -> u64 {
        match self {
            Download::File(file) => file.left(),
            Download::S3(download) => download.length(),
        }
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Download::File(file) => file.read(buf),
            Download::S3(download) => download.read(buf),
        }
    }
}
