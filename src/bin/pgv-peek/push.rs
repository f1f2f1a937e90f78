//! `push`: what a call of archive_command has to do.

use pgv::cli::config::Environment;
use pgv::error::{Error, Result};
use pgv::pg::control::Control;
use pgv::pg::wal;
use pgv::spool::{Outgoing, Server, check_segment};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Check a WAL file to be archived; print the configuration and what to do
#[derive(clap::Args)]
pub struct Args {
    /// The configuration [default: the only one in /etc/pgv]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file, from the data directory
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

/// The data directory: PostgreSQL runs its commands there.
pub const HERE: &str = ".";

pub fn lines(args: &Args) -> Result<String> {
    let name = super::get::wal_name(&args.path)?;
    let environment = Environment::load(args.config.as_deref(), None)?;
    refuse_copy(&environment)?;
    let directory = args.path.parent().unwrap_or(Path::new(HERE));
    let mut lines = environment.lines()?;
    let is_ahead = environment.wal_jobs()? > 1 && wal::is_segment_name(name);
    let spool = if is_ahead { outgoing(&environment, directory)? } else { None };
    if let Some(spool) = &spool
        && !spool.is_marked(name)
    {
        spool.wait_for_batch(name, environment.wal_timeout()? / 2);
    }
    let is_stored = spool.as_ref().is_some_and(|spool| spool.is_marked(name));
    let control = Control::read(Path::new(HERE))?;
    let own = control.system_identifier();
    match environment.get("PGV_SYSTEM_ID")? {
        Some(wanted) if wanted != own.to_string() => {
            return Err(Error::failed(format!(
                "the cluster's system identifier is {own}, but PGV_SYSTEM_ID is {wanted}"
            )));
        }
        _ => {}
    }
    if !is_stored {
        check_segment(&args.path, name, &control)?;
    }
    lines.add("stored", if is_stored { "yes" } else { "no" }).add("system_identifier", own);
    let following = wal::following(name, control.wal_segment_bytes());
    let is_more = following.is_some_and(|next| spool.is_some_and(|spool| spool.is_ready(&next)));
    lines.add("ahead", if is_more { "yes" } else { "no" });
    Ok(lines.as_str().to_owned())
}

/// A restored copy must never feed the archive of its original.
fn refuse_copy(environment: &Environment) -> Result<()> {
    let cluster = environment.get("PGV_CLUSTER")?.unwrap_or_default();
    let Some(configured) = environment.get("PGV_PGDATA")? else {
        return Err(Error::failed(format!("no PGV_PGDATA in the configuration of {cluster}")).hint(
            "set it to the data directory: it keeps a copy of the cluster from archiving as the original",
        ));
    };
    let identity = |path: &str| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    match (identity(HERE), identity(&configured)) {
        (Some(here), Some(there)) if here == there => Ok(()),
        _ => {
            let here = std::env::current_dir().unwrap_or_default();
            Err(Error::failed(format!(
                "{} is not {configured}, the data directory of {cluster}",
                here.display()
            ))
            .hint(
                "a restored copy needs a configuration and a PGV_CLUSTER of its own, or archive_mode = off",
            ))
        }
    }
}

/// None: no server runs here.
pub fn outgoing<'a>(environment: &Environment, wal: &'a Path) -> Result<Option<Outgoing<'a>>> {
    let Some(server) = Server::of(Path::new(HERE)) else { return Ok(None) };
    let get = |key: &str| environment.get(key).map(Option::unwrap_or_default);
    let tree = format!("{}/{}", get("PGV_REPO")?, get("PGV_CLUSTER")?);
    Ok(Some(Outgoing::new(Path::new(&get("PGV_STATE_DIR")?), &server, &tree, wal)))
}
