//! The configuration of a cluster, `/etc/pgv/CLUSTER.conf`: the one reader of it, for binaries and scripts.
//!
//! `keys` has every key and what its value must be, `parse` the file's text, `environment` what it means beside the
//! environment, which wins.

mod environment;
pub mod keys;
mod parse;

pub use environment::{Environment, FULL_EVERY, is_service, service_of, service_only};
pub use parse::Setting;

use crate::cli::user;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where configurations are, unless PGV_CONFIG_DIR names another place.
const DIRECTORY: &str = "/etc/pgv";
const SUFFIX: &str = ".conf";
/// Bytes; a file beyond is no configuration.
const SIZE_LIMIT: u64 = 1 << 20;
/// `N:PATH`: descriptor N has the content of the configuration PATH, which root opened for a user who may not.
pub const HANDED_ON: &str = "PGV_CONFIG_FD";

/// One cluster's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Absolute, as it was named.
    pub file: PathBuf,
    /// The file's name without its suffix.
    pub cluster: String,
    /// In the order of the file.
    pub settings: Vec<Setting>,
    /// The user who owns the file.
    pub uid: u32,
}

impl Config {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|set| set.key == key).map(|set| set.value.as_str())
    }
}

/// Reads `file`, or the configuration of `cluster`, or the only one there is. `None`: there is none, and no file was
/// named.
pub fn read(file: Option<&Path>, cluster: Option<&str>) -> Result<Option<Config>> {
    find(file, cluster)?.map(|path| read_file(&path)).transpose()
}

fn find(file: Option<&Path>, cluster: Option<&str>) -> Result<Option<PathBuf>> {
    match (file, cluster) {
        (Some(file), _) => Ok(Some(file.to_owned())),
        (None, Some(cluster)) => {
            if !crate::catalog::layout::is_cluster_name(cluster) {
                return Err(Error::usage(format!("\"{}\" is not a cluster's name", cluster.escape_debug())));
            }
            let path = directory()?.join(format!("{cluster}{SUFFIX}"));
            Ok(Some(path.clone()).filter(|_| !is_absent(path.symlink_metadata())))
        }
        (None, None) => only_one(),
    }
}

/// Where configurations are.
pub fn directory() -> Result<PathBuf> {
    let named = std::env::var_os("PGV_CONFIG_DIR").filter(|named| !named.is_empty());
    absolute(&named.map_or_else(|| DIRECTORY.into(), PathBuf::from))
}

/// Every configuration there is, in the order of their names.
pub fn list() -> Result<Vec<PathBuf>> {
    let directory = directory()?;
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unreadable(&directory, &error))?,
    };
    let names = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut found = names.map_err(|error| unreadable(&directory, &error))?;
    // A link to nothing counts: what it leads to may be away for now.
    found.retain(|path| is_configuration(&file_name(path)) && !path.is_dir());
    found.sort_unstable();
    Ok(found)
}

fn only_one() -> Result<Option<PathBuf>> {
    let mut found = list()?;
    if found.len() > 1 {
        return Err(several(&found, "name the cluster"));
    }
    Ok(found.pop())
}

/// The refusal to choose among several configurations.
pub fn several(found: &[PathBuf], hint: &str) -> Error {
    let names: Vec<_> = found.iter().map(|path| cluster_of(path)).collect();
    let place = found.first().and_then(|path| path.parent()).unwrap_or(Path::new(DIRECTORY));
    Error::usage(format!("several clusters are configured in {}", place.display()))
        .hint(format!("{hint}: {}", names.join(", ")))
}

/// That of the directory in which a relative path was named.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::io(format_args!("find {}", path.display()), error))
}

/// Only what is surely not there is absent: a directory that may not be searched is not an empty one.
fn is_absent<T>(tried: io::Result<T>) -> bool {
    tried.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whatever keeps a configuration from being read is a matter of configuration.
fn unreadable(path: &Path, error: &io::Error) -> Error {
    let message = format!("read {}: {}", path.display(), crate::error::io_reason(error));
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let owner = std::fs::metadata(path).ok().and_then(|metadata| user::name_of(metadata.uid()));
            format!(
                "run the same command as its owner: sudo -u {} …",
                owner.unwrap_or_else(|| "postgres".to_owned())
            )
        }
        _ => "see pgv.conf(5)".to_owned(),
    };
    Error::usage(message).hint(hint)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// An editor's hidden file is none.
fn is_configuration(name: &str) -> bool {
    name.ends_with(SUFFIX) && !name.starts_with('.')
}

/// The name of the cluster that a file is the configuration of.
pub fn cluster_of(path: &Path) -> String {
    let name = file_name(path);
    name.strip_suffix(SUFFIX).unwrap_or(&name).to_owned()
}

/// Reads one file, and checks every value in it. Refuses a file that every user may read.
pub fn read_file(path: &Path) -> Result<Config> {
    let (config, mode) = read_any(path)?;
    if mode & 0o007 != 0 {
        let name = config.file.display();
        return Err(Error::usage(format!("{name} may hold secrets, and every user may read it"))
            .hint(format!("chmod 0600 {name}")));
    }
    Ok(config)
}

/// The same, whoever may read it: for what is about to protect it. And the file's mode.
pub fn read_any(path: &Path) -> Result<(Config, u32)> {
    let path = &absolute(path)?;
    let name = path.display();
    let file = open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    let mut text = Vec::new();
    let read = file.take(SIZE_LIMIT + 1).read_to_end(&mut text);
    read.map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > SIZE_LIMIT {
        return Err(Error::usage(format!("{name} is too large for a configuration")));
    }
    let settings = parse::parse(&name.to_string(), &text)?;
    let config = Config { file: path.to_owned(), cluster: cluster_of(path), settings, uid: metadata.uid() };
    Ok((config, metadata.permissions().mode()))
}

fn open(path: &Path) -> io::Result<File> {
    let handed = std::env::var(HANDED_ON).unwrap_or_default();
    match handed.split_once(':') {
        Some((descriptor, named)) if Path::new(named) == path => File::open(format!("/dev/fd/{descriptor}")),
        _ => File::open(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("15-main.conf");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn a_file_is_read_by_its_name() {
        let (_directory, path) = write("PGV_REPO=s3://b/p\n", 0o640);
        let config = read_file(&path).unwrap();
        assert_eq!((config.cluster.as_str(), config.get("PGV_REPO")), ("15-main", Some("s3://b/p")));
    }

    #[test]
    fn what_every_user_may_read_is_refused() {
        let (_directory, path) = write("PGV_REPO=s3://b/p\n", 0o644);
        let error = read_file(&path).unwrap_err();
        assert!(error.hints()[0].starts_with("chmod 0600 "), "{error}");
    }

    #[test]
    fn a_directory_is_no_configuration() {
        let (directory, _) = write("", 0o600);
        assert!(read_file(directory.path()).is_err());
    }
}
