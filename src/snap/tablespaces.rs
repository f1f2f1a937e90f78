//! The tablespaces of a data directory: what lies in `pg_tblspc`, with the names that only a running
//! server can tell.

use crate::catalog::configuration::readable;
use crate::catalog::{StreamTablespace, Tablespace};
use crate::error::{IoContext, Result};
use crate::pg::relation::is_oid;
use crate::snap::session::Session;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What lay in `pg_tblspc` at one moment.
pub struct Tablespaces {
    /// In the order of their OIDs.
    pub spaces: Vec<StreamTablespace>,
    /// When the newest of the links was made; seconds.
    pub newest: Option<i64>,
    pub changed: ChangeTime,
}

/// When a link last came or went; seconds and nanoseconds.
pub type ChangeTime = (i64, i64);

pub fn changed(root: &Path) -> Result<ChangeTime> {
    let directory = root.join("pg_tblspc");
    let metadata = std::fs::metadata(&directory).during_path("stat", &directory)?;
    Ok((metadata.mtime(), metadata.mtime_nsec()))
}

pub fn find(root: &Path, session: Option<&mut Session>) -> Result<Tablespaces> {
    let changed = changed(root)?;
    let names: BTreeMap<u32, OsString> = match session {
        Some(session) => session.tablespaces()?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    let directory = root.join("pg_tblspc");
    let mut spaces = Vec::new();
    let mut newest = None;
    for entry in std::fs::read_dir(&directory).during_path("read", &directory)? {
        let entry = entry.during_path("read", &directory)?;
        let text = entry.file_name().to_string_lossy().into_owned();
        let Some(oid) = text.parse().ok().filter(|_| is_oid(&text)) else { continue };
        // Of the link itself.
        let metadata = entry.metadata().during_path("stat", &entry.path())?;
        let location = match metadata.is_symlink() {
            true => Some(std::fs::read_link(entry.path()).during_path("read", &entry.path())?),
            false => None,
        };
        if location.is_some() {
            newest = newest.max(Some(metadata.mtime()));
        }
        spaces.push(StreamTablespace {
            oid,
            name: names.get(&oid).map_or(text, |name| readable(name)),
            location: location.map(|path| readable(path.as_os_str())),
        });
    }
    spaces.sort_unstable_by_key(|space| space.oid);
    Ok(Tablespaces { spaces, newest, changed })
}

/// With the bytes that were copied of each.
pub fn with_bytes(known: &[StreamTablespace], bytes: BTreeMap<u32, u64>) -> Vec<Tablespace> {
    let name_of = |oid: u32| {
        known
            .iter()
            .find(|space| space.oid == oid)
            .map_or_else(|| oid.to_string(), |space| space.name.clone())
    };
    bytes.into_iter().map(|(oid, bytes)| Tablespace { oid, name: name_of(oid), bytes }).collect()
}

/// The OID of the tablespace that a path of the stream belongs to.
pub fn oid_of(path: &[u8]) -> Option<u32> {
    let rest = std::str::from_utf8(path).ok()?.strip_prefix("pg_tblspc/")?;
    rest.split('/').next()?.parse().ok()
}
