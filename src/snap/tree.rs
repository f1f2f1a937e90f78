//! What of a data directory belongs to a backup, in the order of the stream: by path bytes, where a
//! directory compares as its name and a slash. Only one directory's names (and those of its parents)
//! are in memory at a time.
//!
//! walkdir does not serve here: it gives names one by one, and here all names of a directory must be known before the
//! first goes on. An unlogged relation is known by its init fork, and an increment of files lists them.

use crate::catalog::member;
use crate::error::{IoContext, Result};
use crate::pg::relation::{
    EMPTIED_DIRECTORIES, Fork, RelationFile, is_excluded_at_top, is_excluded_name, is_oid,
    is_relation_directory, is_temporary,
};
use crate::pg::{control, incremental};
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::FileType;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub struct Tree {
    root: PathBuf,
    /// The one directory in a tablespace that is this server's: `PG_15_202209061`.
    tablespace_directory: String,
    /// The tablespaces that belong to the backup; all, if it has not begun.
    tablespaces: Option<BTreeSet<u32>>,
}

/// A path below the data directory, without a slash at its end.
pub enum Entry<'a> {
    Directory {
        path: &'a [u8],
        children: &'a [Name],
    },
    File {
        path: &'a [u8],
        relation: Option<u32>,
    },
    /// No part of the backup, although the server may see it.
    LeftOut {
        path: &'a [u8],
        why: LeftOut,
    },
}

/// Why something is no part of the backup, and somebody has to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// A symbolic link.
    Link,
    /// A file that whoever merges increments would take for changed blocks.
    Reserved,
}

pub struct Name {
    /// The bytes that decide the order.
    key: Vec<u8>,
    kind: NameKind,
}

impl Name {
    pub fn bytes(&self) -> &[u8] {
        self.key.strip_suffix(b"/").unwrap_or(&self.key)
    }

    pub fn is_directory(&self) -> bool {
        self.kind == NameKind::Directory
    }

    pub fn is_left_out(&self) -> bool {
        matches!(self.kind, NameKind::LeftOut(_))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NameKind {
    Directory,
    File,
    LeftOut(LeftOut),
}

impl Tree {
    pub fn new(root: &Path, major: u32, catalog_version: u32) -> Self {
        Tree {
            root: root.to_owned(),
            tablespace_directory: format!("PG_{major}_{catalog_version}"),
            tablespaces: None,
        }
    }

    /// From now on no other tablespace is seen: what is created later comes back from WAL, and only where nothing
    /// lies in its place.
    pub fn keep_tablespaces(&mut self, oids: BTreeSet<u32>) {
        self.tablespaces = Some(oids);
    }

    fn is_tablespace(&self, name: &str) -> bool {
        let kept = |oid| self.tablespaces.as_ref().is_none_or(|kept| kept.contains(&oid));
        is_oid(name) && name.parse().is_ok_and(kept)
    }

    pub fn absolute(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    /// Calls `visit` for everything below the root; `global/pg_control` is left to the caller.
    pub fn walk(&self, visit: &mut dyn FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
        self.walk_directory(b"", &self.names(b"")?, visit)
    }

    fn walk_directory(
        &self,
        directory: &[u8],
        names: &[Name],
        visit: &mut dyn FnMut(Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let relations = std::str::from_utf8(directory).is_ok_and(is_relation_directory);
        for name in names {
            let bare = name.bytes();
            let path = match directory {
                b"" => bare.to_vec(),
                _ => [directory, b"/", bare].concat(),
            };
            match name.kind {
                NameKind::LeftOut(why) => visit(Entry::LeftOut { path: &path, why })?,
                NameKind::File if path == control::PATH.as_bytes() => {}
                NameKind::File => {
                    let segment = std::str::from_utf8(bare).ok().and_then(RelationFile::parse);
                    let relation = segment.filter(|_| relations).map(|file| file.segment);
                    visit(Entry::File { path: &path, relation })?;
                }
                NameKind::Directory => {
                    let children = if is_emptied(&path) { Vec::new() } else { self.names(&path)? };
                    visit(Entry::Directory { path: &path, children: &children })?;
                    self.walk_directory(&path, &children, visit)?;
                }
            }
        }
        Ok(())
    }

    /// What of a directory is kept, sorted. A directory that vanished meanwhile is empty: its
    /// database was dropped, and WAL says so.
    pub fn names(&self, directory: &[u8]) -> Result<Vec<Name>> {
        let path = self.absolute(directory);
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !directory.is_empty() => {
                return Ok(Vec::new());
            }
            entries => entries.during_path("read", &path)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.during_path("read", &path)?;
            let file_type = match entry.file_type() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file_type => file_type.during_path("stat", &entry.path())?,
            };
            let name = entry.file_name().into_vec();
            if let Some(kind) = self.kept(directory, &name, file_type) {
                let slash: &[u8] = if kind == NameKind::Directory { b"/" } else { b"" };
                names.push(Name { key: [&name, slash].concat(), kind });
            }
        }
        if std::str::from_utf8(directory).is_ok_and(is_relation_directory) {
            drop_unlogged(&mut names);
        }
        names.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(names)
    }

    fn kept(&self, directory: &[u8], name: &[u8], file_type: FileType) -> Option<NameKind> {
        let text = std::str::from_utf8(name).unwrap_or("");
        let top = directory.is_empty();
        let is_ours = name == member::DIRECTORY.as_bytes();
        if is_excluded_name(name) || (top && (is_ours || is_excluded_at_top(name))) {
            return None;
        }
        if directory == b"pg_tblspc" {
            // A tablespace: a link to its place, or a directory if it lies in place.
            return (self.is_tablespace(text) && !file_type.is_file()).then_some(NameKind::Directory);
        }
        if directory.strip_prefix(b"pg_tblspc/").is_some_and(|rest| !rest.contains(&b'/')) {
            return (text == self.tablespace_directory).then_some(NameKind::Directory);
        }
        if directory != b"global"
            && std::str::from_utf8(directory).is_ok_and(is_relation_directory)
            && is_temporary(text)
        {
            return None;
        }
        if file_type.is_dir() || (top && is_emptied(name) && file_type.is_symlink()) {
            return Some(NameKind::Directory);
        }
        match (file_type.is_file(), file_type.is_symlink()) {
            (true, _) if incremental::is_reserved(directory, name) => {
                Some(NameKind::LeftOut(LeftOut::Reserved))
            }
            (true, _) => Some(NameKind::File),
            (_, true) => Some(NameKind::LeftOut(LeftOut::Link)),
            // Sockets and pipes are processes' business.
            _ => None,
        }
    }
}

/// As GNU tar lists them: names, and whether each is a directory.
pub fn children(names: &[Name]) -> Vec<(Vec<u8>, bool)> {
    let kept = names.iter().filter(|name| !name.is_left_out());
    kept.map(|name| (name.bytes().to_vec(), name.is_directory())).collect()
}

fn is_emptied(path: &[u8]) -> bool {
    EMPTIED_DIRECTORIES.iter().any(|emptied| emptied.as_bytes() == path)
}

/// Of an unlogged relation only its init fork is kept: recovery makes the rest anew from it.
fn drop_unlogged(names: &mut Vec<Name>) {
    let number_of = |name: &Name| {
        let file = RelationFile::parse(std::str::from_utf8(&name.key).ok()?)?;
        Some((file.number.parse::<u32>().ok()?, file.fork))
    };
    let unlogged: HashSet<u32> = names
        .iter()
        .filter_map(number_of)
        .filter(|(_, fork)| *fork == Fork::Init)
        .map(|(number, _)| number)
        .collect();
    names.retain(|name| {
        !number_of(name).is_some_and(|(number, fork)| fork != Fork::Init && unlogged.contains(&number))
    });
}
