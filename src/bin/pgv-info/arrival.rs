//! `await`: the WAL that a backup needs.

use crate::place::Place;
use pgv::catalog::Facts;
use pgv::cli;
use pgv::error::{IoContext, Result, Status};
use pgv::info;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Wait until the archive holds the WAL that a backup needs
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// What pgv-snap --facts wrote
    #[arg(long, value_name = "FILE")]
    facts: PathBuf,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "60s", env = "PGV_WAL_TIMEOUT", value_parser = cli::parse_duration)]
    wait: Duration,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let until = Instant::now() + args.wait;
    let facts = Facts::parse(&std::fs::read(&args.facts).during_path("read", &args.facts)?)?;
    let repository = place.open(args.cluster)?;
    info::await_wal(&repository, &facts, until)?;
    Ok(Status::Done)
}
