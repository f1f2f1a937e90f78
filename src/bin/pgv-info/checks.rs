//! `checks`: what pgv-verify is to read.

use crate::place::Place;
use pgv::catalog::Label;
use pgv::cli::lines::Lines;
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, Set};
use std::fs;
use std::path::{Path, PathBuf};

/// Print what is to be verified, and what is wrong already
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// Only this backup
    #[arg(long)]
    label: Option<Label>,
    /// So many of the backups and the WAL files, by chance
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    sample: Option<u8>,
    /// No backups
    #[arg(long, conflicts_with = "label")]
    wal: bool,
    /// No WAL
    #[arg(long, conflicts_with = "wal")]
    no_wal: bool,
    /// Write the record of each complete backup to DIR/SYSID-LABEL
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let repository = place.open_chain(args.cluster, args.label.clone())?;
    let sets = repository.read(args.label.as_ref())?;
    if sets.is_empty() {
        return Err(Error::not_found("there are no backups"));
    }
    let mut lines = Lines::new();
    if !args.wal {
        let chosen = match &args.label {
            Some(label) => info::with_parents(&sets, label)?,
            None => sets.iter().collect(),
        };
        lines.append(&info::backup_checks(&chosen, args.sample)?);
        args.records.map_or(Ok(()), |directory| write_records(&directory, &chosen))?;
    }
    if !args.no_wal && args.label.is_none() {
        let wal = info::wal_checks(&repository.store, &repository.query.repository, &sets, args.sample)?;
        lines.append(&wal);
    }
    lines.print().map(|()| Status::Done)
}

/// For whoever compares them with the streams.
fn write_records(directory: &Path, sets: &[&Set]) -> Result<()> {
    for set in sets {
        let Some(record) = set.record() else { continue };
        let path = directory.join(format!("{}-{}", set.system_identifier, set.label));
        let json = serde_json::to_vec(record).map_err(|e| Error::failed(format!("encode a record: {e}")))?;
        fs::write(&path, json).during_path("write", &path)?;
    }
    Ok(())
}
