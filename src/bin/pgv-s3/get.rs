//! `get`: an object becomes a stream or a file.

use pgv::cli::{self, StoreOptions};
use pgv::error::{Result, Status};
use pgv::report::Drawn;
use pgv::store::{self, GetOptions, Range};
use std::path::PathBuf;

/// Write an object to stdout
#[derive(clap::Args)]
pub struct Args {
    pub url: String,
    /// Write to this file, which appears only when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only these bytes, counted from 0, both included
    #[arg(long, value_name = "FROM-TO", value_parser = parse_range)]
    range: Option<Range>,
    /// Exit with 5 at the end unless the object has this digest
    #[arg(long, value_name = "HEX", conflicts_with = "range")]
    sha256: Option<String>,
    /// The number of requests at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Read the input at RATE at most, such as 50MiB/s
    #[arg(long, value_name = "RATE", value_parser = cli::parse_rate)]
    rate: Option<u64>,
    /// Share that rate with all who name the same file
    #[arg(long, value_name = "FILE", requires = "rate")]
    rate_shared_in: Option<PathBuf>,
}

pub fn run(args: Args, options: &StoreOptions, progress: Drawn) -> Result<Status> {
    let _deadline = options.deadline(&format!("get {}", args.url))?;
    let (store, url) = crate::open(&args.url, options)?;
    let options = GetOptions {
        range: args.range,
        sha256: args.sha256,
        jobs: args.jobs.into(),
        rate: args.rate,
        rate_shared_in: args.rate_shared_in,
        progress,
    };
    store::get(&store, &url, &options, args.output.as_deref())?;
    Ok(Status::Done)
}

/// `FROM-TO` or `FROM-`.
fn parse_range(text: &str) -> std::result::Result<Range, String> {
    let help = || "must be FROM-TO or FROM-, in bytes counted from 0, both included".to_owned();
    let (from, to) = text.split_once('-').ok_or_else(help)?;
    let from: u64 = from.parse().map_err(|_| help())?;
    let end = match to {
        "" => None,
        to => Some(to.parse::<u64>().ok().and_then(|to| to.checked_add(1)).ok_or_else(help)?),
    };
    match end.is_some_and(|end| end <= from) {
        true => Err(help()),
        false => Ok(Range { from, end }),
    }
}
