//! `claim`: what reserves a label.

use pgv::cli::lines::Lines;
use pgv::error::{Error, IoContext, Result};
use pgv::info::{self, Query, Set, State};
use pgv::store::Store;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Print a new claim of a backup's label: what claim.json holds
#[derive(clap::Args)]
pub struct Args {
    /// The directory of the backup
    #[arg(value_name = "URL")]
    set: String,
    /// First write FILE, by which next knows the claim as its own
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
}

pub fn text(args: &Args) -> Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").during("read the host's name")?;
    let remembered = info::claim(&args.set, host.trim_end(), OffsetDateTime::now_utc())?;
    if let Some(file) = &args.remember {
        info::remember(file, &remembered)?;
    }
    let claim = remembered.lines().last().unwrap_or_default();
    Ok(format!("{claim}\n"))
}

/// Those of one cluster and system identifier: that of `sets`, else the query has to name them.
pub fn leftovers(store: &Store, query: &Query, sets: &[Set], claims: &Path) -> Result<Lines> {
    let listed = sets.first().map(|set| (&set.cluster, set.system_identifier));
    let Some((cluster, system)) = listed.or_else(|| query.cluster.as_ref().zip(query.system_identifier))
    else {
        return Err(Error::usage("--claims needs a cluster and --system-id"));
    };
    let tree = format!("{}{cluster}/{system}/backup/", query.repository);
    let unfinished = sets.iter().filter(|set| matches!(set.state, State::Incomplete(_)));
    let unfinished: Vec<_> = unfinished.map(|set| set.url.as_str()).collect();
    info::leftovers(store, claims, &tree, &unfinished)
}
