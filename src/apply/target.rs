//! The directory that a stream is laid into.
//!
//! A full's is empty at the start, and everything in it is made here, by `mkdir` and exclusive creation:
//! no name of the stream can lead out of it, and none can come twice. An increment's is what its parent
//! left. While it is unfinished it holds `pgv/applying` or `pgv/held`, and no `global/pg_control`, so no
//! server starts in it, and a later run may begin anew.

use crate::apply::commit;
use crate::apply::decide::Decision;
use crate::apply::look::{self, State};
use crate::apply::user::{Rights, require_only_root};
use crate::catalog::member::{self, APPLYING, HELD};
use crate::error::{Error, IoContext, Kind, Result};
use crate::io::sync_directory;
use crate::pg::{backup_manifest, control};
use crate::report;
use crate::tar::Member;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Group may read and enter (`initdb --allow-group-access`).
const GROUP_DIRECTORY: u32 = 0o750;
const GROUP_FILE: u32 = 0o640;

pub struct Target {
    root: PathBuf,
    /// Where each tablespace goes, and without an OID pg_wal.
    links: BTreeMap<Option<u32>, PathBuf>,
    /// Whether things are there already.
    existing: bool,
    /// Whether the cluster's group may read it.
    group: bool,
    /// One open directory of each place. They are opened before the first write, so that `syncfs`
    /// tells of every write that failed since.
    open: Vec<File>,
}

impl Target {
    /// Takes what was decided: a new or empty directory, one that an interrupted run left, which is
    /// cleared, or one that holds a backup or a cluster, which can start no more. The places are made, and
    /// all the rest is done as their owner.
    pub fn open(decision: &Decision<'_>, rights: &Rights) -> Result<Self> {
        let root = decision.root.clone();
        let mut open = vec![make_place(&root, rights)?];
        lock(&open[0], &root)?;
        for place in decision.places.outside() {
            open.push(make_place(&place.real, rights)?);
        }
        rights.become_owner()?;
        let unfinished = matches!(decision.state, State::Unfinished | State::Held(_));
        if unfinished && look::state(&root)? != decision.state {
            return Err(busy(&root));
        }
        let links = decision.places.links();
        let target = Target { root, links, existing: !decision.fresh, group: false, open };
        if target.existing {
            decision.open_directories()?;
        }
        target.mark()?;
        match decision.fresh {
            true if unfinished => {
                let ours = decision.places.outside().filter(|place| place.ours);
                ours.map(|place| &place.real).try_for_each(|place| empty(place, &[]))?;
                empty(&target.root, &[member::DIRECTORY])?;
                target.empty_ours()?;
            }
            true => {}
            false => {
                empty(&target.root.join("pg_wal"), &[])?;
                if decision.places.wal.as_ref().is_some_and(|place| !place.kept) {
                    remove_directory(&target.root.join("pg_wal"))?;
                }
                target.empty_ours()?;
            }
        }
        Ok(target)
    }

    /// A relation file that the parent left.
    pub fn present_file(&self, path: &[u8]) -> Result<File> {
        let path = self.path(path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(&path).during_path("open", &path)
    }

    /// Whether things were there before.
    pub fn is_reopened(&self) -> bool {
        self.existing
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory that must not be there yet, or may be if things are; a tablespace becomes a link to
    /// its place, and so may pg_wal.
    pub fn directory(&mut self, member: &Member) -> Result<()> {
        let path = self.path(&member.path);
        if member.path == b"global" {
            self.group = member.mode & 0o050 == 0o050;
        }
        let link = link_of(&member.path);
        let place = link.and_then(|key| self.links.get(&key));
        let there = fs::symlink_metadata(&path).ok();
        // Other links would be followed now, and removed at last.
        let is_there = there.as_ref().is_some_and(fs::Metadata::is_dir) || (link.is_some() && path.is_dir());
        if !(self.existing && is_there) {
            if self.existing && there.is_some() {
                // What is no directory has the name.
                fs::remove_file(&path).during_path("remove", &path)?;
            }
            if let Some(place) = place {
                symlink(place, &path).during_path("link", &path)?;
            } else {
                let made = DirBuilder::new().mode(0o700).create(&path);
                made.map_err(|error| creation("directory", &path, error))?;
            }
        } else if place.is_none() && !there.is_some_and(|there| there.is_dir() && look::is_ours(&there)) {
            return Ok(());
        }
        let mode = Permissions::from_mode(member.mode | 0o700);
        fs::set_permissions(&path, mode).during_path("set the mode of", &path)
    }

    /// A file that must not be there yet, or is emptied.
    pub fn file(&self, member: &Member) -> Result<File> {
        let file = self.kept_file(member)?;
        if self.existing {
            file.set_len(0).during_path("empty", &self.path(&member.path))?;
        }
        Ok(file)
    }

    /// The same with what it holds, for reading as well.
    pub fn kept_file(&self, member: &Member) -> Result<File> {
        let path = self.path(&member.path);
        if member::is_inside(&member.path) {
            implied_directories(&path)?;
        }
        if self.existing {
            make_room(&path)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(self.existing)
            .create_new(!self.existing)
            .mode(0o600)
            .open(&path)
            .map_err(|error| creation("file", &path, error))?;
        self.set_mode(&file, &path, member)?;
        Ok(file)
    }

    /// A file of a database that is left out: of its length, and without a byte, so that replayed WAL finds its pages. Without
    /// its version a database refuses connections.
    pub fn hollow_file(&self, path: &[u8], size: u64) -> Result<()> {
        let mode = if self.group { GROUP_FILE } else { 0o600 };
        let is_version = path.ends_with(b"/PG_VERSION");
        let path = self.path(path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| creation("file", &path, error))?;
        file.set_len(if is_version { 0 } else { size }).during_path("write", &path)?;
        file.set_permissions(Permissions::from_mode(mode)).during_path("set the mode of", &path)
    }

    /// The mark of a directory in which only some databases are whole.
    pub fn write_selection(&self, json: &[u8]) -> Result<()> {
        let path = self.root.join(member::SELECTION);
        fs::write(&path, json).during_path("write", &path)
    }

    /// Syncs everything, then gives `global/pg_control` its name: from then on a server can start. `hold`:
    /// it does not, and the directory waits for `--commit` or the next link of its chain.
    pub fn finish(self, member: &Member, content: &[u8], hold: bool) -> Result<()> {
        for directory in &self.open {
            rustix::fs::syncfs(directory).map_err(io::Error::from).during_path("sync", &self.root)?;
        }
        if self.group {
            let mode = Permissions::from_mode(GROUP_DIRECTORY);
            fs::set_permissions(&self.root, mode).during_path("set the mode of", &self.root)?;
            sync_directory(&self.root)?;
            // Their members came before the one that tells of the group.
            open_to_group(&self.root.join(member::DIRECTORY))?;
            // An increment's comes from there.
            let manifest = self.root.join(backup_manifest::PATH);
            if look::is_there(&manifest)? {
                let mode = Permissions::from_mode(GROUP_FILE);
                fs::set_permissions(&manifest, mode).during_path("set the mode of", &manifest)?;
            }
        }
        commit::hold(&self.root, content, |file, path| self.set_mode(file, path, member))?;
        match hold {
            true => Ok(()),
            false => commit::put_in_place(&self.root),
        }
    }

    /// All but the mark.
    fn empty_ours(&self) -> Result<()> {
        let mark = Path::new(APPLYING).file_name().and_then(OsStr::to_str).unwrap_or_default();
        empty(&self.root.join(member::DIRECTORY), &[mark])
    }

    fn path(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    /// Makes it a directory in which no server starts: `global/pg_control` is taken away and the mark set,
    /// in one step. Whatever this is interrupted at, the directory is the old one, or an unfinished one.
    fn mark(&self) -> Result<()> {
        let (applying, held) = (self.root.join(APPLYING), self.root.join(HELD));
        implied_directories(&applying)?;
        let from = if look::is_there(&held)? { held } else { self.root.join(control::PATH) };
        match fs::rename(&from, &applying) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false).mode(0o600);
                options.open(&applying).during_path("create", &applying)?;
            }
            renamed => renamed.during_path("rename", &from)?,
        }
        sync_directory(&self.root.join(member::DIRECTORY))?;
        if look::is_there(&self.root.join("global"))? {
            sync_directory(&self.root.join("global"))?;
        }
        sync_directory(&self.root)
    }

    /// What pgv-snap made itself, it made for the owner only: the server's own files are for the group too.
    fn set_mode(&self, file: &File, path: &Path, member: &Member) -> Result<()> {
        let name = std::str::from_utf8(&member.path).unwrap_or_default();
        let servers = ["backup_label", backup_manifest::PATH, "recovery.signal", control::PATH];
        let generated = servers.contains(&name) || name.starts_with("pg_wal/");
        let mode = if self.group && generated { member.mode | GROUP_FILE } else { member.mode };
        file.set_permissions(Permissions::from_mode(mode)).during_path("set the mode of", path)
    }
}

/// What the owner may read there, the group may read too, as in the rest of the data directory.
fn open_to_group(directory: &Path) -> Result<()> {
    let open = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).during_path("set the mode of", path)
    };
    for entry in fs::read_dir(directory).during_path("read", directory)? {
        let entry = entry.during_path("read", directory)?;
        let kind = entry.file_type().during_path("stat", &entry.path())?;
        if kind.is_dir() {
            open_to_group(&entry.path())?;
        } else if kind.is_file() {
            open(&entry.path(), GROUP_FILE)?;
        }
    }
    open(directory, GROUP_DIRECTORY)
}

/// Makes a place, if it is not there, and opens it. What its owner may do is done as the owner.
fn make_place(place: &Path, rights: &Rights) -> Result<File> {
    let parent = place.parent().unwrap_or(place);
    let made = rights.as_owner(|| make_directory(place));
    let ours = made.as_ref().is_ok_and(|file| file.metadata().is_ok_and(|found| found.uid() == rights.uid()));
    if ours || !rights.are_root() {
        return made.and_then(only_for_owner(place));
    }
    require_only_root(parent)?;
    let file = make_directory(place)?;
    rights.give(&file, place)?;
    only_for_owner(place)(file)
}

/// As long as the process lives: two runs that write one directory would spoil it. Where the file system has
/// no locks there is none.
fn lock(directory: &File, root: &Path) -> Result<()> {
    match rustix::fs::flock(directory, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(busy(root)),
        Err(error) => {
            report::verbose(format_args!("lock {}: {error}", root.display()));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn busy(root: &Path) -> Error {
    Error::new(Kind::Temporary, format!("another restore writes {}", root.display()))
        .hint("nothing was written; wait for it, or stop it and give the same command again")
}

fn only_for_owner(place: &Path) -> impl FnOnce(File) -> Result<File> {
    move |file| {
        file.set_permissions(Permissions::from_mode(0o700)).during_path("set the mode of", place)?;
        Ok(file)
    }
}

fn make_directory(place: &Path) -> Result<File> {
    let made = match DirBuilder::new().mode(0o700).create(place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        made => made.during_path("create", place).map(|()| true)?,
    };
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(place)
        .during_path("open", place)?;
    if made {
        sync_directory(place.parent().unwrap_or(place))?;
    }
    Ok(file)
}

/// `pgv/` and what is below it have no members of their own.
fn implied_directories(path: &Path) -> Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.exists()) else { return Ok(()) };
    implied_directories(parent)?;
    DirBuilder::new().mode(0o700).create(parent).during_path("create", parent)
}

fn creation(what: &str, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::damaged(format!("the stream has the same {what} twice: {}", path.display()))
        }
        io::ErrorKind::NotFound => {
            Error::damaged(format!("the stream has no directory for {}", path.display()))
        }
        _ => Error::io(format_args!("create {}", path.display()), error),
    }
}

/// What `path` may link to a place for: a tablespace by its OID, or pg_wal.
fn link_of(path: &[u8]) -> Option<Option<u32>> {
    if path == b"pg_wal" {
        return Some(None);
    }
    std::str::from_utf8(path).ok()?.strip_prefix("pg_tblspc/")?.parse().ok().map(Some)
}

/// Makes room for a file: what has its name and is none goes, and so does another user's file, whose mode cannot be set. One
/// that may not be written, such as a server's key, may be all the same, by its owner.
fn make_room(path: &Path) -> Result<()> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    if there.is_dir() {
        return fs::remove_dir_all(path).during_path("remove", path);
    }
    if !there.is_file() || !look::is_ours(&there) {
        return fs::remove_file(path).during_path("remove", path);
    }
    match there.mode() & 0o600 {
        0o600 => Ok(()),
        _ => {
            let mode = Permissions::from_mode(there.mode() & 0o777 | 0o600);
            fs::set_permissions(path, mode).during_path("set the mode of", path)
        }
    }
}

/// Removes what is in a directory, links themselves and not what they point to, but for some names.
fn empty(directory: &Path, but: &[&str]) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.during_path("read", directory)?,
    };
    for entry in entries {
        let entry = entry.during_path("read", directory)?;
        let path = entry.path();
        let name = entry.file_name();
        if look::stays(&name) || but.iter().any(|kept| name == **kept) {
            continue;
        }
        match entry.file_type().during_path("stat", &path)?.is_dir() {
            true => fs::remove_dir_all(&path).during_path("remove", &path)?,
            false => fs::remove_file(&path).during_path("remove", &path)?,
        }
    }
    Ok(())
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).during_path("remove", path),
        _ => Ok(()),
    }
}
