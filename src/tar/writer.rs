//! The writer.
//!
//! The tar crate's Builder writes the end marker when it is dropped, after an error as well, and so
//! makes a failed archive look whole. Here only [`TarWriter::finish`] does.

use crate::error::{Error, IoContext, Result};
use crate::tar::{BLOCK, DUMP_DIRECTORY, END_MARKER_BYTES, Kind, padding};
use std::fs::Metadata;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use tar::{EntryType, Header};

/// The length of a header's name field.
const NAME_FIELD: usize = 100;

/// Who a member belongs to, and when it was changed.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
}

impl Attributes {
    /// Of a member that stands for what is on disk.
    pub fn of(metadata: &Metadata) -> Self {
        Attributes {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
        }
    }
}

/// Is told where each member lies.
pub trait Places {
    /// `offset`: of the content in the archive; `size`: bytes of it.
    fn member(&mut self, name: &[u8], kind: Kind, offset: u64, size: u64) -> Result<()>;

    /// Where the last part of the archive begins.
    fn tail(&mut self, offset: u64);

    /// The archive is complete, with so many bytes.
    fn end(self: Box<Self>, bytes: u64) -> Result<()>;
}

#[must_use]
pub struct TarWriter<W> {
    sink: W,
    places: Option<Box<dyn Places>>,
    /// Bytes so far, headers and padding included.
    written: u64,
    /// Bytes that the present member still lacks.
    missing: u64,
    padding: usize,
}

impl<W: Write> TarWriter<W> {
    pub fn new(sink: W) -> Self {
        TarWriter { sink, places: None, written: 0, missing: 0, padding: 0 }
    }

    /// From now on.
    pub fn observe(&mut self, places: Box<dyn Places>) {
        self.places = Some(places);
    }

    /// What follows is the last part.
    pub fn begin_tail(&mut self) {
        let offset = self.written;
        self.places.iter_mut().for_each(|places| places.tail(offset));
    }

    /// `name` without a slash at its end.
    pub fn directory(&mut self, name: &[u8], attributes: Attributes) -> Result<()> {
        self.header(&[name, b"/"].concat(), EntryType::Directory, 0, attributes)?;
        self.placed(name, Kind::Directory, 0)
    }

    /// A directory as GNU tar writes it for its own increments: with the names that it has, so that
    /// `tar -x -G` removes all others. `children`: names, and whether they are directories.
    pub fn dump_directory(
        &mut self,
        name: &[u8],
        children: &[(Vec<u8>, bool)],
        attributes: Attributes,
    ) -> Result<()> {
        let mut children: Vec<_> = children.iter().collect();
        // GNU tar looks names up as strcmp orders them: in another order it removes what is alive.
        children.sort();
        let mut list = Vec::new();
        for (name, is_directory) in children {
            list.push(if *is_directory { b'D' } else { b'Y' });
            list.extend_from_slice(name);
            list.push(0);
        }
        list.push(0);
        let header = [name, b"/"].concat();
        self.header(&header, EntryType::new(DUMP_DIRECTORY), list.len() as u64, attributes)?;
        self.placed(name, Kind::DumpDirectory, list.len() as u64)?;
        self.missing = list.len() as u64;
        self.padding = padding(self.missing);
        self.data(&list)
    }

    /// Exactly `size` bytes must follow through [`TarWriter::data`].
    pub fn begin_file(&mut self, name: &[u8], size: u64, attributes: Attributes) -> Result<()> {
        self.header(name, EntryType::Regular, size, attributes)?;
        self.placed(name, Kind::File, size)?;
        self.missing = size;
        self.padding = padding(size);
        self.pad_if_complete()
    }

    pub fn data(&mut self, data: &[u8]) -> Result<()> {
        self.missing = self
            .missing
            .checked_sub(data.len() as u64)
            .ok_or_else(|| Error::failed("a tar member has more data than its header says"))?;
        self.put(data)?;
        self.pad_if_complete()
    }

    /// Writes the end marker, and gives the sink back, flushed, with the bytes of the whole archive.
    pub fn finish(mut self) -> Result<(W, u64)> {
        self.put(&[0; END_MARKER_BYTES])?;
        self.sink.flush().during("write stdout")?;
        self.places.take().map_or(Ok(()), |places| places.end(self.written))?;
        Ok((self.sink, self.written))
    }

    fn placed(&mut self, name: &[u8], kind: Kind, size: u64) -> Result<()> {
        let offset = self.written;
        self.places.as_mut().map_or(Ok(()), |places| places.member(name, kind, offset, size))
    }

    fn header(&mut self, name: &[u8], kind: EntryType, size: u64, attributes: Attributes) -> Result<()> {
        if self.missing > 0 {
            return Err(Error::failed("a tar member has less data than its header says"));
        }
        if name.len() > NAME_FIELD {
            self.long_name(name)?;
        }
        let field = &name[..name.len().min(NAME_FIELD)];
        let header = header(field, kind, size, attributes);
        self.put(header.as_bytes())
    }

    /// A GNU `L` member that carries the next one's name.
    fn long_name(&mut self, name: &[u8]) -> Result<()> {
        let attributes = Attributes { mode: 0o644, uid: 0, gid: 0, mtime: 0 };
        let size = name.len() as u64 + 1;
        let header = header(b"././@LongLink", EntryType::GNULongName, size, attributes);
        self.put(header.as_bytes())?;
        self.put(name)?;
        self.put(&vec![0; 1 + padding(size)])
    }

    fn pad_if_complete(&mut self) -> Result<()> {
        match self.missing {
            0 => {
                let padding = std::mem::take(&mut self.padding);
                self.put(&[0; BLOCK][..padding])
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, data: &[u8]) -> Result<()> {
        self.written += data.len() as u64;
        self.sink.write_all(data).during("write stdout")
    }
}

/// `name` fits its field. The tar crate's own setter would drop a leading `./`.
fn header(name: &[u8], kind: EntryType, size: u64, attributes: Attributes) -> Header {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(attributes.mode);
    header.set_uid(u64::from(attributes.uid));
    header.set_gid(u64::from(attributes.gid));
    header.set_mtime(u64::try_from(attributes.mtime).unwrap_or(0));
    header.set_cksum();
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const ATTRIBUTES: Attributes = Attributes { mode: 0o600, uid: 1, gid: 2, mtime: 3 };

    #[test]
    fn long_names_and_contents_come_back() {
        let long = "d/".repeat(80) + "f";
        let mut archive = TarWriter::new(Vec::new());
        archive.directory(b".", ATTRIBUTES).unwrap();
        for name in [b"x".as_slice(), long.as_bytes(), &[b'n'; 100]] {
            archive.begin_file(name, 700, ATTRIBUTES).unwrap();
            archive.data(&[7; 300]).unwrap();
            archive.data(&[7; 400]).unwrap();
        }
        let (bytes, written) = archive.finish().unwrap();
        assert_eq!(bytes.len() as u64, written);
        let mut reader = tar::Archive::new(&bytes[..]);
        let mut names = Vec::new();
        for entry in reader.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            assert!(data.is_empty() || data == [7; 700]);
            names.push(String::from_utf8(entry.path_bytes().to_vec()).unwrap());
        }
        assert_eq!(names, ["./".to_owned(), "x".to_owned(), long, "n".repeat(100)]);
    }

    #[test]
    fn a_member_must_have_the_size_it_announced() {
        let mut archive = TarWriter::new(Vec::new());
        archive.begin_file(b"x", 2, ATTRIBUTES).unwrap();
        assert!(archive.data(&[0; 3]).is_err());
        let mut archive = TarWriter::new(Vec::new());
        archive.begin_file(b"x", 2, ATTRIBUTES).unwrap();
        assert!(archive.directory(b"d", ATTRIBUTES).is_err());
    }
}
