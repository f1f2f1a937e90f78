//! A directory as a store. Objects are written under a temporary name, synced, renamed without
//! replacing, and their directory is synced; a crash leaves the old state or the new one.

use crate::error::{Error, IoContext, Kind, Result};
use crate::io::{AtomicFile, TEMPORARY_PREFIX, sync_directory};
use crate::store::{Entry, Url};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// No state: every call names its object by URL.
pub struct FileStore;

impl FileStore {
    /// Begins an object; [`AtomicFile::commit`] gives it its name. Without `replace` an existing object is refused
    /// here already, before anything is read.
    pub fn create(&self, url: &Url, replace: bool) -> Result<AtomicFile> {
        let path = object_path(url)?;
        if !replace && path.symlink_metadata().is_ok() {
            return Err(Error::new(Kind::Exists, format!("put {url}: it exists, nothing was overwritten"))
                .hint("--replace replaces it"));
        }
        if let Some(parent) = path.parent() {
            create_directories(parent)?;
        }
        AtomicFile::create(&path, 0o600)
    }

    pub fn open(&self, url: &Url) -> Result<File> {
        let path = object_path(url)?;
        let file = File::open(&path).map_err(|error| missing_or_failed("get", url, error))?;
        match file.metadata().during(format_args!("get {url}"))?.is_file() {
            true => Ok(file),
            false => Err(Error::not_found(format!("get {url}: it is not an object"))),
        }
    }

    pub fn stat(&self, url: &Url) -> Result<Entry> {
        let path = object_path(url)?;
        let metadata = fs::metadata(&path).map_err(|error| missing_or_failed("stat", url, error))?;
        match metadata.is_file() {
            true => Ok(entry(url.clone(), &metadata)),
            false => Err(Error::not_found(format!("stat {url}: it is not an object"))),
        }
    }

    /// Calls `each` for what lies in `directory`, in the order of names; `recursive` for all objects
    /// below it. A directory that is not there lists nothing, as a prefix without keys does. Memory: the
    /// names of one directory for each level of the tree.
    pub fn list(
        &self,
        directory: &Url,
        recursive: bool,
        each: &mut dyn FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        let path = directory.path();
        let reading = match fs::read_dir(&path) {
            Ok(reading) => reading,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io(format_args!("ls {directory}"), error)),
        };
        let mut names = Vec::new();
        for item in reading {
            let item = item.during(format_args!("ls {directory}"))?;
            let name = item.file_name().into_string().map_err(|name| {
                Error::failed(format!("ls {directory}: {} is not UTF-8, no object of pgv is", name.display()))
            })?;
            // A directory compares as its name with a slash, so that the order is that of whole keys.
            let kind = item.file_type().during(format_args!("ls {directory}"))?;
            if !name.starts_with(TEMPORARY_PREFIX) {
                names.push(if kind.is_dir() { format!("{name}/") } else { name });
            }
        }
        names.sort_unstable();
        for name in names {
            let url = directory.join(&name);
            if recursive && url.is_directory() {
                self.list(&url, true, each)?;
                continue;
            }
            match fs::metadata(url.path()) {
                Ok(metadata) => each(entry(url, &metadata))?,
                // Removed since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(format_args!("ls {url}"), error)),
            }
        }
        Ok(())
    }

    /// Removes one object, durably, and the directories above it that it leaves empty, as in S3 a
    /// prefix without keys is not there.
    pub fn remove(&self, url: &Url) -> Result<()> {
        let path = object_path(url)?;
        fs::remove_file(&path).map_err(|error| missing_or_failed("rm", url, error))?;
        let mut directory = path.parent();
        while let Some(parent) = directory {
            if fs::remove_dir(parent).is_err() {
                return sync_directory(parent);
            }
            directory = parent.parent();
        }
        Ok(())
    }
}

fn object_path(url: &Url) -> Result<PathBuf> {
    match url.is_directory() {
        true => Err(Error::usage(format!("{url} names a directory, not an object"))),
        false => Ok(url.path()),
    }
}

fn missing_or_failed(verb: &str, url: &Url, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(format!("{verb} {url}: no such object")),
        _ => Error::io(format_args!("{verb} {url}"), error),
    }
}

fn entry(url: Url, metadata: &fs::Metadata) -> Entry {
    let bytes = if url.is_directory() { 0 } else { metadata.len() };
    Entry { url, bytes, modified: metadata.modified().ok().map(OffsetDateTime::from) }
}

/// Creates what is missing of `path`, each level made durable by a sync of the one above it.
fn create_directories(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let Some(parent) = path.parent() else { return Ok(()) };
    create_directories(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_directory(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).during_path("create", path),
    }
}
