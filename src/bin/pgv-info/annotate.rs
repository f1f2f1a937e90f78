//! `annotate`: what pgv-annotate stores beside a backup.

use crate::place::Place;
use crate::record::pair;
use pgv::catalog::Label;
use pgv::error::{Result, Status};
use pgv::info;
use time::OffsetDateTime;

/// Print a note, to be stored beside the backup: its annotations, changed
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// Only this backup
    #[arg(long)]
    label: Label,
    /// Set KEY to VALUE; an empty VALUE removes KEY
    #[arg(long, value_name = "KEY=VALUE", required = true, value_parser = pair)]
    annotation: Vec<(String, String)>,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let sets = place.open_label(args.cluster, Some(args.label.clone()))?.collect()?;
    let change = |(key, value): (String, String)| (key, Some(value).filter(|value| !value.is_empty()));
    let changes = args.annotation.into_iter().map(change).collect();
    info::annotate(&sets, &args.label, changes, OffsetDateTime::now_utc())?.print().map(|()| Status::Done)
}
