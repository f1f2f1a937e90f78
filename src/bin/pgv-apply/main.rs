//! `pgv-apply`: one stream of pgv-snap on stdin, as a data directory.

use clap::Parser;
use nix::unistd::User;
use pgv::apply::{self, Owner};
use pgv::catalog::{Label, Record, Selection, layout};
use pgv::cli::{self, Arguments, Common};
use pgv::error::{Error, IoContext, Result, Status};
use pgv::io::{Input, Threaded};
use pgv::report::Drawn;
use pgv::stream::Claims;
use std::ffi::OsString;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use time::OffsetDateTime;

#[path = "../pgv-merge/merge.rs"]
mod merge;
mod opening;

use opening::Opening;

/// Lay a backup stream on stdin into a directory, checking every byte
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Refuse every backup but this one
    #[arg(long, value_name = "LABEL")]
    expect: Option<Label>,
    /// Refuse every cluster but the one with this system identifier
    #[arg(long, value_name = "ID", value_parser = parse_system_id)]
    system_id: Option<u64>,
    /// Refuse a stream that is not the one of this record.json
    #[arg(long, value_name = "FILE", conflicts_with = "commit")]
    record: Option<PathBuf>,
    /// Refuse a backup that began at or after this recovery target
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time, conflicts_with = "commit")]
    before: Option<OffsetDateTime>,
    /// The owner of the files [default: who runs this; for root, as in the stream]
    #[arg(long, value_name = "USER", conflicts_with_all = ["check_only", "commit"])]
    owner: Option<String>,
    /// Put one tablespace into DIR
    #[arg(long, value_name = "OID|NAME=DIR", value_parser = parse_place, conflicts_with_all = ["check_only", "commit"])]
    tablespace: Vec<(String, PathBuf)>,
    /// Put the other tablespaces below DIR, each named by its OID
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check_only", "commit"])]
    tablespaces_under: Option<PathBuf>,
    /// Put pg_wal into DIR [default: into the data directory]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check_only", "commit"])]
    waldir: Option<PathBuf>,
    /// Keep global/pg_control back, so that no server starts in DIR
    #[arg(long, conflicts_with_all = ["check_only", "commit"])]
    hold: bool,
    /// Write a full over DIR, which holds this cluster, with its server stopped
    #[arg(long, conflicts_with_all = ["check_only", "commit"])]
    delta: bool,
    /// Make empty files of databases that this selection skips
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check_only", "commit", "delta"])]
    databases: Option<PathBuf>,
    /// Read the head of the stream, write nothing, and print key value lines
    #[arg(long, conflicts_with_all = ["check_only", "commit"])]
    plan: bool,
    /// With --plan: the content of DIR will be set aside before
    #[arg(long, requires = "plan", conflicts_with = "delta")]
    replace: bool,
    /// Let a server start in a directory that --hold left
    #[arg(long, conflicts_with = "check_only")]
    commit: bool,
    /// Move the content of DIR to DIR.before-NAME
    #[arg(long, value_name = "NAME", value_parser = parse_name, conflicts_with_all = ["check_only", "commit", "plan", "hold", "delta"])]
    set_aside: Option<String>,
    /// Write which parts of each stream DIR lacks into PARTS
    #[arg(long, value_name = "PARTS", conflicts_with_all = ["check_only", "commit", "plan", "set_aside", "complete"])]
    compare: Option<PathBuf>,
    /// Complete a stream, by the STEPS of --compare, with what DIR has
    #[arg(long, value_name = "STEPS", requires = "directory", conflicts_with_all = ["check_only", "commit", "plan", "set_aside"])]
    complete: Option<PathBuf>,
    /// Write the identity of the stream to a file
    #[arg(long, value_name = "FILE", conflicts_with = "commit")]
    identity: Option<PathBuf>,
    /// The length of the stream, to show the remaining time
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size)]
    expected_size: Option<u64>,
    /// Draw progress on standard output
    #[arg(long, conflicts_with_all = ["progress", "no_progress", "plan"])]
    progress_on_stdout: bool,
    /// Check the stream, and write nothing
    #[arg(long, conflicts_with = "directory", required_unless_present_any = ["directory", "compare"])]
    check_only: bool,
    /// The new data directory, created or empty; for an increment, what its parent was laid into
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// COMMAND is what pgv-merge would be given: merge in this process
    #[arg(long, requires = "command", conflicts_with = "complete")]
    merge: bool,
    /// COMMAND prints a sealed stream: open it in this process
    #[arg(long, requires = "command", conflicts_with = "complete")]
    open: bool,
    /// The number of threads that open each stream [default: one for each core]
    #[arg(long, value_name = "N", env = "PGV_JOBS", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Accept a key file that everyone may read [default: no]
    #[arg(long, env = "PGV_KEY_WORLD_READABLE", value_name = "yes|no", num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", value_parser = clap::builder::BoolishValueParser::new())]
    key_world_readable: Option<bool>,
    /// Read the output of COMMAND [default: stdin]
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["commit", "set_aside", "compare"])]
    command: Vec<OsString>,
}

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

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
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let opening = match args.open {
        true => {
            let jobs = args.jobs.map_or_else(cores, usize::from);
            Opening::with_keys(jobs, args.key_world_readable.unwrap_or(false))?
        }
        false => Opening::AsTheyAre,
    };
    let claims = Claims {
        expect: args.expect,
        system_id: args.system_id,
        before: args.before,
        record: args.record.as_deref().map(read_record).transpose()?,
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
        selection: args.databases.as_deref().map(read_selection).transpose()?,
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
    Threaded::spawn(move |sink| merge::run(args, Some(sink), &move |input| opening.read(input)))
}

fn read_selection(path: &Path) -> Result<Selection> {
    let json = std::fs::read(path).during_path("read", path)?;
    Selection::parse(&json).map_err(|error| error.context(path.display()))
}

fn read_record(path: &Path) -> Result<Record> {
    let json = std::fs::read(path).during_path("read", path)?;
    Record::parse(&json).map_err(|error| error.context(path.display()))
}

/// A part of a file name.
fn parse_name(text: &str) -> std::result::Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(good) {
        true => Ok(text.to_owned()),
        false => Err("must be letters, digits and hyphens, such as 20261123-010000".to_owned()),
    }
}

fn parse_system_id(text: &str) -> std::result::Result<u64, String> {
    layout::parse_system_id(text).ok_or_else(|| "must be a decimal number".to_owned())
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

fn parse_place(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((key, path)) if !key.is_empty() && !path.is_empty() => Ok((key.to_owned(), PathBuf::from(path))),
        _ => Err("must be OID=DIR or NAME=DIR".to_owned()),
    }
}
