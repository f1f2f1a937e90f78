//! The order of a restore: who the stream is, where everything goes, the data, the manifest, and
//! `global/pg_control` after everything is on disk.

use crate::apply::archive::{Archive, Content, Kind, Member};
use crate::apply::check::{Listed, Seen};
use crate::apply::claims::{Claims, End};
use crate::apply::decide::{Decision, Request};
use crate::apply::merge::Merge;
use crate::apply::parent::{Cursor, IDENTITY, is_data};
use crate::apply::places::Wanted;
use crate::apply::prune::prune;
use crate::apply::target::Target;
use crate::apply::user::{Owner, Rights};
use crate::catalog::{Label, Mode, StreamIdentity, UNSTACK_PATH};
use crate::error::{self, Error, IoContext, Result, Status};
use crate::io::read_full;
use crate::pg::backup_manifest::{self, Entry};
use crate::pg::control::{self, Control};
use crate::pg::incremental::{self, Header};
use crate::pg::{backup_label, relation};
use crate::report::{self, Drawn, Progress};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One piece of a file, in bytes.
const PIECE: usize = 1 << 20;
/// A file goes to disk in steps of this many bytes.
const WRITE_BACK: u64 = 8 << 20;
/// `pgv/stream.json`: a few lines, and one for each tablespace.
const IDENTITY_LIMIT: u64 = 1 << 20;
/// A backup label is a few lines.
const LABEL_LIMIT: u64 = 64 << 10;

/// The command line.
pub struct Options {
    pub claims: Claims,
    pub owner: Owner,
    pub tablespaces: Vec<(String, PathBuf)>,
    pub tablespaces_under: Option<PathBuf>,
    /// Where pg_wal goes, if not into the directory.
    pub wal: Option<PathBuf>,
    /// `None`: nothing is written, everything is checked.
    pub directory: Option<PathBuf>,
    /// `global/pg_control` is kept back.
    pub hold: bool,
    /// The directory holds the cluster already: what is the same is not written.
    pub delta: bool,
    /// Of a plan: what lies in the directory will be set aside.
    pub replace: bool,
    /// Of a plan: the link of the chain that will lie there.
    pub after: Option<Label>,
    pub progress: Drawn,
    /// Of the whole stream in bytes, roughly.
    pub expected_size: Option<u64>,
}

impl Options {
    fn wanted(&self, identity: &StreamIdentity) -> Wanted {
        Wanted {
            each: self.tablespaces.clone(),
            under: self.tablespaces_under.clone(),
            wal: self.wal.clone(),
            strict: identity.mode == Mode::Full && !self.hold,
        }
    }

    fn request<'a>(&'a self, directory: &'a Path, wanted: &'a Wanted) -> Request<'a> {
        Request { directory, wanted, delta: self.delta, replace: self.replace, after: self.after.as_ref() }
    }
}

/// Reads one stream to its end. Ends only with a complete directory that is on disk, or with an error
/// that says what was left behind.
pub fn run(options: Options, input: impl Read) -> Result<Status> {
    let mut archive = Archive::new(BufReader::with_capacity(64 << 10, input));
    let Head { top, member, json, identity } = Head::read(&mut archive)?;
    options.claims.check(&identity)?;
    let progress = Progress::new("pgv-apply", options.expected_size, options.progress)?;
    // Before another user does the rest, who may have no right to the place of temporary files.
    let seen = Some(Seen::new()?);
    let result = (identity.mode == Mode::Blocks).then(Seen::new).transpose()?;
    let target = match &options.directory {
        None => None,
        Some(directory) => {
            let rights = Rights::new(options.owner, (top.uid, top.gid))?;
            let wanted = options.wanted(&identity);
            let request = options.request(directory, &wanted);
            let decision = Decision::find(&identity, &request, &rights)?;
            // The last that may refuse, and the first that writes.
            decision.check()?;
            Some(Target::open(&decision, &rights)?)
        }
    };
    let root = target.as_ref().map(|target| target.root().to_owned());
    let parent = match (&root, identity.mode) {
        (Some(root), Mode::Blocks | Mode::Files) => Some(Cursor::open(&root.join(backup_manifest::PATH))?),
        _ => None,
    };
    let layer = Layer {
        archive,
        seen,
        result,
        promised: None,
        target,
        parent,
        identity,
        claims: options.claims,
        wal_last_seen: false,
        delta: options.delta,
        directories: BTreeSet::new(),
        merge: Merge::new(),
        buffer: vec![0; PIECE],
        old: vec![0; PIECE],
        progress,
    };
    layer.run(&member, &json, options.hold).map_err(|error| match root {
        None => error,
        Some(root) => error.hint(format!(
            "{} is incomplete and cannot be started; nothing else was touched; begin again with the full \
             backup, into the same directory",
            root.display()
        )),
    })
}

/// Reads no more of a stream than its head, writes nothing, prints what a run with the same options would
/// do, and refuses what that would refuse.
pub fn plan(options: &Options, input: impl Read) -> Result<Status> {
    let mut archive = Archive::new(BufReader::with_capacity(64 << 10, input));
    let Head { top, identity, .. } = Head::read(&mut archive)?;
    options.claims.check(&identity)?;
    let Some(directory) = &options.directory else { return Ok(Status::Done) };
    let rights = Rights::new(options.owner, (top.uid, top.gid))?;
    let wanted = options.wanted(&identity);
    let request = options.request(directory, &wanted);
    let decision = Decision::find(&identity, &request, &rights)?;
    decision.lines()?.print()?;
    decision.check().map(|()| Status::Done)
}

/// What a stream begins with: who it is.
struct Head {
    top: Member,
    member: Member,
    json: Vec<u8>,
    identity: StreamIdentity,
}

impl Head {
    fn read(archive: &mut Archive<impl Read>) -> Result<Self> {
        let top = first_member(archive)?;
        let (member, json) = identity_member(archive)?;
        let identity = StreamIdentity::parse(&json)?;
        Ok(Head { top, member, json, identity })
    }
}

fn first_member(archive: &mut Archive<impl Read>) -> Result<Member> {
    match archive.next_member()? {
        Some(member) if member.path == b"." => {
            // An increment of files tells tar what it holds.
            io::copy(&mut archive.content(), &mut io::sink()).during("read stdin")?;
            Ok(member)
        }
        _ => Err(Error::damaged("this is no stream of pgv-snap: it does not begin with ./")),
    }
}

fn identity_member(archive: &mut Archive<impl Read>) -> Result<(Member, Vec<u8>)> {
    let member = archive.next_member()?;
    let fits = |member: &Member| {
        member.path == IDENTITY.as_bytes() && member.kind == Kind::File && member.size <= IDENTITY_LIMIT
    };
    let member = member.filter(fits).ok_or_else(|| {
        Error::damaged("this is no stream of pgv-snap: its second member is not pgv/stream.json")
    })?;
    let mut json = Vec::new();
    archive.content().read_to_end(&mut json).during("read stdin")?;
    Ok((member, json))
}

struct Layer<R> {
    archive: Archive<R>,
    identity: StreamIdentity,
    target: Option<Target>,
    claims: Claims,
    /// Whether the last segment that the record names was there.
    wal_last_seen: bool,
    /// The files of the stream, until they are compared.
    seen: Option<Seen>,
    /// Of an increment in blocks: the files that it makes.
    result: Option<Seen>,
    /// What the result's manifest says of pg_control.
    promised: Option<Entry>,
    /// The manifest of what an increment is laid over.
    parent: Option<Cursor>,
    delta: bool,
    directories: BTreeSet<Vec<u8>>,
    merge: Merge,
    buffer: Vec<u8>,
    old: Vec<u8>,
    progress: Progress,
}

impl<R: Read> Layer<R> {
    fn run(mut self, member: &Member, json: &[u8], hold: bool) -> Result<Status> {
        self.write_small(member, json)?;
        let manifest = loop {
            let member = self.next_member()?;
            match (member.kind, &member.path[..]) {
                (Kind::Directory, _) => self.directory(&member)?,
                (Kind::DumpDirectory, _) => self.dump_directory(&member)?,
                (Kind::File, path) if path == backup_manifest::PATH.as_bytes() => break member,
                (Kind::File, path) if path == control::PATH.as_bytes() => {
                    return Err(Error::damaged("global/pg_control comes before backup_manifest"));
                }
                (Kind::File, _) => self.file(&member)?,
            }
        };
        let Listed { last: listed, ranges } = self.compare(&manifest)?;
        if self.promised.as_ref().is_some_and(|promised| *promised != listed) {
            return Err(Error::damaged("the two manifests do not agree on global/pg_control"));
        }
        let member = self.next_member()?;
        let control = self.control(&member, &listed)?;
        if self.archive.next_member()?.is_some() {
            return Err(Error::damaged("the stream goes on after global/pg_control"));
        }
        // A cluster that was down has no range: it stopped at its checkpoint.
        let stop_lsn = ranges.last().map_or(control.checkpoint(), |range| range.end);
        self.claims.check_end(&End { stop_lsn, wal_last_seen: self.wal_last_seen })?;
        self.progress.finish();
        self.finish(&member, control.bytes(), hold)
    }

    /// Removes what is gone, and gives the new manifest its name.
    fn finish(self, member: &Member, content: &[u8], hold: bool) -> Result<Status> {
        let label = self.identity.label.clone();
        if let Some(target) = self.target {
            if target.is_reopened() {
                let manifest = target.root().join(backup_manifest::RESULT_PATH);
                let major = self.identity.pg_version.split('.').next().unwrap_or_default();
                prune(target.root(), Cursor::open(&manifest)?, &self.directories, major)?;
                let path = target.root().join(backup_manifest::PATH);
                std::fs::rename(&manifest, &path).during_path("rename", &manifest)?;
            }
            target.finish(member, content, hold)?;
        }
        report::verbose(format_args!("backup {label} is complete"));
        Ok(Status::Done)
    }

    fn next_member(&mut self) -> Result<Member> {
        self.archive.next_member()?.ok_or_else(|| Error::damaged("the stream has no global/pg_control"))
    }

    fn directory(&mut self, member: &Member) -> Result<()> {
        self.directories.insert(member.path.clone());
        self.target.as_mut().map_or(Ok(()), |target| target.directory(member))
    }

    /// Its names are for tar: what is gone is known from the manifest.
    fn dump_directory(&mut self, member: &Member) -> Result<()> {
        if self.identity.mode != Mode::Files {
            return Err(Error::damaged(format!("{}: a directory with content", member.name())));
        }
        io::copy(&mut self.archive.content(), &mut io::sink()).during("read stdin")?;
        match &member.path[..] {
            b"." => Ok(()),
            path if path == b"pgv" || path.starts_with(b"pgv/") => Ok(()),
            _ => self.directory(member),
        }
    }

    fn file(&mut self, member: &Member) -> Result<()> {
        if self.identity.mode == Mode::Blocks {
            let path = std::str::from_utf8(&member.path).unwrap_or_default();
            let (directory, _) = path.rsplit_once('/').unwrap_or_default();
            match path {
                backup_label::PATH | backup_label::HIDDEN_PATH => return self.label(member),
                backup_manifest::RESULT_PATH => return self.result_manifest(member),
                UNSTACK_PATH => return self.whole(member, None, false),
                _ => {}
            }
            if let Some(plain) =
                incremental::plain_path(&member.path).filter(|_| relation::is_relation_directory(directory))
            {
                return self.increment(member, plain);
            }
        }
        let file = self.target.as_ref().map(|target| match self.delta {
            true => target.kept_file(member),
            false => target.file(member),
        });
        self.whole(member, file.transpose()?, true)
    }

    /// A file as it comes. `stays`: the result has it too.
    fn whole(&mut self, member: &Member, file: Option<File>, stays: bool) -> Result<()> {
        let mut crc = 0;
        let mut left = member.size;
        while left > 0 {
            let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            read_full(&mut self.archive.content(), &mut self.buffer[..length]).during("read stdin")?;
            crc = crc32c::crc32c_append(crc, &self.buffer[..length]);
            let at = member.size - left;
            left -= length as u64;
            if let Some(file) = &file {
                self.put(file, at, length).during(format_args!("write {}", member.name()))?;
                let written = at + length as u64;
                if written.is_multiple_of(WRITE_BACK) || (left == 0 && written >= PIECE as u64) {
                    write_back(file);
                }
            }
            self.progress.add(length as u64);
        }
        if let Some(file) = file.filter(|_| self.delta) {
            file.set_len(member.size).during(format_args!("write {}", member.name()))?;
        }
        self.list(member, crc, stays)
    }

    /// Writes the buffer, unless the file holds the same already.
    fn put(&mut self, file: &File, at: u64, length: usize) -> io::Result<()> {
        let new = &self.buffer[..length];
        if self.delta {
            let old = &mut self.old[..length];
            if file.read_exact_at(old, at).is_ok() && old == new {
                return Ok(());
            }
        }
        file.write_all_at(new, at)
    }

    fn write_small(&mut self, member: &Member, content: &[u8]) -> Result<()> {
        if let Some(target) = &self.target {
            target.file(member)?.write_all(content).during(format_args!("write {}", member.name()))?;
        }
        self.list(member, crc32c::crc32c(content), true)
    }

    /// WAL is in no manifest: its records carry checksums of their own.
    fn list(&mut self, member: &Member, crc32c: u32, stays: bool) -> Result<()> {
        if let Some(name) = member.path.strip_prefix(b"pg_wal/") {
            self.wal_last_seen |= self.claims.wal_last().is_some_and(|last| last.as_bytes() == name);
            return Ok(());
        }
        let entry = Entry { path: member.path.clone(), size: member.size, crc32c };
        if let (Some(result), true) = (&mut self.result, stays) {
            result.add(&entry)?;
        }
        self.see(&entry)
    }

    fn see(&mut self, entry: &Entry) -> Result<()> {
        self.seen.as_mut().map_or(Ok(()), |seen| seen.add(entry))
    }

    /// Blocks for a file that the parent has.
    fn increment(&mut self, member: &Member, path: Vec<u8>) -> Result<()> {
        let StreamIdentity { page_size, segment_pages, .. } = self.identity;
        let mut summed = Summed { content: self.archive.content(), crc32c: 0 };
        let bad = |error: Error| error.context(member.name());
        let header = Header::read(&mut summed, member.size, page_size, segment_pages).map_err(bad)?;
        match (&self.target, &mut self.parent) {
            (Some(target), Some(parent)) => {
                let before = parent.find(&path)?.ok_or_else(|| {
                    Error::damaged(format!("{}: blocks for a file that the parent lacks", member.name()))
                })?;
                let unchanged = header.blocks.is_empty()
                    && before.size == u64::from(header.truncation) * u64::from(page_size);
                let after = match unchanged {
                    true => before,
                    false => {
                        let file = target.present_file(&path)?;
                        self.merge.blocks(&file, &before, &header, page_size, &mut summed).map_err(bad)?
                    }
                };
                if let Some(result) = &mut self.result {
                    result.add(&after)?;
                }
            }
            _ => {
                io::copy(&mut summed, &mut io::sink()).during("read stdin")?;
            }
        }
        let crc32c = summed.crc32c;
        self.progress.add(member.size);
        self.see(&Entry { path: member.path.clone(), size: member.size, crc32c })
    }

    /// The label of an increment in blocks becomes a plain one.
    fn label(&mut self, member: &Member) -> Result<()> {
        let mut content = String::new();
        if member.size > LABEL_LIMIT {
            return Err(Error::damaged(format!("{}: too large", member.name())));
        }
        self.archive.content().read_to_string(&mut content).during("read stdin")?;
        let entry = |path: &[u8], text: &str| Entry {
            path: path.to_vec(),
            size: text.len() as u64,
            crc32c: crc32c::crc32c(text.as_bytes()),
        };
        self.see(&entry(&member.path, &content))?;
        let merged = backup_label::merged(&content);
        let path = backup_label::PATH.as_bytes();
        if let Some(result) = &mut self.result {
            result.add(&entry(path, &merged))?;
        }
        let Some(target) = &self.target else { return Ok(()) };
        let plain = Member { path: path.to_vec(), ..*member };
        target.file(&plain)?.write_all(merged.as_bytes()).during("write backup_label")
    }

    /// Compares it with what was made, and keeps it.
    fn result_manifest(&mut self, member: &Member) -> Result<()> {
        let file = self.target.as_ref().map(|target| target.file(member)).transpose()?;
        let mut copy = Copy { content: self.archive.content(), file, crc32c: 0 };
        match (self.result.take(), &self.target) {
            (Some(result), Some(_)) => {
                let reader = BufReader::with_capacity(64 << 10, &mut copy);
                let promised = result.compare(reader, &mut |_| Ok(false));
                let promised = promised.map_err(|error| error.context("the result"))?;
                self.promised = Some(promised.last);
            }
            (_, None) => {
                io::copy(&mut copy, &mut io::sink()).during("read stdin")?;
            }
            (None, _) => return Err(Error::damaged("the stream has two manifests of its result")),
        }
        let crc32c = copy.crc32c;
        self.see(&Entry { path: member.path.clone(), size: member.size, crc32c })
    }

    /// Returns what the manifest says of the file that comes after it. Where a manifest of the result
    /// was kept already, this one is only compared.
    fn compare(&mut self, member: &Member) -> Result<Listed> {
        let blocks = self.identity.mode == Mode::Blocks;
        if blocks && self.target.is_some() && self.promised.is_none() {
            return Err(Error::damaged("the stream has no manifest of its result"));
        }
        let file = match &self.target {
            Some(target) if target.is_reopened() => {
                let path = backup_manifest::RESULT_PATH.as_bytes().to_vec();
                (!blocks).then(|| target.file(&Member { path, ..*member })).transpose()?
            }
            Some(target) => Some(target.file(member)?),
            None => None,
        };
        let seen = self.seen.take().ok_or_else(|| Error::damaged("the stream has two manifests"))?;
        let copy = Copy { content: self.archive.content(), file, crc32c: 0 };
        let (files, parent) = (self.identity.mode == Mode::Files, &mut self.parent);
        let unsent = &mut |listed: &Entry| match (files && is_data(&listed.path), &mut *parent) {
            (false, _) => Ok(false),
            (true, Some(parent)) => Ok(parent.find(&listed.path)?.as_ref() == Some(listed)),
            // Nothing lies there that could be compared.
            (true, None) => Ok(true),
        };
        let listed = seen.compare(BufReader::with_capacity(64 << 10, copy), unsent)?;
        match listed.last.path == control::PATH.as_bytes() {
            true => Ok(listed),
            false => Err(Error::damaged("backup_manifest does not end with global/pg_control")),
        }
    }

    fn control(&mut self, member: &Member, listed: &Entry) -> Result<Control> {
        let fits = member.kind == Kind::File
            && member.path == control::PATH.as_bytes()
            && member.size == listed.size
            && member.size <= control::FILE_SIZE as u64;
        if !fits {
            return Err(Error::damaged(format!("{} where global/pg_control must be", member.name())));
        }
        let mut content = Vec::new();
        self.archive.content().read_to_end(&mut content).during("read stdin")?;
        let control = Control::parse(content)?;
        if crc32c::crc32c(control.bytes()) != listed.crc32c
            || control.system_identifier() != self.identity.system_identifier
        {
            return Err(Error::damaged("global/pg_control is not the one of this backup"));
        }
        Ok(control)
    }
}

/// Begins to write what the kernel holds of this file, and lets it forget what is on disk already: the
/// sync at the end finds little left to do, and a restore larger than memory does not fill memory. It is
/// advice: whether all was written, `syncfs` tells.
fn write_back(file: &File) {
    if let Err(error) = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        report::verbose(format_args!("no early write-back: {error}"));
    }
}

/// What is read is also written, and summed.
struct Copy<'a, R> {
    content: Content<'a, R>,
    file: Option<File>,
    crc32c: u32,
}

impl<R: Read> Read for Copy<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &buffer[..length]);
        if let Some(file) = &mut self.file {
            file.write_all(&buffer[..length]).map_err(|e| error::Error::io("write backup_manifest", e))?;
        }
        Ok(length)
    }
}

/// What is read is summed.
struct Summed<'a, R> {
    content: Content<'a, R>,
    crc32c: u32,
}

impl<R: Read> Read for Summed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &buffer[..length]);
        Ok(length)
    }
}
