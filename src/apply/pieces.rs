//! Writes files as they come out of the stream, in pieces; over a file that holds the same already, only what differs.

use crate::error::{Error, IoContext, Result};
use crate::io::for_pieces;
use crate::report::{self, Progress};
use crate::tar::Member;
use std::fs::File;
use std::io::{self, BufRead};
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
    old: Vec<u8>,
}

impl Pieces {
    pub fn new(delta: bool) -> Self {
        Pieces { delta, old: vec![0; PIECE] }
    }

    /// Reads the whole content of a member, into `file` if there is one. Returns its CRC-32C.
    pub fn copy(
        &mut self,
        content: &mut impl BufRead,
        member: &Member,
        file: Option<&File>,
        progress: &Progress,
    ) -> Result<u32> {
        let mut crc = 0;
        let (mut at, mut since_write_back) = (0, 0);
        let failed = |error| Error::io("read stdin", error);
        for_pieces(content, member.size, PIECE, failed, |piece| {
            crc = crc32c::crc32c_append(crc, piece);
            let length = piece.len() as u64;
            if let Some(file) = file {
                self.put(file, at, piece).during(format_args!("write {}", member.name()))?;
                since_write_back += length;
                let is_last = at + length == member.size;
                if since_write_back >= WRITE_BACK || (is_last && member.size >= LARGE) {
                    write_back(file);
                    since_write_back = 0;
                }
            }
            at += length;
            progress.add(length);
            Ok(())
        })?;
        if let Some(file) = file.filter(|_| self.delta) {
            file.set_len(member.size).during(format_args!("write {}", member.name()))?;
        }
        Ok(crc)
    }

    /// Writes the piece, unless the file holds the same already.
    fn put(&mut self, file: &File, at: u64, new: &[u8]) -> io::Result<()> {
        if self.delta {
            let old = &mut self.old[..new.len()];
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
