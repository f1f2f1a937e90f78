//! The reader. It refuses every archive but those of `pgv-snap`: directories and plain files with
//! ustar or GNU headers, names that stay below the root, an end marker at the end.
//!
//! A tar reader for the whole world would accept links, devices and guesses; here each of them means
//! that the stream is not what it says it is.

use crate::error::{Error, IoContext, Result};
use crate::io::read_full;
use crate::tar::{Attributes, BLOCK, DUMP_DIRECTORY, Kind, padding};
use std::io::{self, BufRead, Read};
use tar::{EntryType, Header};

/// `PATH_MAX`.
const NAME_LIMIT: u64 = 4096;

/// What a header says. `path`: below the root, no slash at either end; the root itself is ".".
#[derive(Debug)]
pub struct Member {
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
}

impl Member {
    /// As a writer takes them.
    pub fn attributes(&self) -> Attributes {
        Attributes { mode: self.mode, uid: self.uid, gid: self.gid, mtime: self.mtime }
    }

    /// For messages.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

#[must_use]
pub struct TarReader<R> {
    source: R,
    /// Content that was not read yet, and the zeros behind it.
    content: u64,
    padding: usize,
}

impl<R: Read> TarReader<R> {
    pub fn new(source: R) -> Self {
        TarReader { source, content: 0, padding: 0 }
    }

    /// The next member; `None` after the end marker and the end of the input. The content of the one
    /// before must have been read.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        if self.content > 0 {
            return Err(Error::failed("a member's content was not read"));
        }
        self.skip_padding()?;
        let Some(header) = self.header()? else { return self.end() };
        let (header, path) = match header.entry_type() {
            EntryType::GNULongName => {
                let path = self.long_name(&header)?;
                (self.header()?.ok_or_else(truncated)?, path)
            }
            _ => {
                let path = header.path_bytes().into_owned();
                (header, path)
            }
        };
        self.member(&header, path).map(Some)
    }

    /// Bytes of the present member's content that were not read yet.
    pub fn unread(&self) -> u64 {
        self.content
    }

    /// The content of the present member. Ends early only with an error.
    pub fn content(&mut self) -> Content<'_, R> {
        Content { archive: self }
    }

    fn member(&mut self, header: &Header, path: Vec<u8>) -> Result<Member> {
        let name = path.escape_ascii().to_string();
        let bad = |why: &str| Error::damaged(format!("tar member {name}: {why}"));
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular => Kind::File,
            other if other.as_byte() == DUMP_DIRECTORY => Kind::DumpDirectory,
            other => return Err(bad(&format!("type {other:?}, neither a file nor a directory"))),
        };
        let number = |value: io::Result<u64>| value.ok().and_then(|value| u32::try_from(value).ok());
        let size = header.entry_size().map_err(|_| bad("it has no size"))?;
        if kind == Kind::Directory && size > 0 {
            return Err(bad("a directory cannot have content"));
        }
        self.content = size;
        self.padding = padding(size);
        Ok(Member {
            path: checked_path(path, kind).ok_or_else(|| bad("its path leads out of the directory"))?,
            kind,
            size,
            mode: header.mode().map_err(|_| bad("it has no mode"))? & 0o777,
            uid: number(header.uid()).ok_or_else(|| bad("it has no owner"))?,
            gid: number(header.gid()).ok_or_else(|| bad("it has no group"))?,
            // Of no use to a restore: what cannot be a time is none.
            mtime: header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0),
        })
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.entry_size().ok().filter(|size| (1..=NAME_LIMIT).contains(size));
        let size = size.ok_or_else(|| Error::damaged("a tar member's name is too long"))?;
        let mut name = vec![0; (size as usize).next_multiple_of(BLOCK)];
        self.exactly(&mut name)?;
        name.truncate(size as usize);
        match name.pop() {
            Some(0) => Ok(name),
            _ => Err(Error::damaged("a tar member's long name has no end")),
        }
    }

    /// `None`: a block of zeros, the first half of the end marker.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0u8; BLOCK];
        self.exactly(&mut block)?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        match header.cksum().ok() == Some(checksum(&block)) {
            true => Ok(Some(header.clone())),
            false => Err(Error::damaged("not a tar archive, or a damaged header")),
        }
    }

    fn end(&mut self) -> Result<Option<Member>> {
        let mut block = [0u8; BLOCK];
        self.exactly(&mut block)?;
        if block != [0; BLOCK] {
            return Err(Error::damaged("the end marker of the tar archive is incomplete"));
        }
        let mut rest = [0u8; 1];
        match read_full(&mut self.source, &mut rest).during("read stdin")? {
            0 => Ok(None),
            _ => Err(Error::damaged("data follows the end of the tar archive")),
        }
    }

    fn skip_padding(&mut self) -> Result<()> {
        let mut block = [0u8; BLOCK];
        let padding = std::mem::take(&mut self.padding);
        self.exactly(&mut block[..padding])
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<()> {
        match read_full(&mut self.source, buffer).during("read stdin")? == buffer.len() {
            true => Ok(()),
            false => Err(truncated()),
        }
    }
}

/// Reads exactly one member's content.
pub struct Content<'a, R> {
    archive: &'a mut TarReader<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted =
            usize::try_from(self.archive.content).map_or(buffer.len(), |left| left.min(buffer.len()));
        if wanted == 0 {
            return Ok(0);
        }
        let got = self.archive.source.read(&mut buffer[..wanted])?;
        if got == 0 {
            return Err(truncated().into());
        }
        self.archive.content -= got as u64;
        Ok(got)
    }
}

/// What its source has ready, without a copy.
impl<R: BufRead> BufRead for Content<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let wanted = usize::try_from(self.archive.content).unwrap_or(usize::MAX);
        if wanted == 0 {
            return Ok(&[]);
        }
        let ready = self.archive.source.fill_buf()?;
        match ready.is_empty() {
            true => Err(truncated().into()),
            false => Ok(&ready[..ready.len().min(wanted)]),
        }
    }

    fn consume(&mut self, length: usize) {
        let length = usize::try_from(self.archive.content).map_or(length, |left| left.min(length));
        self.archive.source.consume(length);
        self.archive.content -= length as u64;
    }
}

fn truncated() -> Error {
    Error::damaged("the stream ends too early")
        .hint("if the command before it in the pipe failed, see its message")
}

/// The sum of a header's bytes, its own field counted as blanks.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let field = 148..156;
    let byte =
        |(at, byte): (usize, &u8)| if field.contains(&at) { u32::from(b' ') } else { u32::from(*byte) };
    block.iter().enumerate().map(byte).sum()
}

/// Relative, no empty part, no `.` or `..`; a directory's slash taken off.
fn checked_path(mut path: Vec<u8>, kind: Kind) -> Option<Vec<u8>> {
    if kind != Kind::File && path.last() == Some(&b'/') {
        path.pop();
    }
    let good = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    let root = path == b"." && kind != Kind::File;
    (root || path.split(|byte| *byte == b'/').all(good)).then_some(path)
}
