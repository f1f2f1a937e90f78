//! The tablespaces of a data directory: what lies in `pg_tblspc`, with the names that only a running
//! server can tell.

use crate::catalog::{StreamTablespace, Tablespace};
use crate::error::{IoContext, Result};
use crate::pg::relation::is_oid;
use crate::snap::session::Session;
use std::collections::BTreeMap;
use std::path::Path;

/// In the order of their OIDs.
pub fn find(root: &Path, session: Option<&mut Session>) -> Result<Vec<StreamTablespace>> {
    let names: BTreeMap<u32, String> = match session {
        Some(session) => session.tablespaces()?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    let directory = root.join("pg_tblspc");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&directory).during_path("read", &directory)? {
        let entry = entry.during_path("read", &directory)?;
        let text = entry.file_name().to_string_lossy().into_owned();
        let Some(oid) = text.parse().ok().filter(|_| is_oid(&text)) else { continue };
        let kind = entry.file_type().during_path("stat", &entry.path())?;
        let location = match kind.is_symlink() {
            true => Some(std::fs::read_link(entry.path()).during_path("read", &entry.path())?),
            false => None,
        };
        found.push(StreamTablespace {
            oid,
            name: names.get(&oid).cloned().unwrap_or(text),
            location: location.map(|path| path.to_string_lossy().into_owned()),
        });
    }
    found.sort_unstable_by_key(|space| space.oid);
    Ok(found)
}

/// With the bytes that were copied of each. One that was created while the backup ran has its OID for
/// a name.
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
