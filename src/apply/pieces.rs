//! Writes files as they come out of the stream, in pieces; over a file that holds the same already, only what differs.

use crate::error::{IoContext, Result};
use crate::io::read_full;
use crate::report::{self, Progress};
use crate::tar::Member;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Bytes of one piece of a file: little enough to stay in a processor's own cache until it is written.
const PIECE: usize = 128 << 10;
/// From this size on a file goes to disk at its end, too.
const LARGE: u64 = 1 << 20;
/// A file goes to disk in steps of this many bytes.
const WRITE_BACK: u64 = 8 << 20;

pub struct Pieces {
    /// Whether files may hold something already.
    pub delta: bool,
    new: Vec<u8>,
    old: Vec<u8>,
}

impl Pieces {
    pub fn new(delta: bool) -> Self {
        Pieces { delta, new: vec![0; PIECE], old: vec![0; PIECE] }
    }

    /// Reads the whole content of a member, into `file` if there is one. Returns its CRC-32C.
    pub fn copy(
        &mut self,
        content: &mut impl Read,
        member: &Member,
        file: Option<&File>,
        progress: &Progress,
    ) -> Result<u32> {
        let mut crc = 0;
        let mut left = member.size;
        while left > 0 {
            let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            read_full(content, &mut self.new[..length]).during("read stdin")?;
            crc = crc32c::crc32c_append(crc, &self.new[..length]);
            let at = member.size - left;
            left -= length as u64;
            if let Some(file) = file {
                self.put(file, at, length).during(format_args!("write {}", member.name()))?;
                let written = at + length as u64;
                if written.is_multiple_of(WRITE_BACK) || (left == 0 && written >= LARGE) {
                    write_back(file);
                }
            }
            progress.add(length as u64);
        }
        if let Some(file) = file.filter(|_| self.delta) {
            file.set_len(member.size).during(format_args!("write {}", member.name()))?;
        }
        Ok(crc)
    }

    /// Writes the piece, unless the file holds the same already.
    fn put(&mut self, file: &File, at: u64, length: usize) -> io::Result<()> {
        let new = &self.new[..length];
        if self.delta {
            let old = &mut self.old[..length];
            if file.read_exact_at(old, at).is_ok() && old == new {
                return Ok(());
            }
        }
        file.write_all_at(new, at)
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
