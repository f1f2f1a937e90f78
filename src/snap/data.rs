//! Copies the data directory: every directory and file that belongs to the backup, in the order of the stream.

use crate::error::Result;
use crate::report;
use crate::snap::config::SavedConfiguration;
use crate::snap::copy::{Copier, Listing};
use crate::snap::source::Source;
use crate::snap::stream::Stream;
use crate::snap::tablespaces;
use crate::snap::tree::{Entry, LeftOut, Name, children};
use crate::tar::Attributes;
use std::collections::BTreeMap;

/// From here on servers know increments in blocks, and have a directory for their summaries of WAL.
const SEVENTEEN: u32 = 17;

#[derive(Default)]
pub struct Copied {
    /// Bytes of each tablespace, by its OID.
    pub tablespaces: BTreeMap<u32, u64>,
    /// Symbolic links that were left out.
    pub links: u64,
    /// Files that were left out because of their names.
    pub reserved: u64,
}

pub fn copy(source: &Source, copier: &mut Copier, config: &SavedConfiguration) -> Result<Copied> {
    let mut copied = Copied::default();
    let tree = &source.tree;
    tree.walk(&mut |entry| match entry {
        Entry::LeftOut { path, why: LeftOut::Link } if config.replaces_link(path) => Ok(()),
        Entry::LeftOut { path, why: LeftOut::Link } => {
            report::warn(format_args!("symbolic link left out: {}", tree.absolute(path).display()));
            copied.links += 1;
            Ok(())
        }
        Entry::LeftOut { path, why: LeftOut::Reserved } => {
            let path = tree.absolute(path);
            report::warn(format_args!(
                "file left out: {}: increments have files of such names",
                path.display()
            ));
            report::hint("rename it, or move it out of the data directory");
            copied.reserved += 1;
            Ok(())
        }
        Entry::File { path, relation } => {
            let before = copier.bytes;
            if !copier.file(&tree.absolute(path), path, Listing::Data(relation))? {
                report::verbose(format_args!("deleted during the backup: {}", tree.absolute(path).display()));
            }
            if let Some(oid) = tablespaces::oid_of(path) {
                *copied.tablespaces.entry(oid).or_insert(0) += copier.bytes - before;
            }
            Ok(())
        }
        Entry::Directory { path, children } => {
            let there = add_directory(source, &mut copier.stream, path, children)?;
            if let Some(oid) = tablespaces::oid_of(path).filter(|_| there) {
                copied.tablespaces.entry(oid).or_insert(0);
            }
            Ok(())
        }
    })?;
    Ok(copied)
}

/// False: it is gone, which is no error.
fn add_directory(source: &Source, stream: &mut Stream, path: &[u8], names: &[Name]) -> Result<bool> {
    let absolute = source.tree.absolute(path);
    let Ok(metadata) = std::fs::metadata(&absolute) else {
        report::verbose(format_args!("deleted during the backup: {}", absolute.display()));
        return Ok(false);
    };
    let attributes = Attributes::of(&metadata);
    match (stream.is_files(), path) {
        // Its names are known at the end.
        (true, b"pg_wal") => return Ok(true),
        (true, _) => {
            let mut names = children(names);
            // It comes back at the end: no server starts without it.
            names.retain(|(name, _)| path != b"global" || name != b"pg_control");
            stream.tar.dump_directory(path, &names, attributes)?;
        }
        (false, _) => stream.tar.directory(path, attributes)?,
    }
    if path == b"pg_wal" {
        stream.tar.directory(b"pg_wal/archive_status", attributes)?;
        if source.major >= SEVENTEEN {
            stream.tar.directory(b"pg_wal/summaries", attributes)?;
        }
    }
    Ok(true)
}
