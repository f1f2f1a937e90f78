//! Where to look: the repository, and which of its clusters.

use clap::Args;
use pgv::catalog::Label;
use pgv::cli::{self, ConfigOption, StoreOptions, Wanted};
use pgv::error::{Error, Result};
use pgv::info::{Query, Repository};
use pgv::store::{Store, Url};

/// Where to look.
#[derive(Args)]
pub struct Place {
    /// The repository: s3://bucket/prefix or file:///path
    #[arg(long, global = true, env = "PGV_REPO", value_name = "URL")]
    repo: Option<String>,
    /// Only the cluster with this system identifier
    #[arg(long, global = true, env = "PGV_SYSTEM_ID", value_name = "ID")]
    system_id: Option<String>,
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    store: StoreOptions,
}

impl Place {
    /// Opens the repository. The process begins anew if a configuration has to say where it is.
    pub fn open(self, cluster: Option<String>) -> Result<Repository> {
        self.open_for(cluster, None, None)
    }

    /// The same, with only this backup read.
    pub fn open_label(self, cluster: Option<String>, label: Option<Label>) -> Result<Repository> {
        self.open_for(cluster, label, None)
    }

    /// The same, with what this backup builds on read whatever became of the others.
    pub fn open_chain(self, cluster: Option<String>, label: Option<Label>) -> Result<Repository> {
        self.open_for(cluster, None, label)
    }

    fn open_for(
        self,
        cluster: Option<String>,
        label: Option<Label>,
        chain_of: Option<Label>,
    ) -> Result<Repository> {
        let named = own_name(cluster);
        self.configure(named.as_deref(), true)?;
        let url = self.repository().ok_or_else(|| {
            Error::usage("no repository is given")
                .hint("give --repo URL, or a CLUSTER that has a configuration with PGV_REPO in /etc/pgv")
        })?;
        let url = Url::parse(&format!("{}/", url.trim_end_matches('/')))?;
        self.store.deadline(&format!("read {url}"))?;
        let store = Store::open(&url, &self.store)?;
        let query = Query {
            repository: url,
            cluster: named.or_else(|| cli::variable("PGV_CLUSTER")),
            system_identifier: cli::system_id(self.system_id.as_deref())?,
            label,
            chain_of,
            state: cli::variable("PGV_STATE_DIR").map(Into::into),
        };
        Ok(Repository { store, query })
    }

    /// The cluster's name in the repository, for a verb that reads none: it needs a configuration only if one is named.
    pub fn cluster(self, cluster: Option<String>) -> Result<Option<String>> {
        let named = own_name(cluster);
        self.configure(named.as_deref(), false)?;
        Ok(named.or_else(|| cli::variable("PGV_CLUSTER")))
    }

    fn configure(&self, named: Option<&str>, needs_repository: bool) -> Result<()> {
        match (self.repository(), &self.config.config) {
            (Some(url), None) => {
                let url = url.trim_end_matches('/');
                let told = self.store.names_service();
                self.config.apply(Wanted::Repository { url, cluster: named, told })
            }
            (None, None) if !needs_repository => Ok(()),
            _ => self.config.apply(Wanted::Cluster(named)),
        }
    }

    fn repository(&self) -> Option<String> {
        self.repo.clone().filter(|repository| !repository.is_empty())
    }
}

/// The name of a configuration is not always that of the cluster in it.
fn own_name(cluster: Option<String>) -> Option<String> {
    cluster.filter(|name| !cli::chose_configuration(name))
}
