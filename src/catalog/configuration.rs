//! `pgv/configuration`: which configuration the server had, where each file lay, and under which name the
//! stream has it. Lines of a key and its values; a value never holds a space or the end of a line, save
//! the last one, which may hold spaces.

use crate::catalog::escape::{escape, unescape};
use crate::catalog::member::CONFIGURATION;
use crate::error::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub const CONFIGURATION_FORMAT: &str = "pgv-configuration/1";

/// Paths are absolute, as the server names them. `None`: the server has no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    pub data_directory: PathBuf,
    pub config_file: Option<PathBuf>,
    pub hba_file: Option<PathBuf>,
    pub ident_file: Option<PathBuf>,
    /// From version 19 on.
    pub hosts_file: Option<PathBuf>,
    /// Saved in the stream, because the data directory's own files do not hold them.
    pub saved: Vec<SavedFile>,
    /// Symbolic links in the data directory that stand for what was saved.
    pub links: Vec<Link>,
    /// What the server reads and the backup could not.
    pub unread: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SavedFile {
    /// Below [`CONFIGURATION_DIRECTORY`](crate::catalog::member::CONFIGURATION_DIRECTORY).
    pub member: PathBuf,
    /// Where it lay.
    pub path: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Below the data directory.
    pub path: PathBuf,
    /// What it holds, which need not be absolute.
    pub target: PathBuf,
}

impl Configuration {
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("format {CONFIGURATION_FORMAT}\n");
        let mut line = |key: &str, values: &[&Path]| {
            text.push_str(key);
            for (index, value) in values.iter().enumerate() {
                let last = index + 1 == values.len();
                text.push(' ');
                text.push_str(&escaped(value.as_os_str(), last));
            }
            text.push('\n');
        };
        line("data_directory", &[&self.data_directory]);
        let mains = [
            ("config_file", &self.config_file),
            ("hba_file", &self.hba_file),
            ("ident_file", &self.ident_file),
            ("hosts_file", &self.hosts_file),
        ];
        for (key, path) in mains {
            if let Some(path) = path {
                line(key, &[path]);
            }
        }
        for SavedFile { member, path } in &self.saved {
            line("file", &[member, path]);
        }
        for Link { path, target } in &self.links {
            line("link", &[path, target]);
        }
        for path in &self.unread {
            line("unread", &[path]);
        }
        text.into_bytes()
    }

    /// Unknown keys are passed over; another format, and a line that is none, are refused as damaged.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let damaged = || Error::damaged(format!("{CONFIGURATION}: a line has an unknown format"));
        let text = std::str::from_utf8(text).map_err(|_| damaged())?;
        let mut lines = text.lines();
        if lines.next() != Some(&format!("format {CONFIGURATION_FORMAT}")) {
            return Err(Error::damaged(format!("{CONFIGURATION} has an unknown format"))
                .hint("a newer pgv may have written it"));
        }
        let mut configuration = Configuration::default();
        for line in lines {
            let (key, rest) = line.split_once(' ').ok_or_else(damaged)?;
            let path = |text: &str| {
                unescape(text).map(|path| PathBuf::from(OsString::from_vec(path))).ok_or_else(damaged)
            };
            let two = || -> Result<(PathBuf, PathBuf)> {
                let (first, second) = rest.split_once(' ').ok_or_else(damaged)?;
                Ok((path(first)?, path(second)?))
            };
            match key {
                "data_directory" => configuration.data_directory = path(rest)?,
                "config_file" => configuration.config_file = Some(path(rest)?),
                "hba_file" => configuration.hba_file = Some(path(rest)?),
                "ident_file" => configuration.ident_file = Some(path(rest)?),
                "hosts_file" => configuration.hosts_file = Some(path(rest)?),
                "file" => {
                    let (member, path) = two()?;
                    configuration.saved.push(SavedFile { member, path });
                }
                "link" => {
                    let (path, target) = two()?;
                    configuration.links.push(Link { path, target });
                }
                "unread" => configuration.unread.push(path(rest)?),
                _ => {}
            }
        }
        Ok(configuration)
    }
}

/// As [`escape`]; a space, too, where another value follows.
fn escaped(value: &OsStr, is_last: bool) -> String {
    let text = escape(value.as_bytes());
    if is_last { text } else { text.replace(' ', r"\x20") }
}

/// A path for people and for JSON: what is not UTF-8 is escaped.
pub fn readable(path: &OsStr) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => escape(path.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let odd = OsString::from_vec(b"/etc/a b\nfile x\t\\n\xe9\r".to_vec());
        let configuration = Configuration {
            data_directory: PathBuf::from("/data"),
            config_file: Some(PathBuf::from(&odd)),
            hba_file: Some(PathBuf::from("/data/pg_hba.conf")),
            ident_file: None,
            hosts_file: Some(PathBuf::from("/h")),
            saved: vec![
                SavedFile { member: PathBuf::from("a b.conf"), path: PathBuf::from("/etc/a b.conf") },
                SavedFile { member: PathBuf::from(&odd), path: PathBuf::from(&odd) },
            ],
            links: vec![Link { path: PathBuf::from("pg hba.conf"), target: PathBuf::from("../x y") }],
            unread: vec![PathBuf::from(&odd)],
        };
        let text = configuration.encode();
        assert_eq!(Configuration::parse(&text).unwrap(), configuration);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), 9, "no value ends its line:\n{text}");
        assert!(text.contains("file a\\x20b.conf /etc/a b.conf\n"), "{text}");
    }

    #[test]
    fn strangers_are_passed_over_and_damage_is_refused() {
        let text = "format pgv-configuration/1\ndata_directory /d\nnew thing\n";
        assert_eq!(Configuration::parse(text.as_bytes()).unwrap().data_directory, Path::new("/d"));
        for damaged in ["", "format pgv-configuration/2\n", "data_directory /d\n"] {
            assert!(Configuration::parse(damaged.as_bytes()).is_err(), "{damaged}");
        }
        for line in ["file only", "data_directory", "unread /a\\q", "unread \\x4", "unread \\xzz"] {
            let text = format!("format pgv-configuration/1\n{line}\n");
            assert!(Configuration::parse(text.as_bytes()).is_err(), "{line}");
        }
    }
}
