//! Reads a small object of a backup set, and says what that proves. Whatever pgv-info decides by a record or a verdict
//! goes through here, so that "cannot be read" is never taken for "absent" or "damaged".

use crate::error::{Error, Kind, Result};
use crate::info::facts::one_line;
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

/// `listed`: its length in bytes by the listing.
pub fn look<T>(store: &Store, url: &Url, listed: u64, parse: impl FnOnce(&[u8]) -> Result<T>) -> Look<T> {
    if listed > LIMIT {
        return Look::Wrong(format!("it has {listed} bytes, more than {LIMIT}"));
    }
    match store.read(url, LIMIT) {
        Ok(bytes) if bytes.len() as u64 != listed => Look::Changed,
        Ok(bytes) => match parse(&bytes) {
            Ok(value) => Look::Good(value),
            Err(error) => Look::Wrong(one_line(error.message())),
        },
        Err(error) => match error.kind {
            Kind::NotFound => Look::Changed,
            Kind::Damaged => Look::Wrong(one_line(error.message())),
            _ => Look::Unreadable(error),
        },
    }
}
