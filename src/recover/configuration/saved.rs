//! What the backup brought beside the data directory.

use crate::catalog::member;
use crate::catalog::{Configuration, SavedFile};
use crate::error::{Error, IoContext, Result};
use crate::pg::conf;
use crate::recover::file::read_if_there;
use std::path::{Component, Path, PathBuf};

/// What the backup brought beside the data directory.
pub struct Saved {
    directory: PathBuf,
    pub configuration: Configuration,
}

impl Saved {
    pub fn load(root: &Path) -> Result<Option<Self>> {
        let directory = root.join(member::CONFIGURATION_DIRECTORY);
        if let Some(text) = read_if_there(&root.join(member::CONFIGURATION))? {
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
    pub fn of_nothing(root: &Path) -> Self {
        let configuration = Configuration { data_directory: root.to_owned(), ..Configuration::default() };
        Saved { directory: root.join(member::CONFIGURATION_DIRECTORY), configuration }
    }

    pub fn main_path(&self) -> PathBuf {
        let own = || self.configuration.data_directory.join("postgresql.conf");
        self.configuration.config_file.clone().unwrap_or_else(own)
    }

    /// The main file, if it is not one of the data directory's.
    pub fn main(&self) -> Option<&SavedFile> {
        let main = self.configuration.config_file.as_ref()?;
        self.configuration.saved.iter().find(|file| file.path == *main)
    }

    pub fn read(&self, member: &Path) -> Result<Vec<u8>> {
        if member.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Error::damaged(format!(
                "{}: invalid path {}",
                member::CONFIGURATION,
                member.display()
            )));
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
