//! The verb of `pgv-merge`, which `pgv-info merge` has as well.

use clap::Parser;
use pgv::catalog::{Label, Record, Selection};
use pgv::cli::{Arguments, Common};
use pgv::error::{Error, IoContext, Result, Status};
use pgv::io::{Input, Output, Sink, ThreadSink};
use pgv::{manifest, merge};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};

/// Merge a full backup stream and its increments, oldest first, into one full stream
#[derive(Parser)]
#[command(name = "pgv-merge", version)]
pub struct Args {
    /// The label of the merged full [default: the newest stream's]
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
    /// The record.json that a stream must fit; one for each, oldest first
    #[arg(long, value_name = "FILE")]
    record: Vec<PathBuf>,
    /// Write what pgv-info record needs to a file
    #[arg(long, value_name = "FILE", requires = "record")]
    pub facts: Option<PathBuf>,
    /// Write where each member lies in the merged stream to a file
    #[arg(long, value_name = "FILE")]
    members: Option<PathBuf>,
    /// Write the pgv manifest of the merged full to a file
    #[arg(long, value_name = "FILE", requires = "since")]
    manifest: Option<PathBuf>,
    /// The pgv manifest of a stream; one for each, oldest first
    #[arg(long, value_name = "MANIFEST", requires = "manifest")]
    since: Vec<PathBuf>,
    /// Leave out the files of databases that this selection skips
    #[arg(long, value_name = "FILE", conflicts_with_all = ["label", "facts", "manifest", "members", "partial"])]
    databases: Option<PathBuf>,
    /// The streams hold some members only: write those as an archive
    #[arg(long, conflicts_with_all = ["label", "record", "facts", "manifest", "members"])]
    partial: bool,
    /// Write only the head of the merged stream, for pgv-apply --plan
    #[arg(long, conflicts_with_all = ["facts", "members", "manifest", "partial"])]
    head: bool,
    /// Streams as files or pipes; with COMMAND, what is appended to it. None:
    /// only the manifest is written
    #[arg(value_name = "STREAM")]
    streams: Vec<OsString>,
    /// Read the output of COMMAND STREAM for each; complete only if it exits 0 or 7
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    common: Common,
}

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Bytes written at a time.
const BUFFER: usize = 256 << 10;
/// Bytes read at a time from each stream.
const READ: usize = 128 << 10;

/// How an input becomes a stream.
pub type Reading = dyn Fn(Input) -> Result<Box<dyn BufRead>>;

/// `next`: the stage that reads the stream in this process; none: whoever reads stdout.
pub fn run(args: Args, next: Option<ThreadSink>, read: &Reading) -> Result<Status> {
    match next {
        Some(sink) => run_into(args, read, || Ok(sink)),
        None => run_into(args, read, || Ok(BufWriter::with_capacity(BUFFER, Output::create(None)?))),
    }
}

/// Streams that are not sealed.
pub fn as_it_is(input: Input) -> Result<Box<dyn BufRead>> {
    Ok(Box::new(BufReader::with_capacity(READ, input)))
}

fn run_into<S: Sink>(args: Args, read: &Reading, sink: impl FnOnce() -> Result<S>) -> Result<Status> {
    for path in [&args.manifest, &args.facts, &args.members].into_iter().flatten() {
        Output::require_file(path)?;
    }
    if args.command.is_empty() && args.streams.iter().filter(|stream| *stream == "-").count() > 1 {
        return Err(Error::usage("only one stream can come from stdin"));
    }
    if args.streams.is_empty() && args.command.is_empty() {
        return merge_manifests(&args).map(|()| Status::Done);
    }
    // All of them at once: each has what it is asked for by the time that its turn comes.
    let inputs =
        || args.streams.iter().map(|stream| input(stream, &args.command, read)).collect::<Result<_>>();
    if args.partial {
        let sink = sink()?;
        return merge::run_partial(inputs()?, sink);
    }
    let options = merge::Options {
        label: args.label.clone(),
        head: args.head,
        records: args.record.iter().map(|path| read_record(path)).collect::<Result<_>>()?,
        facts: args.facts.clone(),
        members: args.members.clone(),
        manifest: args.manifest.clone(),
        since: args.since.clone(),
        selection: args.databases.as_deref().map(read_selection).transpose()?,
    };
    let sink = sink()?;
    merge::run(&options, inputs()?, sink)
}

fn input(stream: &OsString, command: &[OsString], read: &Reading) -> Result<merge::Input> {
    let input = match command {
        [] => Input::open(Some(Path::new(stream)))?,
        _ => Input::of(&[command, std::slice::from_ref(stream)].concat(), None)?,
    };
    let name = stream.to_string_lossy().into_owned();
    Ok(merge::Input { name, reader: read(input)? })
}

/// What a database host knows of a chain that was merged elsewhere.
fn merge_manifests(args: &Args) -> Result<()> {
    let Some((path, label)) = args.manifest.as_ref().zip(args.label.as_ref()) else {
        return Err(Error::usage("no stream to merge")
            .hint("give streams, oldest first; or --manifest, --since and --label for the manifest alone"));
    };
    manifest::merge(&args.since, label, None, path)?.finish()
}

pub fn read_selection(path: &Path) -> Result<Selection> {
    let json = std::fs::read(path).during_path("read", path)?;
    Selection::parse(&json).map_err(|error| error.context(path.display()))
}

pub fn read_record(path: &Path) -> Result<Record> {
    let json = std::fs::read(path).during_path("read", path)?;
    Record::parse(&json).map_err(|error| error.context(path.display()))
}
