//! The files of a configuration that go into the copy, and how they are written.

use crate::catalog::member;
use crate::cli::lines::Lines;
use crate::error::{IoContext, Result};
use crate::pg::guc;
use crate::recover::decide::Settings;
use crate::recover::file::{read_if_there, remove, replace};
use crate::recover::request::{Home, Request};
use crate::report;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Written into a main file that was changed: from then on it is the copy's own.
const MARK: &str = "# Written by pgv-restore: the files of this copy, not of the original.";

pub struct Files {
    /// The original's data directory, if the backup says it.
    pub original: Option<PathBuf>,
    /// The effective settings, as the copy would have them.
    pub settings: Settings,
    /// postgresql.auto.conf without what an earlier restore wrote.
    pub auto_conf: Vec<u8>,
    /// Where the files of the configuration are.
    pub(super) home: PathBuf,
    pub(super) main: PathBuf,
    /// By their new places.
    pub(super) to_write: BTreeMap<PathBuf, Vec<u8>>,
    /// Rewritten to be the copy's: a block of places goes to the end of the main file.
    pub(super) is_new: bool,
    pub(super) hba: PathBuf,
    pub(super) ident: PathBuf,
    pub(super) hosts: Option<PathBuf>,
    /// Of the data directory, which go to `home`.
    pub(super) moved: Vec<PathBuf>,
    /// There, and not used.
    pub(super) saved_unused: bool,
    pub(super) source: &'static str,
}

impl Files {
    /// The block of places, behind all that the main file says.
    fn places(&self, request: &Request) -> Vec<u8> {
        let root = &request.directory;
        let is_apart = self.home != *root;
        let mut text = format!("\n{MARK}\n").into_bytes();
        let mut add = |name: &str, path: &Path| {
            let quoted = guc::quote_bytes(path.as_os_str().as_bytes());
            text.extend([name.as_bytes(), b" = ", &quoted, b"\n"].concat());
        };
        if is_apart {
            add("data_directory", root);
        }
        for (name, path, built_in) in [
            ("hba_file", Some(&self.hba), "pg_hba.conf"),
            ("ident_file", Some(&self.ident), "pg_ident.conf"),
            ("hosts_file", self.hosts.as_ref(), "pg_hosts.conf"),
        ] {
            if let Some(path) = path.filter(|path| is_apart || **path != self.home.join(built_in)) {
                add(name, path);
            }
        }
        if let Some(path) = &request.pid_file {
            add("external_pid_file", path);
        }
        // pg_lsclusters looks for it here.
        if let (Some(port), true) = (request.port, is_apart) {
            text.extend(format!("port = {port}\n").into_bytes());
        }
        text
    }

    /// The main file last: it says that the others are there.
    pub fn write(&self, request: &Request) -> Result<()> {
        for (path, content) in self.to_write.iter().filter(|(path, _)| **path != self.main) {
            if let Some(directory) = path.parent() {
                make_directories(directory)?;
            }
            replace(path, content)?;
        }
        let root = &request.directory;
        if self.is_new || self.to_write.contains_key(&self.main) {
            let mut content = match self.to_write.get(&self.main) {
                Some(content) => content.clone(),
                None => read_if_there(&self.main)?.unwrap_or_default(),
            };
            content.extend(self.places(request));
            make_directories(&self.home)?;
            replace(&self.main, &content)?;
        }
        if self.home != *root && matches!(request.home, Home::New(_)) {
            for (name, content) in
                [("start.conf", "manual\n"), ("pg_ctl.conf", "pg_ctl_options = ''\n"), ("environment", "")]
            {
                let path = self.home.join(name);
                // Its options would win over every file.
                if name == "pg_ctl.conf" || !path.exists() {
                    replace(&path, content.as_bytes())?;
                }
            }
            let options = self.to_write.get(&self.home.join("pg_ctl.conf"));
            if options.is_some_and(|text| names_options(&String::from_utf8_lossy(text))) {
                report::warn("pg_ctl.conf of the original sets server options; this copy does not use them");
            }
        }
        self.moved.iter().try_for_each(|path| remove(path))
    }

    pub fn lines(&self) -> Lines {
        let mut lines = Lines::new();
        lines.add("configuration_source", self.source).add_path("configuration_used", &self.main);
        if self.saved_unused {
            lines.add("configuration_saved", member::CONFIGURATION_DIRECTORY);
        }
        lines
    }
}

/// Options for the server in Debian's pg_ctl.conf.
fn names_options(text: &str) -> bool {
    let set = text.lines().filter_map(guc::parse_line).rfind(|setting| setting.name == "pg_ctl_options");
    set.is_some_and(|setting| !setting.value.trim().is_empty())
}

pub fn has_mark(content: &[u8]) -> bool {
    content.split(|byte| *byte == b'\n').any(|line| line == MARK.as_bytes())
}

/// 0755 in /etc, where everybody may look at names; the umask makes it 0700 elsewhere.
fn make_directories(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).during_path("create", path)
}
