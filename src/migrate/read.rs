//! Where pgBackRest finds its options: files, sections and the environment, and which of them counts.

use super::ini::{self, Entry};
use super::options::{self, Row};
use crate::error::{Error, IoContext, Result};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What is to be read.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub file: PathBuf,
    /// A directory of more files; by default the one that pgBackRest reads with `file`.
    pub include: Option<PathBuf>,
    pub stanza: Option<String>,
    /// The cluster and the data directory of it, which choose among several stanzas.
    pub cluster: Option<String>,
    pub data_directory: Option<PathBuf>,
    /// `PGBACKREST_` variables.
    pub environment: Vec<(String, String)>,
}

/// The options of one stanza.
#[derive(Debug)]
pub struct Options {
    pub stanza: String,
    entries: Vec<Found>,
}

/// One option that is set somewhere.
#[derive(Debug)]
pub struct Found {
    pub row: &'static Row,
    pub number: u32,
    pub value: String,
    /// Lower counts first: environment, then the sections as pgBackRest searches them.
    scope: Scope,
    place: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    Environment,
    /// Of the stanza or global, of all commands or one.
    Section {
        is_global: bool,
        command: Option<String>,
    },
}

const ENVIRONMENT: &str = "PGBACKREST_";

/// Prints nothing and changes nothing. Names that pgBackRest does not know are in the second value.
pub fn read(request: &Request) -> Result<(Options, Vec<String>)> {
    let mut environment = Vec::new();
    for (key, value) in &request.environment {
        let Some(name) = key.strip_prefix(ENVIRONMENT) else { continue };
        if value.is_empty() {
            return Err(Error::usage(format!("the variable {key} has no value")));
        }
        environment.push((key, name.to_ascii_lowercase().replace('_', "-"), value));
    }
    let variable = |wanted: &str| {
        environment.iter().find(|(_, name, _)| name == wanted).map(|(_, _, value)| (*value).clone())
    };
    let include = request.include.clone().or_else(|| variable("config-include-path").map(PathBuf::from));
    let entries = read_files(&request.file, include)?;
    let stanza = request.stanza.clone().or_else(|| variable("stanza"));
    let stanza = choose_stanza(request, stanza, &entries)?;
    let (mut found, mut unknown) = (Vec::new(), BTreeSet::new());
    for (key, name, value) in &environment {
        match options::find(name) {
            Some((row, number)) => found.push(Found {
                row,
                number,
                value: (*value).clone(),
                scope: Scope::Environment,
                place: format!("the variable {key}"),
            }),
            None => _ = unknown.insert((*key).clone()),
        }
    }
    for entry in entries {
        let (name, command) = match entry.section.split_once(':') {
            Some((name, command)) => (name, Some(command.to_owned())),
            None => (entry.section.as_str(), None),
        };
        let is_global = name == GLOBAL;
        if !is_global && name != stanza {
            continue;
        }
        match options::find(&entry.key) {
            Some((row, number)) => found.push(Found {
                row,
                number,
                value: entry.value,
                scope: Scope::Section { is_global, command },
                place: entry.place,
            }),
            None => _ = unknown.insert(entry.key),
        }
    }
    Ok((Options { stanza, entries: found }, unknown.into_iter().collect()))
}

const GLOBAL: &str = "global";

/// The file, and after it those of the directory, by name.
fn read_files(file: &Path, include: Option<PathBuf>) -> Result<Vec<Entry>> {
    let read = |path: &Path| {
        let text = fs::read(path).during_path("read", path)?;
        ini::parse(&path.display().to_string(), &text)
    };
    let mut entries = read(file)?;
    let is_wanted = include.is_some();
    let Some(include) = include.or_else(|| usual_include(file)) else { return Ok(entries) };
    let listed = match fs::read_dir(&include) {
        Err(error) if error.kind() == ErrorKind::NotFound && !is_wanted => return Ok(entries),
        listed => listed.during_path("read", &include)?,
    };
    let paths = listed.map(|entry| Ok(entry.during_path("read", &include)?.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    paths.sort();
    for path in paths {
        entries.extend(read(&path)?);
    }
    Ok(entries)
}

/// Beside `pgbackrest.conf`; with the old place of the file the new one of the directory.
fn usual_include(file: &Path) -> Option<PathBuf> {
    match file.to_str() {
        Some("/etc/pgbackrest.conf") => Some(PathBuf::from("/etc/pgbackrest/conf.d")),
        _ if file.file_name()? == "pgbackrest.conf" => Some(file.parent()?.join("conf.d")),
        _ => None,
    }
}

fn choose_stanza(request: &Request, named: Option<String>, entries: &[Entry]) -> Result<String> {
    let names: BTreeSet<&str> = entries
        .iter()
        .filter_map(|entry| entry.section.split(':').next())
        .filter(|name| *name != GLOBAL)
        .collect();
    let file = request.file.display();
    let listed = || names.iter().copied().collect::<Vec<_>>().join(", ");
    if let Some(named) = named {
        if names.contains(named.as_str()) {
            return Ok(named);
        }
        return Err(
            Error::usage(format!("{file} has no stanza {named}")).hint(format!("it has: {}", listed()))
        );
    }
    let is_of_cluster = |name: &&&str| {
        let path = path_of(name, entries);
        match (&request.data_directory, path) {
            (Some(wanted), Some(path)) => is_same(wanted, Path::new(path)),
            (None, Some(path)) => {
                request.cluster.as_deref().is_some_and(|cluster| is_of_debian(path, cluster))
            }
            _ => false,
        }
    };
    let mut fitting = names.iter().filter(is_of_cluster);
    match (names.len(), fitting.next(), fitting.next()) {
        (0, ..) => Err(Error::usage(format!("{file} has no stanza"))
            .hint("a stanza is a section with pg1-path: give the configuration of the database host")),
        (1, ..) => Ok(listed()),
        (_, Some(name), None) => Ok((*name).to_owned()),
        _ => {
            Err(Error::usage(format!("{file} has several stanzas: {}", listed()))
                .hint("name one: --stanza NAME"))
        }
    }
}

fn path_of<'e>(stanza: &str, entries: &'e [Entry]) -> Option<&'e str> {
    let is_path = |entry: &&Entry| {
        entry.section == stanza
            && options::find(&entry.key).is_some_and(|(row, number)| row.name == "pg-path" && number == 1)
    };
    entries.iter().find(is_path).map(|entry| entry.value.as_str())
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// `/var/lib/postgresql/15/main` is the cluster `15-main`.
fn is_of_debian(path: &str, cluster: &str) -> bool {
    let mut parts = path.trim_end_matches('/').rsplit('/');
    let (name, version) = (parts.next(), parts.next());
    matches!((version, name), (Some(version), Some(name)) if format!("{version}-{name}") == cluster)
}

impl Options {
    /// What counts for the first of these commands that has a value of its own.
    pub fn get(&self, name: &str, number: u32, commands: &[&str]) -> Result<Option<&str>> {
        let of = |scope: &Scope| {
            let of_scope =
                |found: &&Found| found.row.name == name && found.number == number && found.scope == *scope;
            let mut values = self.entries.iter().filter(of_scope);
            match (values.next(), values.next()) {
                (Some(first), Some(second)) => Err(Error::usage(format!(
                    "{} is set twice: {}, {}",
                    first.row.shown(number),
                    first.place,
                    second.place
                ))
                .hint("remove one of the two")),
                (value, _) => Ok(value.map(|found| found.value.as_str())),
            }
        };
        let mut scopes = vec![Scope::Environment];
        for is_global in [false, true] {
            let commands = commands.iter().map(|command| Some((*command).to_owned()));
            scopes.extend(commands.chain([None]).map(|command| Scope::Section { is_global, command }));
        }
        for scope in scopes {
            if let Some(value) = of(&scope)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Every option that is set somewhere, once.
    pub fn all(&self) -> Vec<(&'static Row, u32)> {
        let named: BTreeSet<_> = self.entries.iter().map(|found| (found.row.name, found.number)).collect();
        let row = |name| self.entries.iter().find(|found| found.row.name == name).map(|found| found.row);
        named.into_iter().filter_map(|(name, number)| Some((row(name)?, number))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str, environment: &[(&str, &str)]) -> Result<(Options, Vec<String>)> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pgbackrest.conf");
        fs::write(&file, text).unwrap();
        fs::create_dir(directory.path().join("conf.d")).unwrap();
        fs::write(directory.path().join("conf.d/b.conf"), "[global]\nio-timeout=9").unwrap();
        fs::write(directory.path().join("conf.d/ignored"), "nonsense").unwrap();
        let environment = environment.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        read(&Request { file, environment, cluster: Some("15-main".into()), ..Request::default() })
    }

    #[test]
    fn the_order_of_sections_is_that_of_pgbackrest() {
        let text = "[global]\nprocess-max=1\n[global:backup]\nprocess-max=2\n[main]\npg1-path=/d\nprocess-max=3\n\
                    [main:backup]\nprocess-max=4\n[main:restore]\nprocess-max=5\nnonsense=1\n";
        let (found, unknown) =
            options(text, &[("PGBACKREST_DB_TIMEOUT", "7"), ("PGBACKREST_X", "1")]).unwrap();
        let get = |name, commands: &[&str]| found.get(name, 1, commands).unwrap().map(str::to_owned);
        assert_eq!(get("process-max", &["backup"]).as_deref(), Some("4"));
        assert_eq!(get("process-max", &["archive-push"]).as_deref(), Some("3"));
        assert_eq!(get("io-timeout", &["backup"]).as_deref(), Some("9"), "conf.d");
        assert_eq!(get("db-timeout", &["backup"]).as_deref(), Some("7"), "environment");
        assert_eq!(unknown, ["PGBACKREST_X", "nonsense"]);
        let text = "[global]\nprocess-max=1\n[global:backup]\nprocess-max=2\n[main]\npg1-path=/d\n";
        let (found, _) = options(text, &[]).unwrap();
        assert_eq!(found.get("process-max", 1, &["expire", "backup"]).unwrap(), Some("2"));
        let (found, _) = options(&format!("{text}pg1-path=/e\n"), &[]).unwrap();
        assert!(found.get("pg-path", 1, &[]).unwrap_err().message().contains("set twice"));
    }

    #[test]
    fn a_stanza_is_chosen_by_the_cluster() {
        let two = "[global]\n[a]\npg1-path=/var/lib/postgresql/14/main\n[b]\ndb-path=/var/lib/postgresql/15/main/\n";
        assert_eq!(options(two, &[]).unwrap().0.stanza, "b");
        assert_eq!(options(two, &[("PGBACKREST_STANZA", "a")]).unwrap().0.stanza, "a");
        assert!(options(two, &[("PGBACKREST_STANZA", "c")]).is_err());
        assert!(options("[global]\nprocess-max=1", &[]).unwrap_err().message().contains("no stanza"));
        let neither = "[a]\npg1-path=/d\n[b]\npg1-path=/e\n";
        assert!(options(neither, &[]).unwrap_err().message().contains("several stanzas: a, b"));
    }
}
