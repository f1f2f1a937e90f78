//! Reads a small object of a backup set, and says what that proves. Whatever pgv-info decides by a record or a verdict
//! goes through here, so that "cannot be read" is never taken for "absent" or "damaged".

use crate::error::{Error, Kind, Result};
use crate::info::cache::RecordCache;
use crate::info::facts::one_line;
use crate::info::listed::Listed;
use crate::store::{Store, Url};

/// Bytes of a record or a verdict; a real one has some thousand.
pub const LIMIT: u64 = 4 << 20;

pub enum Look<T> {
    Good(T),
    /// All of its bytes were read, or it is too large to be one, and it is not what it must be: why.
    Wrong(String),
    /// It is not what the listing showed: gone, or of another length. The listing is old, or the answer is not the object.
    Changed,
    /// Nothing is known of it: denied, out of time, redirected, or the disk failed.
    Unreadable(Error),
}

/// Reads the objects of one directory.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub store: &'a Store,
    /// Of the sets.
    pub directory: &'a Url,
    /// What an earlier run read. What condemns something is read without.
    pub cache: Option<&'a RecordCache>,
}

impl Reader<'_> {
    /// `name`: below the directory.
    pub fn look<T>(&self, name: &str, listed: &Listed, parse: impl Fn(&[u8]) -> Result<T>) -> Look<T> {
        if listed.bytes > LIMIT {
            return Look::Wrong(format!("it has {} bytes, more than {LIMIT}", listed.bytes));
        }
        let known = self.cache.and_then(|cache| cache.get(name, listed));
        if let Some(value) = known.and_then(|content| parse(&content).ok()) {
            return Look::Good(value);
        }
        match self.store.read(&self.directory.join(name), LIMIT) {
            Ok(content) if content.len() as u64 != listed.bytes => Look::Changed,
            Ok(content) => match parse(&content) {
                Ok(value) => {
                    if let Some(cache) = self.cache {
                        cache.put(name, listed, content);
                    }
                    Look::Good(value)
                }
                Err(error) => Look::Wrong(one_line(error.message())),
            },
            Err(error) => match error.kind {
                Kind::NotFound => Look::Changed,
                Kind::Damaged => Look::Wrong(one_line(error.message())),
                _ => Look::Unreadable(error),
            },
        }
    }
}
