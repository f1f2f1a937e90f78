//! The configuration for a tool that was typed as it is: `pgv-s3 get s3://…`, `pgv-crypt -d`.
//!
//! The environment is what the AWS SDK, libpq and a tool's children read, and a process with threads cannot change its own.
//! So the tool runs itself once more, with what its environment lacks, before it has done anything. It costs a
//! millisecond or two, and nothing where the environment says all already, as in a script.

use super::clusters::Clusters;
use super::config::{self, Config, Environment};
use super::readable::{read_if_allowed, readable_list};
use crate::error::{Error, Result};
use crate::io::OWN_VARIABLES;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name by which a configuration was chosen. It is not the cluster's name in the repository, which the environment has.
const CHOSEN: &str = "PGV_CONFIGURED_AS";
/// The configuration of the tool that ran this one, as its `-- COMMAND`: where one is needed, it is the same.
const FROM: &str = "PGV_CONFIGURED_FROM";
/// They say where a service is and who asks it.
const SERVICE: [&str; 7] = [
    "PGV_S3_ENDPOINT_URL",
    "PGV_S3_REGION",
    "PGV_S3_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
];

#[derive(clap::Args, Clone, Debug)]
pub struct ConfigOption {
    /// The configuration [default: the one in /etc/pgv, if needed]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What a tool needs a configuration for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// How to reach the service of this URL. `told`: options say something of it.
    Service { url: &'a str, told: bool },
    /// The same, for a tool that reads a whole repository, whatever cluster a configuration is of. Only that of `cluster`
    /// says more than how to reach it: see [`Clusters`] for the others.
    Repository { url: &'a str, cluster: Option<&'a str>, told: bool },
    /// How to reach a service whose URL comes later: only where a single configuration is.
    AnyService,
    /// A key.
    Key,
    /// Where the server is.
    Server,
    /// Where the repository is: of this cluster, or the only one.
    Cluster(Option<&'a str>),
}

impl ConfigOption {
    /// Comes back if the environment says all already, or if there is no configuration. Else the process begins anew.
    pub fn apply(&self, wanted: Wanted<'_>) -> Result<()> {
        let Some(config) = self.choose(wanted)? else { return Ok(()) };
        let file = config.file.clone();
        let named = if let Wanted::Cluster(named) = wanted { named } else { None };
        let mut environment = Environment::beside(config, named)?;
        if matches!(wanted, Wanted::Server) {
            environment.add_debian_port()?;
        }
        let mut changes = environment.changes().clone();
        if let Wanted::Repository { url, cluster, .. } = wanted {
            let clusters = Clusters::of(url);
            let own = cluster.and_then(|cluster| clusters.only(cluster));
            let is_own = own.is_some_and(|own| own.file == file);
            changes.retain(|key, _| match key.as_str() {
                "PGV_REPO" | "PGV_CLUSTER" | "PGV_SYSTEM_ID" => false,
                // What was read of the repository before.
                "PGV_STATE_DIR" => true,
                key => is_own || config::is_service(key),
            });
        }
        // A name on the command line that is not the cluster's own would be taken for that.
        let is_other_name = named.is_some() && environment.get("PGV_CLUSTER")?.as_deref() != named;
        if changes.is_empty() && !is_other_name {
            return Ok(());
        }
        let program = std::env::current_exe().map_err(|error| Error::io("find this program", error))?;
        let mut command = Command::new(program);
        let own: Vec<_> = changes.keys().filter(|name| !is_set(name)).cloned().collect();
        command.args(std::env::args_os().skip(1)).envs(changes);
        command.env(OWN_VARIABLES, own.join(" ")).env(FROM, config::absolute(&file)?);
        if let Some(named) = named {
            command.env(CHOSEN, named);
        }
        Err(Error::io("run this program again", command.exec()))
    }

    fn choose(&self, wanted: Wanted<'_>) -> Result<Option<Config>> {
        if let Some(file) = &self.config {
            return config::read_file(file).map(Some);
        }
        let told = match wanted {
            Wanted::Cluster(named) => {
                let of_environment = std::env::var("PGV_CLUSTER").ok().filter(|name| !name.is_empty());
                return config::read(None, named.or(of_environment.as_deref()));
            }
            Wanted::AnyService => return if is_set("PGV_REPO") { Ok(None) } else { single() },
            Wanted::Service { url, .. } | Wanted::Repository { url, .. } if !url.starts_with("s3://") => {
                return Ok(None);
            }
            // As in a script, or under pgv-env.
            _ if is_set("PGV_REPO") => return Ok(None),
            Wanted::Service { url, told } | Wanted::Repository { url, told, .. } => {
                let tree = match wanted {
                    Wanted::Repository { cluster: Some(cluster), .. } => format!("{url}/{cluster}"),
                    _ => url.to_owned(),
                };
                let url = tree.as_str();
                let found = match of_caller()?.filter(|config| nearness(config, url) > 0) {
                    Some(config) => Some(config),
                    None => of_url(url)?,
                };
                if found.is_some() {
                    return Ok(found);
                }
                told || SERVICE.iter().any(|name| is_set(name))
            }
            Wanted::Key => is_set("PGV_KEY_FILE"),
            Wanted::Server
                if ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGCLUSTER"].iter().any(|name| is_set(name)) =>
            {
                true
            }
            // Where several are configured it tells which server is meant.
            Wanted::Server if is_set("PGPORT") && !is_set(FROM) => return single(),
            Wanted::Server => false,
        };
        if let (false, Wanted::Key | Wanted::Server, Some(config)) = (told, wanted, of_caller()?) {
            return Ok(Some(config));
        }
        if told { Ok(None) } else { only_one() }
    }
}

/// Whether this was named on the command line to choose the configuration that the environment has by now.
pub fn chose_configuration(name: &str) -> bool {
    std::env::var_os(CHOSEN).is_some_and(|chosen| chosen == name)
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn of_caller() -> Result<Option<Config>> {
    let file = std::env::var_os(FROM).filter(|file| !file.is_empty());
    file.map(|file| config::read_file(Path::new(&file))).transpose()
}

fn only_one() -> Result<Option<Config>> {
    let found = readable_list()?.unwrap_or_default();
    match &found[..] {
        [] => Ok(None),
        [path] => read_if_allowed(path),
        _ => Err(config::several(&found, "name one with --config FILE")),
    }
}

/// Nothing if there are several.
fn single() -> Result<Option<Config>> {
    match &readable_list()?.unwrap_or_default()[..] {
        [path] => read_if_allowed(path),
        _ => Ok(None),
    }
}

/// The configuration whose repository a URL lies in: the nearest.
fn of_url(url: &str) -> Result<Option<Config>> {
    let mut best: Vec<(usize, Config)> = Vec::new();
    let mut unusable = None;
    for path in readable_list()?.unwrap_or_default() {
        match read_if_allowed(&path) {
            Ok(Some(config)) => {
                let nearness = nearness(&config, url);
                if nearness > 0 && best.first().is_none_or(|(found, _)| *found <= nearness) {
                    best.retain(|(found, _)| *found == nearness);
                    best.push((nearness, config));
                }
            }
            Ok(None) => {}
            Err(error) => unusable = unusable.or(Some(error)),
        }
    }
    let mut best: Vec<_> = best.into_iter().map(|(_, config)| config).collect();
    match (best.first(), unusable) {
        (None, Some(error)) => Err(error),
        (Some(first), _)
            if best.iter().any(|other| config::service_of(other) != config::service_of(first)) =>
        {
            let files: Vec<_> = best.into_iter().map(|config| config.file).collect();
            Err(config::several(
                &files,
                "several configurations have this repository: name one with --config FILE",
            ))
        }
        _ => Ok(if best.is_empty() { None } else { Some(best.swap_remove(0)) }),
    }
}

/// 0: the URL does not lie in the configuration's repository.
fn nearness(config: &Config, url: &str) -> usize {
    let lies_below =
        |place: &str| url.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(repository) = config.get("PGV_REPO") else { return 0 };
    let tree = format!("{repository}/{}", config.get("PGV_CLUSTER").unwrap_or(&config.cluster));
    match (lies_below(&tree), lies_below(repository)) {
        (true, _) => tree.len(),
        (_, true) => repository.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(cluster: &str, repository: &str) -> Config {
        let settings = vec![config::Setting { key: "PGV_REPO".to_owned(), value: repository.to_owned() }];
        Config {
            file: format!("/etc/pgv/{cluster}.conf").into(),
            cluster: cluster.to_owned(),
            settings,
            uid: 0,
        }
    }

    #[test]
    fn a_url_lies_in_the_repository_of_its_own_cluster() {
        let (main, other) = (config("15-main", "s3://b/pgv"), config("15-other", "s3://b/pgv"));
        let url = "s3://b/pgv/15-main/123/backup/x/data.pgv";
        assert!(nearness(&main, url) > nearness(&other, url));
        assert!(nearness(&other, url) > 0);
        assert_eq!(nearness(&main, "s3://b/pgv-other/x"), 0);
        assert!(nearness(&main, "s3://b/pgv") > 0);
    }
}
