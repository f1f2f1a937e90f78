//! `manifest`: the ends of a backup's manifest.

use pgv::cli;
use pgv::error::{Error, Result, Status};
use pgv::io::Input;
use pgv::manifest;
use std::ffi::OsString;
use std::io::BufReader;
use std::path::PathBuf;

/// Read a manifest to its end, and print its first and last line
#[derive(clap::Args)]
pub struct Args {
    /// The manifest, opened [default: stdin]
    #[arg(value_name = "FILE", conflicts_with = "command")]
    file: Option<PathBuf>,
    /// Read the output of COMMAND
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub fn run(args: &Args) -> Result<Status> {
    let input = Input::of(&args.command, args.file.as_deref())?;
    let name = input.name().to_owned();
    let ends = manifest::ends(BufReader::with_capacity(1 << 20, input), &name)?;
    let text = String::from_utf8(ends);
    let text = text.map_err(|_| Error::damaged(format!("{name}: not a manifest: not UTF-8")))?;
    cli::print(&text).map(|()| Status::Done)
}
