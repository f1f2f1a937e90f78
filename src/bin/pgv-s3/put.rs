//! `put`: a stream, a file, the output of a command, or many files become objects.

use crate::keeping::KeepingArgs;
use pgv::cli::{self, StoreOptions};
use pgv::error::{Error, Kind, Result, Status};
use pgv::io::{Deadline, Input, batch, named_file};
use pgv::report::Drawn;
use pgv::store::{self, PutOptions, Source, Store, Url};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Parts at once, at most: with 8 MiB each it is what a line of 1 Gbit/s holds in a second.
const PARTS: u16 = 16;
/// Files at once.
const FILES: u16 = 4;

/// Store stdin, FILE or the output of COMMAND as one object
#[derive(clap::Args)]
pub struct Args {
    /// Overwrite an existing object
    #[arg(long)]
    replace: bool,
    /// Store nothing unless this directory exists
    #[arg(long, value_name = "URL", value_parser = |text: &str| Url::parse(text).map_err(|error| error.to_string()))]
    inside: Option<Url>,
    /// The approximate length of the stream
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size)]
    expected_size: Option<u64>,
    /// Remember that the directory existed, or what the service can do
    #[arg(long, value_name = "FILE", requires = "inside")]
    remember: Option<PathBuf>,
    /// Read the object back, and exit with 6 if another object has its name
    #[arg(long, conflicts_with = "batch")]
    read_back: bool,
    /// Give all parts this size, for services that need equal parts [default: 8MiB, growing in long streams]
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size)]
    part_size: Option<u64>,
    /// The number of parts that the service accepts for one object
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_parts: u32,
    /// The most parts sent at once [default: 16; with --batch 4 files]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    #[command(flatten)]
    kept: KeepingArgs,
    /// Read the input at RATE at most, such as 50MiB/s
    #[arg(long, value_name = "RATE", value_parser = cli::parse_rate)]
    rate: Option<u64>,
    /// Store each file that a line of standard input names
    #[arg(long, conflicts_with_all = ["file", "command", "json", "expected_size"])]
    batch: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    pub url: String,
    /// Store this file [default: stdin]
    #[arg(value_name = "FILE", conflicts_with = "command")]
    file: Option<PathBuf>,
    /// Store the output of COMMAND, only if it exits 0 or 7
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Args {
    fn options(self, progress: Drawn) -> PutOptions {
        PutOptions {
            rate: self.rate,
            progress,
            digest: self.json || self.read_back,
            replace: self.replace,
            inside: self.inside,
            remember: self.remember.map(|file| {
                let mut name = file.into_os_string();
                name.push(".s3");
                PathBuf::from(name)
            }),
            expected_size: None,
            part_size: self.part_size,
            max_parts: Some(self.max_parts),
            jobs: self.jobs.unwrap_or(PARTS).into(),
            kept: self.kept.into(),
        }
    }
}

pub fn run(mut args: Args, options: &StoreOptions, progress: Drawn) -> Result<Status> {
    let deadline = options.deadline(&format!("put {}", args.url))?;
    let (store, url) = crate::open(&args.url, options)?;
    if let (Some(tree), Some(file)) = (&args.inside, &args.remember)
        && !store::is_mounted(tree, file)?
    {
        args.inside = None;
    }
    if args.batch {
        return put_batch(&store, &url, args, progress, deadline.as_ref());
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
    let (json, read_back) = (args.json, args.read_back);
    let expected_size = args.expected_size.or_else(|| source.length());
    let options = PutOptions { expected_size, ..args.options(progress) };
    let put = store::put(&store, &url, source, &options)?;
    if read_back {
        store::read_back(&store, &url, &put)?;
    }
    if json {
        let line = serde_json::json!({"url": url.to_string(), "bytes": put.bytes, "sha256": put.sha256,
            "crc64nvme": put.stored.crc64nvme, "etag": put.stored.etag, "requests": store::requests()});
        crate::print(&[line.to_string()])?;
    }
    Ok(put.status)
}

/// One client and its connections for all files, each in one part at a time.
fn put_batch(
    store: &Store,
    directory: &Url,
    args: Args,
    progress: Drawn,
    deadline: Option<&Deadline>,
) -> Result<Status> {
    if !directory.is_directory() {
        return Err(Error::usage(format!("put {directory}: a batch needs a URL that ends with /")));
    }
    let jobs = args.jobs.unwrap_or(FILES).into();
    let options = PutOptions { jobs: 1, ..args.options(progress) };
    let store_one = |line: &str| {
        let url = directory.join(named_file(line)?);
        let source = Source::Input(Input::open(Some(Path::new(line)))?);
        let options = PutOptions { expected_size: source.length(), ..options.clone() };
        store::put(store, &url, source, &options).map(|_| url)
    };
    let lines = BufReader::new(Input::open(None)?).lines();
    batch(lines, jobs, Some(Kind::Exists), store_one, |url| {
        deadline.into_iter().for_each(Deadline::renew);
        crate::print(&[url.to_string()])
    })?;
    Ok(Status::Done)
}
