//! `identity`: which backup lies in a directory.

use pgv::catalog::{StreamIdentity, member};
use pgv::cli::lines::Lines;
use pgv::error::{IoContext, Result};
use std::path::PathBuf;

/// Print which backup lies in a restored directory
#[derive(clap::Args)]
pub struct Args {
    /// The restored data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn lines(args: &Args) -> Result<String> {
    let path = args.directory.join(member::IDENTITY);
    let identity = StreamIdentity::parse(&std::fs::read(&path).during_path("read", &path)?)?;
    let mut lines = Lines::new();
    lines.add("label", &identity.label).add("system_identifier", identity.system_identifier);
    lines.add("pg_version", &identity.pg_version);
    Ok(lines.as_str().to_owned())
}
