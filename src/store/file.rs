//! A directory as a store. Objects are written under a temporary name, synced, renamed without
//! replacing, and their directory is synced; a crash leaves the old state or the new one.

use crate::error::{Error, IoContext, Kind, Result};
use crate::io::{AtomicFile, TEMPORARY_PREFIX, sync_directory};
use crate::store::{COPY_BYTES, Entry, PutOptions, Range, Url};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// Directories that pgv makes are its owner's alone; a directory with another mode is not pgv's.
const DIRECTORY_MODE: u32 = 0o700;
/// Directories removed above an object, at most: its set, its kind and its system in the layout of a
/// repository, never the repository.
const EMPTY_LEVELS: usize = 3;

/// No state: every call names its object by URL.
#[derive(Clone)]
pub struct FileStore;

impl FileStore {
    /// Begins an object; [`AtomicFile::commit`] gives it its name. Without `replace` an existing object is refused
    /// here already, before anything is read.
    pub fn create(&self, url: &Url, options: &PutOptions) -> Result<AtomicFile> {
        let path = object_path(url)?;
        if let Some(gone) = options.inside.as_ref().filter(|inside| !inside.path().is_dir()) {
            return Err(Error::failed(format!("put {url}: the directory {gone} is not there"))
                .hint("is its disk mounted?"));
        }
        if !options.replace && path.symlink_metadata().is_ok() {
            return Err(Error::new(Kind::Exists, format!("put {url}: it exists, nothing was overwritten"))
                .hint("--replace replaces it"));
        }
        if let Some(parent) = path.parent() {
            create_directories(parent)?;
        }
        AtomicFile::create(&path, 0o600)
    }

    pub fn get(&self, url: &Url, range: Option<Range>) -> Result<Reader> {
        let path = object_path(url)?;
        let mut file = File::open(&path).map_err(|error| missing_or_failed("get", url, error))?;
        let metadata = file.metadata().during(format_args!("get {url}"))?;
        if !metadata.is_file() {
            return Err(Error::not_found(format!("get {url}: it is not an object")));
        }
        let (from, end) = range.map_or((0, None), |range| (range.from, range.end));
        if from > 0 && from >= metadata.len() {
            return Err(Error::failed(format!("get {url}: it has no byte {from}")));
        }
        file.seek(SeekFrom::Start(from)).during(format_args!("get {url}"))?;
        let end = end.map_or(metadata.len(), |end| end.min(metadata.len()));
        Ok(Reader { file, left: end.saturating_sub(from), url: url.clone() })
    }

    pub fn stat(&self, url: &Url) -> Result<Entry> {
        let path = object_path(url)?;
        let metadata = fs::metadata(&path).map_err(|error| missing_or_failed("stat", url, error))?;
        match metadata.is_file() {
            true => Ok(entry(url.clone(), &metadata)),
            false => Err(Error::not_found(format!("stat {url}: it is not an object"))),
        }
    }

    /// Memory: the names of one directory for each level of the tree.
    pub fn list(
        &self,
        directory: &Url,
        recursive: bool,
        after: &str,
        each: &mut dyn FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        self.walk(directory, recursive, false, &directory.join(after), each)
    }

    /// Temporary files below `directory` that were last written to longer than `older` ago.
    pub fn leftovers(
        &self,
        directory: &Url,
        older: Duration,
        each: &mut dyn FnMut(Url) -> Result<()>,
    ) -> Result<()> {
        let limit = OffsetDateTime::from(SystemTime::now()) - older;
        self.walk(directory, true, true, directory, &mut |entry| match entry.modified {
            Some(modified) if older.is_zero() || modified <= limit => each(entry.url),
            _ => Ok(()),
        })
    }

    /// Objects behind `after` in the order of names, or `temporary` files instead.
    fn walk(
        &self,
        directory: &Url,
        recursive: bool,
        temporary: bool,
        after: &Url,
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
            if kind.is_dir() {
                names.push(format!("{name}/"));
            } else if name.starts_with(TEMPORARY_PREFIX) == temporary {
                names.push(name);
            }
        }
        names.sort_unstable();
        for name in names {
            let url = directory.join(&name);
            if recursive && url.is_directory() {
                self.walk(&url, true, temporary, after, each)?;
                continue;
            }
            if url <= *after {
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
    /// prefix without keys is not there: three levels at most, and only such as pgv makes.
    pub fn remove(&self, url: &Url) -> Result<()> {
        let path = object_path(url)?;
        fs::remove_file(&path).map_err(|error| missing_or_failed("rm", url, error))?;
        let mut emptied = path.parent();
        for _ in 0..EMPTY_LEVELS {
            let Some(directory) = emptied.filter(|directory| is_of_pgv(directory)) else { break };
            if fs::remove_dir(directory).is_err() {
                break;
            }
            emptied = directory.parent();
        }
        emptied.map_or(Ok(()), sync_directory)
    }
}

/// An object being written.
pub struct Upload {
    file: AtomicFile,
    replace: bool,
    buffer: Vec<u8>,
}

impl Upload {
    pub fn new(file: AtomicFile, replace: bool) -> Self {
        Upload { file, replace, buffer: vec![0; COPY_BYTES] }
    }

    /// As [`Upload::take`](crate::store::Upload::take).
    pub fn take(&mut self, from: &mut dyn Read) -> Result<&[u8]> {
        let Upload { file, buffer, .. } = self;
        let length = loop {
            match from.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.during(format_args!("put {}: read", file.path().display()))?,
            }
        };
        let written = file.write_all(&buffer[..length]);
        written.during(format_args!("put {}: write", file.path().display()))?;
        Ok(&buffer[..length])
    }

    pub fn commit(self) -> Result<()> {
        self.file.commit(self.replace)
    }

    pub fn abandon(self) {
        self.file.abandon();
    }
}

/// The bytes of an object that were there when it was opened: fewer are an error.
pub struct Reader {
    file: File,
    left: u64,
    url: Url,
}

impl Reader {
    /// How many are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let length = self.file.read(&mut buf[..wanted])?;
        if length == 0 && wanted > 0 {
            let left = self.left;
            return Err(Error::damaged(format!("get {}: it ends {left} bytes early", self.url)).into());
        }
        self.left -= length as u64;
        Ok(length)
    }
}

fn is_of_pgv(directory: &Path) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(directory)
        .is_ok_and(|found| found.is_dir() && found.uid() == ours && found.mode() & 0o7777 == DIRECTORY_MODE)
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
    Entry { url, bytes, modified: metadata.modified().ok().map(OffsetDateTime::from), etag: None }
}

/// Creates what is missing of `path`, each level made durable by a sync of the one above it.
fn create_directories(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let Some(parent) = path.parent() else { return Ok(()) };
    create_directories(parent)?;
    match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => sync_directory(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).during_path("create", path),
    }
}
