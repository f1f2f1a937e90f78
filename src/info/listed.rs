//! The objects of a backup set as a listing shows them.

use crate::store::Entry;
use std::collections::BTreeMap;

/// An object as a listing shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub bytes: u64,
    pub etag: Option<String>,
}

/// The objects of a set, by name.
pub type Objects = BTreeMap<String, Listed>;

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Self {
        Listed { bytes: entry.bytes, etag: entry.etag }
    }
}

/// Bytes of all of them.
pub fn total(objects: &Objects) -> u64 {
    objects.values().map(|object| object.bytes).sum()
}
