//! `wal`: what the archived WAL can restore.

use crate::keep::{self, Windows};
use crate::place::Place;
use clap::ValueEnum;
use pgv::cli;
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, Archive, Repository, Set, Waiting};
use pgv::report;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;

/// Print what the archived WAL can restore: from when to when on each timeline, and what is missing
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// The format of the list [default: table on a terminal, else tsv]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print times, sizes, durations and findings as metrics for Prometheus
    #[arg(long, conflicts_with = "format")]
    metrics: bool,
    /// Also report what waits to be archived in DIR [default: PGV_PGDATA]
    #[arg(long, value_name = "DIR", requires = "metrics")]
    data_directory: Option<PathBuf>,
    /// Print the URLs of what no backup needs any more; nothing is removed
    #[arg(long, conflicts_with_all = ["format", "metrics"])]
    unneeded: bool,
    /// Every moment of so long is to be there [default: PGV_KEEP_WAL]
    #[arg(long, value_name = "DURATION", value_parser = cli::parse_duration)]
    keep_wal: Option<Duration>,
    /// Decide as of this time
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time)]
    now: Option<OffsetDateTime>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Tsv,
    Json,
    Lines,
}

pub fn run(mut args: Args, place: Place) -> Result<Status> {
    let repository = place.open(args.cluster.take())?;
    let now = args.now.unwrap_or_else(OffsetDateTime::now_utc);
    if args.metrics {
        return print_metrics(&repository, &args, now);
    }
    let sets = repository.collect()?;
    let is_damaged = info::warn_of_damaged(&sets);
    let windows = Windows::new(&repository, args.keep_wal, now)?;
    let archives = || archives(&repository, &sets, &windows);
    if let Some(Format::Lines) = args.format {
        // What is wrong is in the lines.
        return info::wal_lines(&archives()?).print().map(|()| Status::Done);
    }
    let status = match args.unneeded {
        true => print_unneeded(&repository, &sets, &windows, now)?,
        false => print_archives(&archives()?, args.format)?,
    };
    Ok(if is_damaged { Status::Findings } else { status })
}

/// What waits in the data directory is printed when the repository cannot be read, too: it waits for that. And what is
/// archived, when the data directory cannot be read.
fn print_metrics(repository: &Repository, args: &Args, now: OffsetDateTime) -> Result<Status> {
    let (waiting, looked) = match waiting(repository, args.data_directory.as_deref(), now) {
        Ok(waiting) => (waiting, Ok(())),
        Err(error) => (None, Err(error)),
    };
    let archives = repository.collect().and_then(|sets| {
        info::warn_of_damaged(&sets);
        archives(repository, &sets, &Windows::new(repository, args.keep_wal, now)?)
    });
    let (archives, result) = match archives {
        Ok(archives) => (archives, Ok(Status::Done)),
        Err(error) => (Vec::new(), Err(error)),
    };
    let cluster = repository.query.cluster.as_deref();
    cli::print(&info::wal_metrics(&archives, cluster, waiting.as_ref()))?;
    looked.and(result)
}

/// Each with the window of its own cluster.
fn archives(repository: &Repository, sets: &[Set], windows: &Windows) -> Result<Vec<Archive>> {
    let mut all = Vec::new();
    for sets in info::systems(sets) {
        let Some(first) = sets.first() else { continue };
        let keep = windows.of(first);
        let found = info::archives(&repository.store, &repository.query.repository, sets, keep.as_ref())?;
        if found.iter().any(Archive::has_gaps) {
            windows.warn(first);
        }
        all.extend(found);
    }
    Ok(all)
}

fn print_archives(archives: &[Archive], format: Option<Format>) -> Result<Status> {
    let format = match (format, std::io::stdout().is_terminal()) {
        (Some(Format::Table), _) | (None, true) => info::Format::Table,
        (Some(Format::Json), _) => info::Format::Json,
        _ => info::Format::Tsv,
    };
    cli::print(&info::show_wal(archives, format)?)?;
    Ok(if archives.iter().any(Archive::has_gaps) { Status::Findings } else { Status::Done })
}

fn print_unneeded(
    repository: &Repository,
    sets: &[Set],
    windows: &Windows,
    now: OffsetDateTime,
) -> Result<Status> {
    let mut text = String::new();
    for sets in info::systems(sets) {
        let keep = sets.first().and_then(|set| windows.of(set));
        let place = &repository.query.repository;
        let (urls, reasons) = info::unneeded(&repository.store, place, sets, keep.as_ref(), now)?;
        reasons.iter().for_each(report::warn);
        urls.iter().for_each(|url| text.extend([url, "\n"]));
    }
    cli::print(&text)?;
    Ok(Status::Done)
}

/// PGV_PGDATA may be another host's, which is not here.
fn waiting(
    repository: &Repository,
    data_directory: Option<&Path>,
    now: OffsetDateTime,
) -> Result<Option<Waiting>> {
    if let Some(directory) = data_directory {
        return info::waiting(directory, now).map(Some);
    }
    let Some(directory) = data_directory_of(repository)?.map(PathBuf::from) else { return Ok(None) };
    match directory.try_exists().during_path("stat", &directory)? {
        true => info::waiting(&directory, now).map(Some),
        false => Ok(None),
    }
}

/// Of the environment, or of the one cluster that is asked for.
fn data_directory_of(repository: &Repository) -> Result<Option<String>> {
    let (key, query) = ("PGV_PGDATA", &repository.query);
    let clusters = keep::clusters_of(repository);
    match (&query.cluster, clusters.single()) {
        (Some(cluster), _) => clusters.get(cluster, query.system_identifier, key).map_err(Error::usage),
        (None, Some(config)) => Ok(cli::variable(key).or_else(|| config.get(key).map(str::to_owned))),
        (None, None) => Ok(cli::variable(key)),
    }
}
