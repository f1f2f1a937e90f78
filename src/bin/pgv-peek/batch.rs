//! `push-batch`, `push-mark`: what the workers of archive_command push ahead of it.

use crate::push::{HERE, outgoing};
use pgv::cli::config::Environment;
use pgv::error::{Error, Kind, Result};
use pgv::pg::control::Control;
use pgv::pg::wal;
use pgv::spool::{self, Outgoing, check_segment};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Print the paths of the segments to push next, ahead of PostgreSQL
#[derive(clap::Args)]
pub struct Args {
    /// The configuration [default: the only one in /etc/pgv]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only segments after this one
    #[arg(long, value_name = "SEGMENT")]
    after: String,
    /// Only the next one
    #[arg(long)]
    one: bool,
    /// Only those before the first whose URL is on stdin
    #[arg(long, conflicts_with = "one")]
    not_listed: bool,
    /// pg_wal, from the data directory
    #[arg(value_name = "DIR")]
    wal: PathBuf,
}

/// Mark as stored the segments whose URLs come on stdin
#[derive(clap::Args)]
pub struct MarkArgs {
    /// The configuration [default: the only one in /etc/pgv]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// pg_wal, from the data directory
    #[arg(value_name = "DIR")]
    wal: PathBuf,
}

fn spool_of<'a>(environment: &Environment, wal: &'a Path) -> Result<Outgoing<'a>> {
    outgoing(environment, wal)?.ok_or_else(|| Error::failed("no server runs in this directory"))
}

/// Fails with [`Kind::NotFound`] if there is none, and with [`Kind::Exists`] if the next one is listed.
pub fn batch(args: &Args) -> Result<String> {
    let environment = Environment::load(args.config.as_deref(), None)?;
    let control = Control::read(Path::new(HERE))?;
    let spool = spool_of(&environment, &args.wal)?;
    let segment_bytes = control.wal_segment_bytes();
    // Sealed, most of them are a fraction of their size.
    let limit = if args.one { 1 } else { spool::segments(environment.wal_spool_bytes()?, segment_bytes) };
    let mut names = spool.next_batch(&args.after, segment_bytes, limit)?;
    if args.not_listed {
        let listed = segments_on_stdin()?;
        let count = names.iter().take_while(|name| !listed.contains(*name)).count();
        if let (0, Some(name)) = (count, names.first()) {
            return Err(Error::new(Kind::Exists, format!("{name} is in the archive already")));
        }
        names.truncate(count);
    }
    if names.is_empty() {
        return Err(Error::new(Kind::NotFound, format!("no segment after {} is to be pushed", args.after)));
    }
    spool.begin_batch(&names)?;
    let mut text = String::new();
    for name in names {
        let path = args.wal.join(&name);
        check_segment(&path, &name, &control)?;
        text = text + &path.display().to_string() + "\n";
    }
    Ok(text)
}

pub fn mark(args: &MarkArgs) -> Result<String> {
    let environment = Environment::load(args.config.as_deref(), None)?;
    let spool = spool_of(&environment, &args.wal)?;
    each_segment(&mut |name| spool.mark(name))?;
    Ok(String::new())
}

fn segments_on_stdin() -> Result<HashSet<String>> {
    let mut names = HashSet::new();
    each_segment(&mut |name| {
        names.insert(name.to_owned());
        Ok(())
    })?;
    Ok(names)
}

/// Of the URLs on stdin, in which there may be other objects; as they come.
fn each_segment(each: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    for line in std::io::stdin().lines() {
        let url = line.map_err(|error| Error::io("read stdin", error))?;
        let name = url.rsplit('/').next().and_then(|file| file.strip_suffix(".pgv"));
        name.filter(|name| wal::is_segment_name(name)).map_or(Ok(()), &mut *each)?;
    }
    Ok(())
}
