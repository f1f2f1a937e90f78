//! Where each member of a stream lies in it, as JSON lines in the order of the stream: `pgv-format(5)`, MEMBERS. With it
//! and the index of the sealed stream a few files can be read without the rest.

use crate::catalog::{Label, Mode};
use crate::error::{Error, IoContext, Result};
use crate::io::{self, Output, from_hex, read_line};
use crate::tar::{BLOCK, Kind, Places, padded};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufWriter, Write};
use std::ops::Range;
use std::path::Path;

const FORMAT: &str = "pgv-members/1";
/// Bytes of a line: a path may have 4096 bytes, each as two digits.
const LINE_LIMIT: u64 = 64 << 10;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    format: String,
    label: Label,
    mode: Mode,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Instead of `path` where that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(rename = "type")]
    kind: Type,
    offset: u64,
    size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    File,
    Directory,
    /// A directory with the list of its names.
    Names,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tail {
    /// Where WAL, label, configuration and manifests begin.
    tail: u64,
    members: u64,
    stream_bytes: u64,
}

/// Writes the lines while the stream is written.
#[must_use]
pub struct MembersWriter {
    sink: BufWriter<Output>,
    members: u64,
    tail: u64,
}

impl MembersWriter {
    pub fn create(path: &Path, label: &Label, mode: Mode) -> Result<Self> {
        let sink = BufWriter::new(Output::create(Some(path))?);
        let mut writer = MembersWriter { sink, members: 0, tail: 0 };
        writer.line(&Head { format: FORMAT.to_owned(), label: label.clone(), mode })?;
        Ok(writer)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text =
            serde_json::to_vec(line).map_err(|e| Error::failed(format!("encode a member: {e}")))?;
        text.push(b'\n');
        self.sink.write_all(&text).during("write the members")
    }
}

impl Places for MembersWriter {
    fn member(&mut self, name: &[u8], kind: Kind, offset: u64, size: u64) -> Result<()> {
        self.members += 1;
        let text = std::str::from_utf8(name).ok().map(str::to_owned);
        let path_hex = text.is_none().then(|| io::hex(name));
        let kind = match kind {
            Kind::File => Type::File,
            Kind::Directory => Type::Directory,
            Kind::DumpDirectory => Type::Names,
        };
        self.line(&Line { path: text, path_hex, kind, offset, size })
    }

    fn tail(&mut self, offset: u64) {
        self.tail = offset;
    }

    fn end(mut self: Box<Self>, stream_bytes: u64) -> Result<()> {
        let (tail, members) = (self.tail, self.members);
        self.line(&Tail { tail, members, stream_bytes })?;
        let output = self.sink.into_inner().map_err(|e| Error::io("write the members", e.into_error()))?;
        output.finish()
    }
}

/// One member of a stream, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Bytes of its content.
    pub size: u64,
    /// In the stream: headers, content and padding.
    pub span: Range<u64>,
}

/// Reads the lines, and checks that the members follow each other.
pub struct MembersReader<R> {
    source: R,
    name: String,
    label: Label,
    mode: Mode,
    at: u64,
    members: u64,
    end: Option<u64>,
}

impl<R: BufRead> MembersReader<R> {
    /// Refuses another format as damaged. `name`: for messages.
    pub fn open(mut source: R, name: &str) -> Result<Self> {
        let line = read_line(&mut source, LINE_LIMIT, name)?;
        let head: Head = serde_json::from_slice(&line)
            .map_err(|_| Error::damaged(format!("{name}: not a list of members")))?;
        if head.format != FORMAT {
            return Err(Error::damaged(format!(
                "{name} has the unknown format \"{}\"",
                head.format.escape_default()
            ))
            .hint("a newer pgv may have written it"));
        }
        let (label, mode) = (head.label, head.mode);
        Ok(MembersReader { source, name: name.to_owned(), label, mode, at: 0, members: 0, end: None })
    }

    pub fn label(&self) -> &Label {
        &self.label
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The next member; none at the end, which was there.
    pub fn next_member(&mut self) -> Result<Option<Placed>> {
        if self.end.is_some() {
            return Ok(None);
        }
        let line = read_line(&mut self.source, LINE_LIMIT, &self.name)?;
        let Ok(line) = serde_json::from_slice::<Line>(&line) else { return self.last(&line).map(|()| None) };
        let path = match (line.path, line.path_hex) {
            (Some(path), None) => Some(path.into_bytes()),
            (None, Some(hex)) => from_hex(&hex),
            _ => None,
        };
        let path = path.ok_or_else(|| self.bad("a member without a path"))?;
        let end = padded(line.size).and_then(|size| line.offset.checked_add(size));
        let follows = line.offset >= self.at + BLOCK as u64 && line.offset.is_multiple_of(BLOCK as u64);
        let Some(end) = end.filter(|_| follows) else { return Err(self.bad("members out of order")) };
        let span = self.at..end;
        self.at = end;
        self.members += 1;
        let kind = match line.kind {
            Type::File => Kind::File,
            Type::Directory => Kind::Directory,
            Type::Names => Kind::DumpDirectory,
        };
        Ok(Some(Placed { path, kind, size: line.size, span }))
    }

    /// The end of the archive, behind its last member. To be called after that.
    pub fn end_marker(&self) -> Option<Range<u64>> {
        self.end.map(|end| self.at..end)
    }

    fn last(&mut self, line: &[u8]) -> Result<()> {
        let tail: Tail = serde_json::from_slice(line).map_err(|_| self.bad("a line that is no member"))?;
        if tail.members != self.members || tail.stream_bytes <= self.at || tail.tail > self.at {
            return Err(self.bad("its last line does not match the others"));
        }
        self.end = Some(tail.stream_bytes);
        Ok(())
    }

    fn bad(&self, why: &str) -> Error {
        Error::damaged(format!("{}: {why}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Attributes, TarReader, TarWriter};
    use std::fs;
    use std::io::Read;

    #[test]
    fn the_spans_are_a_stream_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("members");
        let label: Label = "20261123-010000F".parse().unwrap();
        let attributes = Attributes { mode: 0o600, uid: 1, gid: 2, mtime: 3 };
        let long = [b"base/".as_slice(), &[b'x'; 200], b"\xff"].concat();
        let mut tar = TarWriter::new(Vec::new());
        tar.observe(Box::new(MembersWriter::create(&path, &label, Mode::Full).unwrap()));
        tar.directory(b".", attributes).unwrap();
        tar.dump_directory(b"base", &[(b"b".to_vec(), false)], attributes).unwrap();
        for (name, content) in [(b"base/1".as_slice(), &[1; 513][..]), (&long, &[2; 1024]), (b"base/3", b"")]
        {
            tar.begin_file(name, content.len() as u64, attributes).unwrap();
            tar.data(content).unwrap();
        }
        tar.begin_tail();
        tar.begin_file(b"last", 1, attributes).unwrap();
        tar.data(b"x").unwrap();
        let (stream, _) = tar.finish().unwrap();
        let text = fs::read(&path).unwrap();
        let read = |text: &[u8]| -> Result<_> {
            let mut reader = MembersReader::open(text, "members")?;
            let mut all = Vec::new();
            while let Some(member) = reader.next_member()? {
                all.push(member);
            }
            Ok((all, reader.end_marker().unwrap()))
        };
        let (all, end) = read(&text).unwrap();
        assert_eq!((all.len(), end.end), (6, stream.len() as u64));
        // Any choice of members, with the end marker behind them, is an archive.
        let slice = |range: &Range<u64>| &stream[range.start as usize..range.end as usize];
        let chosen = [slice(&all[3].span), slice(&all[5].span), slice(&end)].concat();
        let mut reader = TarReader::new(&chosen[..]);
        for (path, content) in [(&long[..], vec![2; 1024]), (b"last", b"x".to_vec())] {
            let member = reader.next_member().unwrap().unwrap();
            let mut found = Vec::new();
            reader.content().read_to_end(&mut found).unwrap();
            assert_eq!((&member.path[..], found), (path, content));
        }
        assert!(reader.next_member().unwrap().is_none());
        for cut in 0..text.len() {
            assert!(read(&text[..cut]).is_err(), "{cut}");
        }
        let changed = |from: &str, to: &str| String::from_utf8(text.clone()).unwrap().replacen(from, to, 1);
        for wrong in [
            changed("members/1", "members/2"),
            changed("\"offset\":512", "\"offset\":513"),
            changed(":6,", ":5,"),
        ] {
            assert!(wrong.as_bytes() != text && read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
