//! `wal`: what the archived WAL can restore.

use crate::keep;
use crate::place::Place;
use clap::ValueEnum;
use pgv::cli;
use pgv::error::{IoContext, Result, Status};
use pgv::info::{self, Archive, KeepWal, Repository, Set, Waiting};
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
    let keep = keep::wal(args.keep_wal)?.map(|length| KeepWal { length, now });
    let archives = || info::archives(&repository.store, &repository.query.repository, &sets, keep.as_ref());
    if let Some(Format::Lines) = args.format {
        // What is wrong is in the lines.
        return info::wal_lines(&archives()?).print().map(|()| Status::Done);
    }
    let status = match args.unneeded {
        true => print_unneeded(&repository, &sets, keep.as_ref(), now)?,
        false => print_archives(&archives()?, args.format)?,
    };
    Ok(if is_damaged { Status::Findings } else { status })
}

/// What waits in the data directory is printed when the repository cannot be read, too: it waits for that. And what is
/// archived, when the data directory cannot be read.
fn print_metrics(repository: &Repository, args: &Args, now: OffsetDateTime) -> Result<Status> {
    let (waiting, looked) = match waiting(args.data_directory.as_deref(), now) {
        Ok(waiting) => (waiting, Ok(())),
        Err(error) => (None, Err(error)),
    };
    let archives = repository.collect().and_then(|sets| {
        info::warn_of_damaged(&sets);
        let keep = keep::wal(args.keep_wal)?.map(|length| KeepWal { length, now });
        info::archives(&repository.store, &repository.query.repository, &sets, keep.as_ref())
    });
    let (archives, result) = match archives {
        Ok(archives) => (archives, Ok(Status::Done)),
        Err(error) => (Vec::new(), Err(error)),
    };
    let cluster = repository.query.cluster.as_deref();
    cli::print(&info::wal_metrics(&archives, cluster, waiting.as_ref()))?;
    looked.and(result)
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
    keep: Option<&KeepWal>,
    now: OffsetDateTime,
) -> Result<Status> {
    let (urls, reasons) = info::unneeded(&repository.store, &repository.query.repository, sets, keep, now)?;
    reasons.iter().for_each(report::warn);
    cli::print(&urls.iter().fold(String::new(), |text, url| text + url + "\n"))?;
    Ok(Status::Done)
}

/// PGV_PGDATA may be another host's, which is not here.
fn waiting(data_directory: Option<&Path>, now: OffsetDateTime) -> Result<Option<Waiting>> {
    if let Some(directory) = data_directory {
        return info::waiting(directory, now).map(Some);
    }
    let Some(directory) = cli::variable("PGV_PGDATA").map(PathBuf::from) else { return Ok(None) };
    match directory.try_exists().during_path("stat", &directory)? {
        true => info::waiting(&directory, now).map(Some),
        false => Ok(None),
    }
}
