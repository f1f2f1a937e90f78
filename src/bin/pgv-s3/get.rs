//! `get`: an object becomes a stream or a file, or many become files.

use pgv::cli::{self, StoreOptions};
use pgv::error::{Error, IoContext, Kind, Result, Status};
use pgv::io::{Deadline, Input, batch, named_file};
use pgv::report::Drawn;
use pgv::store::{self, GetOptions, Range, Span, Store, Url};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Write an object to stdout
#[derive(clap::Args)]
pub struct Args {
    pub url: String,
    /// Write to this file, which appears only when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Get each object that a line of standard input names
    #[arg(long, requires = "output", conflicts_with_all = ["range", "sha256", "rate", "whole", "inside"])]
    batch: bool,
    /// Leave an empty file NAME.absent for each object that does not exist
    #[arg(long, requires = "batch")]
    mark_absent: bool,
    /// Ask for the object in one request, as suits some MiB
    #[arg(long, conflicts_with = "range")]
    whole: bool,
    /// Exit with 3 only if this directory has objects
    #[arg(long, value_name = "URL", value_parser = |text: &str| Url::parse(text).map_err(|error| error.to_string()))]
    inside: Option<Url>,
    /// Only these bytes, counted from 0, both included
    #[arg(long, value_name = "FROM-TO", value_parser = parse_range)]
    range: Option<Range>,
    /// Only the byte ranges in this file, one FROM-TO a line, ascending
    #[arg(long, value_name = "FILE", conflicts_with_all = ["range", "sha256"])]
    ranges: Option<PathBuf>,
    /// Exit with 5 at the end unless the object has this digest
    #[arg(long, value_name = "HEX", conflicts_with = "range")]
    sha256: Option<String>,
    /// The number of requests at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Read the input at RATE at most, such as 50MiB/s
    #[arg(long, value_name = "RATE", value_parser = cli::parse_rate)]
    rate: Option<u64>,
    /// Share that rate with all who name the same file
    #[arg(long, value_name = "FILE", requires = "rate")]
    rate_shared_in: Option<PathBuf>,
}

pub fn run(args: Args, options: &StoreOptions, progress: Drawn) -> Result<Status> {
    if let (true, Some(directory)) = (args.batch, &args.output) {
        return get_batch(&args, directory, options);
    }
    let _deadline = options.deadline(&format!("get {}", args.url))?;
    let (store, url) = crate::open(&args.url, options)?;
    let ranges = args.ranges.as_deref().map(|path| {
        let input = Input::open(Some(path))?;
        let name = input.name().to_owned();
        cli::read_ranges(BufReader::new(input), &name)
    });
    let options = GetOptions {
        range: args.range,
        ranges: ranges.transpose()?,
        sha256: args.sha256,
        jobs: args.jobs.into(),
        whole: args.whole,
        rate: args.rate,
        rate_shared_in: args.rate_shared_in,
        progress,
    };
    let got = store::get(&store, &url, &options, args.output.as_deref());
    got.map_err(|error| match (error.kind, &args.inside) {
        (Kind::NotFound, Some(inside)) => match refuse_empty(&store, inside) {
            Ok(()) => error,
            Err(unknown) if unknown.kind == Kind::NotFound => Error::failed(unknown.message()),
            Err(unknown) => unknown,
        },
        _ => error,
    })?;
    Ok(Status::Done)
}

/// Where nothing is, nothing is known to be absent.
fn refuse_empty(store: &Store, directory: &Url) -> Result<()> {
    let span = Span { page: Some(1), ..Span::default() };
    match store.scan(directory, &span, &mut |_| Ok(ControlFlow::Break(())))? {
        ControlFlow::Break(()) => Ok(()),
        ControlFlow::Continue(()) => Err(Error::failed(format!("{directory} is empty"))
            .hint("is the repository mounted, and the URL right?")),
    }
}

/// One client and its connections for all objects.
fn get_batch(args: &Args, directory: &Path, options: &StoreOptions) -> Result<Status> {
    let deadline = options.deadline_of_tasks(&format!("get {}", args.url))?;
    let (store, url) = crate::open(&args.url, options)?;
    if !url.is_directory() {
        return Err(Error::usage(format!("get {url}: a batch needs a URL that ends with /")));
    }
    let get_one = |line: &str| {
        let _task = deadline.as_ref().map(Deadline::task);
        let name = named_file(line)?;
        let path = directory.join(name);
        match store::get_file(&store, &Url::parse(&format!("{url}{line}"))?, &path) {
            Err(error) if error.kind == Kind::NotFound && args.mark_absent => {
                let mark = directory.join(format!("{name}.absent"));
                File::create(&mark).during_path("create", &mark)?;
                Err(error)
            }
            got => got.map(|()| path),
        }
    };
    let lines = BufReader::new(Input::open(None)?).lines();
    batch(lines, args.jobs.into(), Some(Kind::NotFound), get_one, |path| {
        crate::print(&[path.display().to_string()])
    })?;
    Ok(Status::Done)
}

fn parse_range(text: &str) -> std::result::Result<Range, String> {
    cli::parse_range(text).map(|(from, end)| Range { from, end })
}
