//! The two verbs that move bytes. What decides is the same for every store: an object is committed only
//! when its source is known to be complete, and an output only when the object was.

use crate::error::{IoContext, Result, Status};
use crate::io::{Input, Output, Producer};
use crate::store::interrupt::die_if_unread;
use crate::store::pace::Pace;
use crate::store::{PutOptions, Range, Store, Stored, Upload, Url};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;

/// One piece of a copy; large enough that system calls cost nothing.
const COPY_BYTES: usize = 1 << 20;

/// Where an object comes from.
pub enum Source<'a> {
    Input(Input),
    /// A program and its arguments: the end of file of a dead producer looks like that of a finished
    /// one, so its exit status decides.
    Command(&'a [OsString]),
}

/// An object that was stored.
pub struct Put {
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
    pub stored: Stored,
    /// The command's, where there was one.
    pub status: Status,
}

pub fn put(store: &Store, url: &Url, source: Source<'_>, options: &PutOptions) -> Result<Put> {
    let what = format!("put {url}");
    let mut upload = store.create(url, options)?;
    let read = match source {
        Source::Input(mut input) => {
            copy_in(&what, &mut input, &mut upload, options.rate).map(|copied| (copied, Status::Done))
        }
        Source::Command(command) => copy_output(&what, command, &mut upload, options.rate),
    };
    match read {
        Ok(((bytes, sha256), status)) => upload.commit().map(|stored| Put { bytes, sha256, stored, status }),
        Err(error) => {
            upload.abandon();
            Err(error)
        }
    }
}

fn copy_output(
    what: &str,
    command: &[OsString],
    upload: &mut Upload,
    rate: Option<u64>,
) -> Result<((u64, String), Status)> {
    let mut producer = Producer::spawn(command).map_err(|error| error.context(what))?;
    match producer.take_stdout().and_then(|mut stdout| copy_in(what, &mut stdout, upload, rate)) {
        Ok(copied) => producer.finish().map(|status| (copied, status)).map_err(|error| error.context(what)),
        Err(error) => {
            producer.kill();
            Err(error)
        }
    }
}

/// Length and SHA-256 of what was read.
fn copy_in(
    what: &str,
    from: &mut impl Read,
    upload: &mut Upload,
    rate: Option<u64>,
) -> Result<(u64, String)> {
    let mut digest = Sha256::new();
    let mut bytes = 0;
    copy(what, from, upload, rate, &mut |piece| {
        digest.update(piece);
        bytes += piece.len() as u64;
    })?;
    Ok((bytes, digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// `output` as for [`Output::create`]; a file appears only when all of it was written.
pub fn get(
    store: &Store,
    url: &Url,
    range: Option<Range>,
    jobs: usize,
    rate: Option<u64>,
    output: Option<&Path>,
) -> Result<()> {
    let mut object = store.get(url, range, jobs)?;
    let mut output = Output::create(output)?;
    match copy(&format!("get {url}"), &mut object, &mut output, rate, &mut |_| {}) {
        Ok(()) => output.finish(),
        Err(error) => {
            output.abandon();
            Err(error)
        }
    }
}

/// `what`: verb and URL, for the failures of either side that do not say so themselves.
fn copy(
    what: &str,
    from: &mut impl Read,
    to: &mut impl Write,
    rate: Option<u64>,
    seen: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let mut pace = Pace::new(rate);
    let mut buffer = vec![0u8; COPY_BYTES];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).during(format_args!("{what}: read")),
        };
        seen(&buffer[..length]);
        to.write_all(&buffer[..length]).map_err(die_if_unread).during(format_args!("{what}: write"))?;
        pace.wait(length);
    }
}
