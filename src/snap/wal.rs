//! The WAL that a backup needs to become consistent, and the histories of its timelines.

use crate::catalog::StreamIdentity;
use crate::error::{IoContext, Result};
use crate::pg::{Lsn, wal};
use crate::snap::archive::Attributes;
use crate::snap::copy::{Copier, Listing, Lists, missing};
use std::path::Path;

pub struct Segments {
    pub timeline: u32,
    pub names: Vec<String>,
}

impl Segments {
    /// `segment_bytes`: wal_segment_size.
    pub fn between(identity: &StreamIdentity, stop: Lsn, segment_bytes: u64) -> Self {
        let timeline = identity.timeline;
        Segments { timeline, names: wal::segment_names(timeline, identity.start_lsn, stop, segment_bytes) }
    }
}

/// The segments between start and stop, every timeline's history, and marks that keep the restored
/// server from archiving them again.
pub fn copy_wal(
    root: &Path,
    copier: &mut Copier,
    segments: &Segments,
    include: bool,
    made_up: Attributes,
) -> Result<()> {
    let directory = root.join("pg_wal");
    let mut names = histories(&directory)?;
    if include {
        names.extend(segments.names.iter().cloned());
    }
    list_directories(copier, &names, made_up)?;
    for name in &names {
        let path = directory.join(name);
        if !copier.file(&path, format!("pg_wal/{name}").as_bytes(), Listing::Unlisted)? {
            return Err(missing(&path).context(format_args!("WAL of timeline {}", segments.timeline)).hint(
                "the server removed or renamed it too early; try again, or --wal none with an archive",
            ));
        }
    }
    for name in &names {
        copier.small(format!("pg_wal/archive_status/{name}.done"), b"", Lists::None, made_up)?;
    }
    Ok(())
}

/// In an increment of files the directory's names say what goes; elsewhere it came with the others.
fn list_directories(copier: &mut Copier, names: &[String], made_up: Attributes) -> Result<()> {
    if !copier.is_files() {
        return Ok(());
    }
    let attributes = Attributes { mode: 0o700, ..made_up };
    let done = |name: &String| (format!("{name}.done").into_bytes(), false);
    let mut all: Vec<_> = names.iter().map(|name| (name.clone().into_bytes(), false)).collect();
    all.push((b"archive_status".to_vec(), true));
    copier.archive.dump_directory(b"pg_wal", &all, attributes)?;
    let marks: Vec<_> = names.iter().map(done).collect();
    copier.archive.dump_directory(b"pg_wal/archive_status", &marks, attributes)
}

fn histories(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).during_path("read", directory)? {
        let name = entry.during_path("read", directory)?.file_name().to_string_lossy().into_owned();
        if wal::is_wal_file_name(&name) && name.ends_with(".history") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
