//! Removes what is in a directory and not in the backup that was laid over it: files that the new
//! manifest does not list, and directories that the stream did not have.

use crate::apply::look;
use crate::apply::parent::{Cursor, is_data};
use crate::error::{IoContext, Result};
use crate::report;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// `kept`: the new manifest. `directories`: of the stream. `major`: of PostgreSQL; what other majors
/// have in a tablespace's place stays.
pub fn prune(root: &Path, mut kept: Cursor, directories: &BTreeSet<Vec<u8>>, major: &str) -> Result<()> {
    let version = format!("PG_{major}_").into_bytes();
    Prune { root, kept: &mut kept, directories, version }.directory(b"")
}

struct Prune<'a> {
    root: &'a Path,
    kept: &'a mut Cursor,
    directories: &'a BTreeSet<Vec<u8>>,
    /// How the one directory in a tablespace's place begins that is this major's.
    version: Vec<u8>,
}

impl Prune<'_> {
    /// In the manifest's order, in which a directory compares as its name and a slash. `pg_wal` and
    /// `pgv` were emptied before.
    fn directory(&mut self, directory: &[u8]) -> Result<()> {
        for (key, is_directory) in self.names(directory)? {
            let path = [directory, &key].concat();
            let bare = path.strip_suffix(b"/").unwrap_or(&path);
            if [&b"pg_wal"[..], b"pgv", b"backup_manifest"].contains(&bare) {
                continue;
            }
            if !is_directory {
                if is_data(&path) && self.kept.find(&path)?.is_none() {
                    self.remove(bare, false)?;
                }
                continue;
            }
            match self.directories.contains(bare) {
                true => self.directory(&path)?,
                false => self.remove(bare, true)?,
            }
        }
        Ok(())
    }

    /// Links count as directories in pg_tblspc only.
    fn names(&self, directory: &[u8]) -> Result<Vec<(Vec<u8>, bool)>> {
        let path = self.path(directory);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).during_path("read", &path)? {
            let entry = entry.during_path("read", &path)?;
            let kind = entry.file_type().during_path("stat", &entry.path())?;
            let is_directory = kind.is_dir() || (kind.is_symlink() && directory == b"pg_tblspc/");
            let slash: &[u8] = if is_directory { b"/" } else { b"" };
            let foreign = is_place(directory) && !entry.file_name().as_bytes().starts_with(&self.version);
            if foreign || look::stays(&entry.file_name()) {
                continue;
            }
            names.push(([&entry.file_name().into_vec(), slash].concat(), is_directory));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// A tablespace's link goes, and what it points to is emptied.
    fn remove(&self, path: &[u8], is_directory: bool) -> Result<()> {
        let path = self.path(path);
        report::verbose(format_args!("removed: {}", path.display()));
        if !is_directory {
            return fs::remove_file(&path).during_path("remove", &path);
        }
        if !path.is_symlink() {
            return fs::remove_dir_all(&path).during_path("remove", &path);
        }
        for entry in fs::read_dir(&path).during_path("read", &path)? {
            let entry = entry.during_path("read", &path)?;
            if !entry.file_name().as_bytes().starts_with(&self.version) {
                continue;
            }
            fs::remove_dir_all(entry.path()).during_path("remove", &entry.path())?;
        }
        fs::remove_file(&path).during_path("remove", &path)
    }

    fn path(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }
}

/// `pg_tblspc/16384/`.
fn is_place(directory: &[u8]) -> bool {
    let oid = directory.strip_prefix(b"pg_tblspc/").and_then(|rest| rest.strip_suffix(b"/"));
    oid.is_some_and(|oid| !oid.is_empty() && !oid.contains(&b'/'))
}
