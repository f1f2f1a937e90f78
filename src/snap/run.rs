//! The order of a backup, from the first member to the end marker.

use crate::catalog::{
    BackupFacts, BackupType, Blocks, Facts, Files, Findings, Label, Mode, STREAM_FORMAT, StreamIdentity,
    UNSTACK_PATH,
};
use crate::error::{Error, IoContext, Result, Status};
use crate::io::{Output, Pace, TemporaryFile, temporary_file};
use crate::manifest;
use crate::pg::backup_label::{self, BackupLabel};
use crate::pg::control::{self, Control};
use crate::pg::crc::Shift;
use crate::pg::{Lsn, backup_manifest};
use crate::report::{self, Progress};
use crate::snap::archive::{Archive, Attributes};
use crate::snap::copy::{Copier, Listing, Lists, PageRules, attributes};
use crate::snap::ledger::{BUFFER, Books, Hashing, Ledger, Spooled};
use crate::snap::options::Options;
use crate::snap::session::{Session, Stopped};
use crate::snap::since::Since;
use crate::snap::source::{self, Source, last_control, measure, root_attributes};
use crate::snap::tablespaces::{Changed, Found};
use crate::snap::tree::{Entry, Name};
use crate::snap::wal::{Segments, copy_wal};
use crate::snap::{base, config, tablespaces};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What merges increments on those servers, without pgv.
const UNSTACK: &[u8] = include_bytes!("../../scripts/pgv-unstack");
/// From here on servers know increments in blocks, and refuse to start one.
const SEVENTEEN: u32 = 17;

/// How often a backup begins, for a checkpoint younger than every tablespace.
const START_TRIES: u32 = 3;
/// Checkpoints tell their time in whole seconds.
const CLOCK_TICK: Duration = Duration::from_millis(1100);

/// Makes the backup: tar on stdout.
pub fn run(options: &Options) -> Result<Status> {
    let mut source = source::open(options)?;
    let (since, label) = match base::open(options, &mut source)? {
        Some((since, label)) => (Some(since), label),
        None => (None, full_label(options)?),
    };
    let total = measure(&source.tree)?;
    let started_at = now()?;
    let host = host_name();
    let config = config::find(&mut source)?;
    let Begun { identity, archiving, mut tablespaces_changed, found_at } =
        begin(options, &mut source, &label, since.as_ref())?;
    let mut copier = open_stream(options, &mut source, &identity, since, total)?;

    let made_up = Attributes { mode: 0o600, ..root_attributes(&source.root)? };
    copier.findings.unread = config.configuration.unread.len() as u64;
    copy_identity(&source, &mut copier, &identity, &config, made_up)?;
    let spaces = copy_tree(&source, &mut copier, &config)?;
    let control = last_control(&source, copier.session.is_some())?;
    let stopped = stop(&mut copier, &identity)?;
    if tablespaces::changed(&source.root)? != found_at {
        report::warn("a tablespace was created or dropped while the backup ran");
        report::hint(
            "what was created comes back at its original place: do not restore this backup beside the original",
        );
        tablespaces_changed = true;
    }
    let stop_lsn = stopped.as_ref().map_or(control.checkpoint(), |stopped| stopped.lsn);
    let segments = Segments::between(&identity, stop_lsn, control.wal_segment_bytes());
    copy_wal(&source.root, &mut copier, &segments, options.include_wal, made_up)?;
    if let Some(map) = stopped.as_ref().map(|stopped| &stopped.tablespace_map).filter(|map| !map.is_empty()) {
        copier.small("pgv/tablespace_map", map, Lists::All, made_up)?;
    }
    config.copy(&mut copier, made_up)?;
    copier.small("recovery.signal", b"", Lists::All, made_up)?;
    if let Some(stopped) = &stopped {
        copy_label(&mut copier, &identity, source.major, &stopped.label, made_up)?;
    }
    let range = stopped.as_ref().map(|stopped| (identity.timeline, identity.start_lsn, stopped.lsn));
    let control = if stopped.is_some() { control.guarded() } else { control };
    let finished = finish(copier, &control, range, made_up)?;

    let facts = Facts::new(BackupFacts {
        backup_type: label.backup_type(),
        label,
        mode: identity.parent.as_ref().map(|_| identity.mode),
        parent: identity.parent,
        system_identifier: identity.system_identifier,
        pg_version: identity.pg_version,
        host,
        started_at,
        stopped_at: end_of_second()?,
        start_lsn: identity.start_lsn,
        stop_lsn,
        timeline: identity.timeline,
        wal_first: segments.names.first().cloned().unwrap_or_default(),
        wal_last: segments.names.last().cloned().unwrap_or_default(),
        wal_included: options.include_wal,
        tablespaces: tablespaces::with_bytes(&identity.tablespaces, spaces),
        tablespaces_changed,
        archiving,
        database_bytes: finished.bytes,
        stream_bytes: finished.stream_bytes,
        files: finished.files,
        blocks: finished.blocks,
        findings: finished.findings,
        configuration: config.names(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    if let Some(path) = &options.facts {
        write_facts(path, &facts)?;
    }
    if let Some(path) = &options.facts_lines {
        write_whole(path, facts.lines().as_str().as_bytes())?;
    }
    match finished.findings == Findings::default() {
        true => Ok(Status::Done),
        false => Ok(Status::Findings),
    }
}

fn full_label(options: &Options) -> Result<Label> {
    match &options.label {
        Some(label) if label.backup_type() == BackupType::Full => Ok(label.clone()),
        Some(label) => {
            Err(Error::usage(format!("{label} is not the label of a full backup")).hint("--since is missing"))
        }
        None => Label::full(OffsetDateTime::now_utc()),
    }
}

struct Begun {
    identity: StreamIdentity,
    archiving: bool,
    tablespaces_changed: bool,
    /// The state of `pg_tblspc` that `identity` tells of.
    found_at: Changed,
}

/// Starts the backup; from here on the server keeps what it needs.
fn begin(options: &Options, source: &mut Source, label: &Label, since: Option<&Since>) -> Result<Begun> {
    let archiving = source.session.as_mut().map_or(Ok(true), Session::archives)?;
    let (start_lsn, timeline, found, tablespaces_changed) = match &mut source.session {
        None => {
            let found = tablespaces::find(&source.root, None)?;
            (source.control.redo(), source.control.timeline(), found, false)
        }
        Some(session) => {
            if options.include_wal {
                session.hold_wal()?;
            }
            let (start, found, changed) = start(session, &source.root, label, options.fast)?;
            (start, session.timeline()?, found, changed)
        }
    };
    source.tree.keep_tablespaces(found.spaces.iter().map(|space| space.oid).collect());
    let parent = since.map(Since::head);
    if parent.is_some_and(|parent| parent.timeline == timeline && parent.start_lsn > start_lsn) {
        return Err(Error::failed("the parent begins after this backup").hint("make a full backup"));
    }
    let identity = StreamIdentity {
        format: STREAM_FORMAT.to_owned(),
        label: label.clone(),
        mode: since.map_or(Mode::Full, |since| since.mode),
        parent: parent.map(|parent| parent.label.clone()),
        parent_start_lsn: parent.map(|parent| parent.start_lsn),
        parent_timeline: parent.map(|parent| parent.timeline),
        system_identifier: source.control.system_identifier(),
        pg_version: source.pg_version.clone(),
        timeline,
        start_lsn,
        page_size: source.control.page_size(),
        segment_pages: source.control.segment_pages(),
        tablespaces: found.spaces,
        merged_from: Vec::new(),
    };
    Ok(Begun { identity, archiving, tablespaces_changed, found_at: found.changed })
}

/// Begins at a checkpoint that is younger than every tablespace: replaying a CREATE TABLESPACE fails if files lie
/// where its link goes. Where there is no such checkpoint (a standby cannot make one) the last value is true.
fn start(session: &mut Session, root: &Path, label: &Label, fast: bool) -> Result<(Lsn, Found, bool)> {
    let mut tries = 0;
    loop {
        let start = session.start(label.as_str(), fast)?;
        let found = tablespaces::find(root, Some(session))?;
        let (redo, time) = session.checkpoint()?;
        let in_wal = found.newest.is_some_and(|newest| redo != start || newest >= time);
        tries += 1;
        if !in_wal || tries == START_TRIES || session.is_standby() {
            if in_wal {
                report::warn("a tablespace may be younger than the checkpoint where this backup begins");
            }
            return Ok((start, found, in_wal));
        }
        report::verbose("a tablespace was created while the backup began: beginning again");
        session.stop()?;
        std::thread::sleep(CLOCK_TICK);
    }
}

fn open_stream(
    options: &Options,
    source: &mut Source,
    identity: &StreamIdentity,
    since: Option<Since>,
    total: u64,
) -> Result<Copier> {
    let spooled = || -> Result<Spooled> {
        let spool = BufWriter::new(temporary_file()?);
        backup_manifest::Writer::new(spool, source.major, identity.system_identifier)
    };
    let books = Books {
        backup_manifest: spooled()?,
        result: (identity.mode == Mode::Blocks).then(spooled).transpose()?,
        hashing: match &options.manifest {
            Some(path) => Some(open_manifest(path, identity, since.as_ref(), total)?),
            None => None,
        },
    };
    let output = Output::create(None)?;
    Ok(Copier {
        archive: Archive::new(BufWriter::with_capacity(BUFFER / 4, output)),
        ledger: Ledger::start(books),
        session: source.session.take(),
        rules: PageRules {
            page_size: identity.page_size as usize,
            segment_pages: identity.segment_pages,
            checked: source.checksums,
            start_lsn: identity.start_lsn,
        },
        pace: Pace::new(options.rate),
        progress: Progress::new("pgv-snap", Some(total), options.progress)?,
        findings: Findings::default(),
        blocks: Blocks::default(),
        files: Files::default(),
        bytes: 0,
        shift: Shift::default(),
        since,
    })
}

fn open_manifest(
    path: &Path,
    identity: &StreamIdentity,
    since: Option<&Since>,
    total: u64,
) -> Result<Hashing<Output>> {
    let (hash_pages, key) = match since.map(Since::head) {
        Some(parent) => (parent.hash_pages, manifest::decode_hash_key(&parent.hash_key)?),
        None => (manifest::hash_pages_for(total, identity.page_size), manifest::new_hash_key()?),
    };
    let head = manifest::Head {
        format: manifest::FORMAT.to_owned(),
        label: identity.label.clone(),
        parent: identity.parent.clone(),
        parent_sha256: since.map(Since::parent_sha256),
        mode: identity.mode,
        system_identifier: identity.system_identifier,
        pg_version: identity.pg_version.clone(),
        timeline: identity.timeline,
        start_lsn: identity.start_lsn,
        page_size: identity.page_size,
        segment_pages: identity.segment_pages,
        hash_pages,
        hash: manifest::HASH.to_owned(),
        hash_key: manifest::encode_hash_key(&key),
    };
    let writer = manifest::Writer::new(Output::create(Some(path))?, &head)?;
    Ok(Hashing { writer, key, block: (hash_pages * identity.page_size) as usize })
}

/// The root, and who the stream is. An increment of files removes the old label with the first, and so
/// cannot be started before its end.
fn copy_identity(
    source: &Source,
    copier: &mut Copier,
    identity: &StreamIdentity,
    config: &config::Found,
    made_up: Attributes,
) -> Result<()> {
    let root = Attributes { mode: 0o700, ..made_up };
    match copier.is_files() {
        false => copier.archive.directory(b".", root)?,
        true => {
            let mut names = children(&source.tree.names(b"")?);
            names.extend([(b"pgv".to_vec(), true), (b"recovery.signal".to_vec(), false)]);
            copier.archive.dump_directory(b".", &names, root)?;
        }
    }
    let mut json =
        serde_json::to_vec(identity).map_err(|e| Error::failed(format!("encode stream.json: {e}")))?;
    json.push(b'\n');
    copier.small("pgv/stream.json", &json, Lists::All, made_up)?;
    if copier.is_files() {
        let mut made = config.members();
        made.extend([b"pgv/stream.json".to_vec(), b"pgv/tablespace_map".to_vec()]);
        for (directory, names) in directories(&made) {
            copier.archive.dump_directory(directory, &names, root)?;
        }
    }
    Ok(())
}

fn children(names: &[Name]) -> Vec<(Vec<u8>, bool)> {
    let kept = names.iter().filter(|name| !name.is_link());
    kept.map(|name| (name.bytes().to_vec(), name.is_directory())).collect()
}

/// Names in a directory, and whether each is a directory.
type Names = BTreeSet<(Vec<u8>, bool)>;

/// The directories of these files, and what each of them holds.
fn directories(files: &[Vec<u8>]) -> BTreeMap<&[u8], Vec<(Vec<u8>, bool)>> {
    let mut all: BTreeMap<&[u8], Names> = BTreeMap::new();
    for file in files {
        let (mut path, mut is_directory) = (&file[..], false);
        while let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            let (directory, name) = (&path[..slash], &path[slash + 1..]);
            all.entry(directory).or_default().insert((name.to_vec(), is_directory));
            (path, is_directory) = (directory, true);
        }
    }
    all.into_iter().map(|(directory, names)| (directory, names.into_iter().collect())).collect()
}

/// Returns the bytes of each tablespace.
fn copy_tree(source: &Source, copier: &mut Copier, config: &config::Found) -> Result<BTreeMap<u32, u64>> {
    let mut spaces = BTreeMap::new();
    let tree = &source.tree;
    tree.walk(&mut |entry| match entry {
        Entry::Link(path) if config.replaces_link(path) => Ok(()),
        Entry::Link(path) => {
            report::warn(format_args!("symbolic link left out: {}", tree.absolute(path).display()));
            copier.findings.links += 1;
            Ok(())
        }
        Entry::File { path, relation } => {
            let before = copier.bytes;
            if !copier.file(&tree.absolute(path), path, Listing::Data(relation))? {
                report::verbose(format_args!("gone meanwhile: {}", tree.absolute(path).display()));
            }
            if let Some(oid) = tablespaces::oid_of(path) {
                *spaces.entry(oid).or_insert(0) += copier.bytes - before;
            }
            Ok(())
        }
        Entry::Directory { path, children } => copy_directory(source, copier, path, children, &mut spaces),
    })?;
    Ok(spaces)
}

fn copy_directory(
    source: &Source,
    copier: &mut Copier,
    path: &[u8],
    names: &[Name],
    spaces: &mut BTreeMap<u32, u64>,
) -> Result<()> {
    let absolute = source.tree.absolute(path);
    let Ok(metadata) = std::fs::metadata(&absolute) else {
        report::verbose(format_args!("gone meanwhile: {}", absolute.display()));
        return Ok(());
    };
    if let Some(oid) = tablespaces::oid_of(path) {
        spaces.entry(oid).or_insert(0);
    }
    let attributes = attributes(&metadata);
    match (copier.is_files(), path) {
        // Its names are known at the end.
        (true, b"pg_wal") => return Ok(()),
        (true, _) => {
            let mut names = children(names);
            // It comes back at the end: no server starts without it.
            names.retain(|(name, _)| path != b"global" || name != b"pg_control");
            copier.archive.dump_directory(path, &names, attributes)?;
        }
        (false, _) => copier.archive.directory(path, attributes)?,
    }
    if path == b"pg_wal" {
        copier.archive.directory(b"pg_wal/archive_status", attributes)?;
        if source.major >= SEVENTEEN {
            copier.archive.directory(b"pg_wal/summaries", attributes)?;
        }
    }
    Ok(())
}

fn stop(copier: &mut Copier, identity: &StreamIdentity) -> Result<Option<Stopped>> {
    let Some(session) = &mut copier.session else { return Ok(None) };
    let stopped = session.stop()?;
    let label = BackupLabel::parse(&stopped.label)?;
    if (label.start_lsn, label.timeline) != (identity.start_lsn, identity.timeline) {
        return Err(Error::failed("the backup label does not fit the start of this backup"));
    }
    session.check_slot()?;
    Ok(Some(stopped))
}

/// Of an increment in blocks the label names its parent, for servers that know increments; from others
/// it is hidden.
fn copy_label(
    copier: &mut Copier,
    identity: &StreamIdentity,
    major: u32,
    label: &str,
    made_up: Attributes,
) -> Result<()> {
    if identity.mode != Mode::Blocks {
        return copier.small(backup_label::PATH, label.as_bytes(), Lists::All, made_up);
    }
    if major < SEVENTEEN {
        copier.small(UNSTACK_PATH, UNSTACK, Lists::Sent, Attributes { mode: 0o700, ..made_up })?;
        copier.small(backup_label::HIDDEN_PATH, label.as_bytes(), Lists::Sent, made_up)?;
    } else {
        let parent = identity.parent_start_lsn.zip(identity.parent_timeline);
        let (lsn, timeline) = parent.ok_or_else(|| Error::failed("an increment without a parent"))?;
        let label = backup_label::incremental(label, lsn, timeline);
        copier.small(backup_label::PATH, label.as_bytes(), Lists::Sent, made_up)?;
    }
    copier.in_result(backup_label::PATH, label.as_bytes(), made_up)
}

/// What is known once the stream is complete.
struct Finished {
    bytes: u64,
    stream_bytes: u64,
    files: Files,
    blocks: Blocks,
    findings: Findings,
}

/// The manifests, pg_control, the end marker; then the pgv manifest gets its name.
fn finish(
    copier: Copier,
    control: &Control,
    range: Option<(u32, Lsn, Lsn)>,
    made_up: Attributes,
) -> Result<Finished> {
    let Copier { mut archive, ledger, progress, findings, blocks, mut files, bytes, since, .. } = copier;
    let mut books = ledger.finish()?;
    if let Some(since) = since {
        files.removed = since.finish()?;
    }
    let crc = crc32c::crc32c(control.bytes());
    let size = control.bytes().len() as u64;
    if let Some(mut result) = books.result {
        result.file(control::PATH.as_bytes(), size, made_up.mtime, crc)?;
        let sum = copy_spool(&mut archive, backup_manifest::RESULT_PATH, result, range, made_up)?;
        let path = backup_manifest::RESULT_PATH.as_bytes();
        books.backup_manifest.file(path, sum.size, made_up.mtime, sum.crc32c)?;
    }
    books.backup_manifest.file(control::PATH.as_bytes(), size, made_up.mtime, crc)?;
    copy_spool(&mut archive, backup_manifest::PATH, books.backup_manifest, range, made_up)?;
    archive.begin_file(control::PATH.as_bytes(), size, made_up)?;
    archive.data(control.bytes())?;
    let end_marker = 1024;
    let stream_bytes = archive.written() + end_marker;
    let output = archive.finish()?.into_inner();
    output.map_err(|e| Error::io("write stdout", e.into_error()))?.finish()?;
    progress.finish();
    if let Some(hashing) = books.hashing {
        let (output, _sha256) = hashing.writer.finish()?;
        output.finish()?;
    }
    Ok(Finished { bytes, stream_bytes, files, blocks, findings })
}

struct Sum {
    size: u64,
    crc32c: u32,
}

fn copy_spool(
    archive: &mut Archive<BufWriter<Output>>,
    name: &str,
    manifest: Spooled,
    range: Option<(u32, Lsn, Lsn)>,
    made_up: Attributes,
) -> Result<Sum> {
    let spool = manifest.finish(range)?.into_inner();
    let mut spool: TemporaryFile = spool.map_err(|e| e.into_error()).during("write backup_manifest")?;
    let size = spool.stream_position().during("read backup_manifest")?;
    spool.rewind().during("read backup_manifest")?;
    archive.begin_file(name.as_bytes(), size, made_up)?;
    let mut buffer = vec![0; BUFFER];
    let mut sum = Sum { size, crc32c: 0 };
    loop {
        match spool.read(&mut buffer).during("read backup_manifest")? {
            0 => return Ok(sum),
            len => {
                sum.crc32c = crc32c::crc32c_append(sum.crc32c, &buffer[..len]);
                archive.data(&buffer[..len])?;
            }
        }
    }
}

fn write_facts(path: &Path, facts: &Facts) -> Result<()> {
    let mut json = serde_json::to_vec(facts).map_err(|e| Error::failed(format!("encode the facts: {e}")))?;
    json.push(b'\n');
    write_whole(path, &json)
}

fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let mut output = Output::create(Some(path))?;
    output.write_all(content).during_path("write", path)?;
    output.finish()
}

fn host_name() -> String {
    let name = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    String::from_utf8_lossy(&name).trim().to_owned()
}

fn now() -> Result<String> {
    in_seconds(OffsetDateTime::now_utc())
}

/// Never before the moment itself: a target between the two would be taken for one that can be reached.
fn end_of_second() -> Result<String> {
    in_seconds(OffsetDateTime::now_utc() + Duration::from_secs(1))
}

fn in_seconds(time: OffsetDateTime) -> Result<String> {
    let time = time.replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).map_err(|e| Error::failed(format!("format the time: {e}")))
}
