//! One stream of the chain while its members are gone through, and the two files that say what becomes of it.

use crate::apply::delta::steps::Step;
use crate::catalog::{Label, MembersReader, Mode, Placed};
use crate::cli;
use crate::error::{IoContext, Result};
use crate::pg::incremental;
use crate::stream::{Part, part};
use crate::tar::{Kind, Member, padded};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::ops::Range;
use std::path::Path;

/// The root, and who the stream is.
const HEAD_MEMBERS: u64 = 2;

pub struct Link {
    members: MembersReader<BufReader<File>>,
    /// Whether it is the backup whose state is restored.
    pub is_newest: bool,
    next: Option<Data>,
    passed: u64,
    /// Of the stream, the range that ends where the next one may begin.
    pending: Range<u64>,
    ranges: BufWriter<File>,
    steps: BufWriter<File>,
    /// Bytes that will be fetched.
    wanted: u64,
    /// The data have ended.
    is_behind: bool,
}

/// A member of the data.
pub struct Data {
    /// By which streams are sorted: the path, a directory's with a slash.
    pub key: Vec<u8>,
    pub placed: Placed,
    /// Whether these are the changed pages of the file at `key`.
    pub is_increment: bool,
}

impl Link {
    /// `parts` has `NUMBER.members`, and gets `NUMBER.ranges` and `NUMBER.steps`.
    pub fn open(parts: &Path, number: usize, is_newest: bool) -> Result<Self> {
        let path = |name: &str| parts.join(format!("{number}.{name}"));
        let create = |name| {
            let path = path(name);
            File::create(&path).during_path("create", &path).map(BufWriter::new)
        };
        let members = path("members");
        let file = File::open(&members).during_path("open", &members)?;
        let members = MembersReader::open(BufReader::new(file), &members.display().to_string())?;
        let (ranges, steps) = (create("ranges")?, create("steps")?);
        Ok(Link {
            members,
            is_newest,
            next: None,
            passed: 0,
            pending: 0..0,
            ranges,
            steps,
            wanted: 0,
            is_behind: false,
        })
    }

    pub fn label(&self) -> &Label {
        self.members.label()
    }

    pub fn mode(&self) -> Mode {
        self.members.mode()
    }

    /// Takes the head, which every stream begins with.
    pub fn take_head(&mut self) -> Result<()> {
        while self.passed < HEAD_MEMBERS {
            let Some(placed) = self.members.next_member()? else { break };
            self.passed += 1;
            self.take_member(&placed)?;
        }
        Ok(())
    }

    /// Goes to the next member of the data. What follows them is of use in the newest stream only.
    pub fn advance(&mut self) -> Result<()> {
        self.next = None;
        while let Some(placed) = self.members.next_member()? {
            match part(&as_member(&placed), self.mode()) {
                Part::Data if !self.is_behind => {
                    self.next = Some(self.data(placed));
                    return Ok(());
                }
                found => self.is_behind |= found == Part::Rest,
            }
            if self.is_newest {
                self.take_member(&placed)?;
            }
        }
        Ok(())
    }

    fn data(&self, placed: Placed) -> Data {
        let is_blocks = self.mode() == Mode::Blocks && placed.kind == Kind::File;
        let plain = incremental::plain_path(&placed.path).filter(|_| is_blocks);
        let is_increment = plain.is_some();
        let mut key = plain.unwrap_or_else(|| placed.path.clone());
        if placed.kind != Kind::File {
            key.push(b'/');
        }
        Data { key, placed, is_increment }
    }

    /// Where the stream stands; nothing after the data.
    pub fn key(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|data| &data.key[..])
    }

    pub fn at(&self, key: &[u8]) -> Option<&Data> {
        self.next.as_ref().filter(|data| data.key == key)
    }

    /// Fetches a member with its header.
    pub fn take_member(&mut self, placed: &Placed) -> Result<()> {
        self.want(placed.span.clone())?;
        self.step(&Step::Members(placed.span.end - placed.span.start))
    }

    pub fn step(&mut self, step: &Step) -> Result<()> {
        writeln!(self.steps, "{step}").during("write the steps of a stream")
    }

    /// Bytes of the stream to fetch, behind those before.
    pub fn want(&mut self, range: Range<u64>) -> Result<()> {
        self.wanted += range.end.saturating_sub(range.start);
        if range.start == self.pending.end {
            self.pending.end = range.end;
            return Ok(());
        }
        self.write_pending()?;
        self.pending = range;
        Ok(())
    }

    fn write_pending(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        match pending.is_empty() {
            true => Ok(()),
            false => self
                .ranges
                .write_all(cli::ranges_text(&[pending]).as_bytes())
                .during("write the ranges of a stream"),
        }
    }

    /// Ends both files, with the end of the stream. Returns how many bytes are wanted of how many.
    pub fn finish(mut self) -> Result<(u64, u64)> {
        let end = self.members.end_marker().unwrap_or_default();
        match self.is_newest {
            true => {
                self.want(end.clone())?;
                self.step(&Step::Members(end.end.saturating_sub(end.start)))?;
            }
            false => self.step(&Step::End)?,
        }
        self.finish_files()?;
        Ok((self.wanted, end.end))
    }

    /// Ends both files with what was taken.
    pub fn finish_files(&mut self) -> Result<()> {
        self.write_pending()?;
        self.ranges.flush().and_then(|()| self.steps.flush()).during("write the parts of a stream")
    }
}

/// Where the content of a member begins in the stream.
pub fn content_at(placed: &Placed) -> u64 {
    placed.span.end.saturating_sub(padded(placed.size).unwrap_or(0))
}

/// What its name and kind say of a member.
fn as_member(placed: &Placed) -> Member {
    let (path, kind, size) = (placed.path.clone(), placed.kind, placed.size);
    Member { path, kind, size, mode: 0, uid: 0, gid: 0, mtime: 0 }
}
