//! `--from-pgbackrest`: the settings of pgv that a configuration of pgBackRest becomes.

use pgv::error::{Error, Result, Status};
use pgv::migrate::{self, Request};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Options {
    /// Print what a configuration of pgBackRest becomes, as key value lines
    #[arg(long, group = "form", value_name = "FILE")]
    from_pgbackrest: Option<PathBuf>,
    /// With --from-pgbackrest, the stanza
    #[arg(long, requires = "from_pgbackrest", value_name = "NAME")]
    stanza: Option<String>,
    /// With --from-pgbackrest, a directory of more of its files
    #[arg(long, requires = "from_pgbackrest", value_name = "DIR")]
    config_include_path: Option<PathBuf>,
    /// With --from-pgbackrest, the data directory of the cluster
    #[arg(long, requires = "from_pgbackrest", value_name = "DIR")]
    pgdata: Option<PathBuf>,
}

impl Options {
    pub fn file(&self) -> Option<&Path> {
        self.from_pgbackrest.as_deref()
    }

    pub fn print(&self, file: &Path, cluster: Option<&str>) -> Result<Status> {
        let variables = std::env::vars_os().filter_map(|(key, value)| {
            let key = key.into_string().ok().filter(|key| key.starts_with("PGBACKREST_"))?;
            let refused = Error::usage(format!("the variable {key} is not UTF-8"));
            Some(value.into_string().map(|value| (key, value)).map_err(|_| refused))
        });
        let request = Request {
            file: file.to_owned(),
            include: self.config_include_path.clone(),
            stanza: self.stanza.clone(),
            cluster: cluster.map(str::to_owned),
            data_directory: self.pgdata.clone(),
            environment: variables.collect::<Result<_>>()?,
        };
        let (options, unknown) = migrate::read(&request)?;
        let lines = migrate::translate(&options, &unknown);
        let place = format!("correct it in {}, or in what is read with it", file.display());
        lines.map_err(|error| error.hint(place))?.print()?;
        Ok(Status::Done)
    }
}
