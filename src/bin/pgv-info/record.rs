//! `record`: the commit record of a backup.

use crate::place::Place;
use pgv::catalog::Facts;
use pgv::cli;
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, RecordInput};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Print the record.json of a backup
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// What pgv-snap --facts wrote
    #[arg(long, value_name = "FILE")]
    facts: PathBuf,
    /// An object, and what pgv-s3 put --json printed for it
    #[arg(long, value_name = "NAME=FILE", required = true, value_parser = pair)]
    object: Vec<(String, String)>,
    /// First wait for the WAL that the backup needs, and check its parents
    #[arg(long, value_name = "DURATION", value_parser = cli::parse_duration)]
    wait: Option<Duration>,
    /// A note of yours
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    annotation: Vec<(String, String)>,
    /// What the key is called where you keep it
    #[arg(long, env = "PGV_KEY_NAME", value_name = "NAME")]
    key_name: Option<String>,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let read = |path: &Path| std::fs::read(path).during_path("read", path);
    let object = |(name, path): &(String, String)| Ok((name.clone(), read(path.as_ref())?));
    let facts = read(&args.facts)?;
    let cluster = match args.wait {
        None => place.cluster(args.cluster)?,
        Some(wait) => {
            let until = Instant::now() + wait;
            let repository = place.open(args.cluster)?;
            info::require_rest(&repository, &Facts::parse(&facts)?, until)?;
            repository.query.cluster
        }
    };
    let input = RecordInput {
        cluster: cluster.ok_or_else(|| Error::usage("no cluster is given, and PGV_CLUSTER is not set"))?,
        facts,
        objects: args.object.iter().map(object).collect::<Result<_>>()?,
        key_name: args.key_name.filter(|name| !name.is_empty()),
        annotations: args.annotation.into_iter().collect(),
    };
    cli::print(&(info::record(input)? + "\n"))?;
    Ok(Status::Done)
}

pub fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}
