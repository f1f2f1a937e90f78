//! The reader. One thread reads and runs the CBC chain, `jobs` threads check digests and decompress, and
//! the calling thread releases plaintext in order, stopping at the first record that is not the writer's.
//!
//! The order of checks is the point: a header's tag is compared before any of its fields is looked at,
//! and a body's digest before any use of the body.

use crate::crypt::format::{self, BLOCK_BYTES, Fields, HEADER_BYTES, Header, PADDING, RecordKind, SALTED};
use crate::crypt::key::{MAX_CONTEXT_BYTES, Passphrase, StreamKeys};
use crate::crypt::pool::Pool;
use crate::error::{Error, IoContext, Kind, Result};
use crate::io::read_full;
use aes::cipher::inout::InOutBuf;
use aes::cipher::{BlockDecryptMut, KeyIvInit};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use zstd_safe::DCtx;

type Decryptor = cbc::Decryptor<aes::Aes256>;

/// A decrypted, not yet verified body, the header that describes it, and where its plaintext shall go.
struct Job {
    fields: Fields,
    header: Header,
    body: Vec<u8>,
    done: SyncSender<Result<Vec<u8>>>,
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
    if context.len() > MAX_CONTEXT_BYTES {
        return Err(Error::usage(format!("the context is longer than {MAX_CONTEXT_BYTES} bytes")));
    }
    let start = read_start(&mut reader)?;
    let (keys, header, chain) = fit_key(&start, passphrases, context)?;
    let jobs = jobs.max(1);
    let (bodies, plains) = (&Pool::new(), &Pool::new());
    let (ordered, in_order) = sync_channel::<Receiver<Result<Vec<u8>>>>(jobs + 1);
    let (job_sender, job_receiver) = sync_channel::<Job>(jobs);
    let job_receiver = &Mutex::new(job_receiver);
    let mut released = 0;
    let outcome = thread::scope(|scope| {
        let stream = RecordReader { reader, chain, keys, bodies, ordered, jobs: job_sender };
        let reading = scope.spawn(move || stream.run(header));
        for _ in 0..jobs {
            scope.spawn(move || work(job_receiver, bodies, plains));
        }
        let written = release_in_order(in_order, writer, plains, &mut released);
        let read = reading.join().unwrap_or_else(|_| Err(Error::failed("the reading thread stopped")));
        // Everything before the reader's error was verified and released first.
        written.and(read)
    });
    outcome.map(|()| released).map_err(|error| match error.kind {
        Kind::Damaged => {
            error.hint(format!("{released} bytes were released before it; they are authentic, but not all"))
        }
        _ => error,
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
    for (index, passphrase) in passphrases.iter().enumerate() {
        match fit_key(&start, std::slice::from_ref(passphrase), context) {
            Err(error) if error.kind == Kind::Key => {}
            fitted => return fitted.map(|_| index),
        }
    }
    Err(Error::new(Kind::Key, "wrong key or context"))
}

/// What precedes the key: parameters, salt, and the first header's ciphertext.
struct Start {
    line: [u8; format::FIRST_LINE_BYTES],
    iterations: u32,
    salt: [u8; format::SALT_BYTES],
    header: [u8; HEADER_BYTES],
}

fn read_start(reader: &mut impl Read) -> Result<Start> {
    let short = || Error::damaged("not a pgv stream: it ends before its first record");
    let line = read_array(reader, short)?;
    let iterations = format::parse_first_line(&line)?;
    let magic: [u8; SALTED.len()] = read_array(reader, short)?;
    if magic != *SALTED {
        return Err(Error::damaged("not a pgv stream: \"Salted__\" is not where it should be"));
    }
    let salt = read_array(reader, short)?;
    Ok(Start { line, iterations, salt, header: read_array(reader, truncated)? })
}

fn read_array<const N: usize>(reader: &mut impl Read, short: impl FnOnce() -> Error) -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    match read_full(reader, &mut bytes).during("read the sealed stream")? {
        length if length == N => Ok(bytes),
        _ => Err(short()),
    }
}

fn fit_key(
    start: &Start,
    passphrases: &[Passphrase],
    context: &[u8],
) -> Result<(StreamKeys, Header, Decryptor)> {
    let mut nearly = false;
    for passphrase in passphrases {
        let keys = StreamKeys::derive(passphrase, &start.salt, start.iterations, &start.line, context)?;
        let mut chain = Decryptor::new(&keys.aes.into(), &keys.iv.into());
        let mut bytes = start.header;
        decrypt(&mut chain, &mut bytes);
        let header = Header::from_bytes(bytes);
        if keys.verifies(&header) {
            return Ok((keys, header, chain));
        }
        nearly |= header.begins_a_stream();
    }
    let error =
        Error::new(Kind::Key, "wrong key or context, or the stream's start is damaged; nothing was released");
    Err(match nearly {
        true => error.hint(
            "the key fits, but the context or the header does not: give --context as it was when sealed",
        ),
        false => error.hint("give the key it was sealed with; -k may be repeated to try several"),
    })
}

struct RecordReader<'a, R> {
    reader: R,
    chain: Decryptor,
    keys: StreamKeys,
    bodies: &'a Pool,
    ordered: SyncSender<Receiver<Result<Vec<u8>>>>,
    jobs: SyncSender<Job>,
}

impl<R: Read> RecordReader<'_, R> {
    /// `header` is the first one, already authenticated.
    fn run(mut self, mut header: Header) -> Result<()> {
        let (mut sequence, mut offset) = (0, 0);
        loop {
            let fields = header.fields().ok_or_else(|| damaged("a record's header breaks the format"))?;
            if fields.sequence != sequence || fields.offset != offset {
                return Err(damaged("records are missing, repeated or out of order"));
            }
            if fields.kind == RecordKind::End {
                return self.finish(&header);
            }
            if !self.read_body(fields, header)? {
                return Ok(());
            }
            sequence += 1;
            offset += fields.plain_bytes as u64;
            header = self.read_header()?;
        }
    }

    /// False when the releasing side gave up; its error is the one reported.
    fn read_body(&mut self, fields: Fields, header: Header) -> Result<bool> {
        let mut body = self.bodies.take();
        body.resize(format::pad_bytes(fields.payload_bytes) + fields.payload_bytes, 0);
        if read_full(&mut self.reader, &mut body).during("read the sealed stream")? < body.len() {
            return Err(truncated());
        }
        decrypt(&mut self.chain, &mut body);
        let (done, result) = sync_channel(1);
        let job = Job { fields, header, body, done };
        Ok(self.ordered.send(result).is_ok() && self.jobs.send(job).is_ok())
    }

    fn read_header(&mut self) -> Result<Header> {
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
            return Err(damaged("the END record breaks the format"));
        }
        let mut padding: [u8; BLOCK_BYTES] = read_array(&mut self.reader, truncated)?;
        decrypt(&mut self.chain, &mut padding);
        if padding != PADDING {
            return Err(damaged("the final block was altered"));
        }
        match read_full(&mut self.reader, &mut [0u8; 1]).during("read the sealed stream")? {
            0 => Ok(()),
            _ => Err(damaged("something follows the end of the stream")),
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>, bodies: &Pool, plains: &Pool) {
    let mut context = DCtx::try_create();
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let plain = match &mut context {
            Some(context) => verify(context, &job, plains.take()),
            None => Err(Error::failed("zstd: out of memory")),
        };
        bodies.give(job.body);
        // Fails when nobody waits any more: the releasing side gave up.
        let _unwanted = job.done.send(plain).is_err();
    }
}

/// The digest first; then the payload must be one zstd frame of exactly the announced length.
fn verify(context: &mut DCtx<'_>, job: &Job, mut plain: Vec<u8>) -> Result<Vec<u8>> {
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
    if zstd_safe::find_frame_compressed_size(payload) != Ok(payload.len()) {
        return Err(damaged("a record's payload is not one zstd frame"));
    }
    plain.resize(job.fields.plain_bytes, 0);
    match context.decompress(&mut plain[..], payload) {
        Ok(length) if length == job.fields.plain_bytes => Ok(plain),
        _ => Err(damaged("a record does not decompress to its announced length")),
    }
}

fn release_in_order(
    in_order: Receiver<Receiver<Result<Vec<u8>>>>,
    writer: &mut impl Write,
    plains: &Pool,
    released: &mut u64,
) -> Result<()> {
    for result in in_order {
        let plain = result.recv().map_err(|_| Error::failed("a decompressing thread stopped"))??;
        writer.write_all(&plain).during("write the output")?;
        *released += plain.len() as u64;
        plains.give(plain);
    }
    Ok(())
}

/// `bytes` is a whole number of blocks.
fn decrypt(chain: &mut Decryptor, bytes: &mut [u8]) {
    let (blocks, _empty) = InOutBuf::from(bytes).into_chunks();
    chain.decrypt_blocks_inout_mut(blocks);
}

fn damaged(what: &str) -> Error {
    Error::damaged(format!("the sealed stream is damaged: {what}"))
}

fn truncated() -> Error {
    damaged("it is cut short")
}
