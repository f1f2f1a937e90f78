//! `pgv-peek`: what PostgreSQL's own files say, as `key value` lines. It knows no repository and no network, so that it
//! starts in a millisecond: WAL push and get run it for every segment.

mod archived;
mod batch;
mod control;
mod events;
mod following;
mod get;
mod log;
mod push;
mod records;
mod segment;
mod waiting;

use clap::{Parser, Subcommand};
use pgv::cli::{self, Arguments, Common};
use pgv::error::{Result, Status};
use std::process::ExitCode;

/// Print what PostgreSQL's own files say, as `key value` lines
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Archived(archived::Args),
    Control(control::Args),
    Events(events::Args),
    Segment(segment::Args),
    Following(following::Args),
    Log(log::Args),
    Records(records::Args),
    Push(push::Args),
    PushBatch(batch::Args),
    PushMark(batch::MarkArgs),
    Get(get::Args),
    GetAhead(get::AheadArgs),
    Waiting(waiting::Args),
}

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    cli::main("pgv-peek", run)
}

fn run(args: Args) -> Result<Status> {
    let (text, status) = match &args.verb {
        Verb::Archived(args) => (archived::lines(args)?, Status::Done),
        Verb::Control(args) => (control::lines(args)?, Status::Done),
        Verb::Events(args) => return events::run(args),
        Verb::Segment(args) => segment::lines(args)?,
        Verb::Following(args) => (following::lines(args)?, Status::Done),
        Verb::Log(args) => (log::lines(args)?.as_str().to_owned(), Status::Done),
        Verb::Records(args) => (records::lines(args)?, Status::Done),
        Verb::Push(args) => (push::lines(args)?, Status::Done),
        Verb::PushBatch(args) => (batch::batch(args)?, Status::Done),
        Verb::PushMark(args) => (batch::mark(args)?, Status::Done),
        Verb::Get(args) => (get::lines(args)?, Status::Done),
        Verb::GetAhead(args) => (get::ahead(args)?, Status::Done),
        Verb::Waiting(args) => (waiting::lines(args)?, Status::Done),
    };
    cli::print(&text)?;
    Ok(status)
}
