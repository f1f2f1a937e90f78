//! What a configuration means beside the environment, which wins: the environment to set, and the numbers in it.

use super::{Config, Setting, keys};
use crate::cli::lines::Lines;
use crate::cli::{Period, debian, parse_duration, parse_period, parse_size};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Where state is kept, unless PGV_STATE_DIR names another place.
const STATE: &str = "/var/lib/pgv";
/// How often a full is made, unless PGV_FULL_EVERY says.
pub const FULL_EVERY: &str = "7d";
/// How long a data key seals at most, unless PGV_KEY_EVERY says.
const KEY_EVERY: &str = "7d";
/// They are of one account: who has one of them in the environment wants none of a configuration's.
const CREDENTIALS: [&str; 5] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "PGV_S3_PROFILE"];
/// Beside the credentials: how one service is reached, and what begins the names of the endpoints of single services.
const SERVICE: [&str; 3] = ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"];
const ENDPOINTS: &str = "AWS_ENDPOINT_URL";
/// What says where libpq's server is.
const SERVER: [&str; 5] = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGCLUSTER"];

/// The environment of a cluster's tools.
#[derive(Debug)]
pub struct Environment {
    config: Option<Config>,
    /// What the process has to add to, or change in, the environment that it has.
    changes: BTreeMap<String, String>,
    outer: Outer,
}

/// A variable of the process; an empty one is not set.
type Outer = fn(&str) -> Result<Option<String>>;

fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::usage(format!("{name} in the environment is not UTF-8")))
        }
    }
}

impl Environment {
    /// The configuration `file`, or that of `cluster` (else of PGV_CLUSTER), or the only one; none if the environment has
    /// PGV_REPO and names a cluster without a configuration. Every value is checked, those of the environment too.
    pub fn load(file: Option<&Path>, cluster: Option<&str>) -> Result<Self> {
        let of_environment = variable("PGV_CLUSTER")?;
        let named = cluster.map(str::to_owned).or(of_environment);
        let config = super::read(file, named.as_deref())?;
        if config.is_none() && variable("PGV_REPO")?.is_none() {
            return Err(no_configuration(named.as_deref()));
        }
        let environment = Self::resolve(config, cluster, variable)?;
        environment.require_repository()?;
        Ok(environment)
    }

    /// The same of a configuration that was chosen otherwise; it need not say where the repository is.
    pub fn beside(config: Config, cluster: Option<&str>) -> Result<Self> {
        Self::resolve(Some(config), cluster, variable)
    }

    fn require_repository(&self) -> Result<()> {
        if self.get("PGV_REPO")?.is_some() {
            return Ok(());
        }
        let cluster = self.get("PGV_CLUSTER")?.unwrap_or_default();
        let place = self.config.as_ref().map(|config| format!(" in {}", config.file.display()));
        Err(Error::usage(format!("PGV_REPO is not set for cluster {cluster}{}", place.unwrap_or_default()))
            .hint("set PGV_REPO in the configuration, to s3://bucket/prefix or file:///path"))
    }

    /// `cluster`: as it was named on the command line. It is the name of a configuration; what that is called in the
    /// repository the configuration may say, and the environment may not.
    fn resolve(config: Option<Config>, cluster: Option<&str>, outer: Outer) -> Result<Self> {
        let mut environment = Environment { config, changes: BTreeMap::new(), outer };
        let named = cluster.is_some();
        for key in keys::KEYS.iter().filter(|key| !(named && key.name == "PGV_CLUSTER")) {
            if let Some(value) = outer(key.name)? {
                let checked = check_outer(key, &value)?;
                if checked != value {
                    environment.changes.insert(key.name.to_owned(), checked);
                }
            }
        }
        let has_credentials =
            CREDENTIALS.iter().try_fold(false, |has, key| Ok(has || outer(key)?.is_some()))?;
        // libpq takes a service before the other variables, wherever they come from.
        let has_service = outer("PGSERVICE")?.is_some();
        for Setting { key, value } in environment.config.iter().flat_map(|config| &config.settings) {
            let outer_has = if named && key == "PGV_CLUSTER" { None } else { outer(key)? };
            let is_others = (has_credentials && CREDENTIALS.contains(&key.as_str()))
                || (has_service && SERVER.contains(&key.as_str()));
            if outer_has.is_none() && !is_others {
                environment.changes.insert(key.clone(), value.clone());
            }
        }
        environment.add_defaults(cluster)?;
        environment.refuse_endless()?;
        environment.refuse_half_recipients()?;
        Ok(environment)
    }

    /// Nothing would ever expire: PGV_KEEP_FULL keeps everything since the full that it counts last, and there would be
    /// no other.
    fn refuse_endless(&self) -> Result<()> {
        let has_rule = self.get("PGV_KEEP_FULL")?.is_some_and(|count| !count.is_empty());
        match has_rule && self.full_every()?.0.is_none() {
            false => Ok(()),
            true => Err(Error::usage(
                "PGV_KEEP_FULL with PGV_FULL_EVERY=never would never delete anything: no full follows, and \
                 synthetic fulls do not count",
            )
            .hint("replace PGV_KEEP_FULL by PGV_KEEP_WITHIN, PGV_KEEP_DAILY or another rule of pgv-retention(7)")
            .hint("or let fulls be made, if rarely: PGV_FULL_EVERY=365d")),
        }
    }

    /// Whoever seals for recipients signs, or anybody could seal for them; and wraps in one way.
    fn refuse_half_recipients(&self) -> Result<()> {
        let has = |key| Ok::<_, Error>(self.get(key)?.is_some_and(|value| !value.is_empty()));
        if has("PGV_RECIPIENTS")? && has("PGV_WRAP")? {
            return Err(Error::usage("PGV_RECIPIENTS and PGV_WRAP are both set")
                .hint("remove one of them: PGV_WRAP is a command that wraps data keys instead of openssl"));
        }
        if has("PGV_IDENTITY")? && has("PGV_UNWRAP")? {
            return Err(Error::usage("PGV_IDENTITY and PGV_UNWRAP are both set").hint("remove one of them"));
        }
        if (has("PGV_RECIPIENTS")? || has("PGV_WRAP")?) && !has("PGV_SIGNER")? {
            return Err(Error::usage("data keys are wrapped for recipients, but PGV_SIGNER is not set")
                .hint("pgv-setup CLUSTER --recipient CERTIFICATE makes the key with which this host signs"));
        }
        if (has("PGV_IDENTITY")? || has("PGV_UNWRAP")?) && !has("PGV_HOSTS")? {
            return Err(Error::usage("data keys are opened, but PGV_HOSTS is not set")
                .hint("set PGV_HOSTS to a file with the certificates of the hosts whose backups you trust"));
        }
        Ok(())
    }

    fn add_defaults(&mut self, named: Option<&str>) -> Result<()> {
        let configured = self.config.as_ref().map(|config| config.cluster.clone());
        let known = match named {
            Some(_) => self.changes.get("PGV_CLUSTER").cloned(),
            None => self.get("PGV_CLUSTER")?,
        };
        let cluster = known.or_else(|| named.map(str::to_owned)).or(configured);
        let cluster =
            cluster.ok_or_else(|| Error::usage("no cluster is named, and PGV_CLUSTER is not set"))?;
        keys::Kind::ClusterName.check(&cluster).map_err(|why| Error::usage(format!("cluster {why}")))?;
        self.change("PGV_CLUSTER", cluster.clone())?;
        if self.get("PGV_STATE_DIR")?.is_none() {
            self.change("PGV_STATE_DIR", format!("{STATE}/{cluster}"))?;
        }
        Ok(())
    }

    fn change(&mut self, key: &str, value: String) -> Result<()> {
        if (self.outer)(key)?.as_ref() == Some(&value) {
            self.changes.remove(key);
        } else {
            self.changes.insert(key.to_owned(), value);
        }
        Ok(())
    }

    /// Of Debian's cluster, unless libpq was told where the server is. Asks pg_lsclusters, which takes a while.
    pub fn add_debian_port(&mut self) -> Result<()> {
        for key in SERVER {
            if self.get(key)?.is_some() {
                return Ok(());
            }
        }
        let configured = self.config.as_ref().map(|config| config.cluster.clone());
        let names: Vec<_> = configured.into_iter().chain(self.get("PGV_CLUSTER")?).collect();
        if let Some(port) = debian::port_of(&names)? {
            self.changes.insert("PGPORT".to_owned(), port);
        }
        Ok(())
    }

    pub fn get(&self, key: &str) -> Result<Option<String>> {
        match self.changes.get(key) {
            Some(value) => Ok(Some(value.clone())),
            None => (self.outer)(key),
        }
    }

    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// For a command that is to have this environment.
    pub fn changes(&self) -> &BTreeMap<String, String> {
        &self.changes
    }

    /// For a script: `set NAME=VALUE` for every change, and facts. Seconds and bytes are whole numbers.
    pub fn lines(&self) -> Result<Lines> {
        let mut lines = Lines::new();
        if let Some(config) = &self.config {
            lines.add_path("config_file", &config.file);
        }
        for (key, value) in &self.changes {
            lines.add("set", format_args!("{key}={value}"));
        }
        lines.add("wal_timeout_seconds", self.wal_timeout()?.as_secs());
        lines.add("wal_spool_bytes", self.wal_spool_bytes()?);
        lines.add("wal_jobs", self.wal_jobs()?);
        lines.add("key_every_seconds", self.key_every()?.as_secs());
        lines.add_some("full_every_seconds", self.full_every()?.0.map(|every| every.as_secs()));
        Ok(lines)
    }

    fn full_every(&self) -> Result<Period> {
        self.number("PGV_FULL_EVERY", FULL_EVERY, parse_period)
    }

    fn key_every(&self) -> Result<Duration> {
        self.number("PGV_KEY_EVERY", KEY_EVERY, parse_duration)
    }

    pub fn wal_timeout(&self) -> Result<Duration> {
        self.number("PGV_WAL_TIMEOUT", "60s", parse_duration)
    }

    pub fn wal_spool_bytes(&self) -> Result<u64> {
        self.number("PGV_WAL_SPOOL", "1GiB", parse_size)
    }

    pub fn wal_jobs(&self) -> Result<usize> {
        self.number("PGV_WAL_JOBS", "2", |text| text.parse().map_err(|_| "it is not a number".to_owned()))
    }

    fn number<T>(
        &self,
        key: &str,
        default: &str,
        parse: fn(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        let text = self.get(key)?.unwrap_or_else(|| default.to_owned());
        parse(&text).map_err(|why| Error::usage(format!("{key}: {why}")))
    }
}

/// A path is meant from the directory in which the variable was set.
fn check_outer(key: &keys::Key, value: &str) -> Result<String> {
    let wrong = |why: String| Error::usage(format!("{} in the environment: {why}", key.name));
    let checked = key.kind.check(value).map_err(wrong)?;
    match key.kind {
        keys::Kind::Path => absolute(&checked),
        keys::Kind::Paths => {
            checked.split(':').map(absolute).collect::<Result<Vec<_>>>().map(|all| all.join(":"))
        }
        _ => Ok(checked.into_owned()),
    }
}

fn absolute(path: &str) -> Result<String> {
    let whole = if path.is_empty() { path.into() } else { super::absolute(Path::new(path))? };
    whole
        .into_os_string()
        .into_string()
        .map_err(|_| Error::usage(format!("{path} is in a directory whose path is not UTF-8")))
}

fn no_configuration(cluster: Option<&str>) -> Error {
    let place = super::directory().unwrap_or_default();
    let names: Vec<_> =
        super::list().unwrap_or_default().iter().map(|path| super::cluster_of(path)).collect();
    match cluster {
        Some(cluster) if !names.is_empty() => {
            Error::usage(format!("no configuration {}", place.join(format!("{cluster}.conf")).display()))
                .hint(format!("configured clusters: {}", names.join(", ")))
        }
        Some(cluster) => {
            Error::usage(format!("no configuration {}", place.join(format!("{cluster}.conf")).display()))
                .hint("pgv-setup creates it")
        }
        None => Error::usage(format!("no configuration in {}", place.display()))
            .hint("name a cluster, or set PGV_CLUSTER and PGV_REPO"),
    }
}

/// The settings that say how a service is reached.
pub fn service_of(config: &Config) -> Vec<&Setting> {
    config.settings.iter().filter(|set| is_service(&set.key)).collect()
}

/// Whether a key says how a service is reached, and nothing of a cluster.
pub fn is_service(key: &str) -> bool {
    key.starts_with("PGV_S3_") || key.starts_with("AWS_")
}

/// The variables that must not stand beside those of [`service_of`]: what the environment says of another service. A
/// configuration that says anything of its service says all of it, the account too.
pub fn service_only(config: &Config) -> Vec<String> {
    let has_service = !service_of(config).is_empty();
    let is_one =
        |key: &str| CREDENTIALS.contains(&key) || SERVICE.contains(&key) || key.starts_with(ENDPOINTS);
    let is_others = |key: &str| key.starts_with("PGV_S3_") || (has_service && is_one(key));
    let names = std::env::vars_os().filter_map(|(key, _)| key.into_string().ok());
    names.filter(|key| is_others(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn config(text: &str) -> Config {
        Config {
            file: "/etc/pgv/shop.conf".into(),
            cluster: "shop".to_owned(),
            settings: parse("shop.conf", text.as_bytes()).unwrap(),
            uid: 0,
        }
    }

    fn changes(text: &str, cluster: Option<&str>, outer: Outer) -> String {
        let environment = Environment::resolve(Some(config(text)), cluster, outer).unwrap();
        let pairs: Vec<_> =
            environment.changes().iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(" ")
    }

    #[test]
    fn the_environment_wins_and_defaults_come_last() {
        let outer: Outer = |key| Ok((key == "PGV_LEVEL").then(|| "9".to_owned()));
        assert_eq!(
            changes("PGV_REPO=s3://b/p/\nPGV_LEVEL=3\nPGV_EXPIRE=off", None, outer),
            "PGV_CLUSTER=shop PGV_EXPIRE=no PGV_REPO=s3://b/p PGV_STATE_DIR=/var/lib/pgv/shop"
        );
    }

    #[test]
    fn a_named_cluster_is_a_configuration_and_not_the_environments() {
        let outer: Outer = |key| Ok((key == "PGV_CLUSTER").then(|| "other".to_owned()));
        let text = "PGV_REPO=s3://b/p\nPGV_STATE_DIR=/s";
        assert!(changes(text, Some("shop"), outer).starts_with("PGV_CLUSTER=shop "));
        let named = format!("{text}\nPGV_CLUSTER=trade");
        assert!(changes(&named, Some("shop"), outer).starts_with("PGV_CLUSTER=trade "));
        assert!(!changes(&named, None, outer).contains("PGV_CLUSTER"));
    }

    #[test]
    fn credentials_of_two_accounts_are_not_mixed() {
        let outer: Outer = |key| Ok((key == "AWS_ACCESS_KEY_ID").then(|| "mine".to_owned()));
        let found = changes("PGV_REPO=s3://b/p\nAWS_SESSION_TOKEN=x\nAWS_CA_BUNDLE=/ca", None, outer);
        assert!(!found.contains("TOKEN") && found.contains("AWS_CA_BUNDLE=/ca"), "{found}");
    }

    #[test]
    fn a_service_that_is_configured_is_the_server_whatever_else_is_set() {
        let outer: Outer = |key| Ok((key == "PGPORT").then(|| "1".to_owned()));
        let found = changes("PGV_REPO=s3://b/p\nPGSERVICE=b\nPGPORT=2", None, outer);
        assert!(found.contains("PGSERVICE=b") && !found.contains("PGPORT"), "{found}");
    }

    #[test]
    fn values_of_the_environment_are_checked() {
        let outer: Outer = |key| Ok((key == "PGV_WAL_JOBS").then(|| "0".to_owned()));
        let error = Environment::resolve(Some(config("PGV_REPO=s3://b/p")), None, outer).unwrap_err();
        assert!(error.message().starts_with("PGV_WAL_JOBS in the environment: \"0\""), "{error}");
    }

    #[test]
    fn rules_that_would_keep_everything_for_ever_are_refused() {
        let resolve = |text: &str, outer: Outer| Environment::resolve(Some(config(text)), None, outer);
        let never = "PGV_REPO=file:///r\nPGV_FULL_EVERY=never\n";
        for rules in ["", "PGV_KEEP_DAILY=7\n", "PGV_KEEP_WITHIN=14d\nPGV_KEEP_FULL=\n", "PGV_KEEP_DIFF=3\n"]
        {
            let environment = resolve(&format!("{never}{rules}"), |_| Ok(None)).unwrap();
            assert!(!environment.lines().unwrap().as_str().contains("full_every_seconds"), "{rules}");
        }
        for rules in ["PGV_KEEP_FULL=2\n", "PGV_KEEP_FULL=2\nPGV_KEEP_WAL=14d\nPGV_KEEP_DAILY=7\n"] {
            let error = resolve(&format!("{never}{rules}"), |_| Ok(None)).unwrap_err();
            assert_eq!(error.kind, crate::error::Kind::Usage, "{error}");
            assert!(error.message().starts_with("PGV_KEEP_FULL with PGV_FULL_EVERY=never"), "{error}");
        }
        let outer: Outer = |key| Ok((key == "PGV_FULL_EVERY").then(|| "never".to_owned()));
        assert!(resolve("PGV_REPO=file:///r\nPGV_KEEP_FULL=2\n", outer).is_err());
    }

    #[test]
    fn recipients_need_a_signature_and_pinned_hosts() {
        let resolve = |text: &str| {
            Environment::resolve(Some(config(&format!("PGV_REPO=file:///r\n{text}"))), None, |_| Ok(None))
        };
        for whole in [
            "PGV_RECIPIENTS=/r.pem\nPGV_SIGNER=/s.pem\n",
            "PGV_WRAP=\"age -r x\"\nPGV_SIGNER=/s.pem\n",
            "PGV_IDENTITY=/i.pem\nPGV_HOSTS=/h.pem\n",
            "PGV_UNWRAP=\"age -d -i x\"\nPGV_HOSTS=/h.pem\n",
            "PGV_SIGNER=/s.pem\n",
        ] {
            assert!(resolve(whole).is_ok(), "{whole}");
        }
        for half in [
            "PGV_RECIPIENTS=/r.pem\n",
            "PGV_WRAP=x\n",
            "PGV_RECIPIENTS=/r.pem\nPGV_WRAP=x\nPGV_SIGNER=/s.pem\n",
            "PGV_IDENTITY=/i.pem\n",
            "PGV_UNWRAP=x\n",
            "PGV_IDENTITY=/i.pem\nPGV_UNWRAP=x\nPGV_HOSTS=/h.pem\n",
        ] {
            assert_eq!(resolve(half).unwrap_err().kind, crate::error::Kind::Usage, "{half}");
        }
    }

    #[test]
    fn a_script_gets_numbers() {
        let text = "PGV_REPO=file:///r\nPGV_WAL_TIMEOUT=2min\nPGV_WAL_SPOOL=1MiB\nPGV_FULL_EVERY=1d\nPGV_STATE_DIR=/s";
        let environment = Environment::resolve(Some(config(text)), None, |_| Ok(None)).unwrap();
        let lines = environment.lines().unwrap();
        for line in [
            "config_file /etc/pgv/shop.conf",
            "set PGV_CLUSTER=shop",
            "set PGV_WAL_TIMEOUT=2min",
            "wal_timeout_seconds 120",
            "wal_spool_bytes 1048576",
            "wal_jobs 2",
            "key_every_seconds 604800",
            "full_every_seconds 86400",
        ] {
            assert!(lines.as_str().lines().any(|found| found == line), "{line}: {}", lines.as_str());
        }
    }
}
