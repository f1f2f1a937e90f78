//! The configuration files of a copy: which they are, where each of them goes, and how they name each other there.
//!
//! A backup brings what its server read: files of the data directory as they are, all others below `pgv/config`, with
//! `pgv/configuration` saying where each of them lay. A file keeps its place relative to the main file's directory; what
//! lay elsewhere goes below `included/`. Lines that name files are rewritten, and the settings of places are the copy's.

mod files;
mod map;
mod saved;
#[cfg(test)]
mod tests;
mod walk;

pub use files::Files;

use crate::catalog::SavedFile;
use crate::error::Result;
use crate::pg::conf;
use crate::recover::decide::Settings;
use crate::recover::file::{AUTO_CONF, read_if_there};
use crate::recover::request::Home;
use crate::recover::text;
use crate::report;
use files::has_mark;
use map::{Map, UNUSED};
use saved::Saved;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use walk::Walk;

/// Debian's, beside the configuration proper.
const OF_DEBIAN: [&str; 3] = ["environment", "start.conf", "pg_ctl.conf"];

impl Files {
    pub fn find(root: &Path, home: &Home) -> Result<Self> {
        let saved = Saved::load(root)?;
        let auto_conf = text::without_blocks(&read_if_there(&root.join(AUTO_CONF))?.unwrap_or_default());
        let (place, is_used) = match home {
            Home::Existing(place) | Home::Isolated(place) => (place.clone(), true),
            Home::New(place) => (place.clone(), place.join("postgresql.conf").exists()),
            Home::Data => {
                let own = read_if_there(&root.join("postgresql.conf"))?.unwrap_or_default();
                (root.to_owned(), has_mark(&own))
            }
        };
        let mut files = Files {
            original: saved.as_ref().map(|saved| saved.configuration.data_directory.clone()),
            settings: Settings::new(),
            auto_conf,
            main: place.join("postgresql.conf"),
            hba: place.join("pg_hba.conf"),
            ident: place.join("pg_ident.conf"),
            hosts: None,
            home: place,
            to_write: BTreeMap::new(),
            is_new: false,
            moved: Vec::new(),
            saved_unused: false,
            source: "data_directory",
        };
        let own_main = saved.as_ref().and_then(|saved| Map { root, home: root, saved }.own_main());
        let own_main = own_main.unwrap_or_else(|| root.join("postgresql.conf"));
        let main_is_saved = saved.as_ref().is_some_and(|saved| saved.main().is_some());
        match (is_used, saved) {
            (true, _) => {
                files.saved_unused = main_is_saved && matches!(home, Home::Existing(_));
                files.source = if matches!(home, Home::Existing(_)) { "existing" } else { "restored" };
                Walk { root, saved: None, files: &mut files }.enter(None)?;
            }
            (false, saved) => {
                files.source = match (main_is_saved, own_main.exists()) {
                    (true, _) => "saved",
                    (false, true) => "data_directory",
                    (false, false) => "none",
                };
                if files.source == "none" {
                    files.make_minimal();
                } else {
                    let saved = saved.unwrap_or_else(|| Saved::of_nothing(root));
                    files.take(root, &saved)?;
                }
            }
        }
        for line in files.auto_conf.split(|byte| *byte == b'\n') {
            if let Some((name, value)) = conf::setting(line) {
                files.settings.insert(name, value.to_string_lossy().into_owned());
            }
        }
        Ok(files)
    }

    /// The files that the backup brought.
    fn take(&mut self, root: &Path, saved: &Saved) -> Result<()> {
        let map = Map { root, home: &self.home, saved };
        let original = &saved.configuration;
        let (mut hba, mut ident, mut hosts) = (None, None, None);
        for (named, place) in [
            (&original.hba_file, &mut hba),
            (&original.ident_file, &mut ident),
            (&original.hosts_file, &mut hosts),
        ] {
            *place = named.as_ref().map(|path| map.place(path));
        }
        // A main file of the data directory has its own beside it.
        let beside = |name: &str| map.place(&saved.main_path().with_file_name(name));
        self.hba = hba.unwrap_or_else(|| beside("pg_hba.conf"));
        self.ident = ident.unwrap_or_else(|| beside("pg_ident.conf"));
        self.hosts = hosts;
        // What is not the main file, and lies where that goes.
        if self.home == root && map.own_main().as_ref() != Some(&self.main) {
            if let Some(content) = read_if_there(&self.main)? {
                self.to_write.insert(root.join(UNUSED), content);
            }
            if let Some(content) = map.own_main().map_or(Ok(None), |own| read_if_there(&own))? {
                self.to_write.insert(self.main.clone(), content);
            }
        }
        for (from, to) in map.moved() {
            if let Some(content) = read_if_there(&from)? {
                self.to_write.insert(to, content);
                self.moved.push(from);
            }
        }
        for SavedFile { member, path } in &original.saved {
            let of_debian = OF_DEBIAN.iter().any(|name| Path::new(name) == member);
            if !of_debian || self.home != root {
                self.to_write.insert(map.place(path), saved.read(member)?);
            }
        }
        let beside = |name: &str| saved.main_path().with_file_name(name);
        let access = [
            (self.hba.clone(), original.hba_file.clone().unwrap_or_else(|| beside("pg_hba.conf"))),
            (self.ident.clone(), original.ident_file.clone().unwrap_or_else(|| beside("pg_ident.conf"))),
        ];
        let mut walk = Walk { root, saved: Some(saved), files: self };
        walk.enter(Some(&saved.main_path()))?;
        let mut seen = BTreeSet::new();
        for (path, original) in access {
            walk.access(saved, &path, &original, 0, &mut seen)?;
        }
        if self.home != root {
            self.is_new = true;
        }
        Ok(())
    }

    fn make_minimal(&mut self) {
        report::warn(format_args!(
            "the backup brought no postgresql.conf: {} has none of the original's settings",
            self.main.display()
        ));
        self.to_write.insert(self.main.clone(), Vec::new());
        self.to_write.insert(self.hba.clone(), b"local all all peer\n".to_vec());
        self.to_write.insert(self.ident.clone(), Vec::new());
        self.is_new = true;
    }
}
