//! The configuration that the server reads: whatever of it the data directory does not hold as an ordinary file
//! goes into the stream beside it. Read before the backup begins, so that what is told is what is sent.

use crate::catalog::configuration::readable;
use crate::catalog::member::{CONFIGURATION, CONFIGURATION_DIRECTORY};
use crate::catalog::{Configuration, Link, SavedFile};
use crate::error::{Error, IoContext, Result};
use crate::pg::conf::{self, Include};
use crate::report;
use crate::snap::source::Source;
use crate::snap::stream::{Lists, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Files beside config_file by which Debian starts a cluster.
const DEBIAN: [&str; 3] = ["environment", "start.conf", "pg_ctl.conf"];
const DEBIAN_DIRECTORY: &str = "conf.d";
/// Written by ALTER SYSTEM; the server looks for it in the data directory, whatever config_file is.
const AUTO: &str = "postgresql.auto.conf";
/// No configuration is larger, bytes; the whole of it is held in memory.
const LARGEST: u64 = 16 << 20;
/// From here on pg_hba.conf and pg_ident.conf include whole files.
const SIXTEEN: u32 = 16;

/// What goes into the stream.
pub struct SavedConfiguration {
    pub configuration: Configuration,
    /// In the order of `configuration.saved`.
    contents: Vec<Vec<u8>>,
}

impl SavedConfiguration {
    /// Names in the stream, `pgv/configuration` among them.
    pub fn members(&self) -> Vec<Vec<u8>> {
        let saved = self.configuration.saved.iter().map(|saved| member_name(&saved.member));
        saved.chain([CONFIGURATION.as_bytes().to_vec()]).collect()
    }

    /// For people and JSON.
    pub fn names(&self) -> Vec<String> {
        self.configuration.saved.iter().map(|saved| readable(saved.member.as_os_str())).collect()
    }

    /// Whether a symbolic link of the data directory stands for what was saved.
    pub fn replaces_link(&self, path: &[u8]) -> bool {
        self.configuration.links.iter().any(|link| link.path.as_os_str().as_bytes() == path)
    }

    pub fn write(&self, stream: &mut Stream) -> Result<()> {
        for (saved, data) in self.configuration.saved.iter().zip(&self.contents) {
            stream.add(member_name(&saved.member), data, Lists::All)?;
        }
        stream.add(CONFIGURATION, &self.configuration.encode(), Lists::All)
    }
}

fn member_name(member: &Path) -> Vec<u8> {
    [CONFIGURATION_DIRECTORY.as_bytes(), b"/", member.as_os_str().as_bytes()].concat()
}

pub fn find(source: &mut Source) -> Result<SavedConfiguration> {
    let root = std::path::absolute(&source.root).during_path("find", &source.root)?;
    let mut sources = Vec::new();
    let mut configuration = match &mut source.session {
        Some(session) => {
            let names = ["data_directory", "config_file", "hba_file", "ident_file", "hosts_file"];
            let [data_directory, config_file, hba_file, ident_file, hosts_file] =
                session.path_settings(names)?;
            let data_directory = data_directory.ok_or_else(|| {
                Error::failed("the server does not show the paths of its configuration files")
                    .hint("GRANT pg_read_all_settings to the backup role")
            })?;
            sources = session.setting_sources()?;
            let empty = Configuration::default();
            Configuration { data_directory, config_file, hba_file, ident_file, hosts_file, ..empty }
        }
        None => at_rest(&root),
    };
    let roots = [resolved(&root), configuration.data_directory.clone(), root.clone()];
    let mut reader =
        Reader { read: BTreeMap::new(), unread: BTreeSet::new(), whole_files: source.major >= SIXTEEN };
    sources.push(configuration.data_directory.join(AUTO));
    sources.extend(configuration.config_file.clone());
    for path in &sources {
        reader.settings(path, 0);
    }
    for path in [&configuration.hba_file, &configuration.ident_file, &configuration.hosts_file] {
        path.iter().for_each(|path| reader.access(path, 0));
    }
    // Without these two no server starts.
    for path in [&configuration.config_file, &configuration.hba_file].into_iter().flatten() {
        if !reader.read.contains_key(&conf::absolute(path, Path::new("/"))) {
            reader.unread.insert(path.clone());
        }
    }
    let main = configuration.config_file.clone().unwrap_or_else(|| root.join("postgresql.conf"));
    let directory = conf::absolute(main.parent().unwrap_or(Path::new("/")), Path::new("/"));
    for name in DEBIAN {
        reader.plain(&directory.join(name));
    }
    for path in reader.listing(&directory.join(DEBIAN_DIRECTORY)) {
        reader.plain(&path);
    }

    let mut contents = Vec::new();
    let mut links = BTreeSet::new();
    let lost: Vec<_> = reader.unread.into_iter().filter(|path| !is_in_tree(path, &roots)).collect();
    for (path, data) in reader.read.into_iter().filter(|(path, _)| !is_in_tree(path, &roots)) {
        links.extend(link_on_the_way(&path, &roots));
        configuration.saved.push(SavedFile { member: member(&path, &directory), path });
        contents.push(data);
    }
    for path in &lost {
        report::warn(format_args!("configuration left out: {}", path.display()));
    }
    configuration.links = links.into_iter().collect();
    configuration.unread = lost;
    Ok(SavedConfiguration { configuration, contents })
}

/// A server that is down tells nothing: what its data directory says, if it has a configuration.
fn at_rest(root: &Path) -> Configuration {
    let here = |name: &str| Some(root.join(name)).filter(|path| path.symlink_metadata().is_ok());
    let mut configuration = Configuration {
        data_directory: root.to_owned(),
        config_file: here("postgresql.conf"),
        hba_file: here("pg_hba.conf"),
        ident_file: here("pg_ident.conf"),
        ..Configuration::default()
    };
    let text =
        configuration.config_file.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    for (name, value) in conf::settings(&text) {
        let path = Some(conf::absolute(Path::new(&value), root));
        match name.as_str() {
            "hba_file" => configuration.hba_file = path,
            "ident_file" => configuration.ident_file = path,
            "hosts_file" => configuration.hosts_file = path,
            _ => {}
        }
    }
    configuration
}

/// Follows configuration files from one to the next. Each is read once.
struct Reader {
    read: BTreeMap<PathBuf, Vec<u8>>,
    unread: BTreeSet<PathBuf>,
    whole_files: bool,
}

impl Reader {
    fn settings(&mut self, path: &Path, depth: u32) {
        let Some((directory, data)) = self.plain(path) else { return };
        for (name, value) in conf::settings(&data) {
            if let Some(include) = conf::include(&name, &value).filter(|_| depth < conf::MAX_DEPTH) {
                for path in self.files_of(include, &directory) {
                    self.settings(&path, depth + 1);
                }
            }
        }
    }

    fn access(&mut self, path: &Path, depth: u32) {
        let Some((directory, data)) = self.plain(path) else { return };
        if depth < conf::MAX_DEPTH {
            for include in conf::access_includes(&data, self.whole_files) {
                for path in self.files_of(include, &directory) {
                    self.access(&path, depth + 1);
                }
            }
        }
    }

    fn files_of(&mut self, include: Include, directory: &Path) -> Vec<PathBuf> {
        match include {
            Include::File(path) => vec![conf::absolute(&path, directory)],
            Include::Directory(path) => {
                let mut paths = self.listing(&conf::absolute(&path, directory));
                let included = |path: &PathBuf| {
                    path.file_name().is_some_and(|name| conf::is_included_name(name.as_bytes()))
                };
                paths.retain(included);
                paths
            }
        }
    }

    /// The files of a directory, in the order of their names; a directory that is not there has none.
    fn listing(&mut self, directory: &Path) -> Vec<PathBuf> {
        let entries =
            std::fs::read_dir(directory).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        match entries {
            Ok(entries) => {
                let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
                paths.retain(|path| !path.is_dir());
                paths.sort_unstable();
                paths
            }
            Err(error) => {
                self.not_read(directory, &error);
                Vec::new()
            }
        }
    }

    /// The directory that its includes are relative to, and its content; `None` if there is none, or if it was
    /// read before.
    fn plain(&mut self, path: &Path) -> Option<(PathBuf, Vec<u8>)> {
        let path = conf::absolute(path, Path::new("/"));
        if self.read.contains_key(&path) {
            return None;
        }
        match content(&path) {
            Ok(data) => {
                self.read.insert(path.clone(), data.clone());
                Some((path.parent()?.to_owned(), data))
            }
            Err(error) => {
                self.not_read(&path, &error);
                None
            }
        }
    }

    /// What is not there the server does not read either.
    fn not_read(&mut self, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            report::verbose(Error::io(
                format_args!("read {}", path.display()),
                io::Error::from(error.kind()),
            ));
            self.unread.insert(path.to_owned());
        }
    }
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe could wait for ever.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut data = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut data)?;
    Ok(data)
}

/// Relative to the directory of config_file; from elsewhere the whole path below `abs`.
fn member(path: &Path, directory: &Path) -> PathBuf {
    let inside = path.strip_prefix(directory).ok().filter(|relative| !relative.starts_with("abs"));
    match inside {
        Some(relative) => relative.to_owned(),
        None => Path::new("abs").join(path.strip_prefix("/").unwrap_or(path)),
    }
}

/// Whether the backup has it as an ordinary file of the data directory.
fn is_in_tree(path: &Path, roots: &[PathBuf]) -> bool {
    roots.iter().any(|root| path.starts_with(root)) && link_on_the_way(path, roots).is_none()
}

/// The first symbolic link between the data directory and a file below it.
fn link_on_the_way(path: &Path, roots: &[PathBuf]) -> Option<Link> {
    let (root, below) = roots.iter().find_map(|root| Some((root, path.strip_prefix(root).ok()?)))?;
    let mut walked = PathBuf::new();
    for component in below.components() {
        walked.push(component);
        if let Ok(target) = std::fs::read_link(root.join(&walked)) {
            return Some(Link { path: walked, target });
        }
    }
    None
}

fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
