//! `pgv-s3`: moves streams and names to and from a store.

use pgv::cli::{self, Arguments, Common, ConfigOption, StoreOptions, Wanted};
use pgv::error::{Error, IoContext, Kind, Result, Status};
use pgv::io::{Input, Output, batch};
use pgv::report::{self, Drawn};
use pgv::store::{
    self, Entry, GetOptions, Keeping, Lock, LockMode, PutOptions, Range, Scheme, Source, Store, Url,
};
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
    config: ConfigOption,
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
        #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
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
        /// Only what comes behind this name in the order of names; the service is not asked for the rest
        #[arg(long, value_name = "NAME", default_value = "")]
        after: String,
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
    Check {
        url: String,
        #[command(flatten)]
        kept: KeepingArgs,
    },
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
        /// URLs on stdin end with NUL instead of newline
        #[arg(short = '0', long)]
        null: bool,
    },
}

#[derive(clap::Args)]
struct PutArgs {
    /// Replace an object of that name
    #[arg(long)]
    replace: bool,
    /// Store nothing unless this directory URL is there: nothing is to go where a disk is not mounted
    #[arg(long, value_name = "URL", value_parser = |text: &str| Url::parse(text).map_err(|error| error.to_string()))]
    inside: Option<Url>,
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
    #[command(flatten)]
    kept: KeepingArgs,
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

/// How the service keeps what is stored.
#[derive(clap::Args)]
struct KeepingArgs {
    /// The object's storage class, such as STANDARD_IA
    #[arg(long, env = "PGV_S3_STORAGE_CLASS", value_name = "CLASS")]
    storage_class: Option<String>,
    /// Encryption by the service: AES256, aws:kms or aws:kms=KEY
    #[arg(long, env = "PGV_S3_SSE", value_name = "KIND", value_parser = parse_sse)]
    sse: Option<String>,
    /// Nobody may remove it for so long: governance=30d, or compliance=30d that nobody can undo; the bucket needs object
    /// lock
    #[arg(long, env = "PGV_S3_OBJECT_LOCK", value_name = "MODE=DURATION", value_parser = parse_lock)]
    object_lock: Option<Lock>,
}

impl From<KeepingArgs> for Keeping {
    fn from(args: KeepingArgs) -> Self {
        Keeping { storage_class: args.storage_class, sse: args.sse, object_lock: args.object_lock }
    }
}

fn parse_sse(text: &str) -> std::result::Result<String, String> {
    match text == "AES256"
        || text == "aws:kms"
        || text.strip_prefix("aws:kms=").is_some_and(|key| !key.is_empty())
    {
        true => Ok(text.to_owned()),
        false => Err("it is AES256, aws:kms or aws:kms=KEY".to_owned()),
    }
}

fn parse_lock(text: &str) -> std::result::Result<Lock, String> {
    let help = || "it is governance=DURATION or compliance=DURATION, such as governance=30d".to_owned();
    let (mode, duration) = text.split_once('=').ok_or_else(help)?;
    let mode = match mode {
        "governance" => LockMode::Governance,
        "compliance" => LockMode::Compliance,
        _ => return Err(help()),
    };
    Ok(Lock { mode, duration: cli::parse_duration(duration)? })
}

impl PutArgs {
    fn options(self, progress: Drawn) -> PutOptions {
        PutOptions {
            rate: self.rate,
            progress,
            digest: self.json,
            replace: self.replace,
            inside: self.inside,
            expected_size: None,
            part_size: self.part_size,
            max_parts: Some(self.max_parts),
            jobs: self.jobs.into(),
            kept: self.kept.into(),
        }
    }
}

impl Args {
    /// The configuration that is wanted is the one of the URL.
    fn wanted(&self) -> Wanted<'_> {
        let url = match &self.verb {
            Verb::Put(put) => &put.url,
            Verb::Get { url, .. }
            | Verb::Ls { url, .. }
            | Verb::Stat { url, .. }
            | Verb::Check { url, .. } => url,
            Verb::Rm { urls, .. } => match urls.first() {
                Some(url) if url != "-" => url,
                _ => return Wanted::AnyService,
            },
        };
        Wanted::Service { url, told: self.store.names_service() }
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
    args.config.apply(args.wanted())?;
    let (options, progress) = (args.store, args.common.progress());
    match args.verb {
        Verb::Put(put_args) => return put(put_args, &options, progress),
        Verb::Get { url, output, range, jobs, rate } => {
            let (store, url) = open(&url, &options)?;
            let options = GetOptions { range, jobs: jobs.into(), rate, progress };
            store::get(&store, &url, &options, output.as_deref())
        }
        Verb::Ls { url, recursive, after, long, json, null } => {
            let line = match (json, long) {
                (true, _) => Line::Json,
                (_, true) => Line::Long,
                _ => Line::Url,
            };
            let (store, url) = open(&url, &options)?;
            let end = if null { '\0' } else { '\n' };
            list(&store, &url, recursive, &after, line, end)
        }
        Verb::Stat { url, json } => {
            let (store, url) = open(&url, &options)?;
            let entry = store.stat(&url)?;
            print(&[describe(&entry, if json { Line::Json } else { Line::Long })])
        }
        Verb::Check { url, kept } => return check(&url, kept.into(), &options),
        Verb::Rm { urls, recursive, uploads, older_than, dry_run, null } => {
            let what = match (recursive, uploads) {
                (true, _) => Doomed::Below,
                (_, true) => Doomed::Uploads(older_than.unwrap_or_default()),
                _ => Doomed::Object,
            };
            remove(&urls, what, dry_run, null, &options)
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

fn put(mut args: PutArgs, options: &StoreOptions, progress: Drawn) -> Result<Status> {
    let (store, url) = open(&args.url, options)?;
    if args.batch {
        return put_batch(&store, &url, args, progress);
    }
    let command = std::mem::take(&mut args.command);
    let source = match command.is_empty() {
        true => Source::Input(Input::open(args.file.as_deref())?),
        false => Source::Command(&command),
    };
    // One of them draws by default, and only the producer knows how much there will be.
    let progress = match progress {
        Drawn::OnTerminal if !command.is_empty() => Drawn::Nowhere,
        other => other,
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
fn put_batch(store: &Store, directory: &Url, args: PutArgs, progress: Drawn) -> Result<Status> {
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

/// Whoever waits for the check is there to put right what it finds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

/// A line for each operation.
fn check(url: &str, kept: Keeping, options: &StoreOptions) -> Result<Status> {
    let options = StoreOptions { timeout: options.timeout.or(Some(CHECK_TIMEOUT)), ..options.clone() };
    let (store, url) = open(&format!("{}/", url.trim_end_matches('/')), &options)?;
    let mut status = Status::Done;
    store::check(&store, &url, &PutOptions { kept, ..PutOptions::default() }, &mut |outcome| {
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

fn list(store: &Store, url: &Url, recursive: bool, after: &str, line: Line, end: char) -> Result<()> {
    let mut output = BufWriter::new(stdout()?);
    store.list_after(url, recursive, after, &mut |entry| {
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
#[derive(Clone, Copy)]
enum Doomed {
    Object,
    Below,
    Uploads(Duration),
}

/// Removals that go out together. One that fails does not keep the others: it is named, and the status tells.
struct Removal {
    store: Store,
    scheme: Scheme,
    dry_run: bool,
    /// Whether the objects are from a listing.
    known: bool,
    waiting: Vec<Url>,
    count: usize,
    stayed: Stayed,
}

/// As many as one request may name.
const TOGETHER: usize = 1000;

/// What was not removed.
#[derive(Default)]
struct Stayed {
    /// Told at the end, if it is the only one.
    first: Option<Error>,
    count: usize,
    /// Whether there is more to it than objects that were not there.
    failed: Option<Kind>,
}

impl Stayed {
    fn add(&mut self, error: Error) {
        self.count += 1;
        if error.kind != Kind::NotFound {
            self.failed = Some(error.kind);
        }
        match (self.count, self.first.take()) {
            (1, _) => self.first = Some(error),
            (_, first) => first.iter().chain([&error]).for_each(report::error),
        }
    }

    fn told(self, of: usize) -> Result<()> {
        match (self.first, self.count) {
            (Some(only), _) => Err(only),
            (None, 0) => Ok(()),
            (None, count) => {
                let kind = self.failed.unwrap_or(Kind::NotFound);
                Err(Error::new(
                    kind,
                    format!("rm: {count} of {of} objects were not removed, or not there: see above"),
                ))
            }
        }
    }
}

impl Removal {
    fn add(&mut self, url: Url) -> Result<()> {
        self.count += 1;
        self.waiting.push(url);
        if self.waiting.len() == TOGETHER { self.carry_out() } else { Ok(()) }
    }

    fn carry_out(&mut self) -> Result<()> {
        let some = std::mem::take(&mut self.waiting);
        if !self.dry_run {
            self.store
                .remove_all(&some, self.known)?
                .into_iter()
                .for_each(|(_, error)| self.stayed.add(error));
            return Ok(());
        }
        for url in some {
            match if self.known { Ok(()) } else { self.store.stat(&url).map(drop) } {
                Ok(()) => print(&[url.to_string()])?,
                Err(error) => self.stayed.add(error),
            }
        }
        Ok(())
    }

    fn doom(&mut self, url: &str, what: Doomed) -> Result<()> {
        let url = Url::parse(url)?;
        if self.scheme != url.scheme() {
            return Err(Error::usage(format!("rm {url}: the URLs before it are of another kind of store")));
        }
        match (what, url.is_directory()) {
            (Doomed::Object, false) => self.add(url),
            (Doomed::Object, true) => Err(Error::usage(format!("rm {url}: a directory needs --recursive"))),
            (_, false) => {
                Err(Error::usage(format!("rm {url}: what is below a directory needs a URL that ends with /")))
            }
            (Doomed::Below, true) => self.doom_below(&url),
            (Doomed::Uploads(older), true) => self.doom_uploads(&url, older),
        }
    }

    /// Page by page: nothing is listed twice, and memory does not grow with the directory.
    fn doom_below(&mut self, directory: &Url) -> Result<()> {
        let store = self.store.clone();
        store.list(directory, true, &mut |entry| self.add(entry.url))
    }

    fn doom_uploads(&mut self, directory: &Url, older: Duration) -> Result<()> {
        let store = self.store.clone();
        store.leftovers(directory, older, &mut |leftover| {
            self.count += 1;
            match self.dry_run {
                true => print(&[leftover.url.to_string()])?,
                false => store.remove_leftover(&leftover).unwrap_or_else(|error| self.stayed.add(error)),
            }
            Ok(())
        })
    }
}

fn remove(urls: &[String], what: Doomed, dry_run: bool, null: bool, options: &StoreOptions) -> Result<()> {
    let given: Box<dyn Iterator<Item = Result<String>>> = match urls == ["-"] {
        true => Box::new(names_on_stdin(if null { b'\0' } else { b'\n' })),
        false => Box::new(urls.iter().cloned().map(Ok)),
    };
    let mut given = given.peekable();
    let Some(Ok(first)) = given.peek() else { return given.next().transpose().map(drop) };
    let url = Url::parse(first)?;
    let known = matches!(what, Doomed::Below);
    let mut removal = Removal {
        store: Store::open(&url, options)?,
        scheme: url.scheme(),
        dry_run,
        known,
        waiting: Vec::new(),
        count: 0,
        stayed: Stayed::default(),
    };
    given.try_for_each(|url| removal.doom(&url?, what)).and_then(|()| removal.carry_out())?;
    removal.stayed.told(removal.count)
}

fn names_on_stdin(end: u8) -> impl Iterator<Item = Result<String>> {
    BufReader::new(io::stdin()).split(end).map(|name| {
        String::from_utf8(name.during("read stdin")?)
            .map_err(|error| Error::usage(format!("a URL on stdin is not UTF-8: {error}")))
    })
}
