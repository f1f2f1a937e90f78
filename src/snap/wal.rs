//! The WAL that a backup needs to become consistent, and the histories of its timelines.

use crate::catalog::StreamIdentity;
use crate::error::{IoContext, Result};
use crate::pg::{Lsn, wal};
use crate::snap::copy::{Copier, Listing, missing};
use crate::snap::stream::{Lists, Stream};
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
pub fn copy_wal(root: &Path, copier: &mut Copier, segments: &Segments, include: bool) -> Result<()> {
    let directory = root.join("pg_wal");
    let mut names = histories(&directory)?;
    if include {
        names.extend(segments.names.iter().cloned());
    }
    list_directories(&mut copier.stream, &names)?;
    for name in &names {
        let path = directory.join(name);
        if !copier.file(&path, format!("pg_wal/{name}").as_bytes(), Listing::Unlisted)? {
            return Err(missing(&path).context(format_args!("WAL of timeline {}", segments.timeline)).hint(
                "the server removed or renamed it too early; try again, or --wal none with an archive",
            ));
        }
    }
    for name in &names {
        copier.stream.add(format!("pg_wal/archive_status/{name}.done"), b"", Lists::None)?;
    }
    Ok(())
}

/// In an increment of files the directory's names say what goes; elsewhere it came with the others.
fn list_directories(stream: &mut Stream, names: &[String]) -> Result<()> {
    if !stream.is_files() {
        return Ok(());
    }
    let attributes = stream.generated_directory();
    let done = |name: &String| (format!("{name}.done").into_bytes(), false);
    let mut all: Vec<_> = names.iter().map(|name| (name.clone().into_bytes(), false)).collect();
    all.push((b"archive_status".to_vec(), true));
    stream.tar.dump_directory(b"pg_wal", &all, attributes)?;
    let marks: Vec<_> = names.iter().map(done).collect();
    stream.tar.dump_directory(b"pg_wal/archive_status", &marks, attributes)
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
