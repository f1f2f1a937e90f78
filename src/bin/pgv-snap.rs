//! `pgv-snap`: one PostgreSQL cluster as one tar stream on stdout.

use clap::{Parser, ValueEnum};
use pgv::catalog::Label;
use pgv::catalog::configuration::readable;
use pgv::cli::{self, Arguments, Common, ConfigOption, Wanted};
use pgv::error::{IoContext, Result, Status};
use pgv::snap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Back up a PostgreSQL cluster (13 to 19) as one tar stream on stdout
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    config: ConfigOption,
    /// Connection string, URI or database, as psql takes it; default: as psql
    #[arg(short, long, value_name = "CONNINFO", conflicts_with = "offline")]
    dbname: Option<OsString>,
    /// Back up a cluster that was shut down cleanly
    #[arg(long, requires = "pgdata")]
    offline: bool,
    /// Take an increment: what changed since the newest of these manifests
    #[arg(long, value_name = "MANIFEST")]
    since: Vec<PathBuf>,
    /// With --since, store changed files as a whole instead of blocks
    #[arg(long, requires = "since")]
    files: bool,
    /// Write the pgv manifest to FILE
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Write where each member lies in the stream to FILE
    #[arg(long, value_name = "FILE")]
    members: Option<PathBuf>,
    /// Write label, WAL positions, counts and findings to file, as JSON
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// The label of the backup [default: the time now, such as 20261123-010000F]
    #[arg(long, value_name = "TEXT")]
    label: Option<Label>,
    /// Whether the server hurries its checkpoint, or spreads its writes
    #[arg(long, value_enum, default_value = "fast")]
    checkpoint: Checkpoint,
    /// Whether the stream holds the WAL that it needs to become consistent
    #[arg(long, value_enum, default_value = "include")]
    wal: Wal,
    /// Read at RATE at most, such as 50MiB/s
    #[arg(long, value_parser = cli::parse_rate)]
    rate: Option<u64>,
    /// Print how many bytes there are, and do nothing
    #[arg(long)]
    estimate: bool,
    /// With --estimate: print one line of JSON, with cluster and directory
    #[arg(long, requires = "estimate")]
    json: bool,
    /// With --estimate: the same as "key value" lines, for scripts
    #[arg(long, requires = "estimate", conflicts_with = "json")]
    lines: bool,
    /// The data directory; default: the server's
    pgdata: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Checkpoint {
    Fast,
    Spread,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Wal {
    Include,
    None,
}

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    cli::main("pgv-snap", run)
}

fn run(args: Args) -> Result<Status> {
    if args.dbname.is_none() && !args.offline {
        args.config.apply(Wanted::Server)?;
    }
    let options = snap::Options {
        progress: args.common.progress(),
        conninfo: args.dbname,
        offline: args.offline,
        since: args.since,
        files: args.files,
        manifest: args.manifest,
        members: args.members,
        facts: args.facts,
        label: args.label,
        fast: args.checkpoint == Checkpoint::Fast,
        include_wal: args.wal == Wal::Include,
        rate: args.rate,
        data_directory: args.pgdata,
    };
    if !args.estimate {
        return snap::run(&options);
    }
    let estimate = snap::estimate(&options)?;
    if args.lines {
        return estimate.lines().print().map(|()| Status::Done);
    }
    let line = match args.json {
        false => estimate.bytes.to_string(),
        true => serde_json::json!({
            "bytes": estimate.bytes,
            "system_identifier": estimate.system_identifier.to_string(),
            "data_directory": readable(estimate.data_directory.as_os_str()),
            "pg_version": estimate.pg_version,
            "refusal": estimate.refusal,
        })
        .to_string(),
    };
    writeln!(std::io::stdout(), "{line}").during("write stdout")?;
    Ok(Status::Done)
}
