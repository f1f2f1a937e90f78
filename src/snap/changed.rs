//! Sends the changed blocks of a relation file, read again: what is listed and hashed is what is sent.

use crate::error::{IoContext, Result};
use crate::manifest::{self, FileLine, Kind};
use crate::pg::crc::Shift;
use crate::pg::incremental;
use crate::snap::ledger::{BUFFER, Entry, Member, Start};
use crate::snap::reading::{Opened, Reading};
use crate::snap::since::{Changes, Piece, Since, read_at};
use crate::snap::stream::Stream;
use crate::tar::Attributes;

/// What an increment builds on.
pub struct Increment {
    pub since: Since,
    shift: Shift,
}

/// What is gathered while the blocks of one file are sent.
struct Sums {
    sent: u32,
    result: u32,
    hashes: Vec<u8>,
}

impl Increment {
    pub fn new(since: Since) -> Self {
        Increment { since, shift: Shift::default() }
    }

    /// Sends what changed of segment `segment` as PostgreSQL's INCREMENTAL file, and lists it.
    pub fn send_changes(
        &mut self,
        stream: &mut Stream,
        reading: &mut Reading,
        source: Opened<'_>,
        (start, segment, attributes): (&Start, u32, Attributes),
        changes: &Changes,
    ) -> Result<()> {
        let page_size = reading.rules.page_size;
        let header = self.since.header(changes, start.size);
        let head = header.encode(page_size as u32);
        let path = incremental::incremental_path(&start.path);
        let size = head.len() as u64 + header.blocks.len() as u64 * page_size as u64;
        stream.tar.begin_file(&path, size, attributes)?;
        stream.tar.data(&head)?;
        let mut sums = Sums { sent: crc32c::crc32c(&head), result: 0, hashes: Vec::new() };
        for piece in &changes.pieces {
            match *piece {
                Piece::Kept { crc32c, bytes } => {
                    sums.result = self.shift.join(sums.result, crc32c, bytes);
                }
                Piece::Changed { first, count } => {
                    let range = self.since.range(first, count, start.size);
                    self.send_range(stream, reading, source, (segment, range), &mut sums)?;
                }
            }
        }
        let line = start.line(Kind::Blocks, sums.result).map(|line| FileLine {
            blocks: Some(changes.blocks()),
            hashes: Some(manifest::encode_hashes(&sums.hashes)),
            ..line
        });
        let mtime = start.mtime.0;
        stream.ledger.enter(Entry {
            sent: Some(Member { path, size, mtime, crc32c: sums.sent }),
            result: Some(Member { path: start.path.clone(), size: start.size, mtime, crc32c: sums.result }),
            line,
        })
    }

    fn send_range(
        &self,
        stream: &mut Stream,
        reading: &mut Reading,
        source: Opened<'_>,
        (segment, (mut at, end)): (u32, (u64, u64)),
        sums: &mut Sums,
    ) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(end - at).map_or(BUFFER, |size| size.min(BUFFER))];
        while at < end {
            let length = usize::try_from(end - at).map_or(BUFFER, |rest| rest.min(BUFFER));
            let data = &mut buffer[..length];
            read_at(source.file, data, at).during_path("read", source.path)?;
            reading.check_pages(source, segment, at, data)?;
            stream.tar.data(data)?;
            sums.sent = crc32c::crc32c_append(sums.sent, data);
            sums.result = crc32c::crc32c_append(sums.result, data);
            self.since.hash(data, &mut sums.hashes);
            at += length as u64;
            reading.wait(length as u64)?;
        }
        Ok(())
    }
}
