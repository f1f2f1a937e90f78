//! Where objects are kept. The verbs mean the same on every kind of store: an object appears under its
//! name only when it is complete and durable, and nothing is replaced unless that is asked for.

mod file;
mod url;

pub use file::FileStore;
pub use url::{Scheme, Url};

use time::OffsetDateTime;

/// One line of a listing.
#[derive(Clone, Debug)]
pub struct Entry {
    /// A directory's URL ends with a slash.
    pub url: Url,
    pub bytes: u64,
    pub modified: Option<OffsetDateTime>,
}

impl Entry {
    pub fn is_directory(&self) -> bool {
        self.url.is_directory()
    }
}
