//! The rules of `prune`, from its options or from the environment.

use pgv::cli::{self, Clusters};
use pgv::error::{Error, Result};
use pgv::info::{KeepWal, Repository, Rules, Set};
use pgv::report;
use std::time::Duration;
use time::OffsetDateTime;

/// Without any of these the rules are PGV_KEEP_FULL and its relatives, from environment or configuration.
#[derive(clap::Args)]
pub struct Keep {
    /// Keep the newest N fulls, each with all that is built on it
    #[arg(long, value_name = "N")]
    keep_full: Option<usize>,
    /// Keep the newest N fulls or differentials, with their incrementals
    #[arg(long, value_name = "N")]
    keep_diff: Option<usize>,
    /// The newest backups of any type
    #[arg(long, value_name = "N")]
    keep_last: Option<usize>,
    /// Keep the newest backup of each of the last N hours that have one
    #[arg(long, value_name = "N")]
    keep_hourly: Option<usize>,
    #[arg(long, value_name = "N")]
    keep_daily: Option<usize>,
    #[arg(long, value_name = "N")]
    keep_weekly: Option<usize>,
    #[arg(long, value_name = "N")]
    keep_monthly: Option<usize>,
    #[arg(long, value_name = "N")]
    keep_yearly: Option<usize>,
    /// Everything younger than this, such as 14d
    #[arg(long, value_name = "DURATION", value_parser = cli::parse_duration)]
    keep_within: Option<Duration>,
    /// Every moment of so long can be restored; before, only backups
    #[arg(long, value_name = "DURATION", value_parser = cli::parse_duration)]
    keep_wal: Option<Duration>,
}

/// Those of the environment, or of the configuration of this cluster. None are no rules.
pub fn configured_rules(repository: &Repository, cluster: Option<&str>) -> Result<Rules> {
    let clusters = clusters_of(repository);
    rules_by(|key| match cluster {
        Some(cluster) => clusters.get(cluster, repository.query.system_identifier, key).map_err(Error::usage),
        None => Ok(cli::variable(key)),
    })
}

/// By which the next expiry of the cluster of `set` decides, or why nobody knows.
pub fn rules_of(clusters: &Clusters, set: &Set) -> std::result::Result<Rules, String> {
    let (cluster, system) = (set.cluster.as_str(), Some(set.system_identifier));
    match rules_by(|key| clusters.get(cluster, system, key).map_err(Error::usage)) {
        Ok(rules) if rules != Rules::default() => Ok(rules),
        Ok(_) if clusters.knows(cluster, system) => Err("no rule is configured".to_owned()),
        Ok(_) => Err(format!("no rule is configured: {NO_CONFIGURATION}")),
        Err(error) => Err(error.message().to_owned()),
    }
}

const NO_CONFIGURATION: &str = "no configuration on this host is of this cluster";

pub fn clusters_of(repository: &Repository) -> Clusters {
    Clusters::of(&repository.query.repository.to_string())
}

/// The option is the variable's name in lower case.
fn rules_by(get: impl Fn(&str) -> Result<Option<String>>) -> Result<Rules> {
    let count =
        |key: &str| get(key)?.map(|text| text.parse().map_err(|_| wrong(key, "not a number"))).transpose();
    let duration = |key: &str| get(key)?.map(|text| parse(key, &text)).transpose();
    Ok(Rules {
        full: count("PGV_KEEP_FULL")?,
        diff: count("PGV_KEEP_DIFF")?,
        last: count("PGV_KEEP_LAST")?,
        hourly: count("PGV_KEEP_HOURLY")?,
        daily: count("PGV_KEEP_DAILY")?,
        weekly: count("PGV_KEEP_WEEKLY")?,
        monthly: count("PGV_KEEP_MONTHLY")?,
        yearly: count("PGV_KEEP_YEARLY")?,
        within: duration("PGV_KEEP_WITHIN")?,
        wal: duration(WAL)?,
        ..Rules::default()
    })
}

/// For how long all WAL stays, in each cluster.
pub struct Windows {
    given: Option<Duration>,
    clusters: Clusters,
    now: OffsetDateTime,
}

impl Windows {
    /// As given, or by the environment; else as the configuration of each cluster says. Zero is a mistake, of which all WAL
    /// would die.
    pub fn new(repository: &Repository, given: Option<Duration>, now: OffsetDateTime) -> Result<Self> {
        let of_environment = || cli::variable(WAL).map(|text| parse(WAL, &text)).transpose();
        match given.map_or_else(of_environment, |given| Ok(Some(given)))? {
            Some(Duration::ZERO) => Err(wrong(WAL, "it must be greater than zero")),
            given => Ok(Windows { given, clusters: clusters_of(repository), now }),
        }
    }

    /// Of the cluster of `set`.
    pub fn of(&self, set: &Set) -> Option<KeepWal> {
        self.length(set).ok().flatten().map(|length| KeepWal { length, now: self.now })
    }

    /// What to say where WAL of the cluster of `set` is missing that an expiry may have deleted.
    pub fn unknown(&self, set: &Set) -> Option<String> {
        let why = match self.length(set) {
            Err(why) => why,
            Ok(None) if !self.clusters.knows(&set.cluster, Some(set.system_identifier)) => {
                NO_CONFIGURATION.to_owned()
            }
            Ok(_) => return None,
        };
        Some(format!(
            "{}: {WAL} is unknown, so WAL that an expiry deleted counts as missing: {why}",
            set.cluster
        ))
    }

    /// The same, said.
    pub fn warn(&self, set: &Set) {
        self.unknown(set).iter().for_each(report::warn);
    }

    fn length(&self, set: &Set) -> std::result::Result<Option<Duration>, String> {
        if self.given.is_some() {
            return Ok(self.given);
        }
        let text = self.clusters.get(&set.cluster, Some(set.system_identifier), WAL)?;
        text.map(|text| parse(WAL, &text).map_err(|error| error.message().to_owned())).transpose()
    }
}

const WAL: &str = "PGV_KEEP_WAL";

fn parse(key: &str, text: &str) -> Result<Duration> {
    cli::parse_duration(text).map_err(|why| wrong(key, &why))
}

fn wrong(key: &str, why: &str) -> Error {
    Error::usage(format!("{key}: {why}"))
}

impl From<Keep> for Rules {
    fn from(keep: Keep) -> Self {
        Rules {
            full: keep.keep_full,
            diff: keep.keep_diff,
            last: keep.keep_last,
            hourly: keep.keep_hourly,
            daily: keep.keep_daily,
            weekly: keep.keep_weekly,
            monthly: keep.keep_monthly,
            yearly: keep.keep_yearly,
            within: keep.keep_within,
            wal: keep.keep_wal,
            ..Rules::default()
        }
    }
}
