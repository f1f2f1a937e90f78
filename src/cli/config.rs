//! `/etc/pgv/CLUSTER.conf`: `KEY=value` lines, parsed and never evaluated, so that systemd, a shell and
//! this program read the same from it.

use crate::error::{Error, Result};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where configurations are, unless PGV_CONFIG_DIR names another place.
const DIRECTORY: &str = "/etc/pgv";
const SUFFIX: &str = ".conf";
/// Bytes; a file beyond is no configuration.
const SIZE_LIMIT: u64 = 1 << 20;

/// Every `PGV_` key that a tool or script reads. `pgv.conf(5)` describes them.
const KEYS: &[&str] = &[
    "PGV_CHECKPOINT",
    "PGV_CLUSTER",
    "PGV_EXPIRE",
    "PGV_FULL_EVERY",
    "PGV_JOBS",
    "PGV_KEEP_DAILY",
    "PGV_KEEP_DIFF",
    "PGV_KEEP_FULL",
    "PGV_KEEP_HOURLY",
    "PGV_KEEP_LAST",
    "PGV_KEEP_MONTHLY",
    "PGV_KEEP_WEEKLY",
    "PGV_KEEP_WITHIN",
    "PGV_KEEP_YEARLY",
    "PGV_KEY_FILE",
    "PGV_KEY_NAME",
    "PGV_KEY_WORLD_READABLE",
    "PGV_LEVEL",
    "PGV_NOTIFY",
    "PGV_PGDATA",
    "PGV_PING_URL",
    "PGV_RATE",
    "PGV_REPO",
    "PGV_S3_CA_FILE",
    "PGV_S3_ENDPOINT_URL",
    "PGV_S3_OBJECT_LOCK",
    "PGV_S3_PATH_STYLE",
    "PGV_S3_PROFILE",
    "PGV_S3_REGION",
    "PGV_S3_SSE",
    "PGV_S3_STALL",
    "PGV_S3_STORAGE_CLASS",
    "PGV_S3_TIMEOUT",
    "PGV_STATE_DIR",
    "PGV_SYSTEM_ID",
    "PGV_WAL",
    "PGV_WAL_JOBS",
    "PGV_WAL_SPOOL",
    "PGV_WAL_TIMEOUT",
];

/// One cluster's configuration.
#[derive(Debug)]
pub struct Config {
    /// The file's name without its suffix.
    pub cluster: String,
    /// In the order of the file.
    pub settings: Vec<(String, String)>,
}

/// Reads `file`, or the configuration of `cluster`, or the only one there is. `None`: there is none,
/// and none was asked for.
pub fn read(file: Option<&Path>, cluster: Option<&str>) -> Result<Option<Config>> {
    let directory = std::env::var_os("PGV_CONFIG_DIR").map_or_else(|| DIRECTORY.into(), PathBuf::from);
    let path = match (file, cluster) {
        (Some(file), _) => Some(file.to_owned()),
        (None, Some(cluster)) => {
            let path = directory.join(format!("{cluster}{SUFFIX}"));
            Some(path.clone()).filter(|_| !is_absent(path.symlink_metadata()))
        }
        (None, None) => only_one(&directory)?,
    };
    path.map(|path| read_file(&path)).transpose()
}

/// Only what is surely not there is absent: a directory that may not be searched is no empty one.
fn is_absent<T>(tried: io::Result<T>) -> bool {
    tried.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whatever keeps a configuration from being read is a matter of configuration.
fn unreadable(path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "run it as its owner: sudo -u postgres …",
        _ => "see pgv.conf(5)",
    };
    Error::usage(Error::io(format_args!("read {}", path.display()), error).message()).hint(hint)
}

fn only_one(directory: &Path) -> Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(|error| unreadable(directory, error))?,
    };
    let names = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut found = names.map_err(|error| unreadable(directory, error))?;
    found.retain(|path| is_configuration(&file_name(path)));
    found.sort_unstable();
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => {
            let names: Vec<_> = found.iter().map(|path| cluster_of(path)).collect();
            Err(Error::usage(format!("{} has several configurations", directory.display()))
                .hint(format!("name the cluster: {}", names.join(", "))))
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// An editor's hidden file is none.
fn is_configuration(name: &str) -> bool {
    name.ends_with(SUFFIX) && !name.starts_with('.')
}

fn cluster_of(path: &Path) -> String {
    let name = file_name(path);
    name.strip_suffix(SUFFIX).unwrap_or(&name).to_owned()
}

fn read_file(path: &Path) -> Result<Config> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(Error::usage(format!("{} may hold secrets and everybody may read it", path.display()))
            .hint(format!("chmod 0600 {}", path.display())));
    }
    if metadata.len() > SIZE_LIMIT {
        return Err(Error::usage(format!("{} is too large for a configuration", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
    let settings = parse(&text).map_err(|why| Error::usage(format!("{}: {why}", path.display())))?;
    Ok(Config { cluster: cluster_of(path), settings })
}

/// The error says which line, and never what is in it.
fn parse(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
    let mut settings: Vec<(String, String)> = Vec::new();
    // Not lines(): to systemd and a shell a carriage return is part of the value.
    for (number, line) in text.split('\n').enumerate().map(|(index, line)| (index + 1, line)) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(format!("line {number} is not KEY=value"))?;
        check_key(key).map_err(|why| format!("line {number}: {why}"))?;
        let value = parse_value(value).ok_or(format!(
            "line {number}: the value of {key} is neither plain ([A-Za-z0-9_./:@%+,=-]) nor in plain double quotes"
        ))?;
        if settings.iter().any(|(known, _)| known == key) {
            return Err(format!("line {number}: {key} comes twice"));
        }
        settings.push((key.to_owned(), value.to_owned()));
    }
    Ok(settings)
}

fn check_key(key: &str) -> std::result::Result<(), String> {
    let shaped =
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !shaped || key.starts_with(|first: char| first.is_ascii_digit()) {
        return Err("no KEY before = (no blanks around it)".to_owned());
    }
    match key.starts_with("PGV_") {
        true if KEYS.contains(&key) => Ok(()),
        false if key.starts_with("PG") || key.starts_with("AWS_") => Ok(()),
        _ => Err(format!("unknown key {key}")),
    }
}

fn parse_value(text: &str) -> Option<&str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_./:@%+,=-".contains(&b);
    let quotable = |c: char| !matches!(c, '"' | '\\' | '$' | '`') && !c.is_control();
    match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|inner| inner.chars().all(quotable)),
        None => text.bytes().all(plain).then_some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_configuration_may_say() {
        let text =
            "# c\n\nPGV_REPO=s3://b/p\nPGPASSWORD=\"a b#;'\"\nAWS_SECRET_ACCESS_KEY=a+/=\nPGV_KEEP_FULL=\n";
        let settings = parse(text).unwrap();
        let pairs: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected = [
            ("PGV_REPO", "s3://b/p"),
            ("PGPASSWORD", "a b#;'"),
            ("AWS_SECRET_ACCESS_KEY", "a+/="),
            ("PGV_KEEP_FULL", ""),
        ];
        assert_eq!(pairs, expected);
    }

    /// The scripts have a list of their own, and the manual describes each.
    #[test]
    fn scripts_and_manual_know_the_same_keys() {
        let read = |name| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        let scripts = read("scripts/pgv-common.sh");
        let list = scripts.split_once("\npgv_keys=(").unwrap().1.split_once(')').unwrap().0;
        let mut theirs: Vec<_> = list.split_whitespace().collect();
        theirs.sort_unstable();
        let mut ours = KEYS.to_vec();
        ours.sort_unstable();
        assert_eq!(theirs, ours);
        let manual = read("man/pgv.conf.5");
        for key in KEYS {
            assert!(manual.contains(key), "pgv.conf(5) does not describe {key}");
        }
    }

    #[test]
    fn what_it_may_not() {
        for bad in [
            "PGV_REPO = x",
            "PGV_REPO=a b",
            "PGV_REPO=\"a",
            "PGV_REPO=\"$(id)\"",
            "PGV_REPO=`id`",
            "PGV_REPOO=x",
            "PATH=/x",
            "LD_PRELOAD=/x",
            " PGV_REPO=x",
            "export PGV_REPO=x",
            "PGV_REPO=a\nPGV_REPO=b",
            "PGV_REPO",
            "PGV_REPO=x\r",
            "pgv_repo=x",
            "=x",
        ] {
            let why = parse(bad).unwrap_err();
            assert!(why.contains("line "), "{bad}: {why}");
        }
    }
}
