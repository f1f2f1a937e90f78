//! What every kind of store is asked for and answers: objects, how they are stored, and what is left of uploads.

use crate::report::Drawn;
use crate::store::url::Url;
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;

/// One piece of a copy; large enough that system calls cost nothing.
pub(super) const COPY_BYTES: usize = 1 << 20;

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

/// What of a directory is listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span<'a> {
    /// All objects below it, rather than what lies in it.
    pub recursive: bool,
    /// Only what comes behind this name in the order of names.
    pub after: &'a str,
    /// Entries of one page, of which a listing ends only when they have come: 1 to 1000, where there are pages.
    pub page: Option<u16>,
}

/// Bytes `from` to before `end`, or to the object's end.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub from: u64,
    pub end: Option<u64>,
}

/// How an object is stored. Everything from `remember` on is of no meaning for `file://`.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// Bytes a second.
    pub rate: Option<u64>,
    pub progress: Drawn,
    /// Whether [`Put`] shall tell the SHA-256.
    pub digest: bool,
    pub replace: bool,
    /// A directory that must be there; of no meaning for `s3://`.
    pub inside: Option<Url>,
    /// Where it is remembered whether the service refuses to replace: then nobody looks, if one request is enough.
    pub remember: Option<PathBuf>,
    pub expected_size: Option<u64>,
    pub part_size: Option<u64>,
    pub max_parts: Option<u32>,
    /// Parts on their way at once.
    pub jobs: usize,
    pub kept: Keeping,
}

/// How a service keeps an object.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    pub storage_class: Option<String>,
    /// `AES256`, `aws:kms` or `aws:kms=KEY`.
    pub sse: Option<String>,
    pub object_lock: Option<Lock>,
}

/// That this version of the object cannot be removed for so long from now on, in a bucket with object lock.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    pub mode: LockMode,
    pub duration: Duration,
}

#[derive(Clone, Copy, Debug)]
pub enum LockMode {
    /// By nobody without the right to bypass it.
    Governance,
    /// By nobody.
    Compliance,
}

impl Default for PutOptions {
    fn default() -> Self {
        PutOptions {
            rate: None,
            progress: Drawn::Nowhere,
            digest: false,
            replace: false,
            inside: None,
            remember: None,
            expected_size: None,
            part_size: None,
            max_parts: None,
            jobs: 2,
            kept: Keeping::default(),
        }
    }
}

/// What the store says of an object that it took.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub crc64nvme: Option<String>,
    pub etag: Option<String>,
}

/// Part of an object that never became one.
pub struct Leftover {
    /// Of the object that it was to become, or of the temporary file, or of an empty directory.
    pub url: Url,
    /// Of an upload in parts: how the service names it.
    pub(super) upload: Option<String>,
}
