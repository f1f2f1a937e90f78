//! The tar stream between `pgv-snap` and `pgv-apply`: its one writer, and its one reader. Only this room names the
//! tar crate.
//!
//! Headers are ustar and GNU only, because PostgreSQL's own `pg_verifybackup` refuses pax.

mod reader;
mod writer;

pub use reader::{Content, Member, TarReader};
pub use writer::{Attributes, Places, TarWriter};

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    /// With its names as content, as an increment of files has it.
    DumpDirectory,
    File,
}

/// Bytes of a header, and what contents are padded to (POSIX, pax: ustar interchange format).
pub const BLOCK: usize = 512;
/// A directory with a list of its names, as GNU tar's increments have it (GNUTYPE_DUMPDIR in its tar.h).
const DUMP_DIRECTORY: u8 = b'D';
/// Blocks of zeros that end an archive, in bytes.
const END_MARKER_BYTES: usize = 2 * BLOCK;

/// Bytes between a content of `size` bytes and the next header.
fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

/// Bytes of a content of `size` bytes with its padding.
pub fn padded(size: u64) -> Option<u64> {
    size.checked_next_multiple_of(BLOCK as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{IoContext, Result};
    use std::io::Read;

    #[test]
    fn what_one_writes_the_other_reads() {
        let attributes = Attributes { mode: 0o640, uid: 1, gid: 2, mtime: 3 };
        let long = [b"base/".as_slice(), &[b'x'; 200], b"\xff"].concat();
        let mut writer = TarWriter::new(Vec::new());
        writer.directory(b".", attributes).unwrap();
        writer.dump_directory(b"base", &[(b"b".to_vec(), false), (b"a".to_vec(), true)], attributes).unwrap();
        for (name, content) in [(b"empty".as_slice(), &[][..]), (&long, &[7; 513])] {
            writer.begin_file(name, content.len() as u64, attributes).unwrap();
            writer.data(content).unwrap();
        }
        let (archive, _written) = writer.finish().unwrap();

        let mut reader = TarReader::new(&archive[..]);
        let mut members = Vec::new();
        while let Some(member) = reader.next_member().unwrap() {
            let mut content = Vec::new();
            reader.content().read_to_end(&mut content).unwrap();
            assert_eq!((member.mode, member.uid, member.gid), (0o640, 1, 2));
            members.push((member.path, member.kind, content));
        }
        let names = b"Da\0Yb\0\0".to_vec();
        let expected = [
            (b".".to_vec(), Kind::Directory, Vec::new()),
            (b"base".to_vec(), Kind::DumpDirectory, names),
            (b"empty".to_vec(), Kind::File, Vec::new()),
            (long, Kind::File, vec![7; 513]),
        ];
        assert_eq!(members, expected);

        // Without the end marker it is cut short, wherever the cut is.
        for length in [archive.len() - 1, archive.len() - END_MARKER_BYTES, BLOCK, 0] {
            let mut reader = TarReader::new(&archive[..length]);
            let mut read_all = || -> Result<()> {
                while reader.next_member()?.is_some() {
                    std::io::copy(&mut reader.content(), &mut std::io::sink()).during("read")?;
                }
                Ok(())
            };
            assert!(read_all().is_err(), "{length}");
        }
    }
}
