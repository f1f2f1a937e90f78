//! `skipped`: which databases of a recovered directory are not whole, and whether all others are.

use pgv::error::{IoContext, Result};
use pgv::pg::log::InvalidPages;
use pgv::recover;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// Print which databases of a recovered directory are not whole
#[derive(clap::Args)]
pub struct Args {
    /// The recovered data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What its server logged, with ignore_invalid_pages on
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
}

pub fn lines(args: &Args) -> Result<String> {
    let log = File::open(&args.log).during_path("open", &args.log)?;
    let invalid = InvalidPages::read(BufReader::new(log)).during_path("read", &args.log)?;
    recover::skipped(&args.directory, &invalid).map(|lines| lines.as_str().to_owned())
}
