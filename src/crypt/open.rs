//! The reader. One thread reads and runs the CBC chain, `jobs` threads check digests and decompress, and
//! the calling thread releases plaintext in order, stopping at the first record that is not the writer's.
//!
//! The end of the plaintext is withheld until the stream's own end was verified: what is complete only with
//! its last bytes, as a tar archive that ends with `global/pg_control`, is never made from a damaged stream.
//!
//! The order of checks is the point: a header's tag is compared before any of its fields is looked at,
//! and a body's digest before any use of the body.

use crate::crypt::format::{self, BLOCK_BYTES, Fields, HEADER_BYTES, Header, PADDING, RecordKind, SALTED};
use crate::crypt::key::{MAX_CONTEXT_BYTES, Passphrase, StreamKeys};
use crate::crypt::pool::Pool;
use crate::error::{Error, IoContext, Kind, Result};
use crate::io::{begin_in, begin_workers, read_full};
use aes::cipher::inout::InOutBuf;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::find_frame_compressed_size;

/// What is withheld at least, in bytes: the last record may be short. `global/pg_control`, its tar header and
/// tar's end marker are 9728 bytes, and tar pads that to a multiple of 10240.
const WITHHELD_BYTES: usize = 32 << 10;

pub(super) type Decryptor = cbc::Decryptor<aes::Aes256>;

/// A decrypted, not yet verified body, the header that describes it, and where its plaintext shall go.
struct Job {
    fields: Fields,
    header: Header,
    body: Vec<u8>,
    done: SyncSender<Result<Vec<u8>>>,
}

/// A record whose header is authentic, in the stream's order.
pub(super) struct Ordered {
    /// Of plaintext that is to be released, as the header says; 0 of a record that has none.
    plain_bytes: usize,
    /// What of it, in order and without overlap; none of it is all of it.
    pieces: Vec<Range<usize>>,
    result: Receiver<Result<Vec<u8>>>,
}

/// Gets the plaintext, each record's whole and in order.
pub trait Taker {
    /// Gives back what can be used for another record, whatever is in it.
    fn take(&mut self, plain: Vec<u8>) -> io::Result<Vec<u8>>;

    /// Nothing more comes, and why. Whoever opens may have to wait for its input before it returns the same.
    fn fail(&mut self, _why: &Error) {}
}

/// Writes what it takes.
struct Writing<'a, W> {
    writer: &'a mut W,
    written: u64,
}

impl<W: Write> Taker for Writing<'_, W> {
    fn take(&mut self, plain: Vec<u8>) -> io::Result<Vec<u8>> {
        self.writer.write_all(&plain)?;
        self.written += plain.len() as u64;
        Ok(plain)
    }
}

/// Opens a sealed stream with the first of `passphrases` that fits; returns the bytes released. What is
/// released before an error is authentic, but only success says that it is all.
pub fn open(
    mut reader: impl Read + Send,
    writer: &mut impl Write,
    passphrases: &[Passphrase],
    context: &[u8],
    jobs: usize,
) -> Result<u64> {
    let (keys, header, chain) = begin(&mut reader, passphrases, context)?;
    written(writer, |taker| open_records(reader, taker, (keys, chain), jobs, |records| records.run(header)))
}

/// The same for whoever reads in this process, who must not believe either before this succeeds.
pub fn open_into(
    mut reader: impl Read + Send,
    taker: &mut dyn Taker,
    passphrases: &[Passphrase],
    context: &[u8],
    jobs: usize,
) -> Result<()> {
    let (keys, header, chain) = begin(&mut reader, passphrases, context)?;
    open_records(reader, taker, (keys, chain), jobs, |records| records.run(header))
}

fn begin(
    reader: &mut impl Read,
    passphrases: &[Passphrase],
    context: &[u8],
) -> Result<(StreamKeys, Header, Decryptor)> {
    if context.len() > MAX_CONTEXT_BYTES {
        return Err(Error::usage(format!("the context is longer than {MAX_CONTEXT_BYTES} bytes")));
    }
    let start = read_start(reader)?;
    let header = read_array(reader, truncated)?;
    fit_key(&start, None, header, passphrases, context)
}

/// Writes what `open` releases, and says how much that is.
pub(super) fn written(
    writer: &mut impl Write,
    open: impl FnOnce(&mut dyn Taker) -> Result<()>,
) -> Result<u64> {
    let mut writing = Writing { writer, written: 0 };
    let opened = open(&mut writing);
    let written = writing.written;
    opened.map(|()| written).map_err(|error| match error.kind {
        Kind::Damaged => {
            error.hint(format!("{written} bytes were written before it; they are authentic, but incomplete"))
        }
        _ => error,
    })
}

/// Reads records by `read` on a thread of its own, and releases them in order.
pub(super) fn open_records<R: Read + Send>(
    reader: R,
    taker: &mut dyn Taker,
    (keys, chain): (StreamKeys, Decryptor),
    jobs: usize,
    read: impl FnOnce(RecordReader<'_, R>) -> Result<()> + Send,
) -> Result<()> {
    let jobs = jobs.max(1);
    let (bodies, plains) = (&Pool::new(), &Pool::new());
    let (ordered, in_order) = sync_channel::<Ordered>(jobs + 1);
    let (job_sender, job_receiver) = sync_channel::<Job>(jobs);
    let job_receiver = &Mutex::new(job_receiver);
    let mut release = Release { taker, plains, withheld: VecDeque::new(), withheld_bytes: 0 };
    thread::scope(|scope| {
        let stream = RecordReader { reader, chain, keys, bodies, ordered, jobs: job_sender };
        // They end when nobody can give them work any more: first, so that nobody waits for who could not be begun.
        begin_workers(scope, jobs, move || work(job_receiver, bodies, plains))?;
        let reading = begin_in(scope, move || read(stream))?;
        let written = release.in_order(in_order);
        if let Err(error) = &written {
            release.taker.fail(error);
        }
        let read = reading.join().unwrap_or_else(|_| Err(Error::failed("the reading thread stopped")));
        // What was released before the reader's error was verified.
        written.and(read).and_then(|()| release.rest())
    })
}

/// Which of `passphrases` opens a sealed stream, as far as its first record's header proves it: reads no further. The
/// kind of the error is Key if none does.
pub(super) fn fitting_key(
    mut reader: impl Read,
    passphrases: &[Passphrase],
    context: &[u8],
) -> Result<usize> {
    let start = read_start(&mut reader)?;
    let header = read_array(&mut reader, truncated)?;
    for (index, passphrase) in passphrases.iter().enumerate() {
        match fit_key(&start, None, header, std::slice::from_ref(passphrase), context) {
            Err(error) if error.kind == Kind::Key => {}
            fitted => return fitted.map(|_| index),
        }
    }
    Err(Error::new(Kind::Key, "wrong key or context"))
}

/// What precedes the first record: parameters and salt.
pub(super) struct Start {
    pub line: [u8; format::FIRST_LINE_BYTES],
    pub iterations: u32,
    pub salt: [u8; format::SALT_BYTES],
}

pub(super) fn read_start(reader: &mut impl Read) -> Result<Start> {
    let short = || Error::damaged("not a pgv stream: it ends before its first record");
    let line = read_array(reader, short)?;
    let iterations = format::parse_first_line(&line)?;
    let magic: [u8; SALTED.len()] = read_array(reader, short)?;
    if magic != *SALTED {
        return Err(Error::damaged("not a pgv stream: \"Salted__\" is not where it should be"));
    }
    Ok(Start { line, iterations, salt: read_array(reader, short)? })
}

pub(super) fn read_array<const N: usize>(
    reader: &mut impl Read,
    short: impl FnOnce() -> Error,
) -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    match read_full(reader, &mut bytes).during("read the sealed stream")? {
        length if length == N => Ok(bytes),
        _ => Err(short()),
    }
}

/// `header`: the first one that is there, and `before` it the cipher block before, if it is not that of the first record.
pub(super) fn fit_key(
    start: &Start,
    before: Option<[u8; BLOCK_BYTES]>,
    header: [u8; HEADER_BYTES],
    passphrases: &[Passphrase],
    context: &[u8],
) -> Result<(StreamKeys, Header, Decryptor)> {
    let mut nearly = false;
    for passphrase in passphrases {
        let keys = StreamKeys::derive(passphrase, &start.salt, start.iterations, &start.line, context)?;
        let mut chain = Decryptor::new(&keys.aes.into(), &before.unwrap_or(keys.iv).into());
        let mut bytes = header;
        decrypt(&mut chain, &mut bytes);
        let header = Header::from_bytes(bytes);
        if keys.verifies(&header) {
            return Ok((keys, header, chain));
        }
        nearly |= header.begins_a_stream();
    }
    let error = Error::new(Kind::Key, "wrong key or context, or a damaged beginning; no data was written");
    Err(match nearly {
        true => error.hint(
            "the key is right, but the context or the header is not: it may be another object; else give the same --context as for sealing",
        ),
        false => error.hint("give the key that sealed the stream; several keys: repeat -k, or PGV_KEY_FILE=KEY:OLDER"),
    })
}

pub(super) struct RecordReader<'a, R> {
    pub reader: R,
    pub chain: Decryptor,
    pub keys: StreamKeys,
    bodies: &'a Pool,
    ordered: SyncSender<Ordered>,
    jobs: SyncSender<Job>,
}

impl<R: Read> RecordReader<'_, R> {
    /// `header` is the first one, already authenticated.
    fn run(mut self, mut header: Header) -> Result<()> {
        let (mut sequence, mut offset) = (0, 0);
        loop {
            let fields =
                header.fields().ok_or_else(|| damaged("a record's header does not have the format"))?;
            if fields.sequence != sequence || fields.offset != offset {
                return Err(damaged("records are missing, repeated or out of order"));
            }
            if fields.kind == RecordKind::End {
                return self.finish(&header);
            }
            if !self.read_body(fields, header, Vec::new())? {
                return Ok(());
            }
            sequence += 1;
            offset += fields.plain_bytes as u64;
            header = self.read_header()?;
        }
    }

    /// `pieces`: what of it is released; none is all. False when nothing more is to be read: the releasing side has the
    /// error, or has one of its own.
    pub fn read_body(&mut self, fields: Fields, header: Header, pieces: Vec<Range<usize>>) -> Result<bool> {
        let (done, result) = sync_channel(1);
        let plain_bytes = match fields.kind == RecordKind::Data {
            true if pieces.is_empty() => fields.plain_bytes,
            _ => pieces.iter().map(Range::len).sum(),
        };
        // Before the body: what came before this record is not the end, whatever becomes of the rest.
        if self.ordered.send(Ordered { plain_bytes, pieces, result }).is_err() {
            return Ok(false);
        }
        let mut body = self.bodies.take();
        body.resize(format::pad_bytes(fields.payload_bytes) + fields.payload_bytes, 0);
        let read = read_full(&mut self.reader, &mut body).during("read the sealed stream");
        if let Some(error) = read.map_or_else(Some, |length| (length < body.len()).then(truncated)) {
            let _unwanted = done.send(Err(error)).is_err();
            return Ok(false);
        }
        decrypt(&mut self.chain, &mut body);
        let job = Job { fields, header, body, done };
        Ok(self.jobs.send(job).is_ok())
    }

    pub fn read_header(&mut self) -> Result<Header> {
        let mut bytes: [u8; HEADER_BYTES] = read_array(&mut self.reader, truncated)?;
        decrypt(&mut self.chain, &mut bytes);
        let header = Header::from_bytes(bytes);
        match self.keys.verifies(&header) {
            true => Ok(header),
            false => Err(damaged("a record's header was altered")),
        }
    }

    fn finish(&mut self, end: &Header) -> Result<()> {
        if end.digest() != &Sha256::digest(b"")[..] {
            return Err(damaged("the END record does not have the format"));
        }
        let mut padding: [u8; BLOCK_BYTES] = read_array(&mut self.reader, truncated)?;
        decrypt(&mut self.chain, &mut padding);
        if padding != PADDING {
            return Err(damaged("the final block was altered"));
        }
        match read_full(&mut self.reader, &mut [0u8; 1]).during("read the sealed stream")? {
            0 => Ok(()),
            _ => Err(damaged("data follows the end of the stream")),
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>, bodies: &Pool, plains: &Pool) {
    let mut decompressor = Decompressor::new();
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let plain = match &mut decompressor {
            Ok(decompressor) => verify(decompressor, &job, plains.take()),
            Err(error) => Err(Error::failed(format!("zstd: {error}"))),
        };
        bodies.give(job.body);
        // Fails when nobody waits any more: the releasing side gave up.
        let _unwanted = job.done.send(plain).is_err();
    }
}

/// The digest first; then the payload must be one zstd frame of exactly the announced length.
fn verify(decompressor: &mut Decompressor<'_>, job: &Job, mut plain: Vec<u8>) -> Result<Vec<u8>> {
    if Sha256::digest(&job.body)[..] != *job.header.digest() {
        return Err(damaged("a record's body was altered"));
    }
    let (pad, payload) = job.body.split_at(job.body.len() - job.fields.payload_bytes);
    if pad.iter().any(|byte| *byte != 0) {
        return Err(damaged("a record's pad is not zero"));
    }
    if job.fields.kind == RecordKind::Aux {
        plain.clear();
        return Ok(plain);
    }
    if find_frame_compressed_size(payload) != Ok(payload.len()) {
        return Err(damaged("a record's payload is not one zstd frame"));
    }
    plain.resize(job.fields.plain_bytes, 0);
    match decompressor.decompress_to_buffer(payload, &mut plain[..]) {
        Ok(length) if length == job.fields.plain_bytes => Ok(plain),
        _ => Err(damaged("a record does not decompress to its announced length")),
    }
}

/// Releases plaintext in order, all but what may be the end.
struct Release<'a> {
    taker: &'a mut dyn Taker,
    plains: &'a Pool,
    withheld: VecDeque<Vec<u8>>,
    withheld_bytes: usize,
}

impl Release<'_> {
    /// Returns at the last record that was read, and withholds it.
    fn in_order(&mut self, in_order: Receiver<Ordered>) -> Result<()> {
        for Ordered { plain_bytes, pieces, result } in in_order {
            // More comes: of what was withheld only what the end may reach into stays so.
            if plain_bytes > 0 {
                self.release_down_to(WITHHELD_BYTES.saturating_sub(plain_bytes))?;
            }
            let mut plain = result.recv().map_err(|_| Error::failed("a decompressing thread stopped"))??;
            cut(&mut plain, &pieces);
            self.withheld_bytes += plain.len();
            self.withheld.push_back(plain);
        }
        Ok(())
    }

    /// The end, when nothing can be wrong any more.
    fn rest(&mut self) -> Result<()> {
        self.release_down_to(0)
    }

    /// Releases the oldest records, as many as leave `least` bytes.
    fn release_down_to(&mut self, least: usize) -> Result<()> {
        while self.withheld.front().is_some_and(|plain| self.withheld_bytes - plain.len() >= least) {
            let Some(plain) = self.withheld.pop_front() else { break };
            let length = plain.len();
            let used = self.taker.take(plain).during("write the output")?;
            self.withheld_bytes -= length;
            self.plains.give(used);
        }
        Ok(())
    }
}

/// Leaves the pieces alone.
fn cut(plain: &mut Vec<u8>, pieces: &[Range<usize>]) {
    if pieces.is_empty() {
        return;
    }
    let mut kept = 0;
    for piece in pieces {
        plain.copy_within(piece.clone(), kept);
        kept += piece.len();
    }
    plain.truncate(kept);
}

/// `bytes` is a whole number of blocks.
fn decrypt(chain: &mut Decryptor, bytes: &mut [u8]) {
    let (blocks, _empty) = InOutBuf::from(bytes).into_chunks();
    chain.decrypt_blocks_inout(blocks);
}

pub(super) fn damaged(what: &str) -> Error {
    Error::damaged(format!("the sealed stream is damaged: {what}"))
}

pub(super) fn truncated() -> Error {
    damaged("it is truncated")
}
