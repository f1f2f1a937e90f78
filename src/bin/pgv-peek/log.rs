//! `log`: what a server's log, and what was said beside it, tells of a failure.

use pgv::cli::lines::Lines;
use pgv::error::{IoContext, Result};
use pgv::pg::log;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Print what kept a server from its work, by its logs
#[derive(clap::Args)]
pub struct Args {
    /// Logs, or what tools said; one that is not there is passed over
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub fn lines(args: &Args) -> Result<Lines> {
    let mut text = Vec::new();
    for file in &args.files {
        match std::fs::read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => text.extend(read.during_path("read", file)?),
        }
    }
    let seen = log::look(&String::from_utf8_lossy(&text));
    let mut lines = Lines::new();
    if let Some((what, advice)) = seen.lacking() {
        lines.add("lacking", what).add("advice", advice);
    }
    lines.add_some("unfetched", seen.unfetched).add_some("fatal", seen.fatal);
    Ok(lines)
}
