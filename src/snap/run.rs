//! The order of a backup, from the first member to the end marker.

use crate::catalog::{BackupFacts, Facts, Findings, MembersWriter, StreamIdentity, member};
use crate::error::{Result, Status};
use crate::io::{Output, Pace};
use crate::report::{self, Progress};
use crate::snap::copy::Copier;
use crate::snap::facts::Beside;
use crate::snap::finish::finish;
use crate::snap::options::Options;
use crate::snap::reading::{PageRules, Reading};
use crate::snap::since::Since;
use crate::snap::source::{self, Source, last_control, measure, root_attributes};
use crate::snap::stream::{Lists, Stream};
use crate::snap::wal::{Segments, copy_wal};
use crate::snap::{base, config, data, facts, head, label, start, tablespaces};
use crate::tar::Attributes;

/// Makes the backup: tar on stdout.
pub fn run(options: &Options) -> Result<Status> {
    let Beside { manifest, facts: facts_output } = Beside::create(options)?;
    let mut source = source::open(options)?;
    let (since, backup_label) = match base::open(options, &mut source)? {
        Some((since, label)) => (Some(since), label),
        None => (None, start::full_label(options)?),
    };
    let total = measure(&source.tree)?;
    let started_at = facts::now()?;
    let host = facts::host_name();
    let config = config::find(&mut source)?;
    let started = start::start(options, &mut source, &backup_label, since.as_ref())?;
    let identity = &started.identity;
    let mut copier = open(options, &mut source, manifest, identity, since, total)?;

    head::write(&mut copier.stream, &source.tree, identity, &config, started.databases.is_some())?;
    let copied = data::copy(&source, &mut copier, &config)?;
    let bad_pages = copier.reading.settle()?;
    let control = last_control(&source, copier.reading.session.is_some())?;
    let session = copier.reading.session.as_mut();
    let stopped = session.map(|session| label::stop(session, identity)).transpose()?;
    let tablespaces_changed = tablespaces::changed(&source.root)? != started.tablespaces_at;
    if tablespaces_changed {
        report::warn("a tablespace was created or dropped while the backup ran");
        report::hint(
            "recovery creates it again in its original place: do not restore this backup beside the original",
        );
    }
    let stop_lsn = stopped.as_ref().map_or(control.checkpoint(), |stopped| stopped.lsn);
    let segments = Segments::between(identity, stop_lsn, control.wal_segment_bytes());
    copier.stream.tar.begin_tail();
    copy_wal(&source.root, &mut copier, &segments, options.include_wal)?;
    if let Some(map) = stopped.as_ref().map(|stopped| &stopped.tablespace_map).filter(|map| !map.is_empty()) {
        copier.stream.add(member::TABLESPACE_MAP, map, Lists::All)?;
    }
    config.write(&mut copier.stream)?;
    if let Some(databases) = &started.databases {
        copier.stream.add(member::DATABASES, &databases.encode()?, Lists::All)?;
    }
    copier.stream.add("recovery.signal", b"", Lists::All)?;
    if let Some(stopped) = &stopped {
        label::write(&mut copier.stream, identity, source.major, &stopped.label)?;
    }
    let range = stopped.as_ref().map(|stopped| (identity.timeline, identity.start_lsn, stopped.lsn));
    let control = if stopped.is_some() { control.guarded() } else { control };
    let finished = finish(copier, &control, range)?;

    let findings = Findings {
        bad_pages,
        links: copied.links,
        unread: config.configuration.unread.len() as u64,
        reserved: copied.reserved,
    };
    let facts = Facts::new(BackupFacts {
        backup_type: backup_label.backup_type(),
        label: backup_label,
        mode: identity.parent.as_ref().map(|_| identity.mode),
        parent: identity.parent.clone(),
        merged_from: Vec::new(),
        system_identifier: identity.system_identifier,
        pg_version: identity.pg_version.clone(),
        host,
        started_at,
        stopped_at: facts::end_of_second()?,
        start_lsn: identity.start_lsn,
        stop_lsn,
        timeline: identity.timeline,
        wal_first: segments.names.first().cloned().unwrap_or_default(),
        wal_last: segments.names.last().cloned().unwrap_or_default(),
        wal_included: options.include_wal,
        tablespaces: tablespaces::with_bytes(&identity.tablespaces, copied.tablespaces),
        tablespaces_changed: started.tablespaces_changed || tablespaces_changed,
        archiving: started.archiving,
        database_bytes: finished.bytes,
        stream_bytes: finished.stream_bytes,
        files: finished.files,
        blocks: finished.blocks,
        findings,
        configuration: config.names(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    facts_output.map_or(Ok(()), |output| facts::write(output, &facts))?;
    match findings == Findings::default() {
        true => Ok(Status::Done),
        false => Ok(Status::Findings),
    }
}

/// Opens the stream, and takes over the session. `total`: bytes of the database.
fn open(
    options: &Options,
    source: &mut Source,
    manifest: Option<Output>,
    identity: &StreamIdentity,
    since: Option<Since>,
    total: u64,
) -> Result<Copier> {
    let generated = Attributes { mode: 0o600, ..root_attributes(&source.root)? };
    let mut stream = Stream::open(manifest, source.major, identity, since.as_ref(), total, generated)?;
    if let Some(path) = &options.members {
        stream.tar.observe(Box::new(MembersWriter::create(path, &identity.label, identity.mode)?));
    }
    let rules = PageRules {
        page_size: identity.page_size as usize,
        segment_pages: identity.segment_pages,
        checked: source.checksums,
        start_lsn: identity.start_lsn,
    };
    let reading = Reading::new(rules, Pace::new(options.rate), source.session.take());
    let progress = Progress::new("pgv-snap", Some(total), options.progress)?;
    Ok(Copier::new(stream, reading, since, progress))
}
