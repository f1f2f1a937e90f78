//! `ls`: the objects of a directory.

use crate::entry::{Line, describe};
use pgv::cli::StoreOptions;
use pgv::error::{IoContext, Result, Status};
use std::io::{BufWriter, Write};

/// List a directory, one URL a line
#[derive(clap::Args)]
pub struct Args {
    pub url: String,
    /// List all objects below the directory
    #[arg(long)]
    recursive: bool,
    /// List only what comes after NAME in the order of names
    #[arg(long, value_name = "NAME", default_value = "")]
    after: String,
    /// Size and time before each URL
    #[arg(short, long)]
    long: bool,
    /// Print one line of JSON for each
    #[arg(long)]
    json: bool,
    /// End each line with NUL instead of newline
    #[arg(short = '0', long)]
    null: bool,
}

pub fn run(args: &Args, options: &StoreOptions) -> Result<Status> {
    let line = match (args.json, args.long) {
        (true, _) => Line::Json,
        (_, true) => Line::Long,
        _ => Line::Url,
    };
    let end = if args.null { '\0' } else { '\n' };
    let _deadline = options.deadline(&format!("ls {}", args.url))?;
    let (store, url) = crate::open(&args.url, options)?;
    let mut output = BufWriter::new(crate::stdout()?);
    store.list_after(&url, args.recursive, &args.after, &mut |entry| {
        write!(output, "{}{end}", describe(&entry, line)).during("write stdout")
    })?;
    output.into_inner().map_err(|error| error.into_error()).during("write stdout")?.finish()?;
    Ok(Status::Done)
}
