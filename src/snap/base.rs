//! What an increment builds on, and the reasons why there can be none.

use crate::catalog::{BackupType, Label, Mode};
use crate::error::{Error, IoContext, Result};
use crate::manifest::{Chain, Head, MAX_LINKS};
use crate::pg::{major, timeline};
use crate::report;
use crate::snap::options::Options;
use crate::snap::since::Since;
use crate::snap::source::Source;
use std::io;
use std::path::PathBuf;
use time::OffsetDateTime;

/// The parent's manifests, and the label of what will build on them; `None` for a full.
pub fn open(options: &Options, source: &mut Source) -> Result<Option<(Since, Label)>> {
    if options.since.is_empty() {
        return Ok(None);
    }
    if options.offline && !options.files {
        return Err(Error::usage(
            "a stopped cluster has no backup label, and an increment of blocks needs one",
        )
        .hint("add --files, or start the server and leave out --offline"));
    }
    let chain = open_chain(&options.since)?;
    let head = chain.head();
    if let Some(why) = unfit(head, source)? {
        return Err(Error::failed(format!("no increment since {} is possible: {why}", head.label))
            .hint("make a full backup"));
    }
    let now = OffsetDateTime::now_utc();
    let label = match &options.label {
        Some(label) => label.clone(),
        None => Label::increment(&head.label, BackupType::Incr, now)?,
    };
    check_label(&label, head, options.since.len())?;
    let times = Label::full(now)?.time_part() >= head.label.time_part();
    if !times {
        report::warn("the clock was set back after the parent backup: reading every file");
    }
    let mode = if options.files { Mode::Files } else { Mode::Blocks };
    Ok(Some((Since::new(chain, mode, times)?, label)))
}

/// Why there can be no increment since the manifests that were given.
pub fn refusal(options: &Options, source: &mut Source) -> Result<Option<String>> {
    if options.since.is_empty() {
        return Ok(None);
    }
    unfit(open_chain(&options.since)?.head(), source)
}

/// Refuses a chain that has no room for another link.
fn open_chain(since: &[PathBuf]) -> Result<Chain> {
    match since.len() < MAX_LINKS {
        true => Chain::open(since),
        false => {
            Err(Error::usage(format!("the chain has {} backups already", since.len()))
                .hint("make a full backup"))
        }
    }
}

fn check_label(label: &Label, head: &Head, links: usize) -> Result<()> {
    let wrong = |why: &str| Err(Error::usage(format!("label {label}: {why}")));
    match label.backup_type() {
        BackupType::Full => wrong("the label of an increment ends with D or I"),
        BackupType::Diff if links > 1 => wrong("a differential builds only on its full backup"),
        _ if label.full_part() != head.label.full_part() => {
            wrong(&format!("it does not begin with the label of its full backup, {}", head.label.full_part()))
        }
        _ if label.time_part() <= head.label.time_part() => wrong("its parent is not older than it"),
        _ => Ok(()),
    }
}

/// The parent must be of this cluster, of the same layout, and in its past.
fn unfit(head: &Head, source: &mut Source) -> Result<Option<String>> {
    let control = &source.control;
    let now = match &mut source.session {
        Some(session) => session.timeline()?,
        None => control.timeline(),
    };
    let major = major::of(&head.pg_version);
    let layout = (head.page_size, head.segment_pages);
    if head.system_identifier != control.system_identifier() {
        return Ok(Some("it belongs to another cluster".to_owned()));
    }
    if major != source.major.to_string() {
        return Ok(Some(format!("it was taken from PostgreSQL {major}")));
    }
    if layout != (control.page_size(), control.segment_pages()) {
        return Ok(Some("its pages or segments have another size".to_owned()));
    }
    let in_past = match head.timeline == now {
        true => head.start_lsn <= control.checkpoint(),
        false => timeline::is_in_history(&history(source, now)?, head.timeline, head.start_lsn),
    };
    let why = format!(
        "its start, {} on timeline {}, is not in this server's history",
        head.start_lsn, head.timeline
    );
    Ok((!in_past).then_some(why))
}

/// Empty if there is none.
fn history(source: &Source, timeline: u32) -> Result<String> {
    let path = source.root.join("pg_wal").join(timeline::history_name(timeline));
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.during_path("read", &path),
    }
}
