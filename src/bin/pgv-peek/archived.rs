//! `archived`: whether a file of an archive is what its path says.

use pgv::catalog::layout;
use pgv::error::{Error, IoContext, Result};
use pgv::io::Input;
use pgv::pg::segment::{self, Expected};
use pgv::pg::wal;
use std::ffi::OsString;
use std::path::PathBuf;

/// Read a file of an archive to its end; refuse it unless it is what its path says
#[derive(clap::Args)]
pub struct Args {
    /// SYSTEM-IDENTIFIER/wal/TIMELINE/NAME.pgv, as in a repository
    #[arg(value_name = "PATH")]
    path: String,
    /// Where the history files lie, opened
    #[arg(long, value_name = "DIR")]
    histories: Option<PathBuf>,
    /// Read the output of COMMAND [default: stdin]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Prints nothing: what is there to know of it is its status.
pub fn lines(args: &Args) -> Result<String> {
    let mut input = Input::of(&args.command, None)?;
    let file = args.path.rsplit('/').next().unwrap_or_default();
    let file = file.strip_suffix(".pgv").unwrap_or(file);
    let file = layout::without_key_name(file);
    let name = file.strip_suffix(".partial").unwrap_or(file);
    if !wal::is_segment_name(name) {
        // What it is besides is for whoever asked for it: here it opens, or does not.
        std::io::copy(&mut input, &mut std::io::sink()).during(format_args!("read {}", input.name()))?;
        return Ok(String::new());
    }
    let system = args.path.split('/').next().and_then(layout::parse_system_id);
    let system =
        system.ok_or_else(|| Error::usage(format!("{}: no system identifier", args.path.escape_debug())))?;
    let opened = segment::open_all(&mut input)?;
    let history = match &args.histories {
        Some(directory) => segment::history_beside(&directory.join(name), name)?,
        None => None,
    };
    let expected = Expected {
        name: Some(name),
        history: history.as_deref(),
        system_identifier: Some(system),
        file_bytes: opened.file_bytes,
    };
    segment::check(&opened.header, &expected).map(|()| String::new())
}
