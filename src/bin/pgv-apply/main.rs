//! `pgv-apply`: one stream of pgv-snap on stdin, as a data directory.

use clap::Parser;
use nix::unistd::User;
use pgv::apply::{self, Owner};
use pgv::cli;
use pgv::error::{Error, Result, Status};
use pgv::io::{Input, Threaded};
use pgv::report::Drawn;
use pgv::stream::Claims;
use std::ffi::OsString;
use std::io::BufRead;
use std::process::ExitCode;

mod args;
#[path = "../pgv-merge/merge.rs"]
mod merge;
mod opening;

use args::Args;
use opening::Opening;

fn main() -> ExitCode {
    cli::main("pgv-apply", run)
}

fn run(args: Args) -> Result<Status> {
    if let (true, Some(directory)) = (args.commit, &args.directory) {
        return apply::commit(directory, args.expect.as_ref(), args.system_id);
    }
    if let (Some(name), Some(directory)) = (&args.set_aside, &args.directory) {
        return apply::set_aside(directory, name);
    }
    if let Some(parts) = &args.compare {
        return apply::compare(parts, args.directory.as_deref());
    }
    if let (Some(steps), Some(directory)) = (&args.complete, &args.directory) {
        return apply::complete(steps, directory, Input::of(&args.command, None)?);
    }
    let opening = match args.open {
        true => Opening::with_keys(cli::threads(args.jobs), args.key_world_readable.unwrap_or(false))?,
        false => Opening::AsTheyAre,
    };
    let claims = Claims {
        expect: args.expect,
        system_id: args.system_id,
        before: args.before,
        record: args.record.as_deref().map(merge::read_record).transpose()?,
    };
    let options = apply::Options {
        progress: if args.progress_on_stdout { Drawn::OnStdout } else { args.common.progress() },
        expected_size: args.expected_size,
        identity: args.identity,
        claims,
        owner: owner(args.owner.as_deref())?,
        tablespaces: args.tablespace,
        tablespaces_under: args.tablespaces_under,
        wal: args.waldir,
        directory: args.directory,
        hold: args.hold,
        delta: args.delta,
        selection: args.databases.as_deref().map(merge::read_selection).transpose()?,
        replace: args.replace,
    };
    let input: Box<dyn BufRead> = match args.merge {
        true => Box::new(merged(args.command, opening)?),
        false => opening.read(Input::of(&args.command, None)?)?,
    };
    match args.plan {
        true => apply::plan(&options, input),
        false => apply::run(options, input),
    }
}

/// The stream of a chain. It comes without a pipe: with one, what takes most time is to copy it.
fn merged(words: Vec<OsString>, opening: Opening) -> Result<Threaded> {
    let words = std::iter::once(OsString::from("pgv-merge")).chain(words);
    let args = merge::Args::try_parse_from(words).map_err(|error| {
        let text = error.render().to_string();
        let why = text.lines().next().unwrap_or_default();
        Error::usage(format!("--merge: {}", why.strip_prefix("error: ").unwrap_or(why)))
    })?;
    if args.facts.is_some() {
        return Err(Error::usage("--merge: --facts is for pgv-merge: it may end with 7"));
    }
    Threaded::spawn(move |sink| merge::run(args, Some(sink), &move |input| opening.read(input)))
}

fn owner(name: Option<&str>) -> Result<Owner> {
    let Some(name) = name else {
        return Ok(match rustix::process::geteuid().is_root() {
            true => Owner::Stream,
            false => Owner::Process,
        });
    };
    let user = User::from_name(name).map_err(|e| Error::failed(format!("look up user {name}: {e}")))?;
    match user {
        Some(user) => Ok(Owner::User { uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
        None => Err(Error::usage(format!("there is no user {name}"))),
    }
}
