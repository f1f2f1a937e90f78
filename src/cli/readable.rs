//! Which configurations this user may read. One that may not be read is passed over, and named when something fails.

use super::config::{self, Config};
use crate::error::{Error, Kind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A configuration that is there and may not be read: said when something fails.
static UNREAD: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Nothing where this user may not look.
pub(super) fn readable_list() -> Result<Option<Vec<PathBuf>>> {
    let directory = config::directory()?;
    if is_denied(std::fs::read_dir(&directory)) {
        note_unread(&directory);
        return Ok(None);
    }
    config::list().map(Some)
}

pub(super) fn read_if_allowed(path: &Path) -> Result<Option<Config>> {
    if is_denied(std::fs::File::open(path)) {
        note_unread(path);
        return Ok(None);
    }
    config::read_file(path).map(Some)
}

fn is_denied<T>(tried: std::io::Result<T>) -> bool {
    tried.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

fn note_unread(path: &Path) {
    let mut unread = UNREAD.lock().unwrap_or_else(PoisonError::into_inner);
    unread.get_or_insert_with(|| path.to_owned());
}

/// A tool that fails may have needed what it was not allowed to read.
pub fn explain_unread(error: Error) -> Error {
    let unread = UNREAD.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match unread {
        Some(path) if matches!(error.kind, Kind::Failed | Kind::Usage | Kind::Key | Kind::Temporary) => error
            .hint(format!(
                "the configuration in {} was not used: this user may not read it (sudo -u postgres …)",
                path.display()
            )),
        _ => error,
    }
}
