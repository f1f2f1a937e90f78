//! `pin`: what pgv-pin stores beside a backup.

use crate::place::Place;
use pgv::catalog::{Label, Pin};
use pgv::cli;
use pgv::error::{Error, Result, Status};
use pgv::info;
use time::OffsetDateTime;

/// Print a pin, to be stored beside the backup: expiry keeps that
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// Only this backup [default: one that is being made]
    #[arg(long)]
    label: Option<Label>,
    /// The pin ends at this time, which has a zone
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time)]
    until: Option<OffsetDateTime>,
    /// Why it is pinned
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Remove the pin
    #[arg(long, requires = "label", conflicts_with = "until")]
    remove: bool,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let now = OffsetDateTime::now_utc();
    if let Some(until) = args.until.filter(|until| *until <= now) {
        return Err(Error::usage(format!("--until {until}: not in the future")));
    }
    let pin = match args.remove {
        true => Pin::removal(args.note),
        false => Pin::new(args.until, args.note)?,
    };
    let lines = match args.label {
        None => info::new_pin(&pin, now)?,
        Some(label) => {
            let sets = place.open_label(args.cluster, Some(label.clone()))?.collect()?;
            info::pin(&sets, &label, &pin, now)?
        }
    };
    lines.print().map(|()| Status::Done)
}
