//! Lays one stream down, member by member, in the order in which `pgv-snap` sends them.

use crate::apply::base::Base;
use crate::apply::lists::{Lists, Summed};
use crate::apply::parent::Cursor;
use crate::apply::pieces::Pieces;
use crate::apply::prune::prune;
use crate::apply::target::Target;
use crate::catalog::{Mode, Selection, StreamIdentity, member};
use crate::error::{Error, IoContext, Result, Status};
use crate::pg::backup_manifest::{self, Entry};
use crate::pg::control;
use crate::pg::incremental::{self, Header};
use crate::pg::{backup_label, major};
use crate::report::{self, Progress};
use crate::stream::{self, Claims, End, Listed, is_data};
use crate::tar::{Kind, Member, TarReader};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

/// A backup label is a few lines; bytes.
const LABEL_LIMIT: u64 = 64 << 10;

pub struct Layer<R> {
    pub tar: TarReader<R>,
    pub identity: StreamIdentity,
    pub claims: Claims,
    /// Of other databases than these there are empty files.
    pub selection: Option<Selection>,
    /// None: everything is checked, and nothing written.
    pub target: Option<Target>,
    /// What an increment is laid over, if it is.
    pub base: Option<Base>,
    pub lists: Lists,
    pub pieces: Pieces,
    pub progress: Progress,
    pub seen: SeenBeside,
}

/// What a stream has beside the files of its manifest.
#[derive(Default)]
pub struct SeenBeside {
    directories: BTreeSet<Vec<u8>>,
    /// Whether the last segment of WAL that the record names was there.
    last_wal: bool,
}

impl<R: BufRead> Layer<R> {
    /// `member` and `json`: who the stream is, which was read already.
    pub fn run(mut self, member: &Member, json: &[u8], hold: bool) -> Result<Status> {
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
        let member = self.next_member()?;
        let control = stream::control(&mut self.tar, &member, &listed, &self.identity)?;
        // A cluster that was down has no range: it stopped at its checkpoint.
        let stop_lsn = ranges.last().map_or(control.checkpoint(), |range| range.end);
        self.claims.check_end(&End { stop_lsn, wal_last_seen: self.seen.last_wal })?;
        self.progress.finish();
        self.finish(&member, control.bytes(), hold)
    }

    /// Removes what is gone, and gives the new manifest its name.
    fn finish(self, member: &Member, content: &[u8], hold: bool) -> Result<Status> {
        let label = self.identity.label.clone();
        if let Some(target) = self.target {
            if target.is_reopened() {
                let manifest = target.root().join(member::RESULT_MANIFEST);
                let major = major::of(&self.identity.pg_version);
                prune(target.root(), Cursor::open(&manifest)?, &self.seen.directories, major)?;
                let path = target.root().join(backup_manifest::PATH);
                std::fs::rename(&manifest, &path).during_path("rename", &manifest)?;
            }
            if let Some(selection) = &self.selection {
                target.write_selection(&selection.encode()?)?;
            }
            target.finish(member, content, hold)?;
        }
        report::verbose(format_args!("backup {label} is complete"));
        Ok(Status::Done)
    }

    fn next_member(&mut self) -> Result<Member> {
        self.tar.next_member()?.ok_or_else(|| Error::damaged("the stream has no global/pg_control"))
    }

    fn directory(&mut self, member: &Member) -> Result<()> {
        self.seen.directories.insert(member.path.clone());
        self.target.as_mut().map_or(Ok(()), |target| target.directory(member))
    }

    /// Its names are for tar: what is gone is known from the manifest.
    fn dump_directory(&mut self, member: &Member) -> Result<()> {
        if self.identity.mode != Mode::Files {
            return Err(Error::damaged(format!("{}: a directory cannot have content", member.name())));
        }
        io::copy(&mut self.tar.content(), &mut io::sink()).during("read stdin")?;
        match &member.path[..] {
            b"." => Ok(()),
            path if path == member::DIRECTORY.as_bytes() || member::is_inside(path) => Ok(()),
            _ => self.directory(member),
        }
    }

    fn file(&mut self, member: &Member) -> Result<()> {
        if self.selection.as_ref().is_some_and(|selection| selection.skips_file(&member.path)) {
            // As if it had not been sent.
            io::copy(&mut self.tar.content(), &mut io::sink()).during("read stdin")?;
            self.progress.add(member.size);
            return Ok(());
        }
        if self.identity.mode == Mode::Blocks {
            let path = std::str::from_utf8(&member.path).unwrap_or_default();
            match path {
                backup_label::PATH | member::BACKUP_LABEL => return self.label(member),
                member::RESULT_MANIFEST => return self.result_manifest(member),
                member::UNSTACK => return self.whole(member, None, false),
                _ => {}
            }
            if let Some(plain) = incremental::plain_path(&member.path) {
                return self.increment(member, plain);
            }
        }
        let file = self.target.as_ref().map(|target| match self.pieces.delta {
            true => target.kept_file(member),
            false => target.file(member),
        });
        self.whole(member, file.transpose()?, true)
    }

    /// A file as it comes. `stays`: the result has it too.
    fn whole(&mut self, member: &Member, file: Option<File>, stays: bool) -> Result<()> {
        let crc = self.pieces.copy(&mut self.tar.content(), member, file.as_ref(), &self.progress)?;
        self.list(member, crc, stays)
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
            self.seen.last_wal |= self.claims.wal_last().is_some_and(|last| last.as_bytes() == name);
            return Ok(());
        }
        let entry = Entry { path: member.path.clone(), size: member.size, crc32c };
        if stays {
            self.lists.add_made(&entry)?;
        }
        self.lists.add_sent(&entry)
    }

    /// Blocks for a file that the parent has.
    fn increment(&mut self, member: &Member, path: Vec<u8>) -> Result<()> {
        let StreamIdentity { page_size, segment_pages, .. } = self.identity;
        let mut summed = Summed::new(self.tar.content(), None);
        let name = member.name();
        let header = Header::read(&mut summed, member.size, page_size, segment_pages)
            .map_err(|error| error.context(&name))?;
        match (&self.target, &mut self.base) {
            (Some(target), Some(base)) => {
                let made = base.lay(target, (&path, &name), &header, page_size, &mut summed)?;
                self.lists.add_made(&made)?;
            }
            _ => {
                io::copy(&mut summed, &mut io::sink()).during("read stdin")?;
            }
        }
        let crc32c = summed.crc32c;
        self.progress.add(member.size);
        self.lists.add_sent(&Entry { path: member.path.clone(), size: member.size, crc32c })
    }

    /// The label of an increment in blocks becomes a plain one.
    fn label(&mut self, member: &Member) -> Result<()> {
        let mut content = String::new();
        if member.size > LABEL_LIMIT {
            return Err(Error::damaged(format!("{}: too large", member.name())));
        }
        self.tar.content().read_to_string(&mut content).during("read stdin")?;
        let entry = |path: &[u8], text: &str| Entry {
            path: path.to_vec(),
            size: text.len() as u64,
            crc32c: crc32c::crc32c(text.as_bytes()),
        };
        self.lists.add_sent(&entry(&member.path, &content))?;
        let merged = backup_label::merged(&content);
        let path = backup_label::PATH.as_bytes();
        self.lists.add_made(&entry(path, &merged))?;
        let Some(target) = &self.target else { return Ok(()) };
        let plain = Member { path: path.to_vec(), ..*member };
        target.file(&plain)?.write_all(merged.as_bytes()).during("write backup_label")
    }

    /// Compares it with what was made, and keeps it.
    fn result_manifest(&mut self, member: &Member) -> Result<()> {
        let file = self.target.as_ref().map(|target| target.file(member)).transpose()?;
        let mut copy = Summed::new(self.tar.content(), file);
        match &self.target {
            Some(_) => self.lists.compare_result(BufReader::with_capacity(64 << 10, &mut copy))?,
            None => {
                io::copy(&mut copy, &mut io::sink()).during("read stdin")?;
            }
        }
        let crc32c = copy.crc32c;
        self.lists.add_sent(&Entry { path: member.path.clone(), size: member.size, crc32c })
    }

    /// Returns what the manifest says of the file that comes after it. Where a manifest of the result
    /// was kept already, this one is only compared.
    fn compare(&mut self, member: &Member) -> Result<Listed> {
        let blocks = self.identity.mode == Mode::Blocks;
        if blocks && self.target.is_some() && !self.lists.has_result() {
            return Err(Error::damaged("the stream has no pgv/result_manifest"));
        }
        let file = match &self.target {
            Some(target) if target.is_reopened() => {
                let path = member::RESULT_MANIFEST.as_bytes().to_vec();
                (!blocks).then(|| target.file(&Member { path, ..*member })).transpose()?
            }
            Some(target) => Some(target.file(member)?),
            None => None,
        };
        let copy = Summed::new(self.tar.content(), file);
        let (is_files, base) = (self.identity.mode == Mode::Files, &mut self.base);
        let (selection, target) = (self.selection.as_ref(), self.target.as_ref());
        let unsent = &mut |listed: &Entry| match (is_files, &mut *base) {
            (false, _) if selection.is_some_and(|selection| selection.skips_file(&listed.path)) => {
                target.map_or(Ok(()), |target| target.hollow_file(&listed.path, listed.size)).map(|()| true)
            }
            (false, _) => Ok(false),
            (true, Some(base)) => base.has(listed),
            // Nothing lies there that could be compared.
            (true, None) => Ok(is_data(&listed.path)),
        };
        self.lists.compare(BufReader::with_capacity(64 << 10, copy), unsent)
    }
}
