//! `pgv-s3`: moves streams and names to and from a store.

use pgv::cli::{self, Arguments, Common};
use pgv::error::{Error, IoContext, Kind, Result, Status};
use pgv::io::{AtomicFile, Input, Output, Producer};
use pgv::store::{Entry, FileStore, Scheme, Url};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use time::format_description::well_known::Rfc3339;

/// One piece of a copy; large enough that system calls cost nothing.
const COPY_BYTES: usize = 1 << 20;

/// Move streams to and from a directory (file:///path)
#[derive(clap::Parser)]
#[command(name = "pgv-s3", version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Store stdin, FILE or the output of COMMAND as one object
    Put {
        /// Replace an object of that name
        #[arg(long)]
        replace: bool,
        /// Print url, bytes and sha256 as one line of JSON
        #[arg(long)]
        json: bool,
        url: String,
        /// Store this file [default: stdin]
        #[arg(value_name = "FILE", conflicts_with = "command")]
        file: Option<PathBuf>,
        /// Store the output of COMMAND, only if it exits 0 or 7
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Write an object to stdout
    Get {
        url: String,
        /// Write to this file, which appears only when complete
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
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
    /// Remove objects
    Rm {
        /// URLs, or - for URLs on stdin
        #[arg(required = true, value_name = "URL")]
        urls: Vec<String>,
        /// All objects below a URL that ends with /
        #[arg(long)]
        recursive: bool,
        /// Print what would be removed
        #[arg(long)]
        dry_run: bool,
    },
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
    match args.verb {
        Verb::Put { replace, json, url, file, command } => {
            let put = Put { url: parse(&url)?, replace, json };
            match command.is_empty() {
                true => put.input(Input::open(file.as_deref())?).map(|()| Status::Done),
                false => put.command(&command),
            }
        }
        Verb::Get { url, output } => get(&parse(&url)?, output).map(|()| Status::Done),
        Verb::Ls { url, recursive, long, json, null } => {
            let line = match (json, long) {
                (true, _) => Line::Json,
                (_, true) => Line::Long,
                _ => Line::Url,
            };
            list(&parse(&url)?, recursive, line, if null { '\0' } else { '\n' }).map(|()| Status::Done)
        }
        Verb::Stat { url, json } => stat(&parse(&url)?, json).map(|()| Status::Done),
        Verb::Rm { urls, recursive, dry_run } => remove_all(&urls, recursive, dry_run).map(|()| Status::Done),
    }
}

fn parse(text: &str) -> Result<Url> {
    let url = Url::parse(text)?;
    match url.scheme() {
        Scheme::File => Ok(url),
        Scheme::S3 => Err(Error::usage(format!("{url}: this version stores in directories only"))
            .hint("file:///path names one; a directory can be copied to a bucket by any tool")),
    }
}

struct Put {
    url: Url,
    replace: bool,
    json: bool,
}

/// What was stored.
struct Stored {
    bytes: u64,
    sha256: String,
}

impl Put {
    fn input(&self, mut input: Input) -> Result<()> {
        let mut object = FileStore.create(&self.url, self.replace)?;
        let copied = self.copy(&mut input, &mut object);
        self.finish(object, copied)
    }

    /// The end of file of a dead producer looks like that of a finished one, so its exit status decides.
    fn command(&self, command: &[OsString]) -> Result<Status> {
        let mut object = FileStore.create(&self.url, self.replace)?;
        let mut producer = match Producer::spawn(command) {
            Ok(producer) => producer,
            Err(error) => {
                object.abandon();
                return Err(error);
            }
        };
        let copied = producer.take_stdout().and_then(|mut stdout| self.copy(&mut stdout, &mut object));
        let finished = match copied {
            Ok(stored) => producer.finish().map(|status| (stored, status)),
            Err(error) => {
                producer.kill();
                Err(error)
            }
        };
        match finished {
            Ok((stored, status)) => self.finish(object, Ok(stored)).map(|()| status),
            Err(error) => {
                object.abandon();
                Err(error)
            }
        }
    }

    fn copy(&self, from: &mut impl Read, to: &mut AtomicFile) -> Result<Stored> {
        let mut digest = Sha256::new();
        let mut bytes = 0;
        copy(from, to, &mut |piece| {
            digest.update(piece);
            bytes += piece.len() as u64;
        })
        .map_err(|error| error.context(format_args!("put {}", self.url)))?;
        let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Stored { bytes, sha256 })
    }

    fn finish(&self, object: AtomicFile, copied: Result<Stored>) -> Result<()> {
        let stored = match copied {
            Ok(stored) => stored,
            Err(error) => {
                object.abandon();
                return Err(error);
            }
        };
        object.commit(self.replace)?;
        if !self.json {
            return Ok(());
        }
        let line = serde_json::json!({"url": self.url.to_string(), "bytes": stored.bytes, "sha256": stored.sha256,
            "crc64nvme": null, "etag": null});
        let mut output = stdout()?;
        writeln!(output, "{line}").during("write stdout")?;
        output.finish()
    }
}

fn get(url: &Url, output: Option<PathBuf>) -> Result<()> {
    let mut object = FileStore.open(url)?;
    let length = object.metadata().during(format_args!("get {url}"))?.len();
    let mut output = Output::create(output.as_deref())?;
    let mut bytes = 0;
    let copied = copy(&mut object, &mut output, &mut |piece| bytes += piece.len() as u64);
    let checked = copied.map_err(|error| error.context(format_args!("get {url}"))).and_then(|()| {
        match bytes == length {
            true => Ok(()),
            false => Err(Error::damaged(format!("get {url}: {bytes} bytes instead of {length}"))),
        }
    });
    match checked {
        Ok(()) => output.finish(),
        Err(error) => {
            output.abandon();
            Err(error)
        }
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write, seen: &mut dyn FnMut(&[u8])) -> Result<()> {
    let mut buffer = vec![0u8; COPY_BYTES];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io("read", error)),
        };
        seen(&buffer[..length]);
        to.write_all(&buffer[..length]).during("write")?;
    }
}

#[derive(Clone, Copy)]
enum Line {
    Url,
    Long,
    Json,
}

fn stdout() -> Result<Output> {
    Output::create(Some(std::path::Path::new("-")))
}

fn list(url: &Url, recursive: bool, line: Line, end: char) -> Result<()> {
    let mut output = BufWriter::new(stdout()?);
    FileStore.list(url, recursive, &mut |entry| {
        write!(output, "{}{end}", describe(&entry, line)).during("write stdout")
    })?;
    let output = output.into_inner().map_err(|error| error.into_error()).during("write stdout")?;
    output.finish()
}

fn describe(entry: &Entry, line: Line) -> String {
    let modified = entry.modified.and_then(|time| time.format(&Rfc3339).ok());
    match line {
        Line::Url => entry.url.to_string(),
        Line::Long => format!("{:>15} {} {}", entry.bytes, modified.unwrap_or_default(), entry.url),
        Line::Json => {
            serde_json::json!({"url": entry.url.to_string(), "bytes": entry.bytes, "modified": modified, "etag": null})
                .to_string()
        }
    }
}

fn stat(url: &Url, json: bool) -> Result<()> {
    let entry = FileStore.stat(url)?;
    let mut output = stdout()?;
    writeln!(output, "{}", describe(&entry, if json { Line::Json } else { Line::Long }))
        .during("write stdout")?;
    output.finish()
}

fn remove_all(urls: &[String], recursive: bool, dry_run: bool) -> Result<()> {
    if urls != ["-"] {
        return urls.iter().try_for_each(|url| remove(&parse(url)?, recursive, dry_run));
    }
    for line in io::stdin().lines() {
        remove(&parse(&line.during("read stdin")?)?, recursive, dry_run)?;
    }
    Ok(())
}

/// The names first, then their removal: a listing that changes under it would be no plan.
fn remove(url: &Url, recursive: bool, dry_run: bool) -> Result<()> {
    let mut doomed = Vec::new();
    match (url.is_directory(), recursive) {
        (true, true) => FileStore.list(url, true, &mut |entry| {
            doomed.push(entry.url);
            Ok(())
        })?,
        (true, false) => return Err(Error::usage(format!("rm {url}: a directory needs --recursive"))),
        (false, true) => {
            return Err(Error::new(
                Kind::Usage,
                format!("rm {url}: --recursive needs a URL that ends with /"),
            ));
        }
        (false, false) => doomed.push(url.clone()),
    }
    let mut output = BufWriter::new(stdout()?);
    for url in doomed {
        match dry_run {
            true => writeln!(output, "{url}").during("write stdout")?,
            false => FileStore.remove(&url)?,
        }
    }
    output.into_inner().map_err(|error| error.into_error()).during("write stdout")?.finish()
}
