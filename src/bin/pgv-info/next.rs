//! `next`: what the next backup of a cluster is.

use crate::claim;
use crate::keep;
use crate::place::Place;
use clap::ValueEnum;
use pgv::catalog::{BackupType, Mode, layout};
use pgv::cli;
use pgv::cli::Period;
use pgv::cli::config::FULL_EVERY;
use pgv::cli::lines::Lines;
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, Archiving, Repository, Set, Values};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// Print what the next backup is, "key value": its type, what it builds on, its label
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// The type of the next backup
    #[arg(long = "type", value_enum, default_value = "auto", value_name = "TYPE")]
    backup_type: Type,
    /// Take an increment of whole files
    #[arg(long)]
    files: bool,
    /// How often a full is made [default: PGV_FULL_EVERY, else 7d]
    #[arg(long, value_name = "DURATION|never", value_parser = cli::parse_period)]
    full_every: Option<Period>,
    /// Also print what killed runs left, by their claims in DIR
    #[arg(long, value_name = "DIR")]
    claims: Option<PathBuf>,
    /// Also write the record of the newest complete backup to FILE
    #[arg(long, value_name = "FILE")]
    newest_record: Option<PathBuf>,
    /// Also print where WAL goes; FILE is from pgv-snap --estimate --lines
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Type {
    Auto,
    Full,
    Diff,
    Incr,
}

/// Two backups in one second, or on two hosts: a label must follow the latest, so its second is waited for.
const LABEL_WAIT: Duration = Duration::from_secs(5);

pub fn run(args: Args, place: Place) -> Result<Status> {
    let repository = place.open(args.cluster)?;
    let wanted = info::Wanted {
        backup_type: args.backup_type.into(),
        mode: if args.files { Mode::Files } else { Mode::Blocks },
        full_every: args.full_every.map_or_else(|| configured_full_every(&repository), Ok)?.0,
    };
    // The first backup of all makes the repository.
    let claims = args.claims.as_deref();
    let sets = listed(&repository, claims.is_some_and(has_entries))?;
    let leftovers =
        claims.map(|claims| claim::leftovers(&repository.store, &repository.query, &sets, claims));
    let leftovers = leftovers.transpose()?.unwrap_or_default();
    let mut text = info::next(&sets, &wanted, wait_for_label(&sets))?.lines();
    if let Some(file) = &args.server {
        let server = Values::parse(&std::fs::read_to_string(file).during_path("read", file)?)?;
        let archiving = match info::archiving(&server, false) {
            // Whether there is any changes nothing.
            Archiving::Here => Archiving::Here,
            _ => info::archiving(&server, has_wal(&repository)?),
        };
        text.push_str(Lines::new().add("archiving", archiving.name()).as_str());
    }
    if let Some(file) = &args.newest_record {
        write_newest(&sets, file)?;
    }
    cli::print(&(text + leftovers.as_str()))?;
    Ok(Status::Done)
}

/// The newest backups are enough for the next one; but what killed runs left may be old.
fn listed(repository: &Repository, has_claims: bool) -> Result<Vec<Set>> {
    let (store, query) = (&repository.store, &repository.query);
    let newest = if has_claims { None } else { info::survey_newest(store, query)? };
    match newest {
        Some(sets) => info::refuse_unread(&sets).map(|()| sets),
        None => info::collect(store, query),
    }
}

/// What cannot be listed may have some.
fn has_entries(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// The same backup as that of the line `newest`; without one nothing is written.
fn write_newest(sets: &[Set], file: &Path) -> Result<()> {
    let Some(record) = sets.iter().rev().find_map(Set::record) else { return Ok(()) };
    let json = serde_json::to_vec(record).map_err(|e| Error::failed(format!("encode a record: {e}")))?;
    std::fs::write(file, json).during_path("write", file)
}

/// The moment of a new label.
pub fn wait_for_label(sets: &[Set]) -> OffsetDateTime {
    let begun = Instant::now();
    let mut now = OffsetDateTime::now_utc();
    while info::not_earlier(sets, now).is_some() && begun.elapsed() < LABEL_WAIT {
        std::thread::sleep(Duration::from_millis(200));
        now = OffsetDateTime::now_utc();
    }
    now
}

/// Whether the archive of the one system that is asked for holds anything.
fn has_wal(repository: &Repository) -> Result<bool> {
    let query = &repository.query;
    let (Some(cluster), Some(system)) = (&query.cluster, query.system_identifier) else {
        return Err(Error::usage("--server needs a cluster and --system-id"));
    };
    let mut has_wal = false;
    let directory = query.repository.join(&layout::wal_directory(cluster, system));
    repository.store.list(&directory, false, &mut |_| {
        has_wal = true;
        Ok(())
    })?;
    Ok(has_wal)
}

fn configured_full_every(repository: &Repository) -> Result<Period> {
    let (key, query) = ("PGV_FULL_EVERY", &repository.query);
    let value = match &query.cluster {
        Some(cluster) => {
            let clusters = keep::clusters_of(repository);
            clusters.get(cluster, query.system_identifier, key).map_err(Error::usage)?
        }
        None => cli::variable(key),
    };
    let text = value.unwrap_or_else(|| FULL_EVERY.to_owned());
    cli::parse_period(&text).map_err(|why| Error::usage(format!("{key}: {why}")))
}

impl From<Type> for Option<BackupType> {
    fn from(text: Type) -> Self {
        match text {
            Type::Auto => None,
            Type::Full => Some(BackupType::Full),
            Type::Diff => Some(BackupType::Diff),
            Type::Incr => Some(BackupType::Incr),
        }
    }
}
