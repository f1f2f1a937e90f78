//! The objects of one bucket: those that somebody stored, with their bytes, and those of which only the size is known.

use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use time::OffsetDateTime;

pub struct Object {
    pub bytes: u64,
    /// None: it is all zeros.
    pub content: Option<Arc<[u8]>>,
    pub etag: String,
    pub modified: OffsetDateTime,
    /// What it was stored with, and is described with again.
    pub headers: Vec<(String, String)>,
}

impl Object {
    pub fn new(content: &[u8], modified: OffsetDateTime) -> Self {
        let (bytes, etag) = (content.len() as u64, digest(content));
        Object { bytes, content: Some(content.into()), etag, modified, headers: Vec::new() }
    }
}

/// An upload in parts.
pub struct Upload {
    pub key: String,
    pub begun: OffsetDateTime,
    pub headers: Vec<(String, String)>,
    pub parts: BTreeMap<u32, Vec<u8>>,
}

#[derive(Default)]
pub struct Objects {
    pub by_key: BTreeMap<String, Object>,
    pub uploads: BTreeMap<String, Upload>,
}

impl Objects {
    pub fn add(&mut self, key: String, content: &[u8], modified: OffsetDateTime) {
        self.by_key.insert(key, Object::new(content, modified));
    }

    /// An object of that many zeros.
    pub fn add_synthetic(&mut self, key: String, bytes: u64, modified: OffsetDateTime) {
        let etag = digest(format!("{key} {bytes}").as_bytes());
        let object = Object { bytes, content: None, etag, modified, headers: Vec::new() };
        self.by_key.insert(key, object);
    }

    /// A page of a listing, as S3 makes it.
    pub fn page<'a>(&'a self, wanted: &Wanted<'_>) -> Page<'a> {
        let mut page = Page { entries: Vec::new(), next: None };
        // The key of the last entry, or of the last that may be below it.
        let mut last = wanted.after.clone();
        'from: loop {
            let from = last.as_deref().filter(|last| *last >= wanted.prefix);
            let from = from.map_or(Bound::Included(wanted.prefix), Bound::Excluded);
            for (key, object) in self.by_key.range::<str, _>((from, Bound::Unbounded)) {
                let Some(below) = key.strip_prefix(wanted.prefix) else { return page };
                if page.entries.len() == wanted.most {
                    page.next = last;
                    return page;
                }
                match wanted.delimiter.and_then(|delimiter| Some((below.find(delimiter)?, delimiter))) {
                    Some((at, delimiter)) => {
                        let common = &key[..wanted.prefix.len() + at + delimiter.len()];
                        page.entries.push(Entry::Below(common));
                        last = Some(format!("{common}{}", char::MAX));
                        continue 'from;
                    }
                    None => {
                        page.entries.push(Entry::Object(key, object));
                        last = Some(key.clone());
                    }
                }
            }
            return page;
        }
    }
}

/// What a listing is to hold.
pub struct Wanted<'a> {
    pub prefix: &'a str,
    pub delimiter: Option<&'a str>,
    /// Only what comes after this.
    pub after: Option<String>,
    pub most: usize,
}

pub enum Entry<'a> {
    Object(&'a str, &'a Object),
    /// Keys that begin with this, up to the delimiter.
    Below(&'a str),
}

pub struct Page<'a> {
    pub entries: Vec<Entry<'a>>,
    /// After which the next page begins; none after the last one.
    pub next: Option<String>,
}

/// In hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
