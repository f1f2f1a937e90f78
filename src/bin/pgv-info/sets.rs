//! `sets`: the backup sets for scripts.

use crate::place::Place;
use pgv::catalog::Label;
use pgv::cli;
use pgv::error::{Result, Status};
use pgv::info::{self, Set};

/// Print the backup sets for scripts, one a line, in columns; fails if any cannot be read
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// Only this backup
    #[arg(long)]
    label: Option<Label>,
    /// Print after each the objects that its record names
    #[arg(long)]
    objects: bool,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let repository = place.open_chain(args.cluster, args.label.clone())?;
    let sets = repository.read(args.label.as_ref())?;
    let chosen = match &args.label {
        Some(label) => info::with_parents(&sets, label)?,
        None => sets.iter().collect(),
    };
    let line = |set: &&Set| {
        let objects = if args.objects { info::object_lines(set)? } else { String::new() };
        Ok(info::set_line(set) + &objects)
    };
    cli::print(&chosen.iter().map(line).collect::<Result<String>>()?)?;
    Ok(Status::Done)
}
