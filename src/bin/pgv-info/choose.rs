//! `choose`: the backups to restore.

use crate::place::Place;
use pgv::catalog::Label;
use pgv::cli;
use pgv::error::{Result, Status};
use pgv::info::{self, Choice};
use pgv::pg::Lsn;
use time::OffsetDateTime;

/// Print the URLs of the backups to restore, oldest first
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// The newest backup; the default
    #[arg(long, group = "target")]
    latest: bool,
    /// The newest backup that was complete before this time, which has a zone
    #[arg(long, group = "target", value_parser = cli::parse_time)]
    time: Option<OffsetDateTime>,
    /// The newest backup that is consistent at this LSN
    #[arg(long, group = "target")]
    lsn: Option<Lsn>,
    /// Only this backup
    #[arg(long, group = "target")]
    label: Option<Label>,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let repository = place.open_chain(args.cluster, args.label.clone())?;
    let sets = repository.survey()?;
    info::warn_of_damaged(&sets);
    let choice = match (args.time, args.lsn, args.label) {
        (Some(time), _, _) => Choice::Time(time),
        (_, Some(lsn), _) => Choice::Lsn(lsn),
        (_, _, Some(label)) => Choice::Label(label),
        _ => Choice::Latest,
    };
    let chain = info::choose(&sets, &choice)?;
    cli::print(&chain.iter().fold(String::new(), |text, set| text + &set.url + "\n"))?;
    Ok(Status::Done)
}
