//! The two verbs that move bytes. What decides is the same for every store: an object is committed only
//! when its source is known to be complete, and an output only when the object was.

use crate::error::{Error, IoContext, Kind, Result, Status};
use crate::io::{AtomicFile, Input, Output, Pace, Producer, SharedPace};
use crate::report::{Drawn, Progress};
use crate::store::object::COPY_BYTES;
use crate::store::ranges::Ranges;
use crate::store::{Download, Entry, GetOptions, PutOptions, Store, Stored, Upload, Url};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often an object is looked for that is awaited.
const LOOKED_FOR_EVERY: Duration = Duration::from_millis(500);

/// Where an object comes from.
pub enum Source<'a> {
    Input(Input),
    /// A program and its arguments: the end of file of a dead producer looks like that of a finished
    /// one, so its exit status decides.
    Command(&'a [OsString]),
}

impl Source<'_> {
    /// Of a file; nobody knows how much a pipe will bring.
    pub fn length(&self) -> Option<u64> {
        let Source::Input(input) = self else { return None };
        input.file().metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len())
    }
}

/// An object that was stored.
pub struct Put {
    pub bytes: u64,
    /// In hexadecimal, if [`PutOptions::digest`] asked for it.
    pub sha256: Option<String>,
    pub stored: Stored,
    /// The command's, where there was one.
    pub status: Status,
}

pub fn put(store: &Store, url: &Url, source: Source<'_>, options: &PutOptions) -> Result<Put> {
    let what = format!("put {url}");
    let length = source.length();
    let mut upload = store.create(url, options)?;
    let read = match source {
        Source::Input(mut input) => copy_in(&mut input, &mut upload, options)
            .and_then(|copied| refuse_shortened(&what, length, copied))
            .map(|copied| (copied, Status::Done)),
        Source::Command(command) => copy_output(&what, command, &mut upload, options),
    };
    match read {
        Ok(((bytes, sha256), status)) => upload.commit().map(|stored| Put { bytes, sha256, stored, status }),
        Err(error) => {
            upload.abandon();
            Err(error)
        }
    }
}

/// What is not there, or cannot be asked for just now, may be there until `until`; anything else will not pass.
pub fn wait_for(store: &Store, url: &Url, until: Instant) -> Result<Entry> {
    loop {
        match store.stat(url) {
            Err(error)
                if matches!(error.kind, Kind::NotFound | Kind::Temporary) && Instant::now() < until =>
            {
                thread::sleep(LOOKED_FOR_EVERY);
            }
            found => return found,
        }
    }
}

/// Reads an object that was stored with a digest. Two that claim one name may both be told by a service that they have
/// it; only one reads back its own.
pub fn read_back(store: &Store, url: &Url, put: &Put) -> Result<()> {
    let content = store.read(url, put.bytes.saturating_add(1))?;
    let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    match put.sha256.as_ref() == Some(&digest) {
        true => Ok(()),
        false => Err(Error::new(Kind::Exists, format!("put {url}: this name has another object"))),
    }
}

/// A file that has become shorter is not the one that was to be stored.
fn refuse_shortened(what: &str, length: Option<u64>, copied: Copied) -> Result<Copied> {
    match length.is_some_and(|length| copied.0 < length) {
        true => Err(Error::failed(format!("{what}: the file became shorter while it was read"))),
        false => Ok(copied),
    }
}

fn copy_output(
    what: &str,
    command: &[OsString],
    upload: &mut Upload,
    options: &PutOptions,
) -> Result<(Copied, Status)> {
    let mut producer = Producer::spawn(command).map_err(|error| error.context(what))?;
    match producer.take_stdout().and_then(|mut stdout| copy_in(&mut stdout, upload, options)) {
        Ok(copied) => producer.finish().map(|status| (copied, status)).map_err(|error| error.context(what)),
        Err(error) => {
            producer.kill();
            Err(error)
        }
    }
}

/// Length, and SHA-256 if wanted, of what was read.
type Copied = (u64, Option<String>);

fn copy_in(from: &mut dyn Read, upload: &mut Upload, options: &PutOptions) -> Result<Copied> {
    let mut meter = Meter::new("put", options.rate, options.expected_size, options.progress)?;
    let mut digest = options.digest.then(Sha256::new);
    let mut bytes = 0;
    loop {
        let piece = upload.take(from)?;
        if piece.is_empty() {
            break;
        }
        digest.iter_mut().for_each(|digest| digest.update(piece));
        bytes += piece.len() as u64;
        meter.pass(piece.len())?;
    }
    meter.progress.finish();
    Ok((bytes, digest.map(hex)))
}

/// `output` as for [`Output::create`]; a file appears only when all of it was written.
pub fn get(store: &Store, url: &Url, options: &GetOptions, output: Option<&Path>) -> Result<()> {
    let (mut object, length): (Box<dyn BufRead>, u64) = match &options.ranges {
        Some(ranges) => {
            let parts = Ranges::begin(store, url, ranges, options.jobs)?;
            let length = parts.length();
            (Box::new(parts), length)
        }
        None => {
            let object = match options.whole {
                true => store.get_whole(url)?,
                false => store.get(url, options.range, options.jobs)?,
            };
            let length = object.length();
            (Box::new(object), length)
        }
    };
    let mut output = Output::create(output)?;
    let mut meter = Meter::new("get", options.rate, Some(length), options.progress)?;
    if let Some((rate, path)) = options.rate.zip(options.rate_shared_in.as_ref()) {
        meter.shared = Some(SharedPace::open(rate, path)?);
    }
    let mut digest = options.sha256.as_ref().map(|_| Sha256::new());
    let copied = copy_out(url, &mut object, &mut output, &mut meter, &mut digest)
        .and_then(|()| refuse_other(url, options.sha256.as_deref(), digest));
    meter.progress.finish();
    copied?;
    output.finish()
}

/// An object of some MiB becomes the file `path` when it is complete. It is not durable: it can be fetched again.
pub fn get_file(store: &Store, url: &Url, path: &Path) -> Result<()> {
    let mut object = store.get_whole(url)?;
    let mut file = AtomicFile::create(path, 0o600)?;
    copy_to_file(url, &mut object, &mut file)?;
    file.publish()
}

fn copy_to_file(url: &Url, object: &mut Download, file: &mut AtomicFile) -> Result<()> {
    loop {
        let piece = object.fill_buf().during(format_args!("get {url}: read"))?;
        if piece.is_empty() {
            return Ok(());
        }
        let length = piece.len();
        file.write_all(piece).during(format_args!("get {url}: write"))?;
        object.consume(length);
    }
}

/// What sees every piece go by.
struct Meter {
    pace: Pace,
    /// Instead, where others have the rate as well.
    shared: Option<SharedPace>,
    progress: Progress,
}

impl Meter {
    fn new(verb: &str, rate: Option<u64>, total: Option<u64>, drawn: Drawn) -> Result<Self> {
        Ok(Meter { pace: Pace::new(rate), shared: None, progress: Progress::new(verb, total, drawn)? })
    }

    fn pass(&mut self, bytes: usize) -> Result<()> {
        match &mut self.shared {
            Some(shared) => shared.wait(bytes as u64)?,
            None => self.pace.wait(bytes as u64),
        }
        self.progress.add(bytes as u64);
        Ok(())
    }
}

/// What was read to its end, and is not what it should be, is damaged.
fn refuse_other(url: &Url, wanted: Option<&str>, digest: Option<Sha256>) -> Result<()> {
    let (Some(wanted), Some(digest)) = (wanted, digest) else { return Ok(()) };
    let found = hex(digest);
    match found.eq_ignore_ascii_case(wanted) {
        true => Ok(()),
        false => Err(Error::damaged(format!(
            "get {url}: not the object that was stored: its sha256 is {found}, not {wanted}"
        ))),
    }
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn copy_out(
    url: &Url,
    object: &mut dyn BufRead,
    output: &mut Output,
    meter: &mut Meter,
    digest: &mut Option<Sha256>,
) -> Result<()> {
    loop {
        let piece = match object.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            piece => piece.during(format_args!("get {url}: read"))?,
        };
        if piece.is_empty() {
            return Ok(());
        }
        let length = piece.len().min(COPY_BYTES);
        output.write_all(&piece[..length]).during(format_args!("get {url}: write"))?;
        digest.iter_mut().for_each(|digest| digest.update(&piece[..length]));
        object.consume(length);
        meter.pass(length)?;
    }
}
