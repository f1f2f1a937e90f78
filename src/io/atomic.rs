//! A file that has its final name only when it is complete and on disk.
//!
//! Written under a temporary name in the same directory, synced, renamed, and the directory synced:
//! a crash at any moment leaves the old state or the new one (and perhaps a file named
//! `.pgv-tmp-*`, which every reader of pgv ignores).

use crate::error::{Error, IoContext, Kind, Result};
use crate::io::interrupt::{Unfinished, on_interrupt};
use crate::io::random::random_name;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Begins the name of every temporary file, so that listings can leave them out.
pub const TEMPORARY_PREFIX: &str = ".pgv-tmp-";

/// Ends with [`AtomicFile::commit`]; dropped without that it leaves nothing, also after a signal that can be caught. Only
/// kill -9 leaves the temporary file behind.
#[must_use]
pub struct AtomicFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    has_name: bool,
    _unfinished: Unfinished,
}

impl AtomicFile {
    /// `mode` as in `open(2)`, before the umask.
    pub fn create(path: &Path, mode: u32) -> Result<Self> {
        let directory = directory_of(path);
        let temporary = directory.join(format!("{TEMPORARY_PREFIX}{}", random_name()?));
        let unfinished = temporary.clone();
        let _unfinished = on_interrupt(move || {
            let _gone_or_left = std::fs::remove_file(&unfinished).is_err();
        })?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)
            .during_path("create", path)?;
        Ok(AtomicFile { file, temporary, path: path.to_owned(), has_name: false, _unfinished })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For its owner and mode.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Syncs, gives the file its name and syncs the directory. Without `replace` an existing file
    /// stays as it is and the error is of kind Exists.
    pub fn commit(mut self, replace: bool) -> Result<()> {
        self.file.sync_all().during_path("sync", &self.path)?;
        self.rename(replace)?;
        sync_directory(directory_of(&self.path))
    }

    /// Gives the file its name without making it durable: for what can be made again.
    pub fn publish(mut self) -> Result<()> {
        self.rename(true)
    }

    fn rename(&mut self, replace: bool) -> Result<()> {
        self.give_name(replace)?;
        self.has_name = true;
        Ok(())
    }

    fn give_name(&self, replace: bool) -> Result<()> {
        if replace {
            return std::fs::rename(&self.temporary, &self.path).during_path("rename to", &self.path);
        }
        match renameat_with(CWD, &self.temporary, CWD, &self.path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::EXIST) => Err(exists(&self.path)),
            // File systems without the flag (NFS, some FUSE): a hard link never replaces either.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => self.link(),
            Err(error) => Err(io::Error::from(error)).during_path("rename to", &self.path),
        }
    }

    fn link(&self) -> Result<()> {
        match std::fs::hard_link(&self.temporary, &self.path) {
            Ok(()) => std::fs::remove_file(&self.temporary).during_path("remove", &self.temporary),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&self.path)),
            Err(error) => Err(error).during_path("link to", &self.path),
        }
    }
}

impl Drop for AtomicFile {
    /// A failure leaves only a temporary name, so it is no error of its own.
    fn drop(&mut self) {
        let _leftover = !self.has_name && std::fs::remove_file(&self.temporary).is_err();
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn exists(path: &Path) -> Error {
    Error::new(Kind::Exists, format!("{} exists, nothing was overwritten", path.display()))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes names created or renamed in `directory` durable.
pub fn sync_directory(directory: &Path) -> Result<()> {
    let open = File::open(directory).during_path("open", directory)?;
    open.sync_all().during_path("sync", directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_without_replace_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path, 0o600).unwrap();
        file.write_all(b"new").unwrap();
        let error = file.commit(false).unwrap_err();
        assert_eq!(error.kind, Kind::Exists);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn what_is_not_committed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&dir.path().join("f"), 0o600).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_has_the_name_before_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = AtomicFile::create(&path, 0o600).unwrap();
        file.write_all(b"new").unwrap();
        assert!(!path.exists());
        file.commit(false).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
