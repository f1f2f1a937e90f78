//! Removes what is in a directory and not in the backup that was laid over it: files that the new
//! manifest does not list, and directories that the stream did not have.

use crate::apply::look;
use crate::apply::parent::Cursor;
use crate::catalog::member;
use crate::error::{Error, IoContext, Result};
use crate::pg::backup_manifest;
use crate::report;
use crate::stream::is_data;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// `kept`: the new manifest. `directories`: of the stream. `major`: of PostgreSQL; what other majors
/// have in a tablespace's place stays.
pub fn prune(root: &Path, kept: Cursor, directories: &BTreeSet<Vec<u8>>, major: &str) -> Result<()> {
    let version = format!("PG_{major}_").into_bytes();
    Prune { root, kept, directories, version }.below(b"")
}

struct Prune<'a> {
    root: &'a Path,
    kept: Cursor,
    directories: &'a BTreeSet<Vec<u8>>,
    /// How the one directory in a tablespace's place begins that is this major's.
    version: Vec<u8>,
}

impl Prune<'_> {
    /// `directory` is empty or ends with a slash. `pg_wal` and `pgv` were emptied before.
    fn below(&mut self, directory: &[u8]) -> Result<()> {
        let top = self.path(directory);
        let mut walk = WalkDir::new(&top).min_depth(1).sort_by(in_manifest_order).into_iter();
        while let Some(entry) = walk.next() {
            let entry = entry.map_err(|error| unreadable(error, &top))?;
            let relative = entry.path().strip_prefix(&top).unwrap_or(entry.path());
            let path = [directory, relative.as_os_str().as_bytes()].concat();
            let goes_on = self.visit(&entry, &path)?;
            if entry.file_type().is_dir() && !goes_on {
                walk.skip_current_dir();
            }
        }
        Ok(())
    }

    /// Whether what is below the entry is looked at as well.
    fn visit(&mut self, entry: &DirEntry, path: &[u8]) -> Result<bool> {
        let parent = &path[..path.len() - entry.file_name().len()];
        let foreign = is_place(parent) && !entry.file_name().as_bytes().starts_with(&self.version);
        let is_kept =
            [b"pg_wal", member::DIRECTORY.as_bytes(), backup_manifest::PATH.as_bytes()].contains(&path);
        if foreign || is_kept || look::stays(entry.file_name()) {
            return Ok(false);
        }
        if !is_directory(entry) {
            if is_data(path) && self.kept.find(path)?.is_none() {
                self.remove(path, false)?;
            }
            return Ok(false);
        }
        if !self.directories.contains(path) {
            self.remove(path, true)?;
            return Ok(false);
        }
        if entry.path_is_symlink() {
            self.below(&[path, b"/"].concat())?;
        }
        Ok(true)
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

/// By bytes, where a directory compares as its name and a slash.
fn in_manifest_order(one: &DirEntry, other: &DirEntry) -> Ordering {
    let key = |entry: &DirEntry| {
        let slash: &[u8] = if is_directory(entry) { b"/" } else { b"" };
        [entry.file_name().as_bytes(), slash].concat()
    };
    key(one).cmp(&key(other))
}

/// Links count as directories in pg_tblspc only.
fn is_directory(entry: &DirEntry) -> bool {
    let is_link_to_place = || {
        let parent = entry.path().parent().and_then(Path::file_name);
        entry.depth() == 2 && entry.path_is_symlink() && parent == Some(OsStr::new("pg_tblspc"))
    };
    entry.file_type().is_dir() || is_link_to_place()
}

/// `pg_tblspc/16384/`.
fn is_place(directory: &[u8]) -> bool {
    let oid = directory.strip_prefix(b"pg_tblspc/").and_then(|rest| rest.strip_suffix(b"/"));
    oid.is_some_and(|oid| !oid.is_empty() && !oid.contains(&b'/'))
}

fn unreadable(error: walkdir::Error, top: &Path) -> Error {
    let path = error.path().unwrap_or(top).to_owned();
    // Only a loop of symbolic links has none, and links are not followed.
    let why = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of symbolic links"));
    Error::io(format_args!("read {}", path.display()), why)
}
