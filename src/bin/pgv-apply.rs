//! `pgv-apply`: one stream of pgv-snap on stdin, as a data directory.

use clap::Parser;
use nix::unistd::User;
use pgv::apply::{self, Owner};
use pgv::catalog::Label;
use pgv::cli::{self, Arguments, Common};
use pgv::error::{Error, Result, Status};
use pgv::io::Input;
use pgv::report::Drawn;
use std::path::PathBuf;
use std::process::ExitCode;

/// Lay a backup stream on stdin into a directory, checking every byte
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Refuse every backup but this one, before anything is written
    #[arg(long, value_name = "LABEL")]
    expect: Option<Label>,
    /// Who the files belong to; default: whoever runs this, and as root the numbers in the stream
    #[arg(long, value_name = "USER", conflicts_with = "check_only")]
    owner: Option<String>,
    /// Where one tablespace goes, by its OID or name
    #[arg(long, value_name = "OID|NAME=DIR", value_parser = parse_place, conflicts_with = "check_only")]
    tablespace: Vec<(String, PathBuf)>,
    /// Where the other tablespaces go, each in a directory named by its OID
    #[arg(long, value_name = "DIR", conflicts_with = "check_only")]
    tablespaces_under: Option<PathBuf>,
    /// Keep back what lets a server start, for --commit or the next link
    #[arg(long, conflicts_with = "check_only")]
    hold: bool,
    /// Let a server start in DIR, which --hold left; reads no stream
    #[arg(long, requires = "directory", conflicts_with_all = ["check_only", "hold", "delta", "tablespace", "tablespaces_under", "owner"])]
    commit: bool,
    /// DIR holds a data directory of the same cluster: a full is laid over it, and what is the same is not written
    #[arg(long, conflicts_with = "check_only")]
    delta: bool,
    /// How long the stream will be, so that progress can tell the remaining time
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size)]
    expected_size: Option<u64>,
    /// Draw progress on stdout, where there is no result, whatever it is
    #[arg(long, conflicts_with_all = ["progress", "no_progress"])]
    progress_on_stdout: bool,
    /// Check the stream against its own manifest and write nothing
    #[arg(long, conflicts_with = "directory", required_unless_present = "directory")]
    check_only: bool,
    /// The new data directory, created or empty; for an increment, what its parent was laid into
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
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
        return apply::commit(directory, args.expect.as_ref());
    }
    let options = apply::Options {
        progress: if args.progress_on_stdout { Drawn::OnStdout } else { args.common.progress() },
        expected_size: args.expected_size,
        expect: args.expect,
        owner: owner(args.owner.as_deref())?,
        tablespaces: args.tablespace,
        tablespaces_under: args.tablespaces_under,
        directory: args.directory,
        hold: args.hold,
        delta: args.delta,
    };
    apply::run(&options, Input::open(None)?)
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
        _ => Err("it is OID=DIR or NAME=DIR".to_owned()),
    }
}
