//! The configuration files of a copy: which they are, where each of them goes, and how they name each other there.
//!
//! A backup brings what its server read: files of the data directory as they are, all others below `pgv/config`, with
//! `pgv/configuration` saying where each of them lay. A file keeps its place relative to the main file's directory; what
//! lay elsewhere goes below `included/`. Lines that name files are rewritten, and the settings of places are the copy's.

use crate::catalog::{Configuration, SavedFile};
use crate::cli::lines::Lines;
use crate::error::{Error, IoContext, Result};
use crate::pg::conf::{self, AccessName, Include};
use crate::pg::guc;
use crate::recover::decide::Settings;
use crate::recover::{AUTO_CONF, Home, Request, replace, text};
use crate::report;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Written into a main file that was changed: from then on it is the copy's own.
const MARK: &str = "# Written by pgv-restore: the files of this copy, not of the original.";
/// Of initdb, where the server reads another file.
const UNUSED: &str = "postgresql.conf.unused";
/// CONF_FILE_MAX_DEPTH.
const DEEPEST: usize = 10;
/// Debian's, beside the configuration proper.
const OF_DEBIAN: [&str; 3] = ["environment", "start.conf", "pg_ctl.conf"];

pub struct Files {
    /// The original's data directory, if the backup says it.
    pub original: Option<PathBuf>,
    /// The effective settings, as the copy would have them.
    pub settings: Settings,
    /// postgresql.auto.conf without what an earlier restore wrote.
    pub auto_conf: Vec<u8>,
    /// Where the files of the configuration are.
    home: PathBuf,
    main: PathBuf,
    /// By their new places.
    to_write: BTreeMap<PathBuf, Vec<u8>>,
    /// Rewritten to be the copy's: a block of places goes to the end of the main file.
    is_new: bool,
    hba: PathBuf,
    ident: PathBuf,
    hosts: Option<PathBuf>,
    /// Of the data directory, which go to `home`.
    moved: Vec<PathBuf>,
    /// There, and not used.
    saved_unused: bool,
    source: &'static str,
}

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
                report::warn(
                    "pg_ctl.conf of the original gives its server options, which this copy does not get",
                );
            }
        }
        self.moved.iter().try_for_each(|path| super::remove(path))
    }

    pub fn lines(&self) -> Lines {
        let mut lines = Lines::new();
        lines.add("configuration_source", self.source).add_path("configuration_used", &self.main);
        if self.saved_unused {
            lines.add("configuration_saved", "pgv/config");
        }
        lines
    }
}

/// Options for the server in Debian's pg_ctl.conf.
fn names_options(text: &str) -> bool {
    let set = text.lines().filter_map(guc::parse_line).rfind(|setting| setting.name == "pg_ctl_options");
    set.is_some_and(|setting| !setting.value.trim().is_empty())
}

fn has_mark(content: &[u8]) -> bool {
    content.split(|byte| *byte == b'\n').any(|line| line == MARK.as_bytes())
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        content => content.during_path("read", path).map(Some),
    }
}

/// 0755 in /etc, where everybody may look at names; the umask makes it 0700 elsewhere.
fn make_directories(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).during_path("create", path)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// What the backup brought beside the data directory.
struct Saved {
    directory: PathBuf,
    configuration: Configuration,
}

impl Saved {
    fn load(root: &Path) -> Result<Option<Self>> {
        let directory = root.join(crate::catalog::configuration::CONFIGURATION_DIRECTORY);
        if let Some(text) = read_if_there(&root.join(crate::catalog::configuration::CONFIGURATION_PATH))? {
            let configuration = Configuration::parse(&text)?;
            return Ok(Some(Saved { directory, configuration }));
        }
        match directory.is_dir() {
            true => Self::of_before(root, directory).map(Some),
            false => Ok(None),
        }
    }

    /// A stream of before pgv/configuration: what lay in the directory of the main file, and what lay elsewhere.
    fn of_before(root: &Path, directory: PathBuf) -> Result<Self> {
        let mut members = Vec::new();
        list(&directory, Path::new(""), &mut members)?;
        let main = read_if_there(&directory.join("postgresql.conf"))?.unwrap_or_default();
        let settings = conf::settings(&main);
        let named = |name: &str| {
            let setting = settings.iter().rfind(|setting| setting.0 == name);
            setting.map(|(_, value)| PathBuf::from(value)).filter(|path| path.is_absolute())
        };
        let hba = named("hba_file");
        // Where the main file lay nobody said; its access rules lie beside it as a rule.
        let etc =
            hba.as_ref().and_then(|path| path.parent()).unwrap_or(Path::new("/etc/postgresql")).to_owned();
        let place = |member: &Path| match member.strip_prefix("abs") {
            Ok(rest) => Path::new("/").join(rest),
            Err(_) => etc.join(member),
        };
        let saved: Vec<_> =
            members.iter().map(|member| SavedFile { member: member.clone(), path: place(member) }).collect();
        let has = |name: &str| members.iter().any(|member| member == Path::new(name)).then(|| etc.join(name));
        let configuration = Configuration {
            data_directory: named("data_directory").unwrap_or_else(|| root.to_owned()),
            config_file: has("postgresql.conf"),
            hba_file: hba.or_else(|| has("pg_hba.conf")),
            ident_file: named("ident_file").or_else(|| has("pg_ident.conf")),
            saved,
            ..Configuration::default()
        };
        Ok(Saved { directory, configuration })
    }

    /// The data directory holds all of it.
    fn of_nothing(root: &Path) -> Self {
        let configuration = Configuration { data_directory: root.to_owned(), ..Configuration::default() };
        Saved { directory: root.join("pgv/config"), configuration }
    }

    fn main_path(&self) -> PathBuf {
        let own = || self.configuration.data_directory.join("postgresql.conf");
        self.configuration.config_file.clone().unwrap_or_else(own)
    }

    /// The main file, if it is not one of the data directory's.
    fn main(&self) -> Option<&SavedFile> {
        let main = self.configuration.config_file.as_ref()?;
        self.configuration.saved.iter().find(|file| file.path == *main)
    }

    fn read(&self, member: &Path) -> Result<Vec<u8>> {
        if member.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Error::damaged(format!("pgv/configuration names {}", member.display())));
        }
        let path = self.directory.join(member);
        std::fs::read(&path).during_path("read", &path)
    }
}

fn list(directory: &Path, below: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory).during_path("read", directory)? {
        let entry = entry.during_path("read", directory)?;
        let member = below.join(entry.file_name());
        match entry.file_type().during_path("stat", &entry.path())?.is_dir() {
            true => list(&entry.path(), &member, into)?,
            false => into.push(member),
        }
    }
    into.sort();
    Ok(())
}

/// Where the copy has what the original had at a path.
struct Map<'a> {
    root: &'a Path,
    home: &'a Path,
    saved: &'a Saved,
}

impl Map<'_> {
    /// Whether a configuration of the data directory goes elsewhere: then only the files that a server looks for there
    /// go, and what they include stays.
    fn leaves_data(&self) -> bool {
        self.saved.main().is_none() && self.home != self.root
    }

    /// Files of the copy's data directory, and where they go.
    fn moved(&self) -> Vec<(PathBuf, PathBuf)> {
        if !self.leaves_data() {
            return Vec::new();
        }
        let names = ["pg_hba.conf", "pg_ident.conf"];
        let main = self.own_main().map(|own| (own, self.home.join("postgresql.conf")));
        main.into_iter().chain(names.map(|name| (self.root.join(name), self.home.join(name)))).collect()
    }

    /// The main file, if it is one of the data directory's, whatever it is called.
    fn own_main(&self) -> Option<PathBuf> {
        let main = self.saved.main_path();
        let rest = main.strip_prefix(&self.saved.configuration.data_directory);
        self.saved.main().is_none().then(|| self.root.join(rest.unwrap_or(Path::new("postgresql.conf"))))
    }

    fn place(&self, original: &Path) -> PathBuf {
        let original = without_dots(original);
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
    fn place_of_directory(&self, original: &Path) -> PathBuf {
        let mut place = self.place(&original.join("any.conf"));
        place.pop();
        place
    }
}

/// `a/../b` as `b`: the path need not be there.
fn without_dots(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut clean, part| {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
        clean
    })
}

/// Reads a configuration as the server does, from the main file on, and rewrites what must be another in the copy.
struct Walk<'a> {
    root: &'a Path,
    /// `None`: the files are the copy's already, and nothing is rewritten.
    saved: Option<&'a Saved>,
    files: &'a mut Files,
}

impl Walk<'_> {
    /// `original`: where the main file lay.
    fn enter(&mut self, original: Option<&Path>) -> Result<()> {
        let main = self.files.main.clone();
        let mut seen = BTreeSet::new();
        let original = original.unwrap_or(&main).to_owned();
        self.file(&main, &original, 0, &mut seen)
    }

    /// Rewrites the names of files in an access file, and in those that it includes, where they are others in the copy.
    fn access(
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
                        "{}: {} did not come with the backup",
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
            report::warn(format_args!(
                "{name}: {} did not come with the backup, and is left out",
                named.display()
            ));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Link;
    use crate::recover::plan::{Action, Goal, Plan};
    use crate::recover::text::Get;
    use std::fs;

    struct Copy {
        _scratch: tempfile::TempDir,
        root: PathBuf,
        etc: PathBuf,
    }

    impl Copy {
        /// A restored directory; `saved`: path in the original and content; `own`: of the data directory.
        fn new(
            configuration: Option<Configuration>,
            saved: &[(&str, &str, &str)],
            own: &[(&str, &str)],
        ) -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let (root, etc) = (scratch.path().join("copy"), scratch.path().join("etc"));
            fs::create_dir_all(root.join("pgv/config")).unwrap();
            for (name, content) in own {
                let path = root.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            for (member, _, content) in saved {
                let path = root.join("pgv/config").join(member);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            if let Some(mut configuration) = configuration {
                let file = |(member, path, _): &(&str, &str, &str)| SavedFile {
                    member: PathBuf::from(member),
                    path: PathBuf::from(path),
                };
                configuration.saved = saved.iter().map(file).collect();
                fs::write(root.join("pgv/configuration"), configuration.encode()).unwrap();
            }
            Copy { _scratch: scratch, root, etc }
        }

        fn install(&self, home: Home) -> (Files, String) {
            let files = Files::find(&self.root, &home).unwrap();
            let plan = "label x\nrecovery_target_timeline latest\narchive no\nwal_included true\nbackup_wal_last y\n";
            let request = Request {
                directory: self.root.clone(),
                plan: Plan::parse(plan, Goal::Told, Action::Promote).unwrap(),
                get: Get { program: "g".into(), config: "c".into(), cluster: "x".to_owned() },
                home,
                port: None,
                pid_file: None,
                keep_archiving: false,
                libraries: None,
            };
            files.write(&request).unwrap();
            let main = fs::read_to_string(&files.main).unwrap_or_default();
            (files, main)
        }
    }

    fn original(config: &str, hba: &str) -> Configuration {
        Configuration {
            data_directory: PathBuf::from("/data"),
            config_file: Some(PathBuf::from(config)),
            hba_file: Some(PathBuf::from(hba)),
            ident_file: Some(PathBuf::from("/data/pg_ident.conf")),
            links: vec![Link { path: PathBuf::from("x"), target: PathBuf::from("y") }],
            ..Configuration::default()
        }
    }

    /// The last value of each name that counts in a text.
    fn value(text: &str, name: &str) -> Option<String> {
        let mut settings = text.lines().filter_map(guc::parse_line);
        settings.rfind(|setting| setting.name == name).map(|setting| setting.value)
    }

    #[test]
    fn a_configuration_from_elsewhere_wins_over_the_one_of_initdb() {
        let main = "max_connections = 300\nhba_file = '/etc/pg/pg_hba.conf'\ninclude_dir 'conf.d'\ninclude '/srv/own.conf'\n\
            include 'gone.conf'\ndata_directory = '/data'\n";
        let copy = Copy::new(
            Some(original("/etc/pg/postgresql.conf", "/etc/pg/pg_hba.conf")),
            &[
                ("postgresql.conf", "/etc/pg/postgresql.conf", main),
                ("pg_hba.conf", "/etc/pg/pg_hba.conf", "local all all trust\n"),
                ("conf.d/a.conf", "/etc/pg/conf.d/a.conf", "work_mem = '7MB'\n"),
                ("abs/srv/own.conf", "/srv/own.conf", "port = 7777\n"),
            ],
            &[("postgresql.conf", "max_connections = 100\n"), ("pg_hba.conf", "stale\n")],
        );
        let (files, text) = copy.install(Home::Data);
        for (name, expected) in [("max_connections", "300"), ("work_mem", "7MB"), ("port", "7777")] {
            assert_eq!(files.settings.get(name).map(String::as_str), Some(expected), "{name}");
        }
        assert_eq!((value(&text, "data_directory"), value(&text, "hba_file")), (None, None), "{text}");
        assert_eq!(value(&text, "include_dir").as_deref(), Some("conf.d"));
        let own = copy.root.join("included/srv/own.conf");
        assert_eq!(value(&text, "include").as_deref(), own.to_str());
        assert!(own.exists() && copy.root.join("conf.d/a.conf").exists());
        assert_eq!(fs::read_to_string(copy.root.join("pg_hba.conf")).unwrap(), "local all all trust\n");
        assert_eq!(fs::read_to_string(copy.root.join(UNUSED)).unwrap(), "max_connections = 100\n");
        // Given again it is the copy's own, whatever was written into it since.
        fs::write(copy.root.join("postgresql.conf"), text.clone() + "max_connections = 50\n").unwrap();
        let (files, again) = copy.install(Home::Data);
        assert_eq!(files.settings.get("max_connections").map(String::as_str), Some("50"));
        assert_eq!(again, text + "max_connections = 50\n");
    }

    #[test]
    fn a_new_debian_cluster_gets_its_own_places() {
        let copy = Copy::new(
            Some(original("/etc/postgresql/15/main/postgresql.conf", "/etc/postgresql/15/main/pg_hba.conf")),
            &[
                (
                    "postgresql.conf",
                    "/etc/postgresql/15/main/postgresql.conf",
                    "data_directory = '/data'\nexternal_pid_file = '/run/x.pid'\ninclude_dir = 'conf.d'\n",
                ),
                ("pg_hba.conf", "/etc/postgresql/15/main/pg_hba.conf", "rules\n"),
                ("conf.d/a.conf", "/etc/postgresql/15/main/conf.d/a.conf", "port = 1\n"),
                (
                    "pg_ctl.conf",
                    "/etc/postgresql/15/main/pg_ctl.conf",
                    "pg_ctl_options = '-o \"-c fsync=off\"'\n",
                ),
            ],
            &[],
        );
        let (_, text) = copy.install(Home::New(copy.etc.clone()));
        assert_eq!(value(&text, "data_directory").as_deref(), copy.root.to_str());
        assert_eq!(value(&text, "hba_file").as_deref(), copy.etc.join("pg_hba.conf").to_str());
        assert_eq!(value(&text, "external_pid_file"), None);
        assert_eq!(value(&text, "include_dir").as_deref(), Some("conf.d"));
        assert_eq!(fs::read_to_string(copy.etc.join("pg_ctl.conf")).unwrap(), "pg_ctl_options = ''\n");
        assert!(copy.etc.join("conf.d/a.conf").exists() && copy.etc.join("start.conf").exists());
    }

    /// A configuration in the data directory, as Patroni has it, goes to Debian's place.
    #[test]
    fn what_a_moved_configuration_includes_stays_in_the_data_directory() {
        let copy = Copy::new(
            Some(Configuration {
                data_directory: PathBuf::from("/data"),
                config_file: Some(PathBuf::from("/data/postgresql.conf")),
                hba_file: Some(PathBuf::from("/data/pg_hba.conf")),
                ident_file: Some(PathBuf::from("/data/pg_ident.conf")),
                ..Configuration::default()
            }),
            &[],
            &[
                ("postgresql.conf", "include 'postgresql.base.conf'\ninclude_dir 'conf.d'\n"),
                ("postgresql.base.conf", "max_connections = 300\ninclude 'more.conf'\n"),
                ("more.conf", "work_mem = 5MB\n"),
                ("conf.d/a.conf", "port = 7\n"),
                ("pg_hba.conf", "local all @admins trust\n"),
                ("admins", "joe\n"),
            ],
        );
        let (files, text) = copy.install(Home::New(copy.etc.clone()));
        for (name, expected) in [("max_connections", "300"), ("work_mem", "5MB"), ("port", "7")] {
            assert_eq!(files.settings.get(name).map(String::as_str), Some(expected), "{name}");
        }
        assert_eq!(value(&text, "include").as_deref(), copy.root.join("postgresql.base.conf").to_str());
        assert_eq!(value(&text, "include_dir").as_deref(), copy.root.join("conf.d").to_str());
        assert!(
            fs::read_to_string(copy.root.join("postgresql.base.conf"))
                .unwrap()
                .contains("\ninclude 'more.conf'")
        );
        let hba = fs::read_to_string(copy.etc.join("pg_hba.conf")).unwrap();
        assert_eq!(hba, format!("local all @{} trust\n", copy.root.join("admins").display()));
        assert!(!copy.root.join("postgresql.conf").exists() && !copy.root.join("pg_hba.conf").exists());
    }

    /// A server was started with config_file, which includes the file that is beside it.
    #[test]
    fn a_main_file_of_the_data_directory_may_have_another_name() {
        let own = [
            ("conf/own.conf", "port = 7\ninclude '../postgresql.conf'\n"),
            ("postgresql.conf", "max_connections = 300\n"),
        ];
        for is_apart in [false, true] {
            let configuration = original("/data/conf/own.conf", "/data/pg_hba.conf");
            let copy = Copy::new(Some(configuration), &[], &own);
            let home = if is_apart { Home::New(copy.etc.clone()) } else { Home::Data };
            let (files, text) = copy.install(home);
            assert_eq!(value(&text, "port").as_deref(), Some("7"), "{text}");
            assert_eq!(files.settings.get("max_connections").map(String::as_str), Some("300"));
            let included = value(&text, "include").unwrap();
            assert_eq!(fs::read_to_string(&included).unwrap(), own[1].1, "{included}");
        }
    }

    #[test]
    fn names_in_access_files_are_rewritten_once_wherever_they_stand() {
        let hba = "local all @/etc/acl/admins,@/etc/acl/admins2 trust # @/etc/acl/admins\n\
            include_dir /etc/hba.d\ninclude \"rules.hba\"\nlocal all \"@/etc/acl/admins\" trust\n";
        let rules = "local all @/etc/acl/admins2 trust\n";
        let copy = Copy::new(
            Some(original("/etc/pg/postgresql.conf", "/etc/pg/pg_hba.conf")),
            &[
                ("postgresql.conf", "/etc/pg/postgresql.conf", "port = 1\n"),
                ("pg_hba.conf", "/etc/pg/pg_hba.conf", hba),
                ("rules.hba", "/etc/pg/rules.hba", rules),
                ("abs/etc/acl/admins", "/etc/acl/admins", "joe\n"),
                ("abs/etc/acl/admins2", "/etc/acl/admins2", "jim\n"),
                ("abs/etc/hba.d/a.conf", "/etc/hba.d/a.conf", rules),
            ],
            &[],
        );
        copy.install(Home::Data);
        let acl = copy.root.join("included/etc/acl");
        let (one, two) = (acl.join("admins"), acl.join("admins2"));
        assert!(one.exists() && two.exists());
        let read = |name: &str| fs::read_to_string(copy.root.join(name)).unwrap();
        assert_eq!(
            read("pg_hba.conf"),
            format!(
                "local all @{},@{} trust # @/etc/acl/admins\ninclude_dir {}\ninclude \"rules.hba\"\n\
                 local all \"@/etc/acl/admins\" trust\n",
                one.display(),
                two.display(),
                copy.root.join("included/etc/hba.d").display()
            )
        );
        let renamed = format!("local all @{} trust\n", two.display());
        assert_eq!(read("rules.hba"), renamed);
        assert_eq!(read("included/etc/hba.d/a.conf"), renamed);
    }

    #[test]
    fn the_data_directory_s_own_is_touched_only_where_it_names_the_original() {
        let plain =
            [("postgresql.conf", "port = 1\ninclude 'more.conf'\n"), ("more.conf", "work_mem = 5MB\n")];
        let copy = Copy::new(None, &[], &plain);
        let (files, text) = copy.install(Home::Data);
        assert_eq!(text, plain[0].1);
        assert_eq!(files.settings.get("work_mem").map(String::as_str), Some("5MB"));
        let naming = Copy::new(None, &[], &[("postgresql.conf", "data_directory = '/data'\nport = 1\n")]);
        let (_, text) = naming.install(Home::Data);
        assert_eq!((value(&text, "data_directory"), value(&text, "port")), (None, Some("1".to_owned())));
        assert!(text.contains("#pgv-restore: data_directory = '/data'\n"), "{text}");
    }

    #[test]
    fn paths_are_written_as_bytes() {
        use std::os::unix::ffi::OsStringExt;
        let copy = Copy::new(None, &[], &[("postgresql.conf", "port = 1\n")]);
        let place = copy.etc.join(OsStr::from_bytes(b"caf\xe9"));
        let (files, _) = copy.install(Home::New(place.clone()));
        let settings = conf::settings(&fs::read(&files.main).unwrap());
        let wanted = place.join("pg_hba.conf").into_os_string().into_vec();
        assert!(settings.iter().any(|(name, value)| name == "hba_file" && value.as_bytes() == wanted));
    }

    /// Links of a data directory that stand for files elsewhere.
    #[test]
    fn links_come_back_as_files() {
        let copy = Copy::new(
            Some(original("/data/postgresql.conf", "/data/pg_hba.conf")),
            &[
                ("postgresql.conf", "/data/postgresql.conf", "port = 5\n"),
                ("pg_hba.conf", "/data/pg_hba.conf", "rules\n"),
            ],
            &[],
        );
        let (files, text) = copy.install(Home::Data);
        assert_eq!(value(&text, "port").as_deref(), Some("5"));
        assert_eq!(fs::read_to_string(copy.root.join("pg_hba.conf")).unwrap(), "rules\n");
        assert_eq!(files.source, "saved");
    }

    #[test]
    fn streams_of_before_and_streams_of_nothing() {
        let before = Copy::new(
            None,
            &[
                ("postgresql.conf", "", "hba_file = '/etc/postgresql/15/main/pg_hba.conf'\nport = 9\n"),
                ("pg_hba.conf", "", "rules\n"),
            ],
            &[],
        );
        let (files, text) = before.install(Home::Data);
        assert_eq!((files.source, value(&text, "port").as_deref()), ("saved", Some("9")));
        assert_eq!(fs::read_to_string(before.root.join("pg_hba.conf")).unwrap(), "rules\n");
        let nothing = Copy::new(None, &[], &[]);
        let (files, _) = nothing.install(Home::Data);
        assert_eq!(files.source, "none");
        assert!(nothing.root.join("pg_hba.conf").exists());
    }

    #[test]
    fn an_existing_configuration_stays_as_it_is() {
        let copy = Copy::new(
            Some(original("/etc/pg/postgresql.conf", "/etc/pg/pg_hba.conf")),
            &[("postgresql.conf", "/etc/pg/postgresql.conf", "port = 1\n")],
            &[],
        );
        fs::create_dir(&copy.etc).unwrap();
        fs::write(copy.etc.join("postgresql.conf"), "port = 2\ndata_directory = '/x'\n").unwrap();
        let (files, text) = copy.install(Home::Existing(copy.etc.clone()));
        assert_eq!(text, "port = 2\ndata_directory = '/x'\n");
        assert!(files.saved_unused);
        assert_eq!(files.settings.get("port").map(String::as_str), Some("2"));
    }
}
