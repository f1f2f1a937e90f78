//! `get`: an object becomes a stream or a file.

use pgv::cli::{self, StoreOptions};
use pgv::error::{Result, Status};
use pgv::io::Input;
use pgv::report::Drawn;
use pgv::store::{self, GetOptions, Range};
use std::io::BufReader;
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
    /// Only the byte ranges in this file, one FROM-TO a line, ascending
    #[arg(long, value_name = "FILE", conflicts_with_all = ["range", "sha256"])]
    ranges: Option<PathBuf>,
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
    let ranges = args.ranges.as_deref().map(|path| {
        let input = Input::open(Some(path))?;
        let name = input.name().to_owned();
        cli::read_ranges(BufReader::new(input), &name)
    });
    let options = GetOptions {
        range: args.range,
        ranges: ranges.transpose()?,
        sha256: args.sha256,
        jobs: args.jobs.into(),
        rate: args.rate,
        rate_shared_in: args.rate_shared_in,
        progress,
    };
    store::get(&store, &url, &options, args.output.as_deref())?;
    Ok(Status::Done)
}

fn parse_range(text: &str) -> std::result::Result<Range, String> {
    cli::parse_range(text).map(|(from, end)| Range { from, end })
}
