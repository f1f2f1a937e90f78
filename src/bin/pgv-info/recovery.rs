//! `recovery`: how recovery comes to a target.

use crate::place::Place;
use pgv::catalog::Label;
use pgv::cli;
use pgv::cli::lines::Lines;
use pgv::error::{IoContext, Result, Status};
use pgv::info::{self, Along, Archived, Histories, Request, Target};
use pgv::pg::{Lsn, timeline};
use std::fs;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Print how recovery comes to a target, or refuse: from which backup, along which timelines and segments
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    #[command(flatten)]
    goal: Goal,
}

/// Where recovery is to end; without any at the end of what is archived.
#[derive(clap::Args)]
struct Goal {
    /// At this time, which has a zone
    #[arg(long, group = "target", value_parser = cli::parse_time)]
    time: Option<OffsetDateTime>,
    /// At this LSN
    #[arg(long, group = "target")]
    lsn: Option<Lsn>,
    /// At this transaction
    #[arg(long, group = "target")]
    xid: Option<u64>,
    /// At this restore point
    #[arg(long, group = "target")]
    name: Option<String>,
    /// At the end of the backup
    #[arg(long, group = "target")]
    immediate: bool,
    /// Just before the time, LSN or transaction
    #[arg(long, requires = "target", conflicts_with_all = ["name", "immediate"])]
    exclusive: bool,
    /// Along this timeline; default: latest, with a target current
    #[arg(long, value_name = "ID|latest|current")]
    timeline: Option<Along>,
    /// Only this backup [default: the newest that can reach the target]
    #[arg(long)]
    label: Option<Label>,
    /// Where the archive's history files lie, opened
    #[arg(long, value_name = "DIR")]
    histories: Option<PathBuf>,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let goal = args.goal;
    let repository = place.open_chain(args.cluster, goal.label.clone())?;
    let sets = repository.survey()?;
    info::warn_of_damaged(&sets);
    let histories = goal.histories.as_deref().map_or_else(|| Ok(Histories::new()), read_histories)?;
    let request = Request { target: goal.target(), along: goal.timeline, label: goal.label };
    let mut archived = Archived::list(&repository.store, &repository.query.repository, &sets)?;
    let mut lines = info::recovery(&sets, &mut archived, &histories, &request)?.lines();
    let inclusive = if goal.exclusive { "off" } else { "on" };
    lines.push_str(Lines::new().add("recovery_target_inclusive", inclusive).as_str());
    cli::print(&lines)?;
    Ok(Status::Done)
}

impl Goal {
    fn target(&self) -> Target {
        match (self.time, self.lsn) {
            (Some(time), _) => Target::Time(time),
            (_, Some(lsn)) => Target::Lsn(lsn),
            _ if self.immediate => Target::Immediate,
            _ if self.xid.is_some() || self.name.is_some() => Target::Unplaced,
            _ => Target::End,
        }
    }
}

/// Files with other names are passed over.
pub fn read_histories(directory: &Path) -> Result<Histories> {
    let mut histories = Histories::new();
    for entry in fs::read_dir(directory).during_path("read", directory)? {
        let path = entry.during_path("read", directory)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(timeline) = timeline::timeline_of_history(&name) {
            histories.insert(timeline, fs::read_to_string(&path).during_path("read", &path)?);
        }
    }
    Ok(histories)
}
