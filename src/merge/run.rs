//! The order of a merge: who all the streams are, and then the data. Nothing is written before every stream was found to
//! follow the one before it, and the last member only when all of them have ended well.

use crate::catalog::{BackupType, Label, MembersWriter, Mode, Record, Selection, StreamIdentity, member};
use crate::error::{Error, Result, Status};
use crate::io;
use crate::manifest::{self, MAX_LINKS, Merged};
use crate::merge::bad_pages::BadPages;
use crate::merge::facts::Counted;
use crate::merge::link::Link;
use crate::merge::output::Output;
use crate::merge::{body, facts, tail};
use crate::pg::major;
use crate::report;
use crate::stream::Claims;
use std::io::BufRead;
use std::path::PathBuf;

/// A stream of the chain.
pub struct Input {
    /// For messages.
    pub name: String,
    /// Ends only if the stream is whole, as far as its origin can tell.
    pub reader: Box<dyn BufRead>,
}

/// The command line.
#[derive(Default)]
pub struct Options {
    /// Of the merged full; by default that of the newest stream, whose state it is.
    pub label: Option<Label>,
    /// Only who the merged stream is: its head, and the end of an archive.
    pub head: bool,
    /// Of each stream, oldest first; or none.
    pub records: Vec<Record>,
    /// Where the facts of the merged full go, for its record.
    pub facts: Option<PathBuf>,
    /// Where the list of its members goes.
    pub members: Option<PathBuf>,
    /// Where its pgv manifest goes.
    pub manifest: Option<PathBuf>,
    /// The pgv manifests of the chain, oldest first.
    pub since: Vec<PathBuf>,
    /// Of other databases than these the streams may have no files, and the merged one has none.
    pub selection: Option<Selection>,
}

/// Merges the streams, oldest first, into one in `sink`. Ends with a stream that is complete, or with an error and one
/// that has neither its last member nor its end.
pub fn run(options: &Options, inputs: Vec<Input>, sink: impl io::Sink) -> Result<Status> {
    let links = open(inputs)?;
    check_records(&options.records, &links)?;
    let Some(newest) = links.last() else { return Err(Error::usage("no stream to merge")) };
    let identity = identity(options, &links, newest);
    check_label(&identity.label, options.label.is_some(), &links)?;
    if options.head {
        return write_head(newest, &identity, sink).map(|()| Status::Done);
    }
    let hashes = match &options.manifest {
        Some(path) => Some(manifest::merge(&options.since, &identity.label, Some(&newest.identity), path)?),
        None => None,
    };
    let facts = options.facts.as_deref().map(|path| io::Output::create(Some(path))).transpose()?;
    let status = write(options, links, &identity, facts, sink)?;
    hashes.map_or(Ok(()), Merged::finish)?;
    report::verbose(format_args!("merged into {}", identity.label));
    Ok(status)
}

/// Reads who the streams are, which must be a chain.
pub(super) fn open(inputs: Vec<Input>) -> Result<Vec<Link>> {
    if inputs.len() > MAX_LINKS {
        return Err(Error::usage(format!("{} streams; at most {MAX_LINKS} can be merged", inputs.len())));
    }
    let open = |input: Input| Link::open(input.name, input.reader);
    let links = inputs.into_iter().map(open).collect::<Result<Vec<_>>>()?;
    check_chain(&links)?;
    Ok(links)
}

/// The streams need not go on behind their heads.
fn write_head(newest: &Link, identity: &StreamIdentity, sink: impl io::Sink) -> Result<()> {
    let mut output = Output::new(sink, major_of(identity)?, identity.system_identifier)?;
    output.tar.directory(b".", newest.top.0.attributes())?;
    let (member, listed) = &newest.head;
    output.small(member::IDENTITY.as_bytes(), &identity.encode()?, member, Some(listed))?;
    let (sink, _) = output.tar.finish()?;
    sink.finish()
}

/// `facts`: where those of the merged full go. Only they say how many bad pages it has, which is a finding.
fn write(
    options: &Options,
    mut links: Vec<Link>,
    identity: &StreamIdentity,
    facts: Option<io::Output>,
    sink: impl io::Sink,
) -> Result<Status> {
    let Some(newest) = links.last() else { return Err(Error::usage("no stream to merge")) };
    let claims = Claims { record: options.records.last().cloned(), ..Claims::default() };
    let mut output = Output::new(sink, major_of(identity)?, identity.system_identifier)?;
    if let Some(path) = &options.members {
        output.tar.observe(Box::new(MembersWriter::create(path, &identity.label, identity.mode)?));
    }
    output.bad_pages = facts.as_ref().and_then(|_| bad_pages(&options.records, identity));
    output.tar.directory(b".", newest.top.0.attributes())?;
    let (member, listed) = &newest.head;
    output.small(member::IDENTITY.as_bytes(), &identity.encode()?, member, Some(listed))?;
    let selection = options.selection.as_ref();
    body::merge(&mut links, selection, &mut output)?;
    let (files, bytes) = (output.files, output.bytes);
    let Some(newest) = links.pop() else { return Err(Error::usage("no stream to merge")) };
    output.tar.begin_tail();
    let last = tail::copy(newest, (&claims, selection), &mut output)?;
    for link in links {
        link.finish()?;
    }
    let found = output.bad_pages.take();
    let bad_pages = found.map_or(0, |found| settle(&found, &options.records, last.page_checksums));
    let (sink, stream_bytes) = output.finish(&last)?;
    if let Some(facts) = facts {
        let counted = Counted { files, bytes, stream_bytes, bad_pages };
        facts::write(facts, &identity.label, &options.records, &identity.merged_from, &counted)?;
    }
    sink.finish()?;
    Ok(if bad_pages > 0 { Status::Findings } else { Status::Done })
}

/// Nothing is looked for where no backup of the chain had a bad page when it was made.
fn bad_pages(records: &[Record], identity: &StreamIdentity) -> Option<BadPages> {
    let newest = &records.last()?.backup;
    let was_found = records.iter().any(|record| record.backup.findings.bad_pages > 0);
    let StreamIdentity { page_size, segment_pages, start_lsn, .. } = identity;
    was_found.then(|| BadPages::new(*page_size, *segment_pages, *start_lsn, newest.stop_lsn))
}

/// How many there are, no more than were found when the chain was made. Checksums that were switched off since tell nothing:
/// then all are there.
fn settle(found: &BadPages, records: &[Record], has_checksums: bool) -> u64 {
    let known = records.iter().map(|record| record.backup.findings.bad_pages).sum();
    if !has_checksums {
        report::warn("the page checksums were switched off: the bad pages of all backups are counted");
        return known;
    }
    found.warn();
    found.count().min(known)
}

/// Each stream but the first builds on the one before it; all are looked at before anything is written.
fn check_chain(links: &[Link]) -> Result<()> {
    let wrong = |link: &Link, why: String| {
        Err(link
            .named(Error::damaged(why))
            .hint("nothing was written; give a full backup and its increments, oldest first"))
    };
    for (number, link) in links.iter().enumerate() {
        let stream = &link.identity;
        let before = number.checked_sub(1).and_then(|before| links.get(before));
        match before {
            None if stream.mode != Mode::Full => {
                return wrong(link, format!("backup {} is not a full backup", stream.label));
            }
            Some(before) if !stream.builds_on(&before.identity) => {
                let label = &before.identity.label;
                return wrong(link, format!("backup {} does not build on {label}", stream.label));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_records(records: &[Record], links: &[Link]) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    if records.len() != links.len() {
        return Err(Error::usage(format!("{} records for {} streams", records.len(), links.len()))
            .hint("give --record for each stream, oldest first"));
    }
    for (record, link) in records.iter().zip(links) {
        let claims = Claims { record: Some(record.clone()), ..Claims::default() };
        claims.check(&link.identity).map_err(|error| link.named(error))?;
    }
    Ok(())
}

/// A label of its own is that of a full, and later than all that is in it.
fn check_label(label: &Label, is_own: bool, links: &[Link]) -> Result<()> {
    let newest = links.iter().map(|link| link.identity.label.time_part()).max().unwrap_or_default();
    match is_own && (label.backup_type() != BackupType::Full || label.time_part() <= newest) {
        true => Err(Error::usage(format!("label {label}: it must be a full backup's, later than {newest}"))),
        false => Ok(()),
    }
}

/// Who the merged stream is. A full alone stays what it is, unless it is to have another label.
fn identity(options: &Options, links: &[Link], newest: &Link) -> StreamIdentity {
    let stream = newest.identity.clone();
    match (&options.label, links.len()) {
        (None, 1) => stream,
        (label, _) => StreamIdentity {
            label: label.clone().unwrap_or_else(|| stream.label.clone()),
            mode: Mode::Full,
            parent: None,
            parent_start_lsn: None,
            parent_timeline: None,
            merged_from: match links.len() {
                1 if !stream.merged_from.is_empty() => stream.merged_from.clone(),
                _ => links.iter().map(|link| link.identity.label.clone()).collect(),
            },
            ..stream
        },
    }
}

pub(super) fn major_of(identity: &StreamIdentity) -> Result<u32> {
    let major = major::of(&identity.pg_version);
    major.parse().map_err(|_| Error::damaged(format!("{}: not a version of PostgreSQL", identity.pg_version)))
}
