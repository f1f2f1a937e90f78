//! Reads one pgv manifest, line by line: its order and its counts are checked on the way. Its checksum
//! is checked before, by [`verify`], because what builds on it begins with it.

use crate::error::{Error, IoContext, Result};
use crate::io::{hex, read_line};
use crate::manifest::{FORMAT, FileLine, HASH, Head, LINE_LIMIT, Tail};
use sha2::{Digest, Sha256};
use std::io::BufRead;

pub struct Reader<R> {
    source: R,
    /// For messages.
    name: String,
    head: Head,
    files: u64,
    bytes: u64,
    last: Option<Vec<u8>>,
    next: Option<(Vec<u8>, FileLine)>,
}

/// Reads a manifest to its end, and returns the checksum in its last line, which fits.
pub fn verify(source: &mut impl BufRead, name: &str) -> Result<String> {
    let mut sha256 = Sha256::new();
    let mut line = read_line(source, LINE_LIMIT, name)?;
    while !source.fill_buf().during(format_args!("read {name}"))?.is_empty() {
        sha256.update(&line);
        line = read_line(source, LINE_LIMIT, name)?;
    }
    let sum = hex(&sha256.finalize());
    match serde_json::from_slice::<Tail>(&line) {
        Ok(tail) if tail.sha256 == sum => Ok(sum),
        _ => Err(Error::damaged(format!("{name}: not a manifest, or damaged: its checksum does not match"))),
    }
}

impl<R: BufRead> Reader<R> {
    /// Refuses another format as damaged. `name`: for messages.
    pub fn open(source: R, name: &str) -> Result<Self> {
        let mut source = source;
        let line = read_line(&mut source, LINE_LIMIT, name)?;
        let head: Head = serde_json::from_slice(&line)
            .map_err(|e| Error::damaged(format!("{name} is not a pgv manifest: {e}")))?;
        if head.format != FORMAT || head.hash != HASH {
            return Err(Error::damaged(format!("{name} has the unknown format \"{}\"", head.format))
                .hint("a newer pgv may have written it"));
        }
        let name = name.to_owned();
        let mut reader = Reader { source, name, head, files: 0, bytes: 0, last: None, next: None };
        reader.advance()?;
        Ok(reader)
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The path of the file that comes next; `None` at the end.
    pub fn path(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|(path, _)| &path[..])
    }

    pub fn take(&mut self) -> Result<Option<FileLine>> {
        let Some((path, line)) = self.next.take() else { return Ok(None) };
        self.last = Some(path);
        self.advance()?;
        Ok(Some(line))
    }

    fn advance(&mut self) -> Result<()> {
        let line = read_line(&mut self.source, LINE_LIMIT, &self.name)?;
        let file: FileLine = match serde_json::from_slice(&line) {
            Ok(file) => file,
            Err(why) => return self.end(&line, &why),
        };
        self.files += 1;
        self.bytes += file.size;
        let path = file.path_bytes().ok_or_else(|| self.bad("a file without a path"))?;
        if self.last.as_ref().is_some_and(|last| *last >= path) {
            return Err(self.bad("files out of order"));
        }
        self.next = Some((path, file));
        Ok(())
    }

    /// What is no file must be the last line.
    fn end(&mut self, line: &[u8], why: &serde_json::Error) -> Result<()> {
        let tail: Tail = serde_json::from_slice(line).map_err(|_| self.bad(&why.to_string()))?;
        if (tail.files, tail.bytes) != (self.files, self.bytes) {
            return Err(self.bad("its last line does not match the others"));
        }
        Ok(())
    }

    fn bad(&self, why: &str) -> Error {
        Error::damaged(format!("{}: {why}", self.name))
    }
}
