//! `files`: the files of a backup, by its manifest; and where they lie in its stream, by its list of members.

use pgv::catalog::MembersReader;
use pgv::cli;
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, Patterns};
use pgv::io::{Input, Output};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// List the files of a backup, or say where some of them lie in its stream
#[derive(clap::Args)]
pub struct Args {
    /// List the files in this pgv manifest
    #[arg(long, value_name = "FILE", required_unless_present = "members")]
    manifest: Option<PathBuf>,
    /// The list of members of a stream
    #[arg(long, value_name = "FILE", conflicts_with = "manifest", requires = "ranges")]
    members: Option<PathBuf>,
    /// Write the byte ranges of the files to this file
    #[arg(long, value_name = "FILE", requires = "members")]
    ranges: Option<PathBuf>,
    /// Only these files; a directory stands for all that is in it
    patterns: Vec<String>,
}

/// Nothing found is the status 3.
pub fn run(args: &Args) -> Result<Status> {
    let patterns = Patterns::parse(&args.patterns)?;
    let found = match (&args.manifest, &args.members, &args.ranges) {
        (Some(manifest), ..) => list(manifest, &patterns)?,
        (None, Some(members), Some(ranges)) => choose(members, ranges, &patterns)?,
        _ => return Err(Error::usage("give --manifest, or --members with --ranges")),
    };
    match found {
        0 => Err(Error::not_found("the backup has no such file")),
        _ => Ok(Status::Done),
    }
}

fn list(manifest: &Path, patterns: &Patterns) -> Result<u64> {
    let (input, name) = open(manifest)?;
    let mut output = BufWriter::new(Output::create(Some(Path::new("-")))?);
    let mut print = |line: String| output.write_all(line.as_bytes()).during("write stdout");
    let found = info::list_files(input, &name, patterns, &mut print)?;
    output.into_inner().map_err(|error| Error::io("write stdout", error.into_error()))?.finish()?;
    Ok(found)
}

fn choose(members: &Path, ranges: &Path, patterns: &Patterns) -> Result<u64> {
    let (input, name) = open(members)?;
    let chosen = info::choose_files(MembersReader::open(input, &name)?, patterns)?;
    let mut output = Output::create(Some(ranges))?;
    output.write_all(cli::ranges_text(&chosen.ranges).as_bytes()).during_path("write", ranges)?;
    output.finish().map(|()| chosen.files)
}

fn open(path: &Path) -> Result<(BufReader<Input>, String)> {
    let input = Input::open(Some(path))?;
    let name = input.name().to_owned();
    Ok((BufReader::new(input), name))
}
