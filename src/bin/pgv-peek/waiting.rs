//! `waiting`: how much of a data directory's WAL waits to be archived, and how long its disk has room.

use pgv::error::Result;
use pgv::info;
use std::path::PathBuf;
use time::OffsetDateTime;

/// Print what waits to be archived in a data directory, and how long its disk has room
#[derive(clap::Args)]
pub struct Args {
    /// The data directory
    #[arg(value_name = "DIR")]
    data_directory: PathBuf,
}

pub fn lines(args: &Args) -> Result<String> {
    let now = OffsetDateTime::now_utc();
    Ok(info::waiting(&args.data_directory, now)?.lines(now).as_str().to_owned())
}
