//! `pgv-s3`: moves streams and names to and from a store.

mod check;
mod entry;
mod get;
mod keeping;
mod ls;
mod put;
mod rm;
mod stat;

use pgv::cli::{self, Arguments, Common, ConfigOption, StoreOptions, Wanted};
use pgv::error::{Error, IoContext, Result, Status};
use pgv::io::Output;
use pgv::store::{self, Store, Url};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

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
    Put(put::Args),
    Get(get::Args),
    Ls(ls::Args),
    Stat(stat::Args),
    Check(check::Args),
    Rm(rm::Args),
}

impl Verb {
    /// The URL that tells which configuration is needed. None: the URLs come on stdin.
    fn url(&self) -> Option<&str> {
        match self {
            Verb::Put(args) => Some(&args.url),
            Verb::Get(args) => Some(&args.url),
            Verb::Ls(args) => Some(&args.url),
            Verb::Stat(args) => args.urls.first().map(String::as_str).filter(|url| *url != "-"),
            Verb::Check(args) => Some(&args.url),
            Verb::Rm(args) => args.urls.first().map(String::as_str).filter(|url| *url != "-"),
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
    let (options, progress) = (args.store, args.common.progress());
    let service = |url| Wanted::Service { url, told: options.names_service() };
    args.config.apply(args.verb.url().map_or(Wanted::AnyService, service))?;
    let result = match args.verb {
        Verb::Put(args) => put::run(args, &options, progress),
        Verb::Get(args) => get::run(args, &options, progress),
        Verb::Ls(args) => ls::run(&args, &options),
        Verb::Stat(args) => stat::run(&args, &options),
        Verb::Check(args) => check::run(args, &options),
        Verb::Rm(args) => rm::run(&args, &options),
    };
    store::say_requests();
    result
}

fn open(url: &str, options: &StoreOptions) -> Result<(Store, Url)> {
    let url = Url::parse(url)?;
    Ok((Store::open(&url, options)?, url))
}

/// The URLs of the command line, or those on stdin.
fn given(urls: &[String], end: u8) -> Box<dyn Iterator<Item = Result<String>> + '_> {
    match urls == ["-"] {
        true => Box::new(names_on_stdin(end)),
        false => Box::new(urls.iter().cloned().map(Ok)),
    }
}

fn names_on_stdin(end: u8) -> impl Iterator<Item = Result<String>> {
    BufReader::new(io::stdin()).split(end).map(|name| {
        String::from_utf8(name.during("read stdin")?)
            .map_err(|error| Error::usage(format!("a URL on stdin is not UTF-8: {error}")))
    })
}

fn stdout() -> Result<Output> {
    Output::create(Some(Path::new("-")))
}

fn print(lines: &[String]) -> Result<()> {
    let mut output = stdout()?;
    lines.iter().try_for_each(|line| writeln!(output, "{line}")).during("write stdout")?;
    output.finish()
}
