//! `primary`: what a replica follows.

use pgv::cli::lines::Lines;
use pgv::error::{Error, IoContext, Result};
use pgv::io::Input;
use pgv::pg::conninfo::{Conninfo, is_slot_name};
use std::io::Read;

/// Check the connection string on stdin as libpq parses it, without connecting; print it as settings of a replica
#[derive(clap::Args)]
pub struct Args {
    /// The replication slot
    #[arg(long, value_name = "NAME")]
    slot: Option<String>,
}

/// It waits no longer than that for the primary's answer.
const TIMEOUT: &str = "5";

pub fn lines(args: &Args) -> Result<String> {
    let mut text = String::new();
    Input::open(None)?
        .read_to_string(&mut text)
        .during("read stdin")
        .map_err(|e| Error::usage(format!("the connection string: {e}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let conninfo = Conninfo::parse(text)?;
    if let Some(slot) = args.slot.as_deref().filter(|slot| !is_slot_name(slot)) {
        return Err(Error::usage(format!(
            "\"{}\" is not a slot's name: it has 1 to 63 of a-z, 0-9 and _",
            slot.escape_default()
        )));
    }
    let mut lines = Lines::new();
    lines.add("primary_conninfo", text).add_some("primary_slot_name", args.slot.as_deref());
    lines.add("primary_shown", conninfo.shown());
    // As the server's WAL receiver connects, for who wants to look at it before.
    let probe = [("dbname", "replication"), ("replication", "true"), ("connect_timeout", TIMEOUT)];
    lines.add("primary_probe", conninfo.with(&probe));
    Ok(lines.as_str().to_owned())
}
