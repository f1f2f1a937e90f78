//! What lies in the places that a restore is to write, looked at and not touched.

use crate::apply::user::{Rights, require_only_root};
use crate::catalog::member::{self, APPLYING, HELD, IDENTITY};
use crate::catalog::{Label, StreamIdentity};
use crate::error::{Error, IoContext, Kind, Result};
use crate::pg::backup_label;
use crate::pg::control::{self, Control};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How the directory begins in which `--set-aside` keeps what lay in a mount point: no server and no tool
/// of PostgreSQL reads or copies names that begin like this (PG_TEMP_FILE_PREFIX in basebackup.c).
pub const ASIDE_PREFIX: &str = "pgsql_tmp.before-";
/// What mkfs makes.
const LOST_AND_FOUND: &str = "lost+found";

/// Of a `postmaster.pid` that names none.
const NO_PROCESS: i32 = -1;

/// What a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Absent,
    /// But for what every file system has, and what was set aside.
    Empty,
    Something,
    NoDirectory,
}

/// What the data directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Absent,
    Empty,
    /// An interrupted run left it.
    Unfinished,
    Held(Label),
    /// A restored backup that was never started.
    Backup(Label),
    /// The data directory of the cluster with this system identifier.
    Cluster(u64),
    /// The process that its server has, if it runs.
    Running(i32),
    Something,
    NoDirectory,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Absent => f.write_str("absent"),
            State::Empty => f.write_str("empty"),
            State::Unfinished => f.write_str("unfinished"),
            State::Held(label) => write!(f, "held {label}"),
            State::Backup(label) => write!(f, "backup {label}"),
            State::Cluster(id) => write!(f, "cluster {id}"),
            State::Running(pid) => write!(f, "running {pid}"),
            State::Something => f.write_str("occupied"),
            State::NoDirectory => f.write_str("no directory"),
        }
    }
}

/// Whether a name in a place stays there whatever is restored.
pub fn stays(name: &OsStr) -> bool {
    name == LOST_AND_FOUND || name.as_encoded_bytes().starts_with(ASIDE_PREFIX.as_bytes())
}

pub fn content(place: &Path) -> Result<Content> {
    let entries = match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Absent),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Content::NoDirectory),
        entries => entries.during_path("read", place)?,
    };
    for entry in entries {
        if !stays(&entry.during_path("read", place)?.file_name()) {
            return Ok(Content::Something);
        }
    }
    Ok(Content::Empty)
}

pub fn state(root: &Path) -> Result<State> {
    match content(root)? {
        Content::Absent => return Ok(State::Absent),
        Content::Empty => return Ok(State::Empty),
        Content::NoDirectory => return Ok(State::NoDirectory),
        Content::Something => {}
    }
    if let Some(pid) = running(root)? {
        return Ok(State::Running(pid));
    }
    let has_control = is_there(&root.join(control::PATH))?;
    if !has_control {
        let held = is_there(&root.join(HELD))? && !is_there(&root.join(APPLYING))?;
        return Ok(match identity(root)?.filter(|_| held) {
            Some(identity) => State::Held(identity.label),
            None if is_marked(root)? => State::Unfinished,
            None => State::Something,
        });
    }
    match (identity(root)?, Control::read(root)) {
        (Some(identity), Ok(_)) if is_there(&root.join(backup_label::PATH))? => {
            Ok(State::Backup(identity.label))
        }
        (_, Ok(control)) => Ok(State::Cluster(control.system_identifier())),
        (_, Err(error)) if error.kind == Kind::Damaged => Ok(State::Something),
        (_, Err(error)) => Err(error),
    }
}

/// Which cluster's data an unfinished or held directory has, if that can be told. A mark that was made of
/// its `global/pg_control` tells it before anything else of the new backup lies there.
pub fn system_identifier(root: &Path) -> Result<Option<u64>> {
    for path in [root.join(control::PATH), root.join(APPLYING), root.join(HELD)] {
        if let Some(Ok(control)) = read(&path)?.map(Control::parse) {
            return Ok(Some(control.system_identifier()));
        }
    }
    Ok(identity(root)?.map(|identity| identity.system_identifier))
}

/// Whose stream was laid there; `None` also if a run was interrupted while it wrote that.
fn identity(root: &Path) -> Result<Option<StreamIdentity>> {
    Ok(read(&root.join(IDENTITY))?.and_then(|json| StreamIdentity::parse(&json).ok()))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if is_absence(&error) => Ok(None),
        bytes => bytes.during_path("read", path).map(Some),
    }
}

/// Marked, or interrupted before the mark: then `pgv` is there, and nothing else.
pub fn is_marked(root: &Path) -> Result<bool> {
    if is_there(&root.join(APPLYING))? || is_there(&root.join(HELD))? {
        return Ok(true);
    }
    for entry in fs::read_dir(root).during_path("read", root)? {
        let name = entry.during_path("read", root)?.file_name();
        if name != member::DIRECTORY && !stays(&name) {
            return Ok(false);
        }
    }
    Ok(content(&root.join(member::DIRECTORY))? == Content::Empty)
}

pub fn is_there(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(error).during_path("stat", path),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The process that `postmaster.pid` names, if there is one.
fn running(root: &Path) -> Result<Option<i32>> {
    let Some(text) = read(&root.join("postmaster.pid"))? else { return Ok(None) };
    let line = text.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    let pid = line.and_then(|line| line.trim().parse().ok()).and_then(rustix::process::Pid::from_raw);
    let Some(pid) = pid else { return Ok(Some(NO_PROCESS)) };
    match rustix::process::test_kill_process(pid) {
        Err(rustix::io::Errno::SRCH) => Ok(None),
        _ if is_another(root, pid.as_raw_nonzero().get()) => Ok(None),
        _ => Ok(Some(pid.as_raw_nonzero().get())),
    }
}

/// Whether a process is certainly no server of this directory: after a crash its number may be any other's. A server
/// belongs to the owner of its lock file (EPERM in CreateLockFile, miscinit.c), and works in its data directory
/// (ChangeToDataDir, ibidem). What cannot be seen counts as a server.
fn is_another(root: &Path, pid: i32) -> bool {
    let found = |path: PathBuf| fs::metadata(path).ok();
    let process = PathBuf::from(format!("/proc/{pid}"));
    let owners = (found(root.join("postmaster.pid")), found(process.clone()));
    let places = (found(root.to_owned()), found(process.join("cwd")));
    matches!(owners, (Some(lock), Some(process)) if lock.uid() != process.uid())
        || matches!(places, (Some(root), Some(place)) if (root.dev(), root.ino()) != (place.dev(), place.ino()))
}

pub fn refuse_running_server(root: &Path) -> Result<()> {
    running(root)?.map_or(Ok(()), |pid| Err(may_run(root, pid)))
}

/// `pid`: as in [`State::Running`].
pub fn may_run(root: &Path, pid: i32) -> Error {
    if pid == NO_PROCESS {
        let file = root.join("postmaster.pid");
        return Error::new(
            Kind::Exists,
            format!("{} names no process, so a server may be starting", file.display()),
        )
        .hint("nothing was written; if no server runs there, delete that file");
    }
    let error =
        Error::new(Kind::Exists, format!("a server may be running in {} (process {pid})", root.display()));
    match identity(root) {
        Ok(Some(identity)) => error.hint(format!(
            "nothing was written; it may be the server of an earlier restore of {}: wait until its recovery \
             ends, or stop it, and give the same command again",
            identity.label
        )),
        _ => error.hint("nothing was written; restore into another directory, or stop that server first"),
    }
}

/// Where a path leads: through links, to what is there or would be made. Its last part may be absent.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    const LINKS: usize = 40;
    let mut at = std::path::absolute(path).during_path("find", path)?;
    let mut rest = Vec::new();
    for _ in 0..LINKS + at.components().count() {
        match fs::canonicalize(&at) {
            Ok(real) => return Ok(rest.iter().rev().fold(real, |real, name| real.join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).during_path("find", path),
        }
        let parent = at.parent().map(Path::to_path_buf).unwrap_or_default();
        match fs::read_link(&at) {
            Ok(to) => at = parent.join(to),
            Err(_) => {
                // Of "..", behind what is absent, nobody knows where it leads.
                let name = at.file_name().map(ToOwned::to_owned);
                rest.push(name.ok_or_else(|| {
                    Error::usage(format!(
                        "{}: \"..\" follows a directory that does not exist",
                        path.display()
                    ))
                })?);
                at = parent;
            }
        }
    }
    Err(Error::usage(format!("{}: too many symbolic links", path.display())))
}

/// Device and free bytes of the file system on which `path` lies or would be made.
pub fn room(path: &Path) -> Result<(u64, u64)> {
    let mut at = path;
    loop {
        match rustix::fs::stat(at) {
            Ok(stat) => {
                let room = rustix::fs::statvfs(at)
                    .map_err(io::Error::from)
                    .during_path("find the free space of", at)?;
                return Ok((stat.st_dev, room.f_bavail.saturating_mul(room.f_frsize)));
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            Err(error) => return Err(io::Error::from(error)).during_path("stat", at),
        }
        match at.parent() {
            Some(parent) => at = parent,
            None => return Err(Error::usage(format!("{}: no directory above it exists", path.display()))),
        }
    }
}

/// Whether a file system is mounted there. Kernels before 5.8 do not tell of one that is mounted twice.
pub fn is_mount_point(path: &Path) -> Result<bool> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
    match rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS) {
        Ok(stat) if stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        Ok(_) => {
            let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev);
            let parent = path.parent().unwrap_or(path);
            let differs = device(path).and_then(|own| device(parent).map(|other| own != other));
            differs.map_err(io::Error::from).during_path("stat", path)
        }
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(io::Error::from(error)).during_path("stat", path),
    }
}

/// Refuses a place that its owner could not write, or that could not be made. As the owner where that
/// suffices, and as root only where root alone may.
pub fn refuse_unwritable(place: &Path, rights: &Rights) -> Result<()> {
    let parent = place.parent().unwrap_or(place);
    let refused = |why: String| Error::usage(why).hint("nothing was written");
    if is_there(place)? {
        let metadata = fs::metadata(place).during_path("stat", place)?;
        if metadata.uid() != rights.uid() && !rights.are_root() {
            let why = format!("{} does not belong to user {}", place.display(), rights.name());
            return Err(refused(why).hint(command(place, rights)));
        }
        enter(place, parent, rights)?;
        return if metadata.uid() == rights.uid() { Ok(()) } else { only_root(place, parent, rights) };
    }
    if !is_there(parent)? {
        let why = format!("create {}: there is no directory {}", place.display(), parent.display());
        return Err(refused(why)
            .hint("create it, unless a disk must be mounted there first")
            .hint(command(parent, rights)));
    }
    if is_writable(parent, rights) {
        return Ok(());
    }
    if !rights.are_root() {
        let why = format!(
            "create {}: user {} cannot write to {}",
            place.display(),
            rights.name(),
            parent.display()
        );
        return Err(refused(why).hint(command(place, rights)));
    }
    enter(place, parent, rights)?;
    only_root(place, parent, rights)
}

/// Whether this user may set the mode of a file.
pub fn is_ours(metadata: &fs::Metadata) -> bool {
    let user = rustix::process::geteuid();
    user.is_root() || metadata.uid() == user.as_raw()
}

/// Refuses a directory below `root` of another user that this one cannot write: no server of this user could, either.
pub fn refuse_others_directories(root: &Path) -> Result<()> {
    for_directories(root, &mut |path, metadata| {
        let is_closed = may(path, true).is_err();
        if is_closed && !is_ours(metadata) {
            let why = format!("{} belongs to another user, and may not be written", path.display());
            return Err(Error::usage(why)
                .hint("nothing was written; give it to the owner of the data directory, with chown"));
        }
        // One of this user's own will be opened.
        Ok(!is_closed && metadata.mode() & 0o400 != 0)
    })
}

/// Lets their owner enter and change all directories below `root`.
pub fn open_directories(root: &Path) -> Result<()> {
    for_directories(root, &mut |path, metadata| {
        if is_ours(metadata) && metadata.mode() & 0o700 != 0o700 {
            let mode = fs::Permissions::from_mode(metadata.mode() & 0o777 | 0o700);
            fs::set_permissions(path, mode).during_path("set the mode of", path)?;
        }
        Ok(true)
    })
}

/// `root` and what is below it, but for what stays whatever is restored, and links not followed. `each` tells whether to enter a directory.
fn for_directories(root: &Path, each: &mut dyn FnMut(&Path, &fs::Metadata) -> Result<bool>) -> Result<()> {
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        let metadata = fs::symlink_metadata(&directory).during_path("stat", &directory)?;
        if !each(&directory, &metadata)? {
            continue;
        }
        for entry in fs::read_dir(&directory).during_path("read", &directory)? {
            let entry = entry.during_path("read", &directory)?;
            let other = stays(&entry.file_name());
            if !other && entry.file_type().during_path("stat", &entry.path())?.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Whether the owner may make and rename things in a directory.
pub fn is_writable(directory: &Path, rights: &Rights) -> bool {
    rights.as_owner(|| may(directory, true)).is_ok()
}

fn enter(place: &Path, parent: &Path, rights: &Rights) -> Result<()> {
    rights.as_owner(|| may(parent, false)).map_err(|error| {
        error
            .context(format_args!("user {} cannot reach {}", rights.name(), place.display()))
            .hint("nothing was written")
    })
}

fn only_root(place: &Path, parent: &Path, rights: &Rights) -> Result<()> {
    require_only_root(parent).map_err(|error| error.hint("nothing was written").hint(command(place, rights)))
}

fn command(place: &Path, rights: &Rights) -> String {
    let place = place.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,=-".contains(c);
    let word = if place.chars().all(plain) { place } else { format!("'{}'", place.replace('\'', r"'\''")) };
    format!("as root: install --directory --owner={} --mode=0700 {word}", rights.name())
}

/// Whether a directory may be entered and, if `write`, names be made in it.
fn may(directory: &Path, write: bool) -> Result<()> {
    use rustix::fs::{Access, AtFlags, CWD};
    let wanted = if write { Access::EXEC_OK | Access::WRITE_OK } else { Access::EXEC_OK };
    rustix::fs::accessat(CWD, directory, wanted, AtFlags::EACCESS)
        .map_err(io::Error::from)
        .during_path("enter", directory)
}
