//! Compares what came out of the stream with the `backup_manifest` that travels in it.
//!
//! The manifest comes after the files it lists, in the same order. What was seen is spooled to a
//! nameless temporary file and read beside it, so memory does not grow with the number of files.

use crate::catalog::member;
use crate::error::{Error, IoContext, Result};
use crate::io::{TemporaryFile, temporary_file};
use crate::pg::backup_manifest::{Entry, Reader, WalRange};
use crate::pg::control;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, Write};

/// What a manifest says beyond the files that were seen.
pub struct Listed {
    pub last: Entry,
    pub ranges: Vec<WalRange>,
}

#[must_use]
pub struct Seen {
    spool: BufWriter<TemporaryFile>,
}

impl Seen {
    pub fn new() -> Result<Self> {
        Ok(Seen { spool: BufWriter::new(temporary_file()?) })
    }

    /// A file of the stream, in its order.
    pub fn add(&mut self, entry: &Entry) -> Result<()> {
        let Entry { path, size, crc32c } = entry;
        let length = u32::try_from(path.len()).map_err(|_| Error::damaged("a path of 4 GiB"))?;
        let head = [&length.to_le_bytes()[..], &size.to_le_bytes(), &crc32c.to_le_bytes(), path].concat();
        self.spool.write_all(&head).during("write a temporary file")
    }

    /// Refuses the first difference. The manifest lists one file more, its last, which comes after it
    /// in the stream: that entry is returned, and the WAL that it names. `unsent`: whether a file that was not in the stream is
    /// what the manifest says. `unlisted`: whether a file of the stream, the first, may be missing in the manifest, which
    /// goes on with the second.
    pub fn compare(
        self,
        manifest: impl BufRead,
        unsent: &mut dyn FnMut(&Entry) -> Result<bool>,
        unlisted: &mut dyn FnMut(&Entry, &Entry) -> bool,
    ) -> Result<Listed> {
        let mut file =
            self.spool.into_inner().map_err(|e| e.into_error()).during("write a temporary file")?;
        let end = file.stream_position().during("read a temporary file")?;
        file.rewind().during("read a temporary file")?;
        let mut spool = BufReader::new(file.take(end));
        let mut manifest = Reader::new(manifest)?;
        let mut seen = next_seen(&mut spool)?;
        let mut listed = manifest.next_file()?.ok_or_else(no_control)?;
        while let Some(following) = manifest.next_file()? {
            while seen.as_ref().is_some_and(|other| other.path != listed.path && unlisted(other, &listed)) {
                seen = next_seen(&mut spool)?;
            }
            match &seen {
                Some(same) if *same == listed => seen = next_seen(&mut spool)?,
                Some(other) if other.path == listed.path => return Err(difference(other, &listed)),
                _ if unsent(&listed)? => {}
                Some(other) => return Err(difference(other, &listed)),
                None => {
                    let why = "listed in backup_manifest, not in the stream";
                    return Err(Error::damaged(format!("{}: {why}", name(&listed))));
                }
            }
            listed = following;
        }
        match seen {
            None => manifest.finish().map(|ranges| Listed { last: listed, ranges }),
            Some(seen) if seen == listed => Err(no_control()),
            Some(seen) => Err(Error::damaged(format!("{}: not listed in backup_manifest", name(&seen)))),
        }
    }
}

/// Whether a file of a manifest is the cluster's own, which come in the order of their paths, and none
/// that the backup made up.
pub fn is_data(path: &[u8]) -> bool {
    const GENERATED: [&[u8]; 3] = [b"recovery.signal", b"backup_label", control::PATH.as_bytes()];
    !member::is_inside(path) && !GENERATED.contains(&path)
}

fn no_control() -> Error {
    Error::damaged("backup_manifest does not list global/pg_control")
}

fn next_seen(spool: &mut impl BufRead) -> Result<Option<Entry>> {
    const WHAT: &str = "read a temporary file";
    if spool.fill_buf().during(WHAT)?.is_empty() {
        return Ok(None);
    }
    let (mut length, mut size, mut crc) = ([0; 4], [0; 8], [0; 4]);
    spool.read_exact(&mut length).during(WHAT)?;
    spool.read_exact(&mut size).during(WHAT)?;
    spool.read_exact(&mut crc).during(WHAT)?;
    let mut path = vec![0; u32::from_le_bytes(length) as usize];
    spool.read_exact(&mut path).during(WHAT)?;
    Ok(Some(Entry { path, size: u64::from_le_bytes(size), crc32c: u32::from_le_bytes(crc) }))
}

fn difference(seen: &Entry, listed: &Entry) -> Error {
    Error::damaged(match listed.path == seen.path {
        true if listed.size != seen.size => {
            format!("{}: {} bytes, backup_manifest says {}", name(seen), seen.size, listed.size)
        }
        true => format!("{}: its checksum differs from backup_manifest", name(seen)),
        false => format!("the stream has {} where backup_manifest lists {}", name(seen), name(listed)),
    })
}

fn name(entry: &Entry) -> String {
    String::from_utf8_lossy(&entry.path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::backup_manifest::Writer;

    fn entry(path: &str, size: u64, crc32c: u32) -> Entry {
        Entry { path: path.as_bytes().to_vec(), size, crc32c }
    }

    fn compare(seen: &[Entry], listed: &[Entry]) -> Result<Entry> {
        let mut writer = Writer::new(Vec::new(), 15, 7).unwrap();
        for entry in listed {
            writer.file(&entry.path, entry.size, 0, entry.crc32c).unwrap();
        }
        let manifest = writer.finish(None).unwrap();
        let mut spool = Seen::new().unwrap();
        seen.iter().for_each(|entry| spool.add(entry).unwrap());
        spool.compare(&manifest[..], &mut |_| Ok(false), &mut |_, _| false).map(|listed| listed.last)
    }

    #[test]
    fn every_difference_is_named() {
        let (a, b, last) = (entry("a", 1, 1), entry("b", 2, 2), entry("global/pg_control", 8192, 3));
        assert_eq!(compare(&[a.clone(), b.clone()], &[a.clone(), b.clone(), last.clone()]).unwrap(), last);
        let cases = [
            (vec![entry("a", 3, 1)], vec![a.clone(), last.clone()], "a: 3 bytes"),
            (vec![entry("a", 1, 9)], vec![a.clone(), last.clone()], "a: its checksum"),
            (vec![b.clone()], vec![a.clone(), b.clone(), last.clone()], "where backup_manifest lists a"),
            (vec![a.clone()], vec![a.clone(), b.clone(), last.clone()], "b: listed"),
            (vec![a.clone(), b.clone()], vec![a.clone(), last.clone()], "b: not listed"),
            (vec![a.clone()], vec![a.clone()], "does not list global/pg_control"),
        ];
        for (seen, listed, message) in cases {
            let error = compare(&seen, &listed).unwrap_err();
            assert!(error.message().contains(message), "{}", error.message());
        }
    }
}
