//! The hashing thread: it sees every byte of the stream once, after it was written, and keeps both
//! manifests. Reading, page checks and writing go on beside it.

use crate::error::{Error, Result};
use crate::io::{TemporaryFile, begin_thread, hex};
use crate::manifest::{self, FileHasher, FileLine};
use crate::pg::backup_manifest;
use std::io::{BufWriter, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Bytes of one buffer; a multiple of every page and hash block size.
pub const BUFFER: usize = 1 << 20;
/// All there are: they bound the memory of the data path to 8 MiB.
const BUFFERS: usize = 8;

/// A file whose bytes follow.
pub struct Start {
    pub path: Vec<u8>,
    pub size: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// What the pgv manifest says of it; `None` for what is made up by pgv or the backup itself.
    pub listed: Option<Listed>,
}

pub struct Listed {
    pub ctime: (i64, i64),
    pub dev: u64,
    pub ino: u64,
    pub mode: u32,
    pub racy: bool,
    /// Hashed block by block.
    pub relation: bool,
}

/// A file that needs no hashing here any more.
pub struct Entry {
    /// For `backup_manifest`.
    pub sent: Option<Member>,
    /// For the result's, if it has one of its own.
    pub result: Option<Member>,
    /// For the pgv manifest.
    pub line: Option<FileLine>,
}

#[derive(Clone)]
pub struct Member {
    pub path: Vec<u8>,
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    pub crc32c: u32,
}

enum Message {
    Start(Start),
    Data(Vec<u8>, usize),
    Entry(Box<Entry>),
    Unused(Vec<u8>),
    End,
}

/// Where the pgv manifest goes, and how its blocks are hashed.
pub struct Hashing<W> {
    pub writer: manifest::Writer<W>,
    pub key: [u8; 32],
    pub block: usize,
}

pub type Spooled = backup_manifest::Writer<BufWriter<TemporaryFile>>;

/// The thread's results: all manifests, still without their ends.
pub struct Manifests<W> {
    pub backup_manifest: Spooled,
    /// Of an increment in blocks: what it makes of its parent.
    pub result: Option<Spooled>,
    pub hashing: Option<Hashing<W>>,
}

/// The other end of the thread.
#[must_use]
pub struct Ledger<W> {
    messages: SyncSender<Message>,
    free: Receiver<Vec<u8>>,
    thread: JoinHandle<Option<Manifests<W>>>,
    /// Why the thread ended early, if it did.
    failure: Arc<Mutex<Option<Error>>>,
}

impl<W: Write + Send + 'static> Ledger<W> {
    pub fn start(manifests: Manifests<W>) -> Result<Self> {
        let (messages, inbox) = sync_channel(64);
        let (give_back, free) = channel();
        for _ in 0..BUFFERS {
            // The receiver is alive: it is right here.
            let _received = give_back.send(vec![0; BUFFER]).is_ok();
        }
        let failure = Arc::new(Mutex::new(None));
        let reported = Arc::clone(&failure);
        // The failure is stored before the inbox closes, so whoever finds it closed finds the reason.
        let thread = begin_thread(move || match keep(manifests, &inbox, &give_back) {
            Ok(manifests) => Some(manifests),
            Err(error) => {
                if let Ok(mut slot) = reported.lock() {
                    *slot = Some(error);
                }
                None
            }
        })?;
        Ok(Ledger { messages, free, thread, failure })
    }

    /// A buffer of [`BUFFER`] bytes; waits while all are in use.
    pub fn buffer(&self) -> Result<Vec<u8>> {
        self.free.recv().map_err(|_| stopped(&self.failure))
    }

    pub fn begin(&self, start: Start) -> Result<()> {
        self.send(Message::Start(start))
    }

    /// Takes the buffer back; its first `len` bytes are the file's next.
    pub fn data(&self, buffer: Vec<u8>, len: usize) -> Result<()> {
        self.send(Message::Data(buffer, len))
    }

    /// Takes back a buffer whose bytes are in no list.
    pub fn give_back(&self, buffer: Vec<u8>) -> Result<()> {
        self.send(Message::Unused(buffer))
    }

    pub fn enter(&self, entry: Entry) -> Result<()> {
        self.send(Message::Entry(Box::new(entry)))
    }

    pub fn end(&self) -> Result<()> {
        self.send(Message::End)
    }

    /// Waits for the thread to catch up.
    pub fn finish(self) -> Result<Manifests<W>> {
        drop(self.messages);
        self.thread.join().ok().flatten().ok_or_else(|| stopped(&self.failure))
    }

    fn send(&self, message: Message) -> Result<()> {
        self.messages.send(message).map_err(|_| stopped(&self.failure))
    }
}

/// The thread's own error.
fn stopped(failure: &Mutex<Option<Error>>) -> Error {
    let stored = failure.lock().ok().and_then(|mut slot| slot.take());
    stored.unwrap_or_else(|| Error::failed("the hashing thread stopped"))
}

struct Current {
    start: Start,
    crc32c: u32,
    hasher: Option<FileHasher>,
}

fn keep<W: Write>(
    mut manifests: Manifests<W>,
    inbox: &Receiver<Message>,
    free: &Sender<Vec<u8>>,
) -> Result<Manifests<W>> {
    let mut current: Option<Current> = None;
    for message in inbox {
        match message {
            Message::Start(start) => current = Some(begin(start, manifests.hashing.as_ref())),
            Message::Data(buffer, len) => {
                add(&mut current, &buffer[..len]);
                // Nobody waits for a buffer any more when the other side is gone.
                let _unwanted = free.send(buffer).is_err();
            }
            Message::Unused(buffer) => {
                let _unwanted = free.send(buffer).is_err();
            }
            Message::Entry(entry) => enter(&mut manifests, *entry)?,
            Message::End => {
                if let Some(done) = current.take() {
                    enter(&mut manifests, whole(done))?;
                }
            }
        }
    }
    Ok(manifests)
}

fn begin<W>(start: Start, hashing: Option<&Hashing<W>>) -> Current {
    let hasher = match (&start.listed, hashing) {
        (Some(listed), Some(hashing)) => {
            Some(FileHasher::new(&hashing.key, listed.relation.then_some(hashing.block)))
        }
        _ => None,
    };
    Current { start, crc32c: 0, hasher }
}

fn add(current: &mut Option<Current>, data: &[u8]) {
    if let Some(file) = current {
        file.crc32c = crc32c::crc32c_append(file.crc32c, data);
        if let Some(hasher) = &mut file.hasher {
            hasher.update(data);
        }
    }
}

fn whole(done: Current) -> Entry {
    let Current { start, crc32c, hasher } = done;
    let line = hasher.and_then(|hasher| {
        let line = start.line(manifest::Kind::Whole, crc32c)?;
        Some(FileLine { hashes: Some(hasher.finish()), ..line })
    });
    let member = Member { path: start.path, size: start.size, mtime: start.mtime.0, crc32c };
    Entry { sent: Some(member.clone()), result: Some(member), line }
}

fn enter<W: Write>(manifests: &mut Manifests<W>, entry: Entry) -> Result<()> {
    if let Some(Member { path, size, mtime, crc32c }) = entry.sent {
        manifests.backup_manifest.file(&path, size, mtime, crc32c)?;
    }
    if let (Some(Member { path, size, mtime, crc32c }), Some(result)) = (entry.result, &mut manifests.result)
    {
        result.file(&path, size, mtime, crc32c)?;
    }
    match (entry.line, &mut manifests.hashing) {
        (Some(line), Some(hashing)) => hashing.writer.file(&line),
        _ => Ok(()),
    }
}

impl Start {
    /// What the pgv manifest says of it, without hashes.
    pub fn line(&self, kind: manifest::Kind, crc32c: u32) -> Option<FileLine> {
        let listed = self.listed.as_ref()?;
        let (path, path_hex) = match std::str::from_utf8(&self.path) {
            Ok(path) => (Some(path.to_owned()), None),
            Err(_) => (None, Some(hex(&self.path))),
        };
        Some(FileLine {
            path,
            path_hex,
            size: self.size,
            mtime: timestamp(self.mtime),
            ctime: timestamp(listed.ctime),
            dev: listed.dev,
            ino: listed.ino,
            mode: listed.mode,
            racy: listed.racy,
            kind,
            crc32c: hex(&crc32c.to_le_bytes()),
            blocks: None,
            hashes: None,
        })
    }
}

/// As the pgv manifest writes times.
pub fn timestamp((seconds, nanoseconds): (i64, i64)) -> String {
    format!("{seconds}.{nanoseconds:09}")
}
