//! `histories`: the histories of timelines, and the archive.

use crate::place::Place;
use pgv::error::{Result, Status};
use pgv::info;
use std::path::PathBuf;

/// Print what histories of timelines the archive lacks
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// Print which histories of the server in DIR belong into the archive
    #[arg(long, value_name = "DIR")]
    server: Option<PathBuf>,
    /// Print which histories the archive has
    #[arg(long, conflicts_with = "server")]
    archived: bool,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let repository = place.open(args.cluster)?;
    let lines = match args.server {
        Some(directory) => info::histories_to_archive(&repository, &directory)?,
        None if args.archived => info::archived_histories(&repository)?,
        None => info::missing_histories(&repository, &repository.survey()?)?,
    };
    lines.print().map(|()| Status::Done)
}
