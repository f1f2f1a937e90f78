//! Reads a configuration as the server does, from the main file on, and rewrites what must be another in the copy.

use crate::error::{IoContext, Result};
use crate::pg::conf::{self, AccessName, Include};
use crate::pg::guc;
use crate::recover::configuration::files::Files;
use crate::recover::configuration::map::Map;
use crate::recover::configuration::saved::Saved;
use crate::recover::file::read_if_there;
use crate::report;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// CONF_FILE_MAX_DEPTH.
const DEEPEST: usize = 10;

pub struct Walk<'a> {
    pub root: &'a Path,
    /// `None`: the files are the copy's already, and nothing is rewritten.
    pub saved: Option<&'a Saved>,
    pub files: &'a mut Files,
}

impl Walk<'_> {
    /// `original`: where the main file lay.
    pub fn enter(&mut self, original: Option<&Path>) -> Result<()> {
        let main = self.files.main.clone();
        let mut seen = BTreeSet::new();
        let original = original.unwrap_or(&main).to_owned();
        self.file(&main, &original, 0, &mut seen)
    }

    /// Rewrites the names of files in an access file, and in those that it includes, where they are others in the copy.
    pub fn access(
        &mut self,
        saved: &Saved,
        path: &Path,
        original: &Path,
        depth: usize,
        seen: &mut BTreeSet<PathBuf>,
    ) -> Result<()> {
        if depth > DEEPEST || !seen.insert(path.to_owned()) {
            return Ok(());
        }
        let Some(content) = self.content(path)? else { return Ok(()) };
        let (directory, original_directory) = (parent(path), parent(original));
        let mut text = Vec::with_capacity(content.len());
        let mut copied = 0;
        // Releases before 16 refuse lines that include files, so none of them has one.
        for AccessName { include, span } in conf::access_names(&content, true) {
            let map = Map { root: self.root, home: &self.files.home, saved };
            let (name, is_directory) = match include {
                Include::File(name) => (name, false),
                Include::Directory(name) => (name, true),
            };
            let named = conf::absolute(&name, original_directory);
            let place = if is_directory { map.place_of_directory(&named) } else { map.place(&named) };
            let as_it_stands = conf::absolute(&name, directory);
            if !self.is_there(&place) {
                if !as_it_stands.exists() {
                    report::warn(format_args!(
                        "{}: {} is not in the backup",
                        path.display(),
                        named.display()
                    ));
                }
                continue;
            }
            if as_it_stands != place {
                text.extend_from_slice(&content[copied..span.start]);
                text.extend(conf::access_quoted(&place));
                copied = span.end;
            }
            for (member, original) in self.included(&place, &named, is_directory)? {
                self.access(saved, &member, &original, depth + 1, seen)?;
            }
        }
        if copied > 0 {
            text.extend_from_slice(&content[copied..]);
            self.files.to_write.insert(path.to_owned(), text);
        }
        Ok(())
    }

    /// What a file of the copy is to hold.
    fn content(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match self.files.to_write.get(path) {
            Some(content) => Ok(Some(content.clone())),
            None => read_if_there(path),
        }
    }

    /// A file or a directory of the copy.
    fn is_there(&self, place: &Path) -> bool {
        place.exists() || self.files.to_write.keys().any(|path| path.starts_with(place))
    }

    fn file(
        &mut self,
        path: &Path,
        original: &Path,
        depth: usize,
        seen: &mut BTreeSet<PathBuf>,
    ) -> Result<()> {
        if depth > DEEPEST || !seen.insert(path.to_owned()) {
            return Ok(());
        }
        let is_saved = self.files.to_write.contains_key(path);
        let Some(content) = self.content(path)? else { return Ok(()) };
        let mut text = Vec::with_capacity(content.len());
        let mut is_changed = false;
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            let changed = match conf::setting(line) {
                Some((name, value)) => self.line(&name, &value, path, original, depth, seen)?,
                None => None,
            };
            match changed {
                Some(new) => {
                    is_changed = true;
                    let old = line.strip_suffix(b"\n").unwrap_or(line);
                    text.extend_from_slice(b"#pgv-restore: ");
                    text.extend_from_slice(old);
                    text.push(b'\n');
                    text.extend_from_slice(&new);
                }
                None => text.extend_from_slice(line),
            }
        }
        if is_changed || (is_saved && depth == 0) {
            if text.last().is_some_and(|byte| *byte != b'\n') {
                text.push(b'\n');
            }
            self.files.to_write.insert(path.to_owned(), text);
        }
        Ok(())
    }

    /// What stands instead of a line, which may be nothing; `None`: the line stays.
    fn line(
        &mut self,
        name: &str,
        value: &OsStr,
        path: &Path,
        original: &Path,
        depth: usize,
        seen: &mut BTreeSet<PathBuf>,
    ) -> Result<Option<Vec<u8>>> {
        match (name, self.saved) {
            ("include" | "include_if_exists" | "include_dir", _) => {
                self.include(name, value, path, original, depth, seen)
            }
            (
                "data_directory" | "config_file" | "hba_file" | "ident_file" | "hosts_file"
                | "external_pid_file",
                Some(_),
            ) => Ok(Some(Vec::new())),
            _ => {
                self.files.settings.insert(name.to_owned(), value.to_string_lossy().into_owned());
                Ok(None)
            }
        }
    }

    fn include(
        &mut self,
        name: &str,
        value: &OsStr,
        path: &Path,
        original: &Path,
        depth: usize,
        seen: &mut BTreeSet<PathBuf>,
    ) -> Result<Option<Vec<u8>>> {
        let beside = |of: &Path| conf::absolute(Path::new(value), parent(of));
        let named = beside(original);
        let is_directory = name == "include_dir";
        let map = self.saved.map(|saved| Map { root: self.root, home: &self.files.home, saved });
        let place = match (&map, is_directory) {
            (Some(map), true) => map.place_of_directory(&named),
            (Some(map), false) => map.place(&named),
            (None, _) => named.clone(),
        };
        for (member, original) in self.included(&place, &named, is_directory)? {
            self.file(&member, &original, depth + 1, seen)?;
        }
        if self.saved.is_none() {
            return Ok(None);
        }
        if !self.is_there(&place) && name != "include_if_exists" {
            report::warn(format_args!("{name}: {} is not in the backup, and is left out", named.display()));
            return Ok(Some(Vec::new()));
        }
        match beside(path) == place {
            true => Ok(None),
            false => {
                let quoted = guc::quote_bytes(place.as_os_str().as_bytes());
                Ok(Some([name.as_bytes(), b" ", &quoted, b"\n"].concat()))
            }
        }
    }

    /// The files of an include, each with where it lay.
    fn included(&self, place: &Path, named: &Path, is_directory: bool) -> Result<Vec<(PathBuf, PathBuf)>> {
        if !is_directory {
            return Ok(vec![(place.to_owned(), named.to_owned())]);
        }
        let original = |member: &PathBuf| named.join(member.file_name().unwrap_or_default());
        let members = self.members(place)?;
        Ok(members.into_iter().map(|member| (member.clone(), original(&member))).collect())
    }

    /// `*.conf` in the order of their names, but for hidden ones (`GetConfFilesInDir`).
    fn members(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let mut members: BTreeSet<PathBuf> = self.files.to_write.keys().cloned().collect();
        match std::fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries.during_path("read", directory)? {
                    members.insert(entry.during_path("read", directory)?.path());
                }
            }
        }
        members.retain(|path| {
            let name = path.file_name().unwrap_or_default().as_bytes();
            path.parent() == Some(directory) && conf::is_included_name(name)
        });
        Ok(members.into_iter().collect())
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}
