//! Where objects are kept. The verbs mean the same on every kind of store: an object appears under its
//! name only when it is complete and durable, and nothing is replaced unless that is asked for.

mod check;
mod denied;
mod file;
mod mounted;
mod object;
mod ordered;
mod ranges;
mod removal;
mod s3;
mod service;
mod transfer;
mod url;

pub use check::{Outcome, check};
pub use mounted::is_mounted;
pub use object::{Entry, Keeping, Leftover, Lock, LockMode, PutOptions, Range, Span, Stored};
pub use ordered::{Order, remove_in_order};
pub use removal::{Removal, Scope};
pub use s3::{Requests, requests, say_requests};
pub use service::Service;
pub use transfer::{Put, Source, get, get_file, put, read_back, wait_for};
pub use url::{Scheme, Url};

use crate::error::{Error, IoContext, Kind, Result};
use crate::report::Drawn;
use object::COPY_BYTES;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

/// How an object is read.
#[derive(Clone, Debug)]
pub struct GetOptions {
    pub range: Option<Range>,
    /// Only these bytes, ascending and without overlap; an object that ends before one of them is an error.
    pub ranges: Option<Vec<std::ops::Range<u64>>>,
    /// In hexadecimal: what is read is refused at its end unless it has this digest.
    pub sha256: Option<String>,
    /// Requests at once, where there are requests.
    pub jobs: usize,
    /// All of it in one request: it is short.
    pub whole: bool,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// A file: the rate is that of all processes which name it.
    pub rate_shared_in: Option<PathBuf>,
    pub progress: Drawn,
}

/// A store of one kind; objects are named by URLs of that kind.
#[derive(Clone)]
pub enum Store {
    File(file::FileStore),
    S3(s3::S3Store),
}

impl Store {
    /// The store that `url` is in.
    pub fn open(url: &Url, service: impl Into<Service>) -> Result<Self> {
        match url.scheme() {
            Scheme::File => Ok(Store::File(file::FileStore)),
            Scheme::S3 => Ok(Store::S3(s3::S3Store::open(&service.into())?)),
        }
    }

    /// Of a service: what its URLs are URLs of, as far as it was said. A service has a name for the content of an object
    /// ([`Entry::etag`]); a directory has none.
    pub fn address(&self) -> Option<&str> {
        match self {
            Store::File(_) => None,
            Store::S3(store) => Some(store.place()),
        }
    }

    /// Begins an object. Without `replace` an existing one is refused here already, before anything is
    /// read.
    pub fn create(&self, url: &Url, options: &PutOptions) -> Result<Upload> {
        match self {
            Store::File(store) => {
                store.create(url, options).map(|file| Upload::File(file::Upload::new(file, options.replace)))
            }
            Store::S3(store) => store.create(url, options).map(|upload| Upload::S3(Box::new(upload))),
        }
    }

    /// Begins to read an object, with `jobs` requests at once where there are requests.
    pub fn get(&self, url: &Url, range: Option<Range>, jobs: usize) -> Result<Download> {
        match self {
            Store::File(store) => {
                let reader = store.get(url, range)?;
                Ok(Download::File(BufReader::with_capacity(COPY_BYTES, reader)))
            }
            Store::S3(store) => store.get(url, range, jobs).map(|download| Download::S3(Box::new(download))),
        }
    }

    /// Begins to read parts of an object, ascending, one after the other.
    fn get_parts(&self, url: &Url, parts: VecDeque<std::ops::Range<u64>>, jobs: usize) -> Result<Download> {
        match self {
            Store::File(store) => {
                let reader = store.get_parts(url, parts)?;
                Ok(Download::File(BufReader::with_capacity(COPY_BYTES, reader)))
            }
            Store::S3(store) => {
                store.get_parts(url, parts, jobs).map(|download| Download::S3(Box::new(download)))
            }
        }
    }

    /// The same of an object of some MiB: one request brings all of it, and its checksum.
    pub fn get_whole(&self, url: &Url) -> Result<Download> {
        match self {
            Store::File(_) => self.get(url, None, 1),
            Store::S3(store) => store.get_whole(url).map(|download| Download::S3(Box::new(download))),
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
        let span = Span { recursive, ..Span::default() };
        self.scan(directory, &span, &mut |entry| each(entry).map(ControlFlow::Continue)).map(drop)
    }

    /// As [`Store::list`], of what `span` says, until `each` breaks: no page is asked for after the one with that entry.
    /// [`ControlFlow::Continue`]: the listing came to its end.
    pub fn scan(
        &self,
        directory: &Url,
        span: &Span<'_>,
        each: &mut dyn FnMut(Entry) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        match self {
            Store::File(store) => store.scan(directory, span, each),
            Store::S3(store) => store.scan(directory, span, each),
        }
    }

    /// Whether each page of a listing is a request, which may begin at any name; else a listing reads all names of a
    /// directory at once.
    pub fn has_pages(&self) -> bool {
        matches!(self, Store::S3(_))
    }

    /// Removes one object, durably. What is not there is an error of kind NotFound.
    pub fn remove(&self, url: &Url) -> Result<()> {
        match self {
            Store::File(store) => store.remove(url),
            Store::S3(store) => store.remove(url),
        }
    }

    /// Removes objects, in no order, several at once. Gives those that stay, and why; with `known` all of them are
    /// there as far as the caller knows, else one that is not is such a failure, too, of kind NotFound. An error of
    /// its own is that of the service as a whole, and nobody knows which of them are gone.
    pub fn remove_all(&self, urls: &[Url], known: bool) -> Result<Vec<(Url, Error)>> {
        match self {
            Store::File(store) => {
                let mut failed: Vec<_> =
                    urls.iter().filter_map(|url| Some((url.clone(), store.remove(url).err()?))).collect();
                failed.retain(|(_, error)| !known || error.kind != Kind::NotFound);
                Ok(failed)
            }
            Store::S3(store) => store.remove_all(urls, known),
        }
    }

    /// How this store keeps an object, which is there with `content`, from being replaced.
    pub fn refusal(&self, url: &Url, content: &[u8]) -> Result<Refusal> {
        match self {
            Store::File(_) => Ok(Refusal { of_one: true, of_parts: true }),
            Store::S3(store) => {
                let (of_one, of_parts) = s3::Upload::condition_is_honoured(store, url, content)?;
                Ok(Refusal { of_one, of_parts })
            }
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
            Store::File(store) => store.remove_leftover(&leftover.url),
            Store::S3(store) => store.remove_leftover(leftover),
        }
    }
}

/// Whether the store itself refuses to replace an object, so that of two writers at once only one succeeds.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub of_one: bool,
    pub of_parts: bool,
}

/// An object being written. It has no name before [`Upload::commit`].
#[must_use]
pub enum Upload {
    File(file::Upload),
    S3(Box<s3::Upload>),
}

impl Upload {
    /// Reads from `from` once, and gives what was read and is written or on its way; nothing at the end of the input.
    pub fn take(&mut self, from: &mut dyn Read) -> Result<&[u8]> {
        match self {
            Upload::File(upload) => upload.take(from),
            Upload::S3(upload) => upload.take(from),
        }
    }

    pub fn commit(self) -> Result<Stored> {
        match self {
            Upload::File(upload) => upload.commit().map(|()| Stored::default()),
            Upload::S3(upload) => upload.commit(),
        }
    }

    /// Nothing of it stays.
    pub fn abandon(self) {
        match self {
            Upload::File(upload) => upload.abandon(),
            Upload::S3(upload) => upload.abandon(),
        }
    }
}

/// An object being read. A truncated one is an error, never an end.
pub enum Download {
    File(BufReader<file::Reader>),
    S3(Box<s3::Download>),
}

impl Download {
    /// How many there are to come.
    fn length(&self) -> u64 {
        match self {
            Download::File(file) => file.get_ref().left(),
            Download::S3(download) => download.length(),
        }
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buf)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Download {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Download::File(file) => file.fill_buf(),
            Download::S3(download) => download.fill_buf(),
        }
    }

    fn consume(&mut self, length: usize) {
        match self {
            Download::File(file) => file.consume(length),
            Download::S3(download) => download.consume(length),
        }
    }
}
