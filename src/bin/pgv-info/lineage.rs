//! `lineage`: whether a backup is built on another.

use pgv::cli;
use pgv::error::{IoContext, Kind, Result, Status};
use pgv::info::Lineage;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Print why a backup is not built on another, one reason a line; the status is 7 if there are any
#[derive(clap::Args)]
pub struct Args {
    /// Where its stream.json lies, and the first and the last line of its manifest
    #[arg(value_name = "DIR")]
    backup: PathBuf,
    /// The manifest of its parent, and its stream.json if that is there
    #[arg(value_name = "PARENT")]
    parent: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<Status> {
    let found = match found(args) {
        // It was sealed so.
        Err(error) if error.kind == Kind::Damaged => {
            vec![format!("its identity cannot be read: {error}")]
        }
        found => found?,
    };
    cli::print(&found.iter().fold(String::new(), |text, why| text + why + "\n"))?;
    Ok(if found.is_empty() { Status::Done } else { Status::Findings })
}

fn found(args: &Args) -> Result<Vec<String>> {
    let backup = read(&args.backup)?;
    let mut found = backup.own_contradictions();
    if let Some(parent) = &args.parent {
        found.extend(backup.contradictions(&read(parent)?));
    }
    Ok(found)
}

fn read(directory: &Path) -> Result<Lineage> {
    let (stream_path, manifest) = (directory.join("stream.json"), directory.join("manifest"));
    let stream = match fs::read(&stream_path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        stream => Some(stream.during_path("read", &stream_path)?),
    };
    let manifest = fs::read_to_string(&manifest).during_path("read", &manifest)?;
    Lineage::parse(stream.as_deref(), &manifest).map_err(|error| error.context(directory.display()))
}
