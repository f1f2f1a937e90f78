//! The order of a backup, from the first member to the end marker.

use crate::catalog::{
    BackupFacts, BackupType, Blocks, Facts, Files, Findings, Label, Mode, STREAM_FORMAT, StreamIdentity,
};
use crate::error::{Error, IoContext, Result, Status};
use crate::io::{Output, temporary_file};
use crate::manifest;
use crate::pg::backup_label::{self, BackupLabel};
use crate::pg::control::{self, Control};
use crate::pg::{Lsn, backup_manifest, wal};
use crate::report::{self, Progress};
use crate::snap::archive::{Archive, Attributes};
use crate::snap::copy::{Copier, Listing, Pace, PageRules, attributes, missing};
use crate::snap::ledger::{BUFFER, Books, Hashing, Ledger};
use crate::snap::session::{Session, Stopped};
use crate::snap::tablespaces;
use crate::snap::tree::{Entry, Tree};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The command line.
pub struct Options {
    pub conninfo: Option<String>,
    pub offline: bool,
    /// Where the pgv manifest goes, if anywhere.
    pub manifest: Option<PathBuf>,
    /// Where the facts go, if anywhere.
    pub facts: Option<PathBuf>,
    pub label: Option<Label>,
    /// Whether the server hurries its checkpoint.
    pub fast: bool,
    pub include_wal: bool,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// Default: the server's data_directory.
    pub data_directory: Option<PathBuf>,
    pub progress: bool,
}

/// What is to be backed up, before it is.
struct Source {
    root: PathBuf,
    session: Option<Session>,
    control: Control,
    major: u32,
    pg_version: String,
    checksums: bool,
    tree: Tree,
}

/// What a backup would be of.
pub struct Estimate {
    /// Of files, WAL left out.
    pub bytes: u64,
    pub system_identifier: u64,
    pub data_directory: PathBuf,
    pub pg_version: String,
}

/// Looks, and starts nothing.
pub fn estimate(options: &Options) -> Result<Estimate> {
    let source = open(options)?;
    Ok(Estimate {
        bytes: measure(&source.tree)?,
        system_identifier: source.control.system_identifier(),
        data_directory: source.root,
        pg_version: source.pg_version,
    })
}

/// Makes the backup: tar on stdout.
pub fn run(options: &Options) -> Result<Status> {
    let mut source = open(options)?;
    let label = match &options.label {
        Some(label) if label.backup_type() == BackupType::Full => label.clone(),
        Some(label) => return Err(Error::usage(format!("{label} is not the label of a full backup"))),
        None => Label::full(OffsetDateTime::now_utc())?,
    };
    let total = measure(&source.tree)?;
    let started_at = now()?;
    let host = host_name();
    let config = configuration(&mut source)?;
    let identity = begin(options, &mut source, &label)?;
    let mut copier = open_stream(options, &mut source, &identity, total)?;

    copier.archive.directory(b".", Attributes { mode: 0o700, ..root_attributes(&source.root)? })?;
    let made_up = Attributes { mode: 0o600, ..root_attributes(&source.root)? };
    let mut json =
        serde_json::to_vec(&identity).map_err(|e| Error::failed(format!("encode stream.json: {e}")))?;
    json.push(b'\n');
    copier.small("pgv/stream.json", &json, true, made_up)?;
    let spaces = copy_tree(&source, &mut copier)?;
    let control = last_control(&source, copier.session.is_some())?;
    let stopped = stop(&mut copier, &identity)?;
    let stop_lsn = stopped.as_ref().map_or(control.checkpoint(), |stopped| stopped.lsn);
    let segments = Segments {
        timeline: identity.timeline,
        names: wal::segment_names(
            identity.timeline,
            identity.start_lsn,
            stop_lsn,
            control.wal_segment_bytes(),
        ),
    };
    copy_wal(&source.root, &mut copier, &segments, options.include_wal, made_up)?;
    copy_configuration(&mut copier, &config, stopped.as_ref(), made_up)?;
    if let Some(stopped) = &stopped {
        copier.small(backup_label::PATH, stopped.label.as_bytes(), true, made_up)?;
    }
    let range = stopped.as_ref().map(|stopped| (identity.timeline, identity.start_lsn, stopped.lsn));
    let control = if stopped.is_some() { control.guarded() } else { control };
    let finished = finish(copier, &control, range, made_up)?;

    let facts = Facts::new(BackupFacts {
        label,
        backup_type: BackupType::Full,
        mode: None,
        parent: None,
        system_identifier: identity.system_identifier,
        pg_version: identity.pg_version,
        host,
        started_at,
        stopped_at: now()?,
        start_lsn: identity.start_lsn,
        stop_lsn,
        timeline: identity.timeline,
        wal_first: segments.names.first().cloned().unwrap_or_default(),
        wal_last: segments.names.last().cloned().unwrap_or_default(),
        wal_included: options.include_wal,
        tablespaces: tablespaces::with_bytes(&identity.tablespaces, spaces),
        database_bytes: finished.bytes,
        stream_bytes: finished.stream_bytes,
        files: Files { total: finished.files, whole: finished.files, ..Files::default() },
        blocks: finished.blocks,
        findings: finished.findings,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    if let Some(path) = &options.facts {
        write_facts(path, &facts)?;
    }
    match finished.findings == Findings::default() {
        true => Ok(Status::Done),
        false => Ok(Status::Findings),
    }
}

fn open(options: &Options) -> Result<Source> {
    let mut session = match options.offline {
        true => None,
        false => Some(Session::open(options.conninfo.as_deref())?),
    };
    let root = match (&options.data_directory, &mut session) {
        (Some(root), _) => root.clone(),
        (None, Some(session)) => session.path_setting("data_directory")?,
        (None, None) => return Err(Error::usage("--offline needs PGDATA")),
    };
    let control = Control::read(&root)?;
    control.check_layout()?;
    if !BUFFER.is_multiple_of(control.page_size() as usize) {
        return Err(Error::damaged("impossible page size in pg_control"));
    }
    let (major, pg_version, checksums) = match &mut session {
        Some(session) => {
            if session.system_identifier()? != control.system_identifier() {
                return Err(Error::usage(format!(
                    "{} is not the data directory of the server that answers",
                    root.display()
                ))
                .hint("their system identifiers differ"));
            }
            (session.major(), session.version_text()?, session.data_checksums()?)
        }
        None => {
            check_shut_down(&root, &control)?;
            let path = root.join("PG_VERSION");
            let text = std::fs::read_to_string(&path).during_path("read", &path)?.trim().to_owned();
            let major =
                text.parse().map_err(|_| Error::damaged(format!("{} is no version", path.display())))?;
            (major, text, control.has_page_checksums())
        }
    };
    let tree = Tree::new(&root, major, control.catalog_version());
    Ok(Source { root, session, control, major, pg_version, checksums, tree })
}

fn check_shut_down(root: &Path, control: &Control) -> Result<()> {
    let running = root.join("postmaster.pid").exists();
    match !running && control.state() == control::STATE_SHUT_DOWN {
        true => Ok(()),
        false => Err(Error::failed(format!("{} was not shut down cleanly, or is running", root.display()))
            .hint("leave out --offline while the server runs; else start it and stop it once")),
    }
}

/// Bytes of everything that will be copied from the data directory.
fn measure(tree: &Tree) -> Result<u64> {
    let mut total = 0;
    tree.walk(&mut |entry| {
        if let Entry::File { path, .. } = entry {
            // Gone meanwhile: it will not be copied either.
            total += std::fs::metadata(tree.absolute(path)).map_or(0, |metadata| metadata.len());
        }
        Ok(())
    })?;
    Ok(total)
}

/// Starts the backup; from here on the server keeps what it needs.
fn begin(options: &Options, source: &mut Source, label: &Label) -> Result<StreamIdentity> {
    let (start_lsn, timeline) = match &mut source.session {
        None => (source.control.redo(), source.control.timeline()),
        Some(session) => {
            if options.include_wal {
                session.hold_wal()?;
            }
            let start = session.start(label.as_str(), options.fast)?;
            (start, session.timeline()?)
        }
    };
    Ok(StreamIdentity {
        format: STREAM_FORMAT.to_owned(),
        label: label.clone(),
        mode: Mode::Full,
        parent: None,
        parent_start_lsn: None,
        parent_timeline: None,
        system_identifier: source.control.system_identifier(),
        pg_version: source.pg_version.clone(),
        timeline,
        start_lsn,
        page_size: source.control.page_size(),
        segment_pages: source.control.segment_pages(),
        tablespaces: tablespaces::find(&source.root, source.session.as_mut())?,
    })
}

fn open_stream(
    options: &Options,
    source: &mut Source,
    identity: &StreamIdentity,
    total: u64,
) -> Result<Copier> {
    let spool = BufWriter::new(temporary_file()?);
    let backup_manifest = backup_manifest::Writer::new(spool, source.major, identity.system_identifier)?;
    let hashing = options.manifest.as_deref().map(|path| open_manifest(path, identity, total)).transpose()?;
    let output = Output::create(None)?;
    if let Output::Stdout(file) = &output {
        // Fewer switches between the stages of a pipe; stdout may be no pipe at all.
        let _not_a_pipe = rustix::pipe::fcntl_setpipe_size(file, BUFFER).is_err();
    }
    Ok(Copier {
        archive: Archive::new(BufWriter::with_capacity(BUFFER / 4, output)),
        ledger: Ledger::start(Books { backup_manifest, hashing }),
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
        files: 0,
        bytes: 0,
    })
}

fn open_manifest(path: &Path, identity: &StreamIdentity, total: u64) -> Result<Hashing<Output>> {
    let key = manifest::new_hash_key()?;
    let hash_pages = manifest::hash_pages_for(total, identity.page_size);
    let head = manifest::Head {
        format: manifest::FORMAT.to_owned(),
        label: identity.label.clone(),
        parent: None,
        parent_sha256: None,
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

/// Returns the bytes of each tablespace.
fn copy_tree(source: &Source, copier: &mut Copier) -> Result<BTreeMap<u32, u64>> {
    let mut spaces = BTreeMap::new();
    let tree = &source.tree;
    tree.walk(&mut |entry| match entry {
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
        Entry::Directory(path) => copy_directory(source, copier, path, &mut spaces),
    })?;
    Ok(spaces)
}

fn copy_directory(
    source: &Source,
    copier: &mut Copier,
    path: &[u8],
    spaces: &mut BTreeMap<u32, u64>,
) -> Result<()> {
    let absolute = source.tree.absolute(path);
    let Ok(metadata) = std::fs::metadata(&absolute) else {
        report::verbose(format_args!("gone meanwhile: {}", absolute.display()));
        return Ok(());
    };
    copier.archive.directory(path, attributes(&metadata))?;
    if let Some(oid) = tablespaces::oid_of(path) {
        spaces.entry(oid).or_insert(0);
    }
    if path == b"pg_wal" {
        copier.archive.directory(b"pg_wal/archive_status", attributes(&metadata))?;
        if source.major >= 17 {
            copier.archive.directory(b"pg_wal/summaries", attributes(&metadata))?;
        }
    }
    Ok(())
}

/// Read after all data: on a standby it tells how far the copied pages reach. A stopped server's must
/// not have changed.
fn last_control(source: &Source, online: bool) -> Result<Control> {
    let control = Control::read(&source.root)?;
    if !online {
        check_shut_down(&source.root, &control)?;
        if control != source.control {
            return Err(Error::failed("the server was started during an offline backup"));
        }
    }
    Ok(control)
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

struct Segments {
    timeline: u32,
    names: Vec<String>,
}

/// The segments between start and stop, every timeline's history, and marks that keep the restored
/// server from archiving them again.
fn copy_wal(
    root: &Path,
    copier: &mut Copier,
    segments: &Segments,
    include: bool,
    made_up: Attributes,
) -> Result<()> {
    let directory = root.join("pg_wal");
    let mut names = histories(&directory)?;
    if include {
        names.extend(segments.names.iter().cloned());
    }
    for name in &names {
        let path = directory.join(name);
        if !copier.file(&path, format!("pg_wal/{name}").as_bytes(), Listing::Unlisted)? {
            return Err(missing(&path).context(format_args!("WAL of timeline {}", segments.timeline)).hint(
                "the server removed or renamed it too early; try again, or --wal none with an archive",
            ));
        }
    }
    for name in &names {
        copier.small(&format!("pg_wal/archive_status/{name}.done"), b"", false, made_up)?;
    }
    Ok(())
}

fn histories(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).during_path("read", directory)? {
        let name = entry.during_path("read", directory)?.file_name().to_string_lossy().into_owned();
        if wal::is_wal_file_name(&name) && name.ends_with(".history") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Files of the configuration that lie outside the data directory, with their names in the stream.
fn configuration(source: &mut Source) -> Result<Vec<(PathBuf, String)>> {
    let Some(session) = &mut source.session else { return Ok(Vec::new()) };
    let main = session.path_setting("config_file")?;
    let directory = main.parent().unwrap_or(Path::new("/")).to_owned();
    let mut paths = vec![main, session.path_setting("hba_file")?, session.path_setting("ident_file")?];
    paths.extend(["environment", "start.conf", "pg_ctl.conf"].map(|name| directory.join(name)));
    if let Ok(entries) = std::fs::read_dir(directory.join("conf.d")) {
        paths.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    paths.retain(|path| path.is_file() && !path.starts_with(&source.root));
    paths.sort_unstable();
    paths.dedup();
    let member = |path: &Path| match path.strip_prefix(&directory) {
        Ok(relative) => format!("pgv/config/{}", relative.display()),
        Err(_) => format!("pgv/config/abs{}", path.display()),
    };
    Ok(paths.iter().map(|path| (path.clone(), member(path))).collect())
}

fn copy_configuration(
    copier: &mut Copier,
    config: &[(PathBuf, String)],
    stopped: Option<&Stopped>,
    made_up: Attributes,
) -> Result<()> {
    if let Some(map) = stopped.map(|stopped| &stopped.tablespace_map).filter(|map| !map.is_empty()) {
        copier.small("pgv/tablespace_map", map.as_bytes(), true, made_up)?;
    }
    for (path, name) in config {
        match std::fs::read(path) {
            Ok(data) => copier.small(name, &data, true, made_up)?,
            Err(error) => report::warn(format_args!("left out: {}", Error::io(path.display(), error))),
        }
    }
    copier.small("recovery.signal", b"", true, made_up)
}

/// What is known once the stream is complete.
struct Finished {
    bytes: u64,
    stream_bytes: u64,
    files: u64,
    blocks: Blocks,
    findings: Findings,
}

/// The manifest, pg_control, the end marker; then the pgv manifest gets its name.
fn finish(
    copier: Copier,
    control: &Control,
    range: Option<(u32, Lsn, Lsn)>,
    made_up: Attributes,
) -> Result<Finished> {
    let Copier { mut archive, ledger, progress, findings, blocks, files, bytes, .. } = copier;
    let mut books = ledger.finish()?;
    let crc = crc32c::crc32c(control.bytes());
    let size = control.bytes().len() as u64;
    books.backup_manifest.file(control::PATH.as_bytes(), size, made_up.mtime, crc)?;
    let spool = books.backup_manifest.finish(range)?.into_inner();
    let spool = spool.map_err(|e| Error::io("write backup_manifest", e.into_error()))?;
    copy_spool(&mut archive, spool, made_up)?;
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

fn copy_spool(archive: &mut Archive<BufWriter<Output>>, mut spool: File, made_up: Attributes) -> Result<()> {
    let size = spool.stream_position().during("read backup_manifest")?;
    spool.rewind().during("read backup_manifest")?;
    archive.begin_file(backup_manifest::PATH.as_bytes(), size, made_up)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match spool.read(&mut buffer).during("read backup_manifest")? {
            0 => return Ok(()),
            len => archive.data(&buffer[..len])?,
        }
    }
}

fn write_facts(path: &Path, facts: &Facts) -> Result<()> {
    let mut json = serde_json::to_vec(facts).map_err(|e| Error::failed(format!("encode the facts: {e}")))?;
    json.push(b'\n');
    let mut output = Output::create(Some(path))?;
    output.write_all(&json).during_path("write", path)?;
    output.finish()
}

/// What pgv makes up belongs to the owner of the data directory.
fn root_attributes(root: &Path) -> Result<Attributes> {
    let metadata = std::fs::metadata(root).during_path("stat", root)?;
    Ok(Attributes { mtime: OffsetDateTime::now_utc().unix_timestamp(), ..attributes(&metadata) })
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn now() -> Result<String> {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    now.format(&Rfc3339).map_err(|e| Error::failed(format!("format the time: {e}")))
}
