//! `ls`: the objects of a directory.

use crate::entry::{Line, describe};
use pgv::cli::StoreOptions;
use pgv::error::{IoContext, Result, Status};
use pgv::store::Span;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;

/// Entries of one page that S3 gives at most.
const LONGEST_PAGE: u16 = 1000;

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
    /// List no more than N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
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
    // A request that asks for no more than is wanted is answered sooner.
    let page = args.limit.map(|limit| u16::try_from(limit).unwrap_or(LONGEST_PAGE).min(LONGEST_PAGE));
    let span = Span { recursive: args.recursive, after: &args.after, page };
    let mut left = args.limit.unwrap_or(u64::MAX);
    let listed = store.scan(&url, &span, &mut |entry| {
        write!(output, "{}{end}", describe(&entry, line)).during("write stdout")?;
        left -= 1;
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    let (ControlFlow::Break(()) | ControlFlow::Continue(())) = listed?;
    output.into_inner().map_err(|error| error.into_error()).during("write stdout")?.finish()?;
    Ok(Status::Done)
}
