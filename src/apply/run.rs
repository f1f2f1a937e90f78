//! The order of a restore: who the stream is, where everything goes, the data, the manifest, and
//! `global/pg_control` after everything is on disk.

use crate::apply::archive::{Archive, Content, Kind, Member};
use crate::apply::check::Seen;
use crate::apply::places::{self, Wanted};
use crate::apply::target::{Owner, Target};
use crate::catalog::{Label, Mode, StreamIdentity};
use crate::error::{self, Error, IoContext, Result, Status};
use crate::io::read_full;
use crate::pg::backup_manifest::{self, Entry};
use crate::pg::control::{self, Control};
use crate::report::{self, Progress};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;

/// One piece of a file, in bytes.
const PIECE: usize = 1 << 20;
/// A file goes to disk in steps of this many bytes.
const WRITE_BACK: u64 = 8 << 20;
/// `pgv/stream.json`: a few lines, and one for each tablespace.
const IDENTITY_LIMIT: u64 = 1 << 20;
const IDENTITY: &[u8] = b"pgv/stream.json";

/// The command line.
pub struct Options {
    /// The only label that is taken.
    pub expect: Option<Label>,
    pub owner: Owner,
    pub tablespaces: Vec<(String, PathBuf)>,
    pub tablespaces_under: Option<PathBuf>,
    /// `None`: nothing is written, everything is checked.
    pub directory: Option<PathBuf>,
    pub progress: bool,
}

/// Reads one stream to its end. Ends only with a complete directory that is on disk, or with an error
/// that says what was left behind.
pub fn run(options: &Options, input: impl Read) -> Result<Status> {
    let mut archive = Archive::new(BufReader::with_capacity(64 << 10, input));
    let top = first_member(&mut archive)?;
    let (member, json) = identity_member(&mut archive)?;
    let identity = StreamIdentity::parse(&json)?;
    check_identity(&identity, options.expect.as_ref())?;
    let target = match &options.directory {
        None => None,
        Some(directory) => {
            let root = std::path::absolute(directory).during_path("find", directory)?;
            let wanted =
                Wanted { each: options.tablespaces.clone(), under: options.tablespaces_under.clone() };
            let places = places::decide(&identity.tablespaces, &wanted, Some(&root))?;
            Some(Target::create(&root, options.owner, places, &top)?)
        }
    };
    let root = target.as_ref().map(|target| target.root().to_owned());
    let progress = Progress::new("pgv-apply", None, options.progress)?;
    let mut layer = Layer { archive, target, seen: Seen::new()?, buffer: vec![0; PIECE], progress };
    layer.write_small(&member, &json).and_then(|()| layer.run(&identity)).map_err(|error| match root {
        None => error,
        Some(root) => error.hint(format!(
            "{} is incomplete and cannot be started; nothing else was touched, and the same command may be \
             given again",
            root.display()
        )),
    })
}

fn first_member(archive: &mut Archive<impl Read>) -> Result<Member> {
    match archive.next_member()? {
        Some(member) if member.path == b"." => Ok(member),
        _ => Err(Error::damaged("this is no stream of pgv-snap: it does not begin with ./")),
    }
}

fn identity_member(archive: &mut Archive<impl Read>) -> Result<(Member, Vec<u8>)> {
    let member = archive.next_member()?;
    let fits = |member: &Member| {
        member.path == IDENTITY && member.kind == Kind::File && member.size <= IDENTITY_LIMIT
    };
    let member = member.filter(fits).ok_or_else(|| {
        Error::damaged("this is no stream of pgv-snap: its second member is not pgv/stream.json")
    })?;
    let mut json = Vec::new();
    archive.content().read_to_end(&mut json).during("read stdin")?;
    Ok((member, json))
}

fn check_identity(identity: &StreamIdentity, expected: Option<&Label>) -> Result<()> {
    if let Some(expected) = expected.filter(|expected| **expected != identity.label) {
        return Err(Error::damaged(format!("the stream is backup {}, not {expected}", identity.label))
            .hint("nothing was written; somebody may have exchanged the objects"));
    }
    match identity.mode {
        Mode::Full => Ok(()),
        _ => Err(Error::failed(format!("backup {} is an increment", identity.label))
            .hint("nothing was written; this pgv-apply takes full backups only")),
    }
}

struct Layer<R> {
    archive: Archive<R>,
    target: Option<Target>,
    seen: Seen,
    buffer: Vec<u8>,
    progress: Progress,
}

impl<R: Read> Layer<R> {
    fn run(mut self, identity: &StreamIdentity) -> Result<Status> {
        let manifest = loop {
            let member = self.next_member()?;
            match (member.kind, &member.path[..]) {
                (Kind::Directory, _) => self.directory(&member)?,
                (Kind::File, path) if path == backup_manifest::PATH.as_bytes() => break member,
                (Kind::File, path) if path == control::PATH.as_bytes() => {
                    return Err(Error::damaged("global/pg_control comes before backup_manifest"));
                }
                (Kind::File, _) => self.file(&member)?,
            }
        };
        let listed = self.compare(&manifest)?;
        let member = self.next_member()?;
        let content = self.control(&member, &listed, identity)?;
        if self.archive.next_member()?.is_some() {
            return Err(Error::damaged("the stream goes on after global/pg_control"));
        }
        self.progress.finish();
        if let Some(target) = self.target {
            target.finish(&member, &content)?;
        }
        report::verbose(format_args!("backup {} is complete", identity.label));
        Ok(Status::Done)
    }

    fn next_member(&mut self) -> Result<Member> {
        self.archive.next_member()?.ok_or_else(|| Error::damaged("the stream has no global/pg_control"))
    }

    fn directory(&self, member: &Member) -> Result<()> {
        self.target.as_ref().map_or(Ok(()), |target| target.directory(member))
    }

    fn file(&mut self, member: &Member) -> Result<()> {
        let mut file = self.target.as_ref().map(|target| target.file(member)).transpose()?;
        let mut crc = 0;
        let mut left = member.size;
        let Layer { archive, buffer, progress, .. } = self;
        while left > 0 {
            let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            let piece = &mut buffer[..length];
            read_full(&mut archive.content(), piece).during("read stdin")?;
            crc = crc32c::crc32c_append(crc, piece);
            if let Some(file) = &mut file {
                file.write_all(piece).during(format_args!("write {}", member.name()))?;
            }
            left -= length as u64;
            progress.add(length as u64);
            let written = member.size - left;
            if let Some(file) = &file
                && (written.is_multiple_of(WRITE_BACK) || (left == 0 && written >= PIECE as u64))
            {
                write_back(file);
            }
        }
        self.list(member, crc)
    }

    fn write_small(&mut self, member: &Member, content: &[u8]) -> Result<()> {
        if let Some(target) = &self.target {
            target.file(member)?.write_all(content).during(format_args!("write {}", member.name()))?;
        }
        self.list(member, crc32c::crc32c(content))
    }

    /// WAL is in no manifest: its records carry checksums of their own.
    fn list(&mut self, member: &Member, crc32c: u32) -> Result<()> {
        match member.path.starts_with(b"pg_wal/") {
            true => Ok(()),
            false => self.seen.add(&Entry { path: member.path.clone(), size: member.size, crc32c }),
        }
    }

    /// Returns what the manifest says of the file that comes after it.
    fn compare(&mut self, member: &Member) -> Result<Entry> {
        let file = self.target.as_ref().map(|target| target.file(member)).transpose()?;
        let seen = std::mem::replace(&mut self.seen, Seen::new()?);
        let copy = Copy { content: self.archive.content(), file };
        let listed = seen.compare(BufReader::with_capacity(64 << 10, copy))?;
        match listed.path == control::PATH.as_bytes() {
            true => Ok(listed),
            false => Err(Error::damaged("backup_manifest does not end with global/pg_control")),
        }
    }

    fn control(&mut self, member: &Member, listed: &Entry, identity: &StreamIdentity) -> Result<Vec<u8>> {
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
            || control.system_identifier() != identity.system_identifier
        {
            return Err(Error::damaged("global/pg_control is not the one of this backup"));
        }
        Ok(control.bytes().to_vec())
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

/// What is read is also written.
struct Copy<'a, R> {
    content: Content<'a, R>,
    file: Option<File>,
}

impl<R: Read> Read for Copy<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        if let Some(file) = &mut self.file {
            file.write_all(&buffer[..length]).map_err(|e| error::Error::io("write backup_manifest", e))?;
        }
        Ok(length)
    }
}
