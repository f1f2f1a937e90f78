//! `doctor`: what pgv-check says of a repository.

use crate::place::Place;
use pgv::cli;
use pgv::error::{Error, Result, Status};
use pgv::info::{self, Limits};
use time::OffsetDateTime;

/// Print what is right and wrong with a cluster's backups
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// The maximum age of the newest backup
    #[arg(long, value_name = "DURATION", default_value = "26h")]
    max_age: String,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let max_age = cli::parse_duration(&args.max_age)
        .map_err(|why| Error::usage(format!("--max-age {}: {why}", args.max_age)))?;
    let repository = place.open(args.cluster)?;
    let cluster = repository.query.cluster.clone();
    let cluster = cluster.ok_or_else(|| Error::usage("no cluster is given, and PGV_CLUSTER is not set"))?;
    let limits = Limits { max_age, max_age_text: args.max_age, now: OffsetDateTime::now_utc() };
    info::doctor(&repository.store, &repository.query, &cluster, &limits)?.print()?;
    Ok(Status::Done)
}
