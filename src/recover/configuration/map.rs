//! Where the copy has what the original had at a path.

use crate::pg::conf;
use crate::recover::configuration::saved::Saved;
use std::path::{Path, PathBuf};

/// Of initdb, where the server reads another file.
pub const UNUSED: &str = "postgresql.conf.unused";

/// Where the copy has what the original had at a path.
pub struct Map<'a> {
    pub root: &'a Path,
    pub home: &'a Path,
    pub saved: &'a Saved,
}

impl Map<'_> {
    /// Whether a configuration of the data directory goes elsewhere: then only the files that a server looks for there
    /// go, and what they include stays.
    fn leaves_data(&self) -> bool {
        self.saved.main().is_none() && self.home != self.root
    }

    /// Files of the copy's data directory, and where they go.
    pub fn moved(&self) -> Vec<(PathBuf, PathBuf)> {
        if !self.leaves_data() {
            return Vec::new();
        }
        let names = ["pg_hba.conf", "pg_ident.conf"];
        let main = self.own_main().map(|own| (own, self.home.join("postgresql.conf")));
        main.into_iter().chain(names.map(|name| (self.root.join(name), self.home.join(name)))).collect()
    }

    /// The main file, if it is one of the data directory's, whatever it is called.
    pub fn own_main(&self) -> Option<PathBuf> {
        let main = self.saved.main_path();
        let rest = main.strip_prefix(&self.saved.configuration.data_directory);
        self.saved.main().is_none().then(|| self.root.join(rest.unwrap_or(Path::new("postgresql.conf"))))
    }

    pub fn place(&self, original: &Path) -> PathBuf {
        let original = conf::absolute(original, Path::new("/"));
        let main = self.saved.main_path();
        if original == main {
            return self.home.join("postgresql.conf");
        }
        let beside = main.parent().and_then(|directory| original.strip_prefix(directory).ok());
        if let (Some(rest), true) = (beside, self.saved.main().is_some()) {
            // A directory of the data must not be mixed with those of a configuration.
            let first = rest.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
            let is_data = first.is_some_and(|first| {
                rest.components().count() > 1
                    && (first.starts_with("pg") || matches!(first.as_str(), "base" | "global"))
            });
            if !(is_data && self.home == self.root) {
                return self.home.join(rest);
            }
        }
        match original.strip_prefix(&self.saved.configuration.data_directory) {
            Ok(rest) => {
                let own = self.root.join(rest);
                if self.home == self.root && own == self.home.join("postgresql.conf") {
                    return self.root.join(UNUSED);
                }
                self.moved().into_iter().find(|(from, _)| *from == own).map_or(own, |(_, to)| to)
            }
            Err(_) => self.home.join("included").join(original.strip_prefix("/").unwrap_or(&original)),
        }
    }

    /// Where the files of a directory go.
    pub fn place_of_directory(&self, original: &Path) -> PathBuf {
        let mut place = self.place(&original.join("any.conf"));
        place.pop();
        place
    }
}
