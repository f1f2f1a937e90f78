//! `pgv-peek`: what PostgreSQL's own files say, as `key value` lines. It knows no repository and no network, so that it
//! starts in a millisecond: WAL push and get run it for every segment.

mod control;
mod following;
mod records;
mod segment;

use clap::{Parser, Subcommand};
use pgv::cli::{self, Arguments, Common};
use pgv::error::{IoContext, Result, Status};
use pgv::io::die_if_unread;
use std::io::Write;
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
    Control(control::Args),
    Segment(segment::Args),
    Following(following::Args),
    Records(records::Args),
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
        Verb::Control(args) => (control::lines(args)?, Status::Done),
        Verb::Segment(args) => segment::lines(args)?,
        Verb::Following(args) => (following::lines(args)?, Status::Done),
        Verb::Records(args) => (records::lines(args)?, Status::Done),
    };
    let mut output = std::io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(die_if_unread).during("write stdout")?;
    Ok(status)
}
