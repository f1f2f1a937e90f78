//! A directory that this user may not use: which one it is, and what root can do about it. Nothing is advised that would
//! harm what else may lie there.

use crate::error::Error;
use nix::unistd::{User, geteuid};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// To a failure to look at `path`: the first directory on the way that may not be entered.
pub fn explain_unread(error: Error, path: &Path) -> Error {
    let mut ancestors: Vec<_> = path.ancestors().collect();
    ancestors.reverse();
    let is_denied = |place: &&&Path| is_denied(place, Access::EXEC_OK) || is_denied(place, Access::READ_OK);
    match ancestors.iter().find(is_denied) {
        Some(place) => error.hint(format!("user {} may not read {}", user(), place.display())),
        None => error,
    }
}

/// To a failure to make the file `path`: the nearest directory that exists, if it may not be written to, and how the one
/// below it is made.
pub fn explain_unwritten(error: Error, path: &Path) -> Error {
    let (mut missing, mut directory) = (path, path.parent());
    while let Some(above) = directory.filter(|above| !above.is_dir()) {
        (missing, directory) = (above, above.parent());
    }
    let Some(directory) = directory else { return error };
    if is_denied(directory, Access::EXEC_OK) {
        return error.hint(format!("user {} may not enter {}", user(), directory.display()));
    }
    if !is_denied(directory, Access::WRITE_OK) {
        return error;
    }
    let is_absent = missing.symlink_metadata().is_err_and(|reason| reason.kind() == io::ErrorKind::NotFound);
    let error = error.hint(format!("user {} may not write to {}", user(), directory.display()));
    match is_absent && missing != path {
        true => error.hint(format!(
            "as root: install --directory --owner={} --mode=0700 {}",
            user(),
            missing.display()
        )),
        false => error,
    }
}

fn is_denied(path: &Path, wanted: Access) -> bool {
    matches!(access(path, wanted), Err(Errno::ACCESS))
}

fn user() -> String {
    let uid = geteuid();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}
