//! `segments`: which archived WAL may hold what happened between two moments.

use crate::place::Place;
use crate::recovery::read_histories;
use pgv::cli;
use pgv::error::{Error, Result, Status};
use pgv::info::{self, Histories};
use std::path::PathBuf;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Print the archived WAL segments that may hold what happened between two times
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// From this time on [default: 24 hours before --to]
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time)]
    from: Option<OffsetDateTime>,
    /// Up to this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time)]
    to: Option<OffsetDateTime>,
    /// Where the archive's history files lie, opened
    #[arg(long, value_name = "DIR")]
    histories: Option<PathBuf>,
}

/// Without --from it begins so long before the end.
const DEFAULT: time::Duration = time::Duration::hours(24);

pub fn run(args: Args, place: Place) -> Result<Status> {
    let to = args.to.unwrap_or_else(OffsetDateTime::now_utc);
    let from = args.from.or_else(|| to.checked_sub(DEFAULT)).unwrap_or(to);
    if from > to {
        return Err(Error::usage(format!("--from {from} is later than --to {to}")));
    }
    let repository = place.open(args.cluster)?;
    let sets = repository.survey()?;
    info::warn_of_damaged(&sets);
    let histories = args.histories.as_deref().map_or_else(|| Ok(Histories::new()), read_histories)?;
    let (store, url) = (&repository.store, &repository.query.repository);
    let mut lines = info::segments_between(store, url, &sets, &histories, (from, to))?;
    // With all digits: what is found is compared with them.
    let text = |time: OffsetDateTime| {
        time.format(&Rfc3339).map_err(|error| Error::usage(format!("a time cannot be written: {error}")))
    };
    lines.add("from", text(from)?).add("to", text(to)?);
    lines.print()?;
    Ok(Status::Done)
}
