//! The command line of `pgv-apply`.

use clap::Parser;
use pgv::catalog::{Label, layout};
use pgv::cli::{self, Arguments, Common};
use std::ffi::OsString;
use std::path::PathBuf;
use time::OffsetDateTime;

/// Lay a backup stream on stdin into a directory, checking every byte
#[derive(Parser)]
#[command(version)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    /// Refuse every backup but this one
    #[arg(long, value_name = "LABEL")]
    pub expect: Option<Label>,
    /// Refuse every cluster but the one with this system identifier
    #[arg(long, value_name = "ID", value_parser = parse_system_id)]
    pub system_id: Option<u64>,
    /// Refuse a stream that is not the one of this record.json
    #[arg(long, value_name = "FILE", conflicts_with = "commit")]
    pub record: Option<PathBuf>,
    /// Refuse a backup that began at or after this recovery target
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time, conflicts_with = "commit")]
    pub before: Option<OffsetDateTime>,
    /// The owner of the files [default: who runs this; for root, as in the stream]
    #[arg(long, value_name = "USER", conflicts_with_all = ["check_only", "commit"])]
    pub owner: Option<String>,
    /// Put one tablespace into DIR
    #[arg(long, value_name = "OID|NAME=DIR", value_parser = parse_place, conflicts_with_all = ["check_only", "commit"])]
    pub tablespace: Vec<(String, PathBuf)>,
    /// Put the other tablespaces below DIR, each named by its OID
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check_only", "commit"])]
    pub tablespaces_under: Option<PathBuf>,
    /// Put pg_wal into DIR [default: into the data directory]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check_only", "commit"])]
    pub waldir: Option<PathBuf>,
    /// Keep global/pg_control back, so that no server starts in DIR
    #[arg(long, conflicts_with_all = ["check_only", "commit"])]
    pub hold: bool,
    /// Write a full over DIR, which holds this cluster, with its server stopped
    #[arg(long, conflicts_with_all = ["check_only", "commit"])]
    pub delta: bool,
    /// Make empty files of databases that this selection skips
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check_only", "commit", "delta"])]
    pub databases: Option<PathBuf>,
    /// Read the head of the stream, write nothing, and print key value lines
    #[arg(long, conflicts_with_all = ["check_only", "commit"])]
    pub plan: bool,
    /// With --plan: the content of DIR will be set aside before
    #[arg(long, requires = "plan", conflicts_with = "delta")]
    pub replace: bool,
    /// Let a server start in a directory that --hold left
    #[arg(long, conflicts_with = "check_only")]
    pub commit: bool,
    /// Move the content of DIR to DIR.before-NAME
    #[arg(long, value_name = "NAME", value_parser = parse_name, conflicts_with_all = ["check_only", "commit", "plan", "hold", "delta"])]
    pub set_aside: Option<String>,
    /// Write which parts of each stream DIR lacks into PARTS
    #[arg(long, value_name = "PARTS", conflicts_with_all = ["check_only", "commit", "plan", "set_aside", "complete"])]
    pub compare: Option<PathBuf>,
    /// Complete a stream, by the STEPS of --compare, with what DIR has
    #[arg(long, value_name = "STEPS", requires = "directory", conflicts_with_all = ["check_only", "commit", "plan", "set_aside"])]
    pub complete: Option<PathBuf>,
    /// Write the identity of the stream to a file
    #[arg(long, value_name = "FILE", conflicts_with = "commit")]
    pub identity: Option<PathBuf>,
    /// The length of the stream, to show the remaining time
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size)]
    pub expected_size: Option<u64>,
    /// Draw progress on standard output
    #[arg(long, conflicts_with_all = ["progress", "no_progress", "plan"])]
    pub progress_on_stdout: bool,
    /// Check the stream, and write nothing
    #[arg(long, conflicts_with = "directory", required_unless_present_any = ["directory", "compare"])]
    pub check_only: bool,
    /// The new data directory, created or empty; for an increment, what its parent was laid into
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// COMMAND is what pgv-merge would be given: merge in this process
    #[arg(long, requires = "command", conflicts_with = "complete")]
    pub merge: bool,
    /// COMMAND prints a sealed stream: open it in this process
    #[arg(long, requires = "command", conflicts_with = "complete")]
    pub open: bool,
    /// The number of threads that open each stream [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Accept a key file that everyone may read [default: no]
    #[arg(long, env = "PGV_KEY_WORLD_READABLE", value_name = "yes|no", num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", value_parser = clap::builder::BoolishValueParser::new())]
    pub key_world_readable: Option<bool>,
    /// Read the output of COMMAND [default: stdin]
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["commit", "set_aside", "compare"])]
    pub command: Vec<OsString>,
}

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
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

fn parse_place(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((key, path)) if !key.is_empty() && !path.is_empty() => Ok((key.to_owned(), PathBuf::from(path))),
        _ => Err("must be OID=DIR or NAME=DIR".to_owned()),
    }
}
