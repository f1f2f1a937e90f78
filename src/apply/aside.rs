//! Makes room for a restore and deletes nothing: what a directory holds gets another name on the same
//! file system.

use crate::apply::look::{self, ASIDE_PREFIX, State};
use crate::apply::user::{Rights, require_only_root};
use crate::cli::lines::Lines;
use crate::error::{Error, IoContext, Kind, Result, Status};
use crate::io::sync_directory;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The extension of what is still being filled.
const PART: &str = "part";
/// A name may be taken by what was moved in the same second: then NAME-2 is tried, and so on up to this.
const NAMES: u32 = 100;

/// Moves what lies in `directory` to DIRECTORY.before-`name`; where the directory itself can have no other
/// name, as a mount point cannot, into a directory below it that no server and no backup looks at. Prints
/// `aside PATH`, or nothing if nothing of value lies there. Refuses where a server may run. A failure is
/// undone; an interruption is taken up again.
pub fn set_aside(directory: &Path, name: &str) -> Result<Status> {
    let root = look::resolve(directory)?;
    let rights = Rights::of(&root)?;
    let (state, interrupted) = rights.as_owner_or_root(&root, || {
        let state = look::state(&root)?;
        let interrupted =
            if matches!(state, State::Absent | State::NoDirectory) { None } else { interrupted(&root)? };
        Ok((state, interrupted))
    })?;
    match state {
        State::Empty if interrupted.is_some() => {}
        State::Absent | State::Empty | State::Unfinished | State::Held(_) => return Ok(Status::Done),
        State::Running(pid) => return Err(look::may_run(&root, pid)),
        State::NoDirectory => {
            return Err(Error::new(Kind::Exists, format!("{} is not a directory", root.display()))
                .hint("nothing was moved"));
        }
        State::Backup(_) | State::Cluster(_) | State::Something => {}
    }
    let moved = match interrupted {
        Some(part) => fill(&root, &rights, part)?,
        None => move_to_free_name(&root, &rights, name)?,
    };
    let mut lines = Lines::new();
    lines.add_path("aside", &moved).print()?;
    Ok(Status::Done)
}

fn move_to_free_name(root: &Path, rights: &Rights, name: &str) -> Result<PathBuf> {
    let mut moved = move_to(root, rights, name);
    for number in 2..=NAMES {
        match moved {
            Err(error) if error.kind == Kind::Exists => {
                moved = move_to(root, rights, &format!("{name}-{number}"));
            }
            moved => return moved,
        }
    }
    moved
}

fn move_to(root: &Path, rights: &Rights, name: &str) -> Result<PathBuf> {
    if let Some(moved) = rename(root, rights, name)? {
        return Ok(moved);
    }
    let to = root.join(format!("{ASIDE_PREFIX}{name}"));
    match rights.as_owner(|| to.try_exists().during_path("stat", &to))? {
        true => Err(taken(&to)),
        false => fill(root, rights, root.join(format!("{ASIDE_PREFIX}{name}.{PART}"))),
    }
}

fn taken(path: &Path) -> Error {
    Error::new(Kind::Exists, format!("{} exists", path.display())).hint("nothing was moved")
}

/// `None` if the directory must keep its name: a mount point, or a parent that nobody here may write.
fn rename(root: &Path, rights: &Rights, name: &str) -> Result<Option<PathBuf>> {
    let Some(parent) = root.parent() else { return Ok(None) };
    let mut to = OsString::from(root.as_os_str());
    to.push(format!(".before-{name}"));
    let to = PathBuf::from(to);
    let replace = || replace(root, &to, rights);
    let renamed = match rights.as_owner(replace) {
        Ok(Some(io::ErrorKind::PermissionDenied))
            if rights.are_root() && require_only_root(parent).is_ok() =>
        {
            replace()
        }
        renamed => renamed,
    }?;
    match renamed {
        None => {
            // A parent that may not be read cannot be opened, and so not be synced by itself.
            let open = rights.as_owner_or_root(root, || File::open(root).during_path("open", root))?;
            rustix::fs::syncfs(&open).map_err(io::Error::from).during_path("sync", parent)?;
            Ok(Some(to))
        }
        Some(_) => Ok(None),
    }
}

/// Renames, and makes an empty directory of that name, owner and mode, which a link may point to. Returns
/// why it may not, if it may not.
fn replace(root: &Path, to: &Path, rights: &Rights) -> Result<Option<io::ErrorKind>> {
    let metadata = fs::metadata(root).during_path("stat", root)?;
    let renamed = match renameat_with(CWD, root, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => rename_to_free(root, to),
        renamed => renamed,
    };
    match renamed {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            return Err(taken(to));
        }
        Err(error @ (Errno::BUSY | Errno::XDEV | Errno::ACCESS | Errno::PERM)) => {
            return Ok(Some(io::Error::from(error).kind()));
        }
        Err(error) => return Err(io::Error::from(error)).during_path("rename", root),
    }
    let made = DirBuilder::new()
        .mode(0o700)
        .create(root)
        .and_then(|()| File::open(root))
        .during_path("create", root);
    let made = made.and_then(|file| {
        if rustix::process::geteuid().is_root() {
            rights.give(&file, root)?;
        }
        file.set_permissions(Permissions::from_mode(metadata.mode() & 0o777))
            .during_path("set the mode of", root)
    });
    if let Err(error) = made {
        // An empty directory is replaced by the rename.
        return match fs::rename(to, root) {
            Ok(()) => Err(error.hint("nothing was moved")),
            Err(_) => Err(error.hint(format!("the old content is in {}", to.display()))),
        };
    }
    Ok(None)
}

/// On file systems without the flag (NFS, ZFS, some FUSE). What gets the name in between is kept too, unless it is an
/// empty directory: a directory replaces nothing else.
fn rename_to_free(root: &Path, to: &Path) -> std::result::Result<(), Errno> {
    match rustix::fs::lstat(to) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => rustix::fs::rename(root, to),
        Err(error) => Err(error),
    }
}

/// What an interrupted run was filling.
fn interrupted(root: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(root).during_path("read", root)? {
        let path = entry.during_path("read", root)?.path();
        let ours =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(ASIDE_PREFIX.as_bytes()));
        if ours && path.extension() == Some(OsStr::new(PART)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Moves all names into `part`, without which no server starts first, and gives that its own name.
fn fill(root: &Path, rights: &Rights, part: PathBuf) -> Result<PathBuf> {
    let to = part.with_extension("");
    rights.as_owner(|| {
        match DirBuilder::new().mode(0o700).create(&part) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.during_path("create", &part)?,
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(root).during_path("read", root)? {
            names.push(entry.during_path("read", root)?.file_name());
        }
        names.retain(|name| !look::stays(name));
        names.sort_by_key(|name| name != "global");
        for (at, name) in names.iter().enumerate() {
            let from = root.join(name);
            if let Err(error) = fs::rename(&from, part.join(name)).during_path("move", &from) {
                return Err(put_back(root, &part, &names[..at], error));
            }
        }
        if let Err(error) = fs::rename(&part, &to).during_path("rename", &part) {
            return Err(put_back(root, &part, &names, error));
        }
        sync_directory(&to)?;
        sync_directory(root)
    })?;
    Ok(to)
}

fn put_back(root: &Path, part: &Path, moved: &[OsString], error: Error) -> Error {
    for name in moved.iter().rev() {
        if fs::rename(part.join(name), root.join(name)).is_err() {
            return error.hint(format!(
                "a part of it was moved to {}; the same command continues the move",
                part.display()
            ));
        }
    }
    // It is empty now, and if not, it is what an earlier run moved.
    match fs::remove_dir(part) {
        Ok(()) => error.hint("nothing was moved"),
        Err(_) => error.hint(format!(
            "a part of it was moved to {}; the same command continues the move",
            part.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_is_followed_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("data");
        for number in 1..=3 {
            fs::create_dir_all(&root).unwrap();
            fs::write(root.join("PG_VERSION"), number.to_string()).unwrap();
            assert_eq!(set_aside(&root, "now").unwrap(), Status::Done);
        }
        for (name, content) in
            [("data.before-now", "1"), ("data.before-now-2", "2"), ("data.before-now-3", "3")]
        {
            assert_eq!(fs::read_to_string(directory.path().join(name).join("PG_VERSION")).unwrap(), content);
        }
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }

    #[test]
    fn without_the_flag_a_name_is_only_taken_where_it_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let (root, to) = (directory.path().join("data"), directory.path().join("data.before"));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("PG_VERSION"), "15").unwrap();
        std::os::unix::fs::symlink("nowhere", &to).unwrap();
        assert_eq!(rename_to_free(&root, &to), Err(Errno::EXIST));
        fs::remove_file(&to).unwrap();
        fs::create_dir(&to).unwrap();
        assert_eq!(rename_to_free(&root, &to), Err(Errno::EXIST));
        fs::remove_dir(&to).unwrap();
        assert_eq!(rename_to_free(&root, &to), Ok(()));
        assert!(!root.exists() && to.join("PG_VERSION").exists());
    }
}
