//! `manifests`: this host's copies of those on which an increment is built.

use crate::each::run_one;
use pgv::catalog::Label;
use pgv::cli;
use pgv::cli::lines::Lines;
use pgv::error::{Error, Kind, Result, Status};
use pgv::info;
use std::ffi::OsString;
use std::path::PathBuf;

/// Keep the manifests of a chain in a directory; print a refusal if one is missing or damaged
#[derive(clap::Args)]
pub struct Args {
    /// Keep them in DIR, each under its label
    #[arg(long, value_name = "DIR")]
    keep_in: PathBuf,
    /// What an increment builds on, oldest first
    #[arg(required = true, value_name = "LABEL")]
    chain: Vec<Label>,
    /// Puts one there, with {} for its label
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub fn run(args: &Args) -> Result<Status> {
    let fetch = |label: &Label| {
        let ended = run_one(&label.to_string(), &args.command)?;
        match ended.status {
            0 => Ok(()),
            status => {
                ended.tell();
                Err(Error::new(
                    Kind::of_status(status.into()),
                    format!("fetch the manifest of {label}: the command ended with {status}"),
                ))
            }
        }
    };
    let refusal = info::gather(&args.keep_in, &args.chain, fetch)?;
    cli::print(Lines::new().add_some("refusal", refusal).as_str())?;
    Ok(Status::Done)
}
