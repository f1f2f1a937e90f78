//! What a thread writes and another one reads: a pipe inside of a process, which spares the kernel's two copies. As with a
//! command's output, the end counts only with the result of whoever wrote.

use crate::error::{Error, Result, Status};
use crate::io::{Sink, begin_thread};
use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// Bytes handed over at a time: two of them lie in a processor's own cache.
const PIECE: usize = 128 << 10;
/// Pieces that may lie between the two: 1 MiB, as in the pipes between the stages.
const PIECES: usize = 8;

/// Reads what a thread writes.
pub struct Threaded {
    pieces: Receiver<Result<Vec<u8>>>,
    /// What was read, for whoever writes.
    read: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    writer: Writer,
}

enum Writer {
    Running(JoinHandle<Result<Status>>),
    Ended(Result<()>),
}

/// Writes to whoever reads [`Threaded`].
#[must_use]
pub struct ThreadSink {
    pieces: SyncSender<Result<Vec<u8>>>,
    read: Receiver<Vec<u8>>,
    piece: Vec<u8>,
}

impl Threaded {
    /// Runs `write` on a thread of its own. Its error is that of the read that meets the end, and of each
    /// that comes after it.
    pub fn spawn(write: impl FnOnce(ThreadSink) -> Result<Status> + Send + 'static) -> Result<Self> {
        Self::spawn_with(PIECES, write)
    }

    /// The same; `between`: pieces that may lie between the two, for whoever gives larger ones.
    pub fn spawn_with(
        between: usize,
        write: impl FnOnce(ThreadSink) -> Result<Status> + Send + 'static,
    ) -> Result<Self> {
        let (pieces, taken) = sync_channel(between);
        let (read, used) = channel();
        let sink = ThreadSink { pieces, read: used, piece: Vec::with_capacity(PIECE) };
        let writer = begin_thread(|| write(sink))?;
        Ok(Threaded { pieces: taken, read, piece: Vec::new(), at: 0, writer: Writer::Running(writer) })
    }

    /// The next piece; none after the end, which was a good one.
    fn advance(&mut self) -> io::Result<bool> {
        match self.pieces.recv() {
            // It may go on for a while: what it waits for is not needed any more.
            Ok(Err(error)) => {
                self.writer = Writer::Ended(Err(error.clone()));
                Err(error.into())
            }
            Ok(Ok(piece)) => {
                let used = std::mem::replace(&mut self.piece, piece);
                self.at = 0;
                // Whoever wrote all needs none any more.
                let _not_needed = self.read.send(used).is_err();
                Ok(true)
            }
            Err(_) => Ok(self.end().map(|()| false)?),
        }
    }
}

impl Threaded {
    fn end(&mut self) -> Result<()> {
        let end = match std::mem::replace(&mut self.writer, Writer::Ended(Ok(()))) {
            // 0 and 7 both say that all of it came.
            Writer::Running(thread) => match thread.join() {
                Ok(result) => result.map(|_: Status| ()),
                Err(_) => Err(Error::failed("a thread ended by a fault of pgv")),
            },
            Writer::Ended(end) => end,
        };
        self.writer = Writer::Ended(end.clone());
        end
    }
}

impl Read for Threaded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let rest = self.fill_buf()?;
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Threaded {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.piece.len() {
            if !self.advance()? {
                return Ok(&[]);
            }
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, length: usize) {
        self.at = self.piece.len().min(self.at + length);
    }
}

impl ThreadSink {
    /// Hands over the whole of it, without a copy, and returns what can be used in its place: with whatever its last user
    /// left in it, or empty.
    pub fn give(&mut self, whole: Vec<u8>) -> io::Result<Vec<u8>> {
        self.flush()?;
        self.pieces.send(Ok(whole)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(self.read.try_recv().unwrap_or_default())
    }

    /// Tells whoever reads at once that this is the end, and why: the thread itself may have to wait before it ends.
    pub fn fail(&mut self, error: &Error) {
        let _unread = self.pieces.send(Err(error.clone())).is_err();
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let mut next = self.read.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        next.clear();
        let piece = std::mem::replace(&mut self.piece, next);
        self.pieces.send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ThreadSink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let length = buf.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&buf[..length]);
        if self.piece.len() == PIECE {
            self.hand_over()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.piece.is_empty() {
            true => Ok(()),
            false => self.hand_over(),
        }
    }
}

impl Sink for ThreadSink {
    fn finish(mut self) -> Result<()> {
        self.flush().map_err(|e| Error::io("write to the next stage", e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_thread_writes_another_reads() {
        let all: Vec<u8> = (0..3 * PIECE + 5).map(|n| (n % 251) as u8).collect();
        let sent = all.clone();
        let mut reader = Threaded::spawn(move |mut sink| {
            for part in sent.chunks(777) {
                sink.write_all(part).map_err(|e| Error::io("write", e))?;
            }
            sink.finish().map(|()| Status::Findings)
        })
        .unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, all);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn whole_pieces_come_in_their_place_and_are_used_again() {
        let mut reader = Threaded::spawn_with(1, |mut sink| {
            let failed = |e| Error::io("write", e);
            let mut used = 0;
            for round in 0..50_u8 {
                sink.write_all(&[round]).map_err(failed)?;
                let back = sink.give(vec![round; 1000]).map_err(failed)?;
                used += u32::from(back.capacity() >= 1000);
            }
            // Those that are on their way are not.
            assert!(used > 20, "only {used} came back");
            sink.finish().map(|()| Status::Done)
        })
        .unwrap();
        for round in 0..50_u8 {
            let mut piece = [0; 1001];
            reader.read_exact(&mut piece).unwrap();
            assert_eq!(piece, [round; 1001]);
        }
        assert_eq!(reader.fill_buf().unwrap(), b"");
    }

    #[test]
    fn the_end_is_an_error_if_the_thread_failed() {
        let mut reader = Threaded::spawn(|mut sink| {
            sink.write_all(b"some").and_then(|()| sink.flush()).map_err(|e| Error::io("write", e))?;
            Err(Error::damaged("cut"))
        })
        .unwrap();
        let mut read = Vec::new();
        let error = Error::io("read", reader.read_to_end(&mut read).unwrap_err());
        assert_eq!((error.kind, &read[..]), (crate::error::Kind::Damaged, &b"some"[..]));
        assert!(reader.read(&mut [0]).is_err(), "whoever reads on is not told that it was the end");
    }

    /// It would wait for ever.
    #[test]
    fn a_writer_whom_nobody_reads_ends() {
        let (told, ended) = channel();
        let reader = Threaded::spawn(move |mut sink| {
            let result = loop {
                if let Err(error) = sink.write_all(&[0; PIECE]) {
                    break error.kind();
                }
            };
            told.send(result).unwrap();
            Ok(Status::Done)
        })
        .unwrap();
        drop(reader);
        assert_eq!(ended.recv().unwrap(), io::ErrorKind::BrokenPipe);
    }
}
