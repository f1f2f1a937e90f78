//! `pgv-info`: what a repository holds, what to restore, what may go.

mod annotate;
mod arrival;
mod checks;
mod choose;
mod claim;
mod data_keys;
mod databases;
mod doctor;
mod files;
mod histories;
mod identity;
mod keep;
mod lineage;
mod list;
mod manifest;
mod manifests;
mod merging;
mod next;
mod page;
mod pin;
mod place;
mod plan;
mod prepare;
mod primary;
mod prune;
mod record;
mod recovery;
mod segments;
mod sets;
mod skipped;
mod transfer;
mod verdict;
mod wal;

// Verbs of the tools that are younger than 0.1.0: pgv-env, pgv-peek and pgv-merge. An archive_command that began before an
// upgrade asks for `segment` and `control`; scripts ask for all where only the tools of 0.1.0 lie beside them.
#[path = "../pgv-peek/archived.rs"]
mod archived;
#[path = "../pgv-peek/batch.rs"]
mod batch;
#[path = "../pgv-env/command.rs"]
mod command;
#[path = "../pgv-peek/control.rs"]
mod control;
#[path = "../pgv-env/each.rs"]
mod each;
#[path = "../pgv-peek/following.rs"]
mod following;
#[path = "../pgv-peek/get.rs"]
mod get;
#[path = "../pgv-peek/log.rs"]
mod log;
#[path = "../pgv-merge/merge.rs"]
mod merge;
#[path = "../pgv-env/pgbackrest.rs"]
mod pgbackrest;
#[path = "../pgv-peek/push.rs"]
mod push;
#[path = "../pgv-peek/records.rs"]
mod records;
#[path = "../pgv-env/retry.rs"]
mod retry;
#[path = "../pgv-env/run.rs"]
mod run;
#[path = "../pgv-peek/segment.rs"]
mod segment;
#[path = "../pgv-peek/waiting.rs"]
mod waiting;

use clap::{Parser, Subcommand};
use pgv::cli::{self, Arguments, Common};
use pgv::error::{Result, Status};
use std::process::ExitCode;

/// List the backups of a repository, choose what to restore, say what may go
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: list::List,
    #[command(flatten)]
    place: place::Place,
}

#[derive(Subcommand)]
enum Verb {
    Annotate(annotate::Args),
    Await(arrival::Args),
    Choose(choose::Args),
    Checks(checks::Args),
    Transfer(transfer::Args),
    Databases(databases::Args),
    Keys(data_keys::Args),
    Doctor(doctor::Args),
    Files(files::Args),
    Merging(merging::Args),
    Histories(histories::Args),
    Next(next::Args),
    Segments(segments::Args),
    Sets(sets::Args),
    Skipped(skipped::Args),
    Recovery(recovery::Args),
    Prune(prune::Args),
    Pin(pin::Args),
    Record(record::Args),
    Wal(wal::Args),
    Verdict(verdict::Args),
    Lineage(lineage::Args),
    Manifest(manifest::Args),
    Manifests(manifests::Args),
    Plan(plan::Args),
    Prepare(prepare::Args),
    Primary(primary::Args),
    Identity(identity::Args),
    Claim(claim::Args),
    /// Print RESTORE-1.txt: how to restore a repository without pgv
    Note,
    #[command(hide = true)]
    Archived(archived::Args),
    #[command(hide = true)]
    Control(control::Args),
    #[command(hide = true)]
    Segment(segment::Args),
    #[command(hide = true)]
    Following(following::Args),
    #[command(hide = true)]
    Log(log::Args),
    #[command(hide = true)]
    Records(records::Args),
    #[command(hide = true)]
    Push(push::Args),
    #[command(hide = true)]
    PushBatch(batch::Args),
    #[command(hide = true)]
    PushMark(batch::MarkArgs),
    #[command(hide = true)]
    Get(get::Args),
    #[command(hide = true)]
    GetAhead(get::AheadArgs),
    #[command(hide = true)]
    Waiting(waiting::Args),
}

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(verb) if verb == "env" => cli::main_with("pgv-env", std::env::args_os().skip(1), run::run),
        Some(verb) if verb == "merge" => cli::main_with("pgv-merge", std::env::args_os().skip(1), |args| {
            merge::run(args, None, &merge::as_it_is)
        }),
        _ => cli::main("pgv-info", run),
    }
}

fn run(args: Args) -> Result<Status> {
    let result = run_verb(args);
    pgv::store::say_requests();
    result
}

fn run_verb(Args { verb, list, place, .. }: Args) -> Result<Status> {
    let text = match verb {
        None => return list::run(list, place),
        Some(Verb::Annotate(args)) => return annotate::run(args, place),
        Some(Verb::Await(args)) => return arrival::run(args, place),
        Some(Verb::Choose(args)) => return choose::run(args, place),
        Some(Verb::Checks(args)) => return checks::run(args, place),
        Some(Verb::Transfer(args)) => return transfer::run(args, place),
        Some(Verb::Databases(args)) => databases::lines(&args)?,
        Some(Verb::Skipped(args)) => skipped::lines(&args)?,
        Some(Verb::Keys(args)) => return data_keys::run(args, place),
        Some(Verb::Doctor(args)) => return doctor::run(args, place),
        Some(Verb::Files(args)) => return files::run(&args),
        Some(Verb::Merging(args)) => return merging::run(args, place),
        Some(Verb::Histories(args)) => return histories::run(args, place),
        Some(Verb::Next(args)) => return next::run(args, place),
        Some(Verb::Segments(args)) => return segments::run(args, place),
        Some(Verb::Sets(args)) => return sets::run(args, place),
        Some(Verb::Recovery(args)) => return recovery::run(args, place),
        Some(Verb::Prune(args)) => return prune::run(args, place),
        Some(Verb::Pin(args)) => return pin::run(args, place),
        Some(Verb::Record(args)) => return record::run(args, place),
        Some(Verb::Wal(args)) => return wal::run(args, place),
        Some(Verb::Manifest(args)) => return manifest::run(&args),
        Some(Verb::Manifests(args)) => return manifests::run(&args),
        Some(Verb::Plan(args)) => return plan::run(args),
        Some(Verb::Lineage(args)) => return lineage::run(&args),
        Some(Verb::Segment(args)) => {
            let (text, status) = segment::lines(&args)?;
            return cli::print(&text).map(|()| status);
        }
        Some(Verb::Verdict(args)) => verdict::text(args)?,
        Some(Verb::Prepare(args)) => prepare::lines(&args)?,
        Some(Verb::Primary(args)) => primary::lines(&args)?,
        Some(Verb::Identity(args)) => identity::lines(&args)?,
        Some(Verb::Claim(args)) => claim::text(&args)?,
        Some(Verb::Note) => pgv::info::NOTE.to_owned(),
        Some(Verb::Archived(args)) => archived::lines(&args)?,
        Some(Verb::Control(args)) => control::lines(&args)?,
        Some(Verb::Following(args)) => following::lines(&args)?,
        Some(Verb::Log(args)) => log::lines(&args)?.as_str().to_owned(),
        Some(Verb::Records(args)) => records::lines(&args)?,
        Some(Verb::Push(args)) => push::lines(&args)?,
        Some(Verb::PushBatch(args)) => batch::batch(&args)?,
        Some(Verb::PushMark(args)) => batch::mark(&args)?,
        Some(Verb::Get(args)) => get::lines(&args)?,
        Some(Verb::GetAhead(args)) => get::ahead(&args)?,
        Some(Verb::Waiting(args)) => waiting::lines(&args)?,
    };
    cli::print(&text).map(|()| Status::Done)
}
