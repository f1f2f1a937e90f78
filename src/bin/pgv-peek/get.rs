//! `get`, `get-ahead`: what a call of restore_command has to do, and what workers fetch for the next ones.

use pgv::catalog::layout;
use pgv::cli::config::Environment;
use pgv::error::{Error, IoContext, Result};
use pgv::io::die_if_unread;
use pgv::pg::control::Control;
use pgv::pg::wal;
use pgv::spool::{self, Ahead, Incoming, Server};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Take a WAL file from the spool; print the configuration and what to do
#[derive(clap::Args)]
pub struct Args {
    /// The configuration [default: the only one in /etc/pgv]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Treat this segment as the end of the archive
    #[arg(long, value_name = "SEGMENT", value_parser = segment)]
    until: Option<String>,
    /// The name of the file
    #[arg(value_name = "NAME")]
    name: PathBuf,
    /// Where it is to be, from the data directory
    #[arg(value_name = "PATH")]
    place: PathBuf,
}

/// Print the object of each segment that workers are to fetch next
#[derive(clap::Args)]
pub struct AheadArgs {
    /// The configuration [default: the only one in /etc/pgv]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Treat this segment as the end of the archive
    #[arg(long, value_name = "SEGMENT", value_parser = segment)]
    until: Option<String>,
    /// Begin after this one
    #[arg(value_name = "SEGMENT", value_parser = segment)]
    after: String,
}

/// The data directory: PostgreSQL runs its commands there.
const HERE: &str = ".";
/// As they are, so recovery has enough with a part of the spool.
const SHARE: u64 = 4;

fn segment(text: &str) -> std::result::Result<String, String> {
    match wal::is_segment_name(text) {
        true => Ok(text.to_owned()),
        false => Err("not the name of a WAL segment".to_owned()),
    }
}

/// The last part of a path, if an archive may hold a file of that name.
pub fn wal_name(path: &Path) -> Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| wal::is_wal_file_name(name));
    name.ok_or_else(|| Error::failed(format!("\"{}\" is not the name of a WAL file", path.display())))
}

pub fn lines(args: &Args) -> Result<String> {
    let name = wal_name(&args.name)?;
    let environment = Environment::load(args.config.as_deref(), None)?;
    let mut lines = environment.lines()?;
    let is_segment = wal::is_segment_name(name);
    if is_segment && args.until.as_ref().is_some_and(|until| name.get(8..) > until.get(8..)) {
        lines.add("answer", "absent");
        return Ok(lines.as_str().to_owned());
    }
    let spool = if is_segment { incoming(&environment)? } else { None };
    if spool.as_ref().is_some_and(|spool| spool.take(name, &args.place, limit(&environment))) {
        lines.add("answer", "stored");
        return Ok(lines.as_str().to_owned());
    }
    let control = Control::read(Path::new(HERE))?;
    lines.add("system_identifier", control.system_identifier()).add("timeline", control.timeline());
    if let Some(spool) = spool.filter(Incoming::recovery_goes_on) {
        lines.add_path("spool", spool.directory());
    }
    Ok(lines.as_str().to_owned())
}

/// A worker that hangs is left alone: half of the time is for doing it here.
fn limit(environment: &Environment) -> std::time::Duration {
    environment.wal_timeout().unwrap_or_default() / 2
}

/// None where there are no workers, or the call is by hand.
fn incoming(environment: &Environment) -> Result<Option<Incoming>> {
    if environment.wal_jobs()? < 2 {
        return Ok(None);
    }
    let state = environment.get("PGV_STATE_DIR")?.unwrap_or_default();
    let server = Server::of(Path::new(HERE));
    Ok(server.map(|server| Incoming::new(Path::new(&state), server, Path::new(HERE))))
}

/// Prints as it goes.
pub fn ahead(args: &AheadArgs) -> Result<String> {
    let environment = Environment::load(args.config.as_deref(), None)?;
    let spool = incoming(&environment)?.ok_or_else(|| Error::failed("no server runs in this directory"))?;
    let segment_bytes = Control::read(Path::new(HERE))?.wal_segment_bytes();
    let limit = spool::segments(environment.wal_spool_bytes()? / SHARE, segment_bytes);
    let mut ahead = Ahead::new(&spool, segment_bytes, limit, environment.wal_jobs()?, args.until.as_deref());
    let mut output = std::io::stdout().lock();
    ahead.run(&args.after, &mut |name| {
        let written = writeln!(output, "{name}{}", layout::SEALED).and_then(|()| output.flush());
        written.map_err(die_if_unread).during("write stdout")
    })?;
    Ok(String::new())
}
