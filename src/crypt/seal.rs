//! The writer. One thread reads, `jobs` threads compress, digest and tag, and the calling thread runs
//! the CBC chain, which is serial by nature, and writes. Where many streams are sealed side by side, one thread does
//! all of each: handing records over would cost more than it saves.

use crate::crypt::format::{
    self, BLOCK_BYTES, CHUNK_BYTES, Fields, HEADER_BYTES, Header, PADDING, RecordKind, SALTED,
    SHORT_CHUNK_BYTES, SHORT_FILE_BYTES,
};
use crate::crypt::index::{Entry, Index};
use crate::crypt::key::{MAX_CONTEXT_BYTES, Passphrase, StreamKeys};
use crate::crypt::level::{Controller, Level, Waits};
use crate::crypt::pool::Pool;
use crate::error::{Error, IoContext, Result};
use crate::io::{begin_in, begin_workers, random, read_full};
use aes::cipher::inout::InOutBuf;
use aes::cipher::{BlockModeEncrypt, KeyIvInit};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, Strategy, compress_bound};

pub struct SealOptions<'a> {
    pub passphrase: &'a Passphrase,
    /// Bound into the keys, never stored; the same bytes open the stream again.
    pub context: &'a [u8],
    pub iterations: u32,
    /// `auto` is for streams that several threads seal: others get level 3.
    pub level: Level,
    /// The plaintext is WAL: level [`WAL_LEVEL`] then means settings that suit it.
    pub wal: bool,
    /// Threads that compress.
    pub jobs: usize,
    /// Plaintext bytes of a record: at most [`format::CHUNK_BYTES`], the best for long streams.
    pub record_bytes: usize,
}

/// The level at which WAL has settings of its own.
const WAL_LEVEL: i32 = 3;

/// WAL is mostly pages and records that resemble the ones before them: zstd's fast strategy finds as much in it as
/// level 3's double one if matches of five bytes count (level 1 asks for seven), and a table of 2^13 entries stays
/// in the processor's nearest cache. Measured on WAL of pgbench and of a bulk load into a table with two indexes: the
/// same size within 0.3 %, in 0.78 and 0.57 of the time.
const WAL_PARAMETERS: [CParameter; 3] =
    [CParameter::Strategy(Strategy::ZSTD_fast), CParameter::HashLog(13), CParameter::MinMatch(5)];

/// The record size that suits a file; a pipe's length is not known, so it counts as long.
pub fn record_bytes(file: &File) -> io::Result<usize> {
    let metadata = file.metadata()?;
    Ok(match metadata.is_file() && metadata.len() <= SHORT_FILE_BYTES {
        true => SHORT_CHUNK_BYTES,
        false => CHUNK_BYTES,
    })
}

/// A chunk of plaintext on its way to a worker, and what lies before it.
struct Job {
    before: Total,
    plain: Vec<u8>,
    done: SyncSender<Result<Vec<u8>>>,
}

/// How many records and bytes there were so far.
#[derive(Clone, Copy)]
struct Total {
    records: u64,
    bytes: u64,
}

type Encryptor = cbc::Encryptor<aes::Aes256>;

/// What sealing one stream after the other on one thread needs anew each time, kept: fresh pages would cost a third
/// of the work.
#[derive(Default)]
pub struct Workspace {
    plain: Vec<u8>,
    record: Vec<u8>,
}

/// What the threads that seal one stream tell each other of its pace.
struct Pace {
    is_auto: bool,
    level: AtomicI32,
    /// Nanoseconds that the reader waited since the last record was written.
    handing: AtomicU64,
}

impl Pace {
    fn new(level: Level) -> Self {
        let is_auto = level == Level::Auto;
        Pace { is_auto, level: AtomicI32::new(level.first()), handing: AtomicU64::new(0) }
    }

    fn handed(&self, waited: Duration) {
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.handing.fetch_add(nanos, Ordering::Relaxed);
    }

    fn written(&self, controller: &mut Controller, elapsed: Duration, writing: Duration) {
        if self.is_auto {
            let handing = Duration::from_nanos(self.handing.swap(0, Ordering::Relaxed));
            let level = controller.next(&Waits { elapsed, writing, handing });
            self.level.store(level, Ordering::Relaxed);
        }
    }

    /// For the next record.
    fn set(&self, compressor: &mut Compressor<'_>) -> Result<()> {
        if self.is_auto {
            let level = self.level.load(Ordering::Relaxed);
            compressor.set_parameter(CParameter::CompressionLevel(level)).during("zstd")?;
        }
        Ok(())
    }
}

/// A chunk's length, and the record that is made of it.
type Ordered = (usize, Receiver<Result<Vec<u8>>>);

/// Seals all of `reader` into `writer`; returns where its records lie. `complete` is asked after the end of
/// the input: its error leaves the stream without its END record, which no reader accepts.
pub fn seal(
    reader: impl Read + Send,
    writer: &mut impl Write,
    options: &SealOptions<'_>,
    complete: impl FnOnce() -> Result<()>,
) -> Result<Index> {
    seal_stream(writer, options, random()?, complete, |writer, keys, chain| {
        seal_together(reader, writer, options, keys, chain)
    })
}

/// As [`seal`], on this thread alone, whatever the options say.
pub fn seal_alone(
    reader: impl Read,
    writer: &mut impl Write,
    options: &SealOptions<'_>,
    workspace: &mut Workspace,
) -> Result<Index> {
    seal_stream(
        writer,
        options,
        random()?,
        || Ok(()),
        |writer, keys, chain| seal_in_turn(reader, writer, options, keys, chain, workspace),
    )
}

fn seal_stream<W: Write>(
    writer: &mut W,
    options: &SealOptions<'_>,
    salt: [u8; format::SALT_BYTES],
    complete: impl FnOnce() -> Result<()>,
    seal_records: impl FnOnce(&mut W, &StreamKeys, &mut Encryptor) -> Result<Vec<Entry>>,
) -> Result<Index> {
    if options.context.len() > MAX_CONTEXT_BYTES {
        return Err(Error::usage(format!("the context is longer than {MAX_CONTEXT_BYTES} bytes")));
    }
    let line = format::first_line(options.iterations);
    let keys = StreamKeys::derive(options.passphrase, &salt, options.iterations, &line, options.context)?;
    let mut chain = Encryptor::new(&keys.aes.into(), &keys.iv.into());
    write(writer, &[&line[..], SALTED, &salt].concat())?;

    let records = seal_records(writer, &keys, &mut chain)?;
    complete()?;
    let index = Index { iterations: options.iterations, salt, records };
    let mut end = Vec::with_capacity(HEADER_BYTES + BLOCK_BYTES);
    let fields = Fields {
        kind: RecordKind::End,
        sequence: index.records.len() as u64,
        offset: index.plain_bytes(),
        payload_bytes: 0,
        plain_bytes: 0,
    };
    let mut header = Header::new(&fields, &Sha256::digest(b"").into());
    header.set_tag(&keys.tag(&header));
    end.extend_from_slice(header.as_bytes());
    end.extend_from_slice(&PADDING);
    encrypt(&mut chain, &mut end);
    write(writer, &end)?;
    Ok(index)
}

fn seal_in_turn(
    mut reader: impl Read,
    writer: &mut impl Write,
    options: &SealOptions<'_>,
    keys: &StreamKeys,
    chain: &mut Encryptor,
    workspace: &mut Workspace,
) -> Result<Vec<Entry>> {
    let mut compressor = compressor(options)?;
    let mut entries = Vec::new();
    let mut total = Total { records: 0, bytes: 0 };
    let Workspace { plain, record } = workspace;
    loop {
        read_chunk(&mut reader, options.record_bytes, plain)?;
        if plain.is_empty() {
            return Ok(entries);
        }
        *record = make_record(&mut compressor, &total, plain, keys, std::mem::take(record))?;
        encrypt(chain, record);
        write(writer, record)?;
        entries.push(entry(plain.len(), record));
        total.records += 1;
        total.bytes += plain.len() as u64;
    }
}

fn seal_together(
    reader: impl Read + Send,
    writer: &mut impl Write,
    options: &SealOptions<'_>,
    keys: &StreamKeys,
    chain: &mut Encryptor,
) -> Result<Vec<Entry>> {
    let jobs = options.jobs.max(1);
    let (chunks, records) = (&Pool::new(), &Pool::new());
    let pace = &Pace::new(options.level);
    // `ordered` bounds how many records exist at any time.
    let (ordered, in_order) = sync_channel::<Ordered>(jobs + 1);
    let (job_sender, job_receiver) = sync_channel::<Job>(jobs);
    let job_receiver = &Mutex::new(job_receiver);
    thread::scope(|scope| {
        let reads = move || read_chunks(reader, options.record_bytes, chunks, ordered, job_sender, pace);
        // They end when nobody can give them work any more: first, so that nobody waits for who could not be begun.
        begin_workers(scope, jobs, move || work(job_receiver, options, keys, chunks, records, pace))?;
        let reading = begin_in(scope, reads)?;
        let written = write_in_order(in_order, writer, chain, records, pace);
        let read = reading.join().unwrap_or_else(|_| Err(Error::failed("the reading thread stopped")));
        // A writer that fails stops the reader without an error of its own.
        written.and_then(|entries| read.map(|()| entries))
    })
}

fn read_chunks(
    mut reader: impl Read,
    record_bytes: usize,
    chunks: &Pool,
    ordered: SyncSender<Ordered>,
    jobs: SyncSender<Job>,
    pace: &Pace,
) -> Result<()> {
    let mut total = Total { records: 0, bytes: 0 };
    loop {
        let mut plain = chunks.take();
        read_chunk(&mut reader, record_bytes, &mut plain)?;
        let filled = plain.len();
        if filled == 0 {
            return Ok(());
        }
        let (done, result) = sync_channel(1);
        let job = Job { before: total, plain, done };
        total.records += 1;
        total.bytes += filled as u64;
        // Both fail only when the writing side gave up; its error is the one reported.
        let read = Instant::now();
        if ordered.send((filled, result)).is_err() || jobs.send(job).is_err() || filled < record_bytes {
            return Ok(());
        }
        pace.handed(read.elapsed());
    }
}

/// Fills `plain`, less at the end of the input, and then nothing.
fn read_chunk(reader: &mut impl Read, record_bytes: usize, plain: &mut Vec<u8>) -> Result<()> {
    plain.resize(record_bytes, 0);
    let filled = read_full(reader, plain).during("read the input")?;
    plain.truncate(filled);
    Ok(())
}

fn work(
    jobs: &Mutex<Receiver<Job>>,
    options: &SealOptions<'_>,
    keys: &StreamKeys,
    chunks: &Pool,
    records: &Pool,
    pace: &Pace,
) {
    let mut compressor = compressor(options);
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let record = match &mut compressor {
            Ok(compressor) => pace
                .set(compressor)
                .and_then(|()| make_record(compressor, &job.before, &job.plain, keys, records.take())),
            Err(error) => Err(Error::failed(error.message())),
        };
        chunks.give(job.plain);
        // Fails when nobody waits any more: the writing side gave up.
        let _unwanted = job.done.send(record).is_err();
    }
}

/// Makes one frame of each record: `zstd::Encoder` would make frames without the content's size, which the format
/// demands.
fn compressor(options: &SealOptions<'_>) -> Result<Compressor<'static>> {
    let level = options.level.first();
    let mut compressor = Compressor::new(level).during("zstd")?;
    let always = [CParameter::ContentSizeFlag(true), CParameter::ChecksumFlag(true)];
    let of_wal: &[_] = if options.wal && level == WAL_LEVEL { &WAL_PARAMETERS } else { &[] };
    for parameter in always.iter().chain(of_wal) {
        compressor.set_parameter(*parameter).during("zstd")?;
    }
    Ok(compressor)
}

/// The pad's length is known only after the payload's, so the payload is made behind the longest pad
/// and moved up.
fn make_record(
    compressor: &mut Compressor<'_>,
    before: &Total,
    plain: &[u8],
    keys: &StreamKeys,
    mut record: Vec<u8>,
) -> Result<Vec<u8>> {
    const LONGEST_PAD: usize = BLOCK_BYTES - 1;
    let made_at = HEADER_BYTES + LONGEST_PAD;
    record.resize(made_at, 0);
    // Reserved and not filled: pages that the payload does not reach are never touched.
    record.reserve(compress_bound(plain.len()));
    let mut behind = Cursor::new(record);
    behind.set_position(made_at as u64);
    let payload_bytes = compressor.compress_to_buffer(plain, &mut behind).during("zstd")?;
    let mut record = behind.into_inner();
    let pad = format::pad_bytes(payload_bytes);
    record.copy_within(made_at..made_at + payload_bytes, HEADER_BYTES + pad);
    record[HEADER_BYTES..HEADER_BYTES + pad].fill(0);
    record.truncate(HEADER_BYTES + pad + payload_bytes);
    let digest = Sha256::digest(&record[HEADER_BYTES..]);
    let fields = Fields {
        kind: RecordKind::Data,
        sequence: before.records,
        offset: before.bytes,
        payload_bytes,
        plain_bytes: plain.len(),
    };
    let mut header = Header::new(&fields, &digest.into());
    header.set_tag(&keys.tag(&header));
    record[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    Ok(record)
}

fn write_in_order(
    in_order: Receiver<Ordered>,
    writer: &mut impl Write,
    chain: &mut Encryptor,
    records: &Pool,
    pace: &Pace,
) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let (mut controller, mut last) = (Controller::default(), Instant::now());
    for (plain_bytes, result) in in_order {
        let mut record = result.recv().map_err(|_| Error::failed("a compressing thread stopped"))??;
        encrypt(chain, &mut record);
        let begun = Instant::now();
        write(writer, &record)?;
        let end = Instant::now();
        pace.written(&mut controller, end - last, end - begun);
        last = end;
        entries.push(entry(plain_bytes, &record));
        records.give(record);
    }
    Ok(entries)
}

/// Of a chunk and its record, both within the limits of the format: some millions of bytes.
fn entry(plain_bytes: usize, record: &[u8]) -> Entry {
    Entry { plain: plain_bytes as u32, stored: record.len() as u32 }
}

/// `bytes` is a whole number of blocks, as every record is.
fn encrypt(chain: &mut Encryptor, bytes: &mut [u8]) {
    let (blocks, _empty) = InOutBuf::from(bytes).into_chunks();
    chain.encrypt_blocks_inout(blocks);
}

fn write(writer: &mut impl Write, bytes: &[u8]) -> Result<()> {
    writer.write_all(bytes).during("write the sealed stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];

    fn sealed_both_ways(plain: &[u8], record_bytes: usize) -> [Vec<u8>; 2] {
        let passphrase = Passphrase::new(b"correct horse battery staple".to_vec(), "key").unwrap();
        let options = SealOptions {
            passphrase: &passphrase,
            context: b"",
            iterations: 1000,
            level: Level::Fixed(3),
            wal: false,
            jobs: 3,
            record_bytes,
        };
        let mut streams = [Vec::new(), Vec::new()];
        let [together, in_turn] = &mut streams;
        seal_stream(
            together,
            &options,
            SALT,
            || Ok(()),
            |writer, keys, chain| seal_together(plain, writer, &options, keys, chain),
        )
        .unwrap();
        let mut workspace = Workspace { plain: vec![1; 5000], record: vec![2; 5000] };
        seal_stream(
            in_turn,
            &options,
            SALT,
            || Ok(()),
            |writer, keys, chain| seal_in_turn(plain, writer, &options, keys, chain, &mut workspace),
        )
        .unwrap();
        streams
    }

    #[test]
    fn the_empty_stream_is_known_byte_for_byte() {
        for stream in sealed_both_ways(b"", CHUNK_BYTES) {
            let hex: String = Sha256::digest(&stream).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, "c0a73e5103634f914db4d04e1e38d60d1ef34d84d89e662c2716ab46e263fe69");
        }
    }

    #[test]
    fn many_threads_and_one_make_the_same_stream() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for length in [1, 4095, 4096, 4097, plain.len()] {
            let [together, in_turn] = sealed_both_ways(&plain[..length], 4096);
            assert!(together == in_turn, "{length} bytes");
        }
    }
}
