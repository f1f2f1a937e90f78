//! `merging`: what pgv-consolidate makes one full of.

use crate::claim;
use crate::next::wait_for_label;
use crate::place::Place;
use pgv::catalog::Label;
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, Merging};
use std::fs;
use std::path::{Path, PathBuf};

/// Print which backups one full can be made of, "key value": the chain of the newest, and the label of the full
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// Merge only up to this backup of the chain [default: the newest]
    #[arg(long)]
    label: Option<Label>,
    /// Also print what killed runs left, by their claims in DIR
    #[arg(long, value_name = "DIR")]
    claims: Option<PathBuf>,
    /// Write the record of each backup that is merged to DIR/LABEL
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let repository = place.open(args.cluster)?;
    let sets = repository.collect()?;
    let leftovers = match args.claims.as_deref() {
        None => None,
        Some(claims) => Some(claim::leftovers(&repository.store, &repository.query, &sets, claims)?),
    };
    let merging = info::merging(&sets, args.label.as_ref())?;
    let mut lines = merging.lines(&sets, wait_for_label(&sets))?;
    if let Some(directory) = &args.records {
        write_records(directory, &merging)?;
    }
    lines.append(&leftovers.unwrap_or_default()).print().map(|()| Status::Done)
}

fn write_records(directory: &Path, merging: &Merging<'_>) -> Result<()> {
    for record in merging.records() {
        let path = directory.join(record.backup.label.as_str());
        let json = serde_json::to_vec(record).map_err(|e| Error::failed(format!("encode a record: {e}")))?;
        fs::write(&path, json).during_path("write", &path)?;
    }
    Ok(())
}
