//! The directory that a stream is laid into.
//!
//! A full's is empty at the start, and everything in it is made here, by `mkdir` and exclusive creation:
//! no name of the stream can lead out of it, and none can come twice. An increment's is what its parent
//! left. While it is unfinished it holds `pgv/applying` or `pgv/held`, and no `global/pg_control`, so no
//! server starts in it, and a later run may begin anew.

use crate::apply::archive::Member;
use crate::apply::commit;
use crate::apply::parent::{APPLYING, HELD};
use crate::error::{Error, IoContext, Kind, Result};
use crate::io::sync_directory;
use crate::pg::control;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown, lchown, symlink};
use std::path::{Path, PathBuf};

/// Who the restored files belong to.
#[derive(Clone, Copy, Debug)]
pub enum Owner {
    /// Whoever runs us.
    Process,
    /// The numbers in the stream, as tar does for root.
    Stream,
    User {
        uid: u32,
        gid: u32,
    },
}

impl Owner {
    fn of(self, member: &Member) -> (Option<u32>, Option<u32>) {
        match self {
            Owner::Process => (None, None),
            Owner::Stream => (Some(member.uid), Some(member.gid)),
            Owner::User { uid, gid } => (Some(uid), Some(gid)),
        }
    }
}

pub struct Target {
    root: PathBuf,
    owner: Owner,
    /// Where each tablespace goes.
    places: BTreeMap<u32, PathBuf>,
    /// Whether things are there already.
    existing: bool,
    /// One open directory of each place. They are opened before the first write, so that `syncfs`
    /// tells of every write that failed since.
    open: Vec<File>,
}

impl Target {
    /// Refuses a directory that holds anything, unless it is what an interrupted run left: that is
    /// cleared. `top`: the stream's first member. `ours`: of the places to which the directory links
    /// those that are meant for it.
    pub fn create(
        root: &Path,
        owner: Owner,
        places: BTreeMap<u32, PathBuf>,
        ours: &[PathBuf],
        top: &Member,
    ) -> Result<Self> {
        refuse_running_server(root)?;
        let unfinished = is_unfinished(root);
        let linked = if unfinished { ours } else { &[] };
        let all = || places.values().filter(|place| !linked.contains(place));
        if !unfinished {
            refuse_content(root)?;
        }
        all().try_for_each(|place| refuse_content(place))?;

        let mut target = Target { root: root.to_owned(), owner, places, existing: false, open: Vec::new() };
        if unfinished {
            linked.iter().try_for_each(|place| clear(place))?;
            clear(root)?;
        }
        let places: Vec<PathBuf> = target.places.values().cloned().collect();
        for place in std::iter::once(root).chain(places.iter().map(PathBuf::as_path)) {
            target.make_place(place, top)?;
        }
        target.mark(top)?;
        Ok(target)
    }

    /// Takes a directory that holds a backup or, for `--delta`, a cluster, and makes it unable to start.
    /// `known`: the tablespaces that are linked to already.
    pub fn reopen(
        root: &Path,
        owner: Owner,
        places: BTreeMap<u32, PathBuf>,
        known: &BTreeMap<u32, PathBuf>,
        top: &Member,
    ) -> Result<Self> {
        refuse_running_server(root)?;
        let fresh: Vec<PathBuf> = places
            .iter()
            .filter(|(oid, _)| !known.contains_key(oid))
            .map(|(_, place)| place.clone())
            .collect();
        fresh.iter().try_for_each(|place| refuse_content(place))?;
        let mut target = Target { root: root.to_owned(), owner, places, existing: true, open: Vec::new() };
        target.implied_directories(&root.join(APPLYING), top)?;
        disable(root)?;
        for place in std::iter::once(root).chain(known.values().map(PathBuf::as_path)) {
            target.open.push(File::open(place).during_path("open", place)?);
        }
        fresh.iter().try_for_each(|place| target.make_place(place, top))?;
        empty(&root.join("pg_wal"), "")?;
        empty(&root.join("pgv"), "applying")?;
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
    /// its place.
    pub fn directory(&self, member: &Member) -> Result<()> {
        let path = self.path(&member.path);
        if self.existing && path.is_dir() {
            return Ok(());
        }
        if let Some(place) = tablespace(&member.path).and_then(|oid| self.places.get(&oid)) {
            symlink(place, &path).during_path("link", &path)?;
            let (uid, gid) = self.owner.of(member);
            return lchown(&path, uid, gid).during_path("set the owner of", &path);
        }
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| creation("directory", &path, error))?;
        self.own_directory(&path, member)
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
        if member.path.starts_with(b"pgv/") {
            self.implied_directories(&path, member)?;
        }
        if self.existing {
            remove_other(&path)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(self.existing)
            .create_new(!self.existing)
            .mode(0o600)
            .open(&path)
            .map_err(|error| creation("file", &path, error))?;
        self.own_file(&file, &path, member)?;
        Ok(file)
    }

    /// Syncs everything, then gives `global/pg_control` its name: from then on a server can start. `hold`:
    /// it does not, and the directory waits for `--commit` or the next link of its chain.
    pub fn finish(self, member: &Member, content: &[u8], hold: bool) -> Result<()> {
        for directory in &self.open {
            rustix::fs::syncfs(directory).map_err(io::Error::from).during_path("sync", &self.root)?;
        }
        commit::hold(&self.root, content, |file, path| self.own_file(file, path, member))?;
        match hold {
            true => Ok(()),
            false => commit::put_in_place(&self.root),
        }
    }

    fn path(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    fn make_place(&mut self, place: &Path, top: &Member) -> Result<()> {
        match DirBuilder::new().mode(0o700).create(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::io(format_args!("create {}", place.display()), error)
                    .hint("its parent directory must exist"));
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).during_path("create", place);
            }
            _ => {}
        }
        self.own_directory(place, top)?;
        if let Some(parent) = place.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent)?;
        }
        self.open.push(File::open(place).during_path("open", place)?);
        Ok(())
    }

    fn mark(&self, top: &Member) -> Result<()> {
        let path = self.root.join(APPLYING);
        self.implied_directories(&path, top)?;
        fs::write(&path, "").during_path("write", &path)?;
        sync_directory(&self.root.join("pgv"))?;
        sync_directory(&self.root)
    }

    /// `pgv/` and what is below it have no members of their own.
    fn implied_directories(&self, path: &Path, member: &Member) -> Result<()> {
        let Some(parent) = path.parent().filter(|parent| !parent.exists()) else { return Ok(()) };
        self.implied_directories(parent, member)?;
        DirBuilder::new().mode(0o700).create(parent).during_path("create", parent)?;
        let (uid, gid) = self.owner.of(member);
        chown(parent, uid, gid).during_path("set the owner of", parent)
    }

    fn own_directory(&self, path: &Path, member: &Member) -> Result<()> {
        let (uid, gid) = self.owner.of(member);
        chown(path, uid, gid).map_err(|error| not_ours(path, error))?;
        fs::set_permissions(path, Permissions::from_mode(member.mode | 0o700))
            .during_path("set the mode of", path)
    }

    fn own_file(&self, file: &File, path: &Path, member: &Member) -> Result<()> {
        let (uid, gid) = self.owner.of(member);
        fchown(file, uid, gid).map_err(|error| not_ours(path, error))?;
        file.set_permissions(Permissions::from_mode(member.mode)).during_path("set the mode of", path)
    }
}

fn not_ours(path: &Path, error: io::Error) -> Error {
    Error::io(format_args!("set the owner of {}", path.display()), error)
        .hint("only root gives files away: run it as root, or as the owner and without --owner")
}

fn creation(what: &str, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::damaged(format!("the stream has a {what} twice: {}", path.display()))
        }
        io::ErrorKind::NotFound => {
            Error::damaged(format!("the stream has no directory for {}", path.display()))
        }
        _ => Error::io(format_args!("create {}", path.display()), error),
    }
}

/// The OID, if `path` is a tablespace's own entry.
fn tablespace(path: &[u8]) -> Option<u32> {
    std::str::from_utf8(path).ok()?.strip_prefix("pg_tblspc/")?.parse().ok()
}

pub fn refuse_running_server(root: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(root.join("postmaster.pid")) else { return Ok(()) };
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
    let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else { return Ok(()) };
    match rustix::process::test_kill_process(pid) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        _ => Err(Error::new(
            Kind::Exists,
            format!("a server may be running in {} (process {})", root.display(), pid.as_raw_nonzero()),
        )
        .hint("nothing was written; restore into another directory, or stop that server first")),
    }
}

/// An absent directory is as good as an empty one.
fn refuse_content(place: &Path) -> Result<()> {
    let mut entries = match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.during_path("read", place)?,
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Error::new(Kind::Exists, format!("{} is not empty", place.display()))
            .hint("nothing was written; give a new or empty directory, or move this one aside")),
    }
}

fn is_unfinished(root: &Path) -> bool {
    let marked = root.join(APPLYING).exists() || root.join(HELD).exists();
    marked && !root.join(control::PATH).exists()
}

/// Takes `global/pg_control` away and sets the mark, in one step.
fn disable(root: &Path) -> Result<()> {
    let held = root.join(HELD);
    let applying = root.join(APPLYING);
    let from = if held.exists() { held } else { root.join(control::PATH) };
    match fs::rename(&from, &applying) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && applying.exists() => {}
        renamed => renamed.during_path("take away", &from)?,
    }
    sync_directory(&root.join("pgv"))?;
    sync_directory(&root.join("global"))
}

/// Makes room for a file: what has its name and is none goes.
fn remove_other(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).during_path("remove", path),
        Ok(_) => fs::remove_file(path).during_path("remove", path),
        Err(_) => Ok(()),
    }
}

/// Removes everything in a directory but one name.
fn empty(directory: &Path, but: &str) -> Result<()> {
    for entry in fs::read_dir(directory).during_path("read", directory)? {
        let entry = entry.during_path("read", directory)?;
        let path = entry.path();
        if entry.file_name() == but {
            continue;
        }
        match entry.file_type().during_path("stat", &path)?.is_dir() {
            true => fs::remove_dir_all(&path).during_path("remove", &path)?,
            false => fs::remove_file(&path).during_path("remove", &path)?,
        }
    }
    Ok(())
}

/// Removes what is in a directory, links themselves and not what they point to; the mark last, so that
/// an interruption leaves an unfinished directory again.
fn clear(place: &Path) -> Result<()> {
    for entry in fs::read_dir(place).during_path("read", place)? {
        let entry = entry.during_path("read", place)?;
        let path = entry.path();
        if entry.file_name() == "pgv" {
            continue;
        }
        match entry.file_type().during_path("stat", &path)?.is_dir() {
            true => fs::remove_dir_all(&path).during_path("remove", &path)?,
            false => fs::remove_file(&path).during_path("remove", &path)?,
        }
    }
    match fs::remove_dir_all(place.join("pgv")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).during_path("clear", place),
        _ => Ok(()),
    }
}
