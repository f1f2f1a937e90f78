//! Files of the copy, each written whole or not at all.

use crate::error::{IoContext, Result};
use crate::io::AtomicFile;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Below the data directory: what ALTER SYSTEM writes, read last of all files.
pub const AUTO_CONF: &str = "postgresql.auto.conf";
/// Configuration may hold passwords.
const MODE: u32 = 0o600;
/// In a data directory that is open to the group (initdb --allow-group-access).
const GROUP_MODE: u32 = 0o640;

pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let parent = path.parent().and_then(|parent| std::fs::metadata(parent).ok());
    let is_groups = parent.is_some_and(|parent| parent.mode() & 0o057 == 0o050);
    let mut file = AtomicFile::create(path, MODE)?;
    file.write_all(content).during_path("write", path)?;
    file.commit(true)?;
    // Whatever the umask is.
    let open = || std::fs::set_permissions(path, Permissions::from_mode(GROUP_MODE));
    if is_groups { open().during_path("set the mode of", path) } else { Ok(()) }
}

pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.during_path("remove", path),
    }
}

/// `None`: it is not there.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        content => content.during_path("read", path).map(Some),
    }
}
