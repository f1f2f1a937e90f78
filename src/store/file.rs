//! A directory as a store. Objects are written under a temporary name, synced, renamed without
//! replacing, and their directory is synced; a crash leaves the old state or the new one.

use crate::error::{Error, IoContext, Kind, Result};
use crate::io::{AtomicFile, TEMPORARY_PREFIX, sync_directory};
use crate::store::denied::{explain_unread, explain_unwritten};
use crate::store::object::{COPY_BYTES, Entry, PutOptions, Range, Span};
use crate::store::url::Url;
use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// Directories that pgv makes are its owner's alone; a directory with another mode is not pgv's.
const DIRECTORY_MODE: u32 = 0o700;
/// Directories removed above an object, at most: its set, its kind and its system in the layout of a
/// repository, never the repository.
const EMPTY_LEVELS: usize = 3;

/// The root directory of a file system has it, and nobody but root may look into it (mklost+found(8)). No key of pgv's has
/// that name.
const LOST_AND_FOUND: &str = "lost+found";
/// How often a directory is made again that goes before anything is in it.
const CREATIONS: u32 = 4;
/// How often a directory is read that changes meanwhile.
const READINGS: u32 = 8;
/// Clocks of file systems tick that often at least (CONFIG_HZ=100).
const TICK: Duration = Duration::from_millis(10);

/// No state: every call names its object by URL.
#[derive(Clone)]
pub struct FileStore;

impl FileStore {
    /// Begins an object; [`AtomicFile::commit`] gives it its name. Without `replace` an existing object is refused
    /// here already, before anything is read.
    pub fn create(&self, url: &Url, options: &PutOptions) -> Result<AtomicFile> {
        let path = object_path(url)?;
        if let Some(inside) = &options.inside {
            let looked = look(format_args!("put {url}: find {inside}"), fs::metadata(inside.path()))?;
            if !looked.is_some_and(|inside| inside.is_dir()) {
                return Err(Error::failed(format!("put {url}: the directory {inside} does not exist"))
                    .hint("check that its disk is mounted"));
            }
        }
        if !options.replace && look(format_args!("put {url}"), path.symlink_metadata())?.is_some() {
            return Err(Error::new(Kind::Exists, format!("put {url}: it exists, nothing was overwritten"))
                .hint("--replace overwrites it"));
        }
        // A directory that another process has just emptied goes, perhaps between the two.
        let mut attempts = 1;
        loop {
            let created = create_directories_above(&path).and_then(|()| AtomicFile::create(&path, 0o600));
            let is_gone = created.is_err() && path.parent().is_some_and(|parent| !parent.exists());
            if !is_gone || attempts == CREATIONS {
                return created.map_err(|error| explain_unwritten(error, &path));
            }
            attempts += 1;
        }
    }

    pub fn get(&self, url: &Url, range: Option<Range>) -> Result<Reader> {
        let path = object_path(url)?;
        let file = open_at_once(&path);
        let mut file = file.map_err(|error| missing_or_failed("get", url, error))?;
        let metadata = file.metadata().during(format_args!("get {url}"))?;
        if !metadata.is_file() {
            return Err(Error::not_found(format!("get {url}: not a regular file")));
        }
        let (from, end) = range.map_or((0, None), |range| (range.from, range.end));
        if from > 0 && from >= metadata.len() {
            return Err(Error::failed(format!("get {url}: the object ends before byte {from}")));
        }
        file.seek(SeekFrom::Start(from)).during(format_args!("get {url}"))?;
        let end = end.map_or(metadata.len(), |end| end.min(metadata.len()));
        Ok(Reader { file, left: end.saturating_sub(from), more: VecDeque::new(), url: url.clone() })
    }

    /// Parts of a file, ascending; it must not end before one of them does.
    pub fn get_parts(&self, url: &Url, parts: VecDeque<std::ops::Range<u64>>) -> Result<Reader> {
        let whole = self.get(url, None)?;
        let last = parts.back().map_or(0, |part| part.end);
        match whole.left < last {
            true => Err(Error::damaged(format!(
                "get {url}: the object ends at byte {}, before byte {last}",
                whole.left
            ))),
            false => Ok(Reader { left: 0, more: parts, ..whole }),
        }
    }

    pub fn stat(&self, url: &Url) -> Result<Entry> {
        let path = object_path(url)?;
        let metadata = fs::metadata(&path).map_err(|error| missing_or_failed("stat", url, error))?;
        match metadata.is_file() {
            true => Ok(entry(url.clone(), &metadata)),
            false => Err(Error::not_found(format!("stat {url}: not a regular file"))),
        }
    }

    /// A directory that is not there when this begins lists nothing; one that goes meanwhile, or whose disk does, is an
    /// error. Memory: the names of one directory for each level of the tree.
    pub fn scan(
        &self,
        directory: &Url,
        span: &Span<'_>,
        each: &mut dyn FnMut(Entry) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let Some(top) = Identity::of(directory)? else { return Ok(ControlFlow::Continue(())) };
        let (recursive, after) = (span.recursive, directory.join(span.after));
        Walk { top: directory, identity: top, recursive, after }.list(directory, each)
    }

    /// What was not written to for longer than `older` below `directory`: temporary files, and directories of pgv's
    /// that are empty, whose URL ends with a slash.
    pub fn leftovers(
        &self,
        directory: &Url,
        older: Duration,
        each: &mut dyn FnMut(Url) -> Result<()>,
    ) -> Result<()> {
        let limit = OffsetDateTime::from(SystemTime::now()) - older;
        let is_old = |metadata: &fs::Metadata| {
            let modified = metadata.modified().ok().map(OffsetDateTime::from);
            older.is_zero() || modified.is_some_and(|modified| modified <= limit)
        };
        for name in names(directory)?.unwrap_or_default() {
            let url = directory.join(&name);
            if !url.is_directory() && !name.starts_with(TEMPORARY_PREFIX) {
                continue;
            }
            let Some(metadata) = found(&url, fs::symlink_metadata(url.path()))? else { continue };
            match url.is_directory() {
                true if is_old(&metadata) && is_of_pgv(&url.path()) && is_empty(&url)? => each(url)?,
                true => self.leftovers(&url, older, each)?,
                false if is_old(&metadata) => each(url)?,
                false => {}
            }
        }
        Ok(())
    }

    /// One that something else removed, or a directory that something has come into, is none.
    pub fn remove_leftover(&self, leftover: &Url) -> Result<()> {
        match leftover.is_directory() {
            true => remove_emptied(Some(&leftover.path())),
            false => match self.remove(leftover) {
                Err(error) if error.kind == Kind::NotFound => Ok(()),
                removed => removed,
            },
        }
    }

    /// Removes one object, durably, and the directories above it that it leaves empty, as in S3 a
    /// prefix without keys is not there: three levels at most, and only such as pgv makes.
    pub fn remove(&self, url: &Url) -> Result<()> {
        let path = object_path(url)?;
        fs::remove_file(&path).map_err(|error| missing_or_failed("rm", url, error))?;
        remove_emptied(path.parent())
    }
}

/// Removes `directory` and those above it as long as they are empty and pgv's, at most [`EMPTY_LEVELS`], durably.
fn remove_emptied(directory: Option<&Path>) -> Result<()> {
    let mut emptied = directory;
    for _ in 0..EMPTY_LEVELS {
        let Some(directory) = emptied.filter(|directory| is_of_pgv(directory)) else { break };
        if fs::remove_dir(directory).is_err() {
            break;
        }
        emptied = directory.parent();
    }
    emptied.map_or(Ok(()), sync_directory)
}

/// What tells a directory from another that has its name later, such as that below a disk that is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// None: it is not there.
    fn of(directory: &Url) -> Result<Option<Self>> {
        let metadata = found(directory, fs::metadata(directory.path()))?;
        Ok(metadata.map(|metadata| Identity { device: metadata.dev(), inode: metadata.ino() }))
    }
}

/// A listing under way.
struct Walk<'a> {
    top: &'a Url,
    identity: Identity,
    recursive: bool,
    after: Url,
}

impl Walk<'_> {
    fn list(
        &self,
        directory: &Url,
        each: &mut dyn FnMut(Entry) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let Some(names) = names(directory)? else { return self.removed() };
        for name in names.into_iter().filter(|name| !name.starts_with(TEMPORARY_PREFIX)) {
            let url = directory.join(&name);
            if !(self.recursive && url.is_directory()) && url <= self.after {
                continue;
            }
            let flow = match self.recursive && url.is_directory() {
                true => self.list(&url, each)?,
                false => match found(&url, fs::metadata(url.path()))? {
                    Some(metadata) => each(entry(url, &metadata))?,
                    None => self.removed()?,
                },
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Something that was there is not: it was removed since, if all that was to be listed is still there itself.
    fn removed(&self) -> Result<ControlFlow<()>> {
        match Identity::of(self.top)? == Some(self.identity) {
            true => Ok(ControlFlow::Continue(())),
            false => Err(Error::new(
                Kind::Temporary,
                format!("ls {}: the directory was removed or replaced while it was listed", self.top),
            )),
        }
    }
}

/// The names in a directory, in the order of whole keys: a directory's ends with a slash. None: it is not there.
///
/// Reading a directory is no snapshot: a file that is renamed meanwhile, as every object is when it is complete, may be
/// seen under neither name. So one that changed meanwhile is read again.
fn names(directory: &Url) -> Result<Option<Vec<String>>> {
    let changed = || {
        let metadata = found(directory, fs::metadata(directory.path()))?;
        Ok(metadata.map(|metadata| (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec())))
    };
    let mut seen = BTreeSet::new();
    for _ in 0..READINGS {
        let before = changed()?;
        // A change in the same tick of the file system's clock would not show.
        std::thread::sleep(left_of_tick(before.map(|(_, _, seconds, nanoseconds)| (seconds, nanoseconds))));
        let Some(names) = read_names(directory)? else { return Ok(None) };
        match changed()? {
            Some(after) if Some(after) == before => return Ok(Some(names.into_iter().collect())),
            Some((device, inode, ..))
                if before.is_none_or(|before| (before.0, before.1) == (device, inode)) =>
            {
                seen.extend(names);
            }
            _ => {
                return Err(Error::new(
                    Kind::Temporary,
                    format!("ls {directory}: it was removed or replaced while it was listed"),
                ));
            }
        }
    }
    // Always busy. What was there at some moment is looked at once more by all who use a name.
    Ok(Some(seen.into_iter().collect()))
}

fn read_names(directory: &Url) -> Result<Option<BTreeSet<String>>> {
    let Some(reading) = found(directory, fs::read_dir(directory.path()))? else { return Ok(None) };
    let mut names = BTreeSet::new();
    for item in reading {
        let item = item.during(format_args!("ls {directory}"))?;
        let name = item.file_name().into_string().map_err(|name| {
            Error::failed(format!(
                "ls {directory}: {}: the name is not UTF-8, and so not of pgv",
                name.display()
            ))
        })?;
        let Some(kind) = found(directory, item.file_type())? else { continue };
        if name == LOST_AND_FOUND && kind.is_dir() {
            continue;
        }
        let is_directory = match kind.is_symlink() {
            // To nowhere: perhaps to a disk that is not mounted, with all that is missing here.
            true => fs::metadata(item.path()).during(format_args!("ls {directory}: follow {name}"))?.is_dir(),
            false => kind.is_dir(),
        };
        // A directory compares as its name with a slash, so that the order is that of whole keys.
        names.insert(if is_directory { format!("{name}/") } else { name });
    }
    Ok(Some(names))
}

/// A pipe that somebody made there is no object, and nobody may ever write to it: that is not waited for.
fn open_at_once(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    File::options().read(true).custom_flags(flags.cast_signed()).open(path)
}

/// None: it is not there, which is all that may be taken for that.
fn look<T>(what: impl std::fmt::Display, looked: io::Result<T>) -> Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(what, error)),
    }
}

fn found<T>(url: &Url, looked: io::Result<T>) -> Result<Option<T>> {
    look(format_args!("ls {url}"), looked).map_err(|error| explain_unread(error, &url.path()))
}

fn is_empty(directory: &Url) -> Result<bool> {
    Ok(names(directory)?.is_some_and(|names| names.is_empty()))
}

/// How long it takes until a change of a directory that changed then has another time.
fn left_of_tick(changed: Option<(i64, i64)>) -> Duration {
    let Some((seconds, nanoseconds)) = changed else { return Duration::ZERO };
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
        return Duration::ZERO;
    };
    let over = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds) + TICK;
    // A time in the future is another clock's.
    over.duration_since(SystemTime::now()).unwrap_or_default().min(TICK)
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
        drop(self.file);
    }
}

/// The bytes of an object that were there when it was opened: fewer are an error.
pub struct Reader {
    file: File,
    left: u64,
    /// Parts behind that.
    more: VecDeque<std::ops::Range<u64>>,
    url: Url,
}

impl Reader {
    /// How many are still to come of the present part.
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0
            && let Some(part) = self.more.pop_front()
        {
            self.file.seek(SeekFrom::Start(part.start))?;
            self.left = part.end - part.start;
        }
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let length = self.file.read(&mut buf[..wanted])?;
        if length == 0 && wanted > 0 {
            let left = self.left;
            return Err(Error::damaged(format!("get {}: the file ends {left} bytes early", self.url)).into());
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

fn create_directories_above(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), create_directories)
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
        _ => explain_unread(Error::io(format_args!("{verb} {url}"), error), &url.path()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with three objects, and its URL.
    fn three(scratch: &tempfile::TempDir) -> (PathBuf, Url) {
        let path = scratch.path().join("top");
        for file in ["a/x", "b/x", "c"] {
            let file = path.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        let url = Url::parse(&format!("file://{}/", path.display())).unwrap();
        (path, url)
    }

    #[test]
    fn a_pipe_is_no_object_and_is_not_waited_for() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("pipe");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let url = Url::parse(&format!("file://{}", path.display())).unwrap();
        let (sent, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            sent.send(FileStore.get(&url, None).map(|_| ()).map_err(|error| error.kind))
        });
        let answer = answer.recv_timeout(Duration::from_secs(60));
        assert_eq!(answer, Ok(Err(Kind::NotFound)));
    }

    /// Lists `url`, with `strike` after the first entry; how many came, and how it ended.
    fn struck(url: &Url, strike: impl Fn()) -> (usize, std::result::Result<(), Kind>) {
        let mut came = 0;
        let span = Span { recursive: true, ..Span::default() };
        let ended = FileStore.scan(url, &span, &mut |_| {
            came += 1;
            if came == 1 {
                strike();
            }
            Ok(ControlFlow::Continue(()))
        });
        (came, ended.map(drop).map_err(|error| error.kind))
    }

    #[test]
    fn a_directory_that_goes_while_it_is_listed_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, url) = three(&scratch);
        let aside = scratch.path().join("aside");
        assert_eq!(struck(&url, || fs::rename(&path, &aside).unwrap()), (1, Err(Kind::Temporary)));
        // As below a disk that is gone: another one, and empty.
        fs::rename(&aside, &path).unwrap();
        let unmount = || {
            fs::rename(&path, &aside).unwrap();
            fs::create_dir(&path).unwrap();
        };
        assert_eq!(struck(&url, unmount), (1, Err(Kind::Temporary)));
    }

    #[test]
    fn what_is_removed_while_it_is_listed_is_no_error() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, url) = three(&scratch);
        assert_eq!(struck(&url, || fs::remove_dir_all(path.join("b")).unwrap()), (2, Ok(())));
    }
}
