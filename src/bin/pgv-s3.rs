//! `pgv-s3`: moves streams and names to and from a store.

use pgv::cli::{self, Arguments, Common, StoreOptions};
use pgv::error::{Error, IoContext, Kind, Result, Status};
use pgv::io::{Input, Output, batch};
use pgv::store::{self, Entry, GetOptions, PutOptions, Range, Source, Store, Url};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;

/// Move streams to and from S3 (s3://bucket/key) or a directory (file:///path)
#[derive(clap::Parser)]
#[command(name = "pgv-s3", version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Store stdin, FILE or the output of COMMAND as one object
    Put(PutArgs),
    /// Write an object to stdout
    Get {
        url: String,
        /// Write to this file, which appears only when complete
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// These bytes only, counted from 0, both included; without TO to the end
        #[arg(long, value_name = "FROM-TO", value_parser = parse_range)]
        range: Option<Range>,
        /// Requests at once
        #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
        jobs: u16,
        /// Read no faster than this, such as 50MiB/s
        #[arg(long, value_name = "RATE", value_parser = cli::parse_rate)]
        rate: Option<u64>,
    },
    /// List a directory, one URL a line
    Ls {
        url: String,
        /// All objects below it
        #[arg(long)]
        recursive: bool,
        /// Size and time before each URL
        #[arg(short, long)]
        long: bool,
        /// One line of JSON for each
        #[arg(long)]
        json: bool,
        /// End each line with NUL instead of newline
        #[arg(short = '0', long)]
        null: bool,
    },
    /// Say what is known of an object
    Stat {
        url: String,
        #[arg(long)]
        json: bool,
    },
    /// Try every operation that a backup needs, below a URL that ends with /
    Check { url: String },
    /// Remove objects
    Rm {
        /// URLs, or - for URLs on stdin
        #[arg(required = true, value_name = "URL")]
        urls: Vec<String>,
        /// All objects below a URL that ends with /
        #[arg(long)]
        recursive: bool,
        /// What killed uploads left below a URL that ends with /
        #[arg(long, conflicts_with = "recursive")]
        uploads: bool,
        /// Only those that began longer ago than this, such as 2d
        #[arg(long, value_name = "DURATION", requires = "uploads", value_parser = cli::parse_duration)]
        older_than: Option<Duration>,
        /// Print what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(clap::Args)]
struct PutArgs {
    /// Replace an object of that name
    #[arg(long)]
    replace: bool,
    /// How long the stream will be, roughly: parts are made to hold it
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size)]
    expected_size: Option<u64>,
    /// Parts of exactly this size, 5MiB to 5GiB [default: 16MiB, growing in long streams]
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size)]
    part_size: Option<u64>,
    /// Parts that the service takes of one object
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_parts: u32,
    /// Parts on their way at once; with --batch, files
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// The object's storage class, such as STANDARD_IA
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,
    /// Encryption by the service: AES256, aws:kms or aws:kms=KEY
    #[arg(long, value_name = "KIND")]
    sse: Option<String>,
    /// Read no faster than this, such as 50MiB/s
    #[arg(long, value_name = "RATE", value_parser = cli::parse_rate)]
    rate: Option<u64>,
    /// Store each file that a line of stdin names, under its own name in the directory URL; print the URL of each one
    /// stored
    #[arg(long, conflicts_with_all = ["file", "command", "json", "expected_size"])]
    batch: bool,
    /// Print url, bytes, sha256, crc64nvme and etag as one line of JSON
    #[arg(long)]
    json: bool,
    url: String,
    /// Store this file [default: stdin]
    #[arg(value_name = "FILE", conflicts_with = "command")]
    file: Option<PathBuf>,
    /// Store the output of COMMAND, only if it exits 0 or 7
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl PutArgs {
    fn options(self, progress: bool) -> PutOptions {
        PutOptions {
            rate: self.rate,
            progress,
            digest: self.json,
            replace: self.replace,
            expected_size: None,
            part_size: self.part_size,
            max_parts: Some(self.max_parts),
            jobs: self.jobs.into(),
            storage_class: self.storage_class,
            sse: self.sse,
        }
    }
}

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    cli::main("pgv-s3", run)
}

fn run(args: Args) -> Result<Status> {
    let (options, progress) = (args.store, args.common.progress_wanted());
    match args.verb {
        Verb::Put(put_args) => return put(put_args, &options, progress),
        Verb::Get { url, output, range, jobs, rate } => {
            let (store, url) = open(&url, &options)?;
            let options = GetOptions { range, jobs: jobs.into(), rate, progress };
            store::get(&store, &url, &options, output.as_deref())
        }
        Verb::Ls { url, recursive, long, json, null } => {
            let line = match (json, long) {
                (true, _) => Line::Json,
                (_, true) => Line::Long,
                _ => Line::Url,
            };
            let (store, url) = open(&url, &options)?;
            list(&store, &url, recursive, line, if null { '\0' } else { '\n' })
        }
        Verb::Stat { url, json } => {
            let (store, url) = open(&url, &options)?;
            let entry = store.stat(&url)?;
            print(&[describe(&entry, if json { Line::Json } else { Line::Long })])
        }
        Verb::Check { url } => return check(&url, &options),
        Verb::Rm { urls, recursive, uploads, older_than, dry_run } => {
            let what = match (recursive, uploads) {
                (true, _) => Doomed::Below,
                (_, true) => Doomed::Uploads(older_than.unwrap_or_default()),
                _ => Doomed::Object,
            };
            remove_all(&urls, &what, dry_run, &options)
        }
    }
    .map(|()| Status::Done)
}

fn open(url: &str, options: &StoreOptions) -> Result<(Store, Url)> {
    let url = Url::parse(url)?;
    Ok((Store::open(&url, options)?, url))
}

/// `FROM-TO` or `FROM-`.
fn parse_range(text: &str) -> std::result::Result<Range, String> {
    let help = || "a range is FROM-TO or FROM-, in bytes counted from 0, both included".to_owned();
    let (from, to) = text.split_once('-').ok_or_else(help)?;
    let from: u64 = from.parse().map_err(|_| help())?;
    let end = match to {
        "" => None,
        to => Some(to.parse::<u64>().ok().and_then(|to| to.checked_add(1)).ok_or_else(help)?),
    };
    match end.is_some_and(|end| end <= from) {
        true => Err(help()),
        false => Ok(Range { from, end }),
    }
}

fn put(mut args: PutArgs, options: &StoreOptions, progress: bool) -> Result<Status> {
    let (store, url) = open(&args.url, options)?;
    if args.batch {
        return put_batch(&store, &url, args, progress);
    }
    let command = std::mem::take(&mut args.command);
    let source = match command.is_empty() {
        true => Source::Input(Input::open(args.file.as_deref())?),
        false => Source::Command(&command),
    };
    let json = args.json;
    let expected_size = args.expected_size.or_else(|| source.length());
    let options = PutOptions { expected_size, ..args.options(progress) };
    let put = store::put(&store, &url, source, &options)?;
    if json {
        let line = serde_json::json!({"url": url.to_string(), "bytes": put.bytes, "sha256": put.sha256,
            "crc64nvme": put.stored.crc64nvme, "etag": put.stored.etag});
        print(&[line.to_string()])?;
    }
    Ok(put.status)
}

/// One client and its connections for all files, each in one part at a time.
fn put_batch(store: &Store, directory: &Url, args: PutArgs, progress: bool) -> Result<Status> {
    if !directory.is_directory() {
        return Err(Error::usage(format!("put {directory}: a batch needs a URL that ends with /")));
    }
    let jobs = args.jobs.into();
    let options = PutOptions { jobs: 1, ..args.options(progress) };
    let store_one = |line: &str| {
        let name = Path::new(line).file_name().and_then(|name| name.to_str()).filter(|name| *name != "-");
        let name = name.ok_or_else(|| Error::usage(format!("\"{line}\" on stdin names no file")))?;
        let url = directory.join(name);
        let source = Source::Input(Input::open(Some(Path::new(line)))?);
        let options = PutOptions { expected_size: source.length(), ..options.clone() };
        store::put(store, &url, source, &options).map(|_| url)
    };
    let lines = BufReader::new(Input::open(None)?).lines();
    batch(lines, jobs, store_one, |url| print(&[url.to_string()]))?;
    Ok(Status::Done)
}

/// A line for each operation.
fn check(url: &str, options: &StoreOptions) -> Result<Status> {
    let (store, url) = open(&format!("{}/", url.trim_end_matches('/')), options)?;
    let mut status = Status::Done;
    store::check(&store, &url, &PutOptions::default(), &mut |outcome| {
        print(&match outcome.failure {
            None => vec![format!("ok   {}", outcome.what)],
            Some(error) => {
                status = Status::Findings;
                let hints = error.hints().iter().map(|hint| format!("     {hint}"));
                let lines = [format!("BAD  {}: {error}", outcome.what), format!("     {}", outcome.costs)];
                lines.into_iter().chain(hints).collect()
            }
        })
    })?;
    Ok(status)
}

#[derive(Clone, Copy)]
enum Line {
    Url,
    Long,
    Json,
}

fn stdout() -> Result<Output> {
    Output::create(Some(Path::new("-")))
}

fn print(lines: &[String]) -> Result<()> {
    let mut output = stdout()?;
    lines.iter().try_for_each(|line| writeln!(output, "{line}")).during("write stdout")?;
    output.finish()
}

fn list(store: &Store, url: &Url, recursive: bool, line: Line, end: char) -> Result<()> {
    let mut output = BufWriter::new(stdout()?);
    store.list(url, recursive, &mut |entry| {
        write!(output, "{}{end}", describe(&entry, line)).during("write stdout")
    })?;
    output.into_inner().map_err(|error| error.into_error()).during("write stdout")?.finish()
}

fn describe(entry: &Entry, line: Line) -> String {
    let modified = entry.modified.and_then(|time| time.format(&Rfc3339).ok());
    match line {
        Line::Url => entry.url.to_string(),
        Line::Long => format!("{:>15} {} {}", entry.bytes, modified.unwrap_or_default(), entry.url),
        Line::Json => {
            serde_json::json!({"url": entry.url.to_string(), "bytes": entry.bytes, "modified": modified,
            "etag": entry.etag})
            .to_string()
        }
    }
}

/// What `rm` removes of a URL.
enum Doomed {
    Object,
    Below,
    Uploads(Duration),
}

/// In the order given. One that is not there does not keep the others, but is told at the end.
fn remove_all(urls: &[String], what: &Doomed, dry_run: bool, options: &StoreOptions) -> Result<()> {
    let mut store = None;
    let mut absent = Ok(());
    let mut each = |url: &str| -> Result<()> {
        let url = Url::parse(url)?;
        // Thousands of names may come, all of them in one store.
        let (scheme, store) = match &mut store {
            Some(store) => store,
            none => none.insert((url.scheme(), Store::open(&url, options)?)),
        };
        if *scheme != url.scheme() {
            return Err(Error::usage(format!("rm {url}: the URLs before it are of another kind of store")));
        }
        match remove(store, &url, what, dry_run) {
            Err(error) if error.kind == Kind::NotFound => {
                absent = Err(error);
                Ok(())
            }
            done => done,
        }
    };
    match urls == ["-"] {
        true => io::stdin().lines().try_for_each(|line| each(&line.during("read stdin")?))?,
        false => urls.iter().try_for_each(|url| each(url))?,
    }
    absent
}

fn remove(store: &Store, url: &Url, what: &Doomed, dry_run: bool) -> Result<()> {
    match (what, url.is_directory()) {
        (Doomed::Object, false) if dry_run => {
            store.stat(url).and_then(|entry| print(&[entry.url.to_string()]))
        }
        (Doomed::Object, false) => store.remove(url),
        (Doomed::Object, true) => Err(Error::usage(format!("rm {url}: a directory needs --recursive"))),
        (_, false) => {
            Err(Error::usage(format!("rm {url}: what is below a directory needs a URL that ends with /")))
        }
        (Doomed::Below, true) => remove_below(store, url, dry_run),
        (Doomed::Uploads(older), true) => remove_uploads(store, url, *older, dry_run),
    }
}

/// The names first, then their removal: a listing that changes under it would be no plan.
fn remove_below(store: &Store, url: &Url, dry_run: bool) -> Result<()> {
    let mut doomed = Vec::new();
    store.list(url, true, &mut |entry| {
        doomed.push(entry.url);
        Ok(())
    })?;
    match dry_run {
        true => print(&doomed.iter().map(Url::to_string).collect::<Vec<_>>()),
        false => store.remove_listed(&doomed),
    }
}

fn remove_uploads(store: &Store, url: &Url, older: Duration, dry_run: bool) -> Result<()> {
    let mut doomed = Vec::new();
    store.leftovers(url, older, &mut |leftover| {
        doomed.push(leftover);
        Ok(())
    })?;
    match dry_run {
        true => print(&doomed.iter().map(|leftover| leftover.url.to_string()).collect::<Vec<_>>()),
        false => doomed.iter().try_for_each(|leftover| store.remove_leftover(leftover)),
    }
}
