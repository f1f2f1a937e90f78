//! As whom a tool runs: root steps down to the owner of the configuration before anything is read or written, because what
//! root leaves behind in a repository or a state directory its owner cannot use any more.

use super::config::{self, HANDED_ON};
use crate::error::{Error, Result};
use nix::unistd::{Uid, User, initgroups, setgid, setuid};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who owns Debian's clusters.
const DEBIAN: &str = "postgres";
/// Set for a command that is to stay root.
const STAYS: &str = "PGV_STAYS_ROOT";
/// Bytes; what a caller names is a configuration or a key, and small.
const SIZE_LIMIT: u64 = 1 << 20;

/// Runs `command` instead of this process, which root began, as the owner of the configuration; that is `file`, or the
/// one of `cluster`, or the only one. `place`: as the owner of this instead. What the caller named and the owner may not read is opened before, and handed on.
pub fn step_down(
    file: Option<&Path>,
    cluster: Option<&str>,
    place: Option<&Path>,
    command: &[std::ffi::OsString],
) -> Result<()> {
    let (program, arguments) = command.split_first().ok_or_else(|| Error::usage("a command is needed"))?;
    let mut next = Command::new(program);
    next.args(arguments);
    let owner = match place {
        Some(place) => user_of(owner_of_place(place)?)?,
        None => owner(&config::Environment::load(file, cluster)?)?,
    };
    let Some(owner) = owner.filter(|owner| !owner.uid.is_root()) else {
        return Err(run_error(program, next.env(STAYS, "yes").exec()));
    };
    let handed_config = file.map(config::absolute).transpose()?;
    let config_copy = handed_config.as_deref().map(|path| copy(path, &owner)).transpose()?;
    let keys = keys_of_caller()?;
    let key_copies = keys.iter().map(|key| copy(key, &owner)).collect::<Result<Vec<_>>>()?;
    become_owner(&owner, program)?;
    if let (Some(path), Some(copy)) = (&handed_config, config_copy)
        && !may_read(path)
    {
        next.env(HANDED_ON, format!("{}:{}", copy.as_raw_fd(), path.display()));
        keep_open(copy);
    }
    let mut names = Vec::new();
    for (path, copy) in keys.iter().zip(key_copies) {
        if may_read(path) {
            names.push(path.clone());
        } else {
            names.push(format!("/dev/fd/{}", copy.as_raw_fd()).into());
            keep_open(copy);
        }
    }
    if !names.is_empty() {
        let joined = std::env::join_paths(&names);
        next.env(
            "PGV_KEY_FILE",
            joined.map_err(|_| Error::usage("a path in PGV_KEY_FILE has a colon in it"))?,
        );
    }
    next.env("HOME", &owner.dir).env("USER", &owner.name).env("LOGNAME", &owner.name);
    Err(run_error(program, next.exec()))
}

fn run_error(program: &std::ffi::OsStr, error: io::Error) -> Error {
    Error::io(format_args!("run {}", program.display()), error)
}

/// Of a path that is to be made: the owner of the directory that it will be in.
fn owner_of_place(place: &Path) -> Result<u32> {
    let place = config::absolute(place)?;
    for path in place.ancestors() {
        match std::fs::metadata(path) {
            Ok(metadata) => return Ok(metadata.uid()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(format_args!("stat {}", path.display()), error)),
        }
    }
    Ok(0)
}

/// Of the configuration, or of the state directory, or Debian's. `None`: there is no such user.
fn owner(environment: &config::Environment) -> Result<Option<User>> {
    let state = environment.get("PGV_STATE_DIR")?.and_then(|state| std::fs::symlink_metadata(state).ok());
    let configured = environment.config().map(|config| config.uid).filter(|uid| *uid != 0);
    match configured.or(state.map(|metadata| metadata.uid())) {
        Some(uid) => user_of(uid),
        None => Ok(User::from_name(DEBIAN).ok().flatten()),
    }
}

fn user_of(uid: u32) -> Result<Option<User>> {
    let found = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    found.map(Some).ok_or_else(|| {
        Error::usage(format!(
            "user {uid}, who owns the configuration or the repository, does not exist on this machine"
        ))
        .hint("give it to the user who backs up: chown postgres …")
    })
}

fn become_owner(owner: &User, program: &std::ffi::OsStr) -> Result<()> {
    let name = std::ffi::CString::new(owner.name.as_bytes());
    let name = name.map_err(|_| Error::usage("the owner's name has a NUL in it"))?;
    let done = initgroups(&name, owner.gid).and_then(|()| setgid(owner.gid)).and_then(|()| setuid(owner.uid));
    done.map_err(|error| {
        let reason = crate::error::io_reason(&error.into());
        let tool = Path::new(program).file_name().unwrap_or(program).display();
        Error::usage(format!(
            "this must not run as root, and root cannot become user {}: {reason}",
            owner.name
        ))
        .hint(format!("run it as that user: sudo -u {0} {tool} …, or docker exec --user {0}", owner.name))
    })
}

/// The key files that the environment names, not those of the configuration: that may be another user's, and is not to
/// make root open files for them.
fn keys_of_caller() -> Result<Vec<PathBuf>> {
    let named = std::env::var_os("PGV_KEY_FILE").filter(|named| !named.is_empty()).unwrap_or_default();
    std::env::split_paths(&named)
        .filter(|path| !path.as_os_str().is_empty())
        .map(|path| config::absolute(&path))
        .collect()
}

/// Its content in memory, as a file of the owner: a descriptor alone could not be opened again by its name.
fn copy(path: &Path, owner: &User) -> Result<File> {
    let wrong =
        |error: io::Error| Error::usage(Error::io(format_args!("read {}", path.display()), error).message());
    let mut content = Vec::new();
    File::open(path).map_err(wrong)?.take(SIZE_LIMIT).read_to_end(&mut content).map_err(wrong)?;
    // Messages name the file itself. A longer name than this is refused.
    let name = path.as_os_str().as_encoded_bytes();
    let name = std::ffi::CString::new(if name.len() < 200 { name } else { b"pgv" }).unwrap_or_default();
    let mut copy = File::from(
        memfd_create(name.as_c_str(), MemfdFlags::empty()).map_err(io::Error::from).map_err(wrong)?,
    );
    // As the configuration itself: nobody else's.
    copy.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(wrong)?;
    fchown(&copy, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).map_err(wrong)?;
    copy.write_all(&content).and_then(|()| copy.rewind()).map_err(wrong)?;
    Ok(copy)
}

fn may_read(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) && File::open(path).is_ok()
}

/// For the program that takes the place of this one.
fn keep_open(file: File) {
    std::mem::forget(OwnedFd::from(file));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_can_be_opened_by_its_name_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "secret").unwrap();
        let me = User::from_uid(Uid::current()).unwrap().unwrap();
        let copy = copy(&path, &me).unwrap();
        for _ in 0..2 {
            let again = std::fs::read_to_string(format!("/dev/fd/{}", copy.as_raw_fd())).unwrap();
            assert_eq!(again, "secret");
        }
    }
}
