//! One stream of the chain, and where it stands.

use crate::catalog::{Mode, StreamIdentity};
use crate::error::{Error, Result};
use crate::io::for_pieces;
use crate::merge::names::Names;
use crate::pg::{control, incremental};
use crate::stream::{Head, Part, part};
use crate::tar::{Kind, Member, TarReader};
use std::io::BufRead;

/// Bytes passed on at a time: little enough to stay in a processor's own cache until they are written.
pub const PIECE: usize = 128 << 10;

pub struct Link {
    /// For messages.
    name: String,
    pub tar: TarReader<Box<dyn BufRead>>,
    pub identity: StreamIdentity,
    /// Of the root, and of an increment of files the names in it.
    pub top: (Member, Vec<u8>),
    /// Of `pgv/stream.json`, and its content.
    pub head: (Member, Vec<u8>),
    next: Option<Data>,
    /// The first member after the data, once the data have ended.
    rest: Option<Member>,
    /// Whether the end marker was read.
    is_over: bool,
    /// Of an increment of files.
    names: Names,
    last_key: Vec<u8>,
}

/// A member of the data whose content was not read yet.
pub struct Data {
    /// By which streams are sorted: the path, a directory's with a slash.
    pub key: Vec<u8>,
    pub member: Member,
    /// Whether these are the changed blocks of the file at `key`.
    pub is_increment: bool,
}

impl Link {
    /// Reads who the stream is, and no further.
    pub fn open(name: String, input: Box<dyn BufRead>) -> Result<Self> {
        let mut tar = TarReader::new(input);
        let Head { top, names, member, json, identity } =
            Head::read(&mut tar).map_err(|error| error.context(&name))?;
        Ok(Link {
            name,
            tar,
            identity,
            top: (top, names),
            head: (member, json),
            next: None,
            rest: None,
            is_over: false,
            names: Names::default(),
            last_key: Vec::new(),
        })
    }

    pub fn is_increment_of_files(&self) -> bool {
        self.identity.mode == Mode::Files
    }

    /// Names the stream in an error.
    pub fn named(&self, error: Error) -> Error {
        error.context(&self.name)
    }

    /// Goes to the first member of the data.
    pub fn begin(&mut self) -> Result<()> {
        if self.is_increment_of_files() {
            let list = std::mem::take(&mut self.top.1);
            let entered = self.names.enter(b"", list.len() as u64, &mut &list[..]);
            entered.map_err(|error| self.named(error))?;
        }
        self.advance()
    }

    /// Of an increment of files: reads the names in the directory at `key`, if the stream stands there.
    pub fn enter(&mut self, key: &[u8]) -> Result<()> {
        let size = self.tar.unread();
        if self.at(key).is_none() || !self.is_increment_of_files() {
            return Ok(());
        }
        let entered = self.names.enter(key, size, &mut self.tar.content());
        entered.map_err(|error| self.named(error))
    }

    /// Whether this is an increment of files that lists the file at `key`, as its directory's names say.
    pub fn lists(&mut self, key: &[u8]) -> bool {
        self.is_increment_of_files() && self.names.has(key)
    }

    /// Goes on to the next member of the data. The content of the one before must have been read.
    pub fn advance(&mut self) -> Result<()> {
        self.next = self.read_next().map_err(|error| self.named(error))?;
        Ok(())
    }

    /// Where the stream stands; nothing after the data.
    pub fn key(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|data| &data.key[..])
    }

    /// The member at `key`, if the stream stands there.
    pub fn at(&self, key: &[u8]) -> Option<&Data> {
        self.next.as_ref().filter(|data| data.key == key)
    }

    /// The first member after the data. A whole stream has one.
    pub fn take_rest(&mut self) -> Option<Member> {
        self.rest.take()
    }

    pub fn has_no_control(&self) -> Error {
        self.named(Error::damaged("the stream has no global/pg_control"))
    }

    /// Reads so many bytes of the present member's content, in pieces.
    pub fn pass(&mut self, bytes: u64, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let failed = |error| Error::io("read", error).context(&self.name);
        for_pieces(&mut self.tar.content(), bytes, PIECE, failed, each)
    }

    /// The same, for nobody.
    pub fn skip(&mut self, bytes: u64) -> Result<()> {
        self.pass(bytes, &mut |_| Ok(()))
    }

    /// What is left of the present member's content, for nobody.
    pub fn skip_rest(&mut self) -> Result<()> {
        self.skip(self.tar.unread())
    }

    /// Reads to the end of the stream, which must be there, and after its last member. Nothing of it is of use: what
    /// counts is that it is whole.
    pub fn finish(mut self) -> Result<()> {
        let mut last = self.rest.take();
        while let Some(member) = self.following()? {
            last = Some(member);
        }
        match last {
            Some(last) if last.kind == Kind::File && last.path == control::PATH.as_bytes() => Ok(()),
            _ => Err(self.named(Error::damaged("the stream does not end with global/pg_control"))),
        }
    }

    /// The same of a part of a stream, which has an end marker, and any members.
    pub fn finish_part(mut self) -> Result<()> {
        while self.following()?.is_some() {}
        Ok(())
    }

    /// The member after the present one; none after the end marker.
    pub fn following(&mut self) -> Result<Option<Member>> {
        if self.is_over {
            return Ok(None);
        }
        self.skip_rest()?;
        let member = self.tar.next_member().map_err(|error| self.named(error))?;
        self.is_over = member.is_none();
        Ok(member)
    }

    fn read_next(&mut self) -> Result<Option<Data>> {
        if self.rest.is_some() || self.is_over {
            return Ok(None);
        }
        loop {
            let Some(member) = self.tar.next_member()? else {
                self.is_over = true;
                return Ok(None);
            };
            match part(&member, self.identity.mode) {
                Part::Names => self.skip_rest()?,
                Part::Rest => {
                    self.rest = Some(member);
                    return Ok(None);
                }
                Part::Data => return self.data(member).map(Some),
            }
        }
    }

    fn data(&mut self, member: Member) -> Result<Data> {
        let plain = self.plain_path(&member);
        let is_increment = plain.is_some();
        let mut key = plain.unwrap_or_else(|| member.path.clone());
        if member.kind != Kind::File {
            key.push(b'/');
        }
        if key <= self.last_key {
            return Err(Error::damaged(format!("{} comes out of order", member.name())));
        }
        self.last_key.clone_from(&key);
        Ok(Data { key, member, is_increment })
    }

    /// Of changed blocks: the path of the file that they belong to.
    fn plain_path(&self, member: &Member) -> Option<Vec<u8>> {
        if self.identity.mode != Mode::Blocks || member.kind != Kind::File {
            return None;
        }
        incremental::plain_path(&member.path)
    }
}
