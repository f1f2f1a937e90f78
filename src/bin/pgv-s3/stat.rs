//! `stat`: what is known of objects.

use crate::entry::{Line, describe};
use crate::given;
use pgv::cli::lines::Lines;
use pgv::cli::{self, StoreOptions};
use pgv::error::{Result, Status};
use pgv::store::{Entry, Scheme, Store, Url, wait_for};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Say what is known of objects
#[derive(clap::Args)]
pub struct Args {
    /// URLs, or - for URLs on stdin
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,
    #[arg(long, group = "form")]
    json: bool,
    /// Print key value lines: bytes, modified and age_seconds
    #[arg(long, group = "form")]
    lines: bool,
    /// Wait up to DURATION until all objects are there
    #[arg(long, value_name = "DURATION", value_parser = cli::parse_duration)]
    wait: Option<Duration>,
}

/// Up to the first that is not there in time, or of which that is not known.
pub fn run(args: &Args, options: &StoreOptions) -> Result<Status> {
    let until = Instant::now() + args.wait.unwrap_or_default();
    let mut opened: Option<(Store, Scheme)> = None;
    for url in given(&args.urls, b'\n') {
        let url = Url::parse(&url?)?;
        let store = match &opened {
            Some((store, scheme)) if *scheme == url.scheme() => store.clone(),
            _ => Store::open(&url, options)?,
        };
        let entry = wait_for(&store, &url, until)?;
        opened = Some((store, url.scheme()));
        match args.lines {
            true => lines(&entry, OffsetDateTime::now_utc()).print()?,
            false => crate::print(&[describe(&entry, if args.json { Line::Json } else { Line::Long })])?,
        }
    }
    Ok(Status::Done)
}

/// The age is by this host's clock, and negative where that is behind the store's.
fn lines(entry: &Entry, now: OffsetDateTime) -> Lines {
    let mut lines = Lines::new();
    lines.add("bytes", entry.bytes);
    if let Some(modified) = entry.modified {
        lines.add_some("modified", modified.format(&Rfc3339).ok());
        lines.add("age_seconds", (now - modified).whole_seconds());
    }
    lines
}
