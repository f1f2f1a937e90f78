//! An upload of unknown length. What has no more than 16 MiB is one request; longer streams are multipart
//! uploads, begun when there is more than that, while reading goes on. The object appears when
//! [`Upload::commit`] says so and not before; whatever else happens, nothing of it stays.
//!
//! A part is sent as soon as it is full. So as many are on their way as the line needs, which is what it moves while
//! one of them is answered; and no more than memory is meant for.
//!
//! Memory: the parts on their way, 8 MiB for each job, and the one being filled. With 16 jobs that is 144 MiB for the
//! first 23 GiB; then parts double and fewer of them are on their way, at last one: of 128 MiB from 117 GiB on, of
//! 4 GiB from 3.9 TiB on. With a part size asked for it is (jobs + 1) × that.
//!
//! Not replacing what is there: by a condition, where the service honours it. Some ignore it, so this looks as well:
//! before anything is read, before the object is made, and afterwards whether what is there is ours. Where it is remembered
//! that the service honours it, what fits into one part is one request.

mod began;
mod begin;
mod condition;
mod finish;
mod kept;
mod request;
mod send;
mod undo;

use crate::error::{Error, IoContext, Result};
use crate::io::{Unfinished, random, read_full};
use crate::store::object::{PutOptions, Stored};
use crate::store::s3::answer::Expected;
use crate::store::s3::client::{S3Store, is_there, object};
use crate::store::s3::explain::Failure;
use crate::store::s3::part::{Buffers, Part};
use crate::store::s3::parts::Parts;
use crate::store::url::Url;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::CompletedPart;
use began::{Abilities, Beginning};
use condition::{Known, recall};
use request::Integrity;
use std::io::Read;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::task::JoinSet;
use undo::{Begun, Running, give_up};

/// Metadata that tells our object from another's after a lost answer.
const NONCE: &str = "pgv-upload";

/// Ends with [`Upload::commit`] or [`Upload::abandon`]; dropped without either, as after a crash, it
/// leaves what `pgv-s3 rm --uploads` removes.
#[must_use]
pub struct Upload {
    store: S3Store,
    url: Url,
    options: PutOptions,
    parts: Parts,
    nonce: String,
    looked: Instant,
    buffers: Buffers,
    /// Full, and not sent yet: what ends with it is one request. Else it is cut into the first parts.
    first: Option<Part>,
    filling: Part,
    /// Of the part being filled, from 1; of the last, while the first parts are filled as one.
    number: u64,
    bytes: u64,
    crc: u64,
    sending: JoinSet<Result<CompletedPart>>,
    sent: Vec<CompletedPart>,
    begun: Arc<Mutex<Begun>>,
    /// The answer to the request that begins it, once that was sent.
    beginning: Option<Beginning>,
    unfinished: Option<Unfinished>,
    /// The tasks that send, for whoever ends them on a signal.
    running: Running,
    /// Services are asked for what they can do, not known by name.
    abilities: Abilities,
    /// Of the condition, for what is one request.
    known: Known,
    /// An attempt to begin had no answer: what it may have begun nobody knows by its id.
    lost: Arc<AtomicBool>,
}

impl Upload {
    /// Without `replace` an existing object is refused here already, before anything is read.
    pub fn begin(store: S3Store, url: &Url, options: &PutOptions) -> Result<Self> {
        let upload = Self::unlooked(store, url, options)?;
        if !options.replace && !upload.is_trusted() && upload.head()?.is_some() {
            return Err(upload.exists());
        }
        Ok(upload)
    }

    fn unlooked(store: S3Store, url: &Url, options: &PutOptions) -> Result<Self> {
        object(url)?;
        let equal = store.inner.connection.equal_parts;
        let parts = Parts::plan(options.part_size, options.expected_size, options.max_parts, equal)?;
        let known = options.remember.as_deref().filter(|_| !options.replace);
        let known = known.map_or(Known::Nothing, |file| recall(file, &place_of(&store, url)));
        let (begun, buffers) = (Begun::default(), Buffers::default());
        let running = Arc::clone(&begun.running);
        let number = parts.held();
        let filling = buffers.part(in_memory(parts.size(1).map(|size| size * number)));
        Ok(Upload {
            store,
            url: url.clone(),
            options: options.clone(),
            parts,
            nonce: nonce()?,
            looked: Instant::now(),
            buffers,
            first: None,
            filling,
            number,
            bytes: 0,
            crc: 0,
            sending: JoinSet::new(),
            sent: Vec::new(),
            begun: Arc::new(Mutex::new(begun)),
            beginning: None,
            unfinished: None,
            running,
            abilities: Abilities { integrity: Integrity::Crc64, conditional: !options.replace },
            known,
            lost: Arc::default(),
        })
    }

    /// Reads from `from` once, and gives what was read and is on its way now; nothing at the end of the input.
    pub fn take(&mut self, from: &mut dyn Read) -> Result<&[u8]> {
        // A part that failed is no reason to read on.
        while self.take_sent(false)? {}
        if self.filling.is_full() {
            let Some(size) = self.parts.size(self.number + 1) else { return self.expect_the_end(from) };
            let full = std::mem::replace(&mut self.filling, self.buffers.nothing());
            match self.number == self.parts.held() {
                true => self.first = Some(full),
                false => self.send(full)?,
            }
            self.number += 1;
            // Only now: the buffer of a part that was sent meanwhile will do.
            self.filling = self.buffers.part(in_memory(Some(size)));
        }
        let read = self.filling.read(from).during(format_args!("put {}: read", self.url))?;
        if let Some(first) = self.first.take_if(|_| read > 0) {
            self.send_first(first)?;
        }
        self.bytes += read as u64;
        Ok(self.filling.last(read))
    }

    fn expect_the_end(&self, from: &mut dyn Read) -> Result<&[u8]> {
        let more = read_full(&mut &mut *from, &mut [0]).during(format_args!("put {}: read", self.url))?;
        if more == 0 { Ok(&[]) } else { Err(self.too_long()) }
    }

    /// Gives the object its name, and makes sure of what the service has under it.
    pub fn commit(mut self) -> Result<Stored> {
        let committed = self.finish();
        match committed {
            Ok(_) => self.say_what_was_lost(),
            Err(_) => self.abandon(),
        }
        committed
    }

    /// Nothing of it stays. A failure here leaves what `rm --uploads` finds; the failure that led here is
    /// the one to report.
    pub fn abandon(mut self) {
        self.store.block_on(self.sending.shutdown());
        self.say_what_was_lost();
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        give_up(&self.store, &self.url, &mut begun);
    }

    /// Whether what is one request replaces nothing, without a look.
    fn is_trusted(&self) -> bool {
        self.abilities.conditional && self.known == Known::Refuses
    }

    fn head(&self) -> Result<Option<HeadObjectOutput>> {
        self.store.block_on(self.store.head(&self.url, &self.what(), false))
    }

    fn exists(&self) -> Error {
        is_there(&self.what())
    }

    fn too_long(&self) -> Error {
        let capacity = self.parts.capacity();
        Error::failed(format!(
            "{}: the stream is longer than {capacity} bytes, the limit for this part size",
            self.what()
        ))
        .hint("give --expected-size, or a larger --part-size")
    }

    fn what(&self) -> String {
        format!("put {}", self.url)
    }

    fn client(&self) -> &aws_sdk_s3::Client {
        self.store.client()
    }

    /// Leaves out what the service does not have, if this failure may come from it.
    fn do_without(&mut self, failure: &Failure) -> bool {
        self.abilities.do_without(failure)
    }

    fn attempts(&self) -> aws_sdk_s3::config::Builder {
        self.store.inner.connection.attempts_expecting(Expected::Stored)
    }

    fn condition(&self) -> Option<String> {
        self.abilities.conditional.then(|| "*".to_owned())
    }
}

/// A service and a bucket.
fn place_of(store: &S3Store, url: &Url) -> String {
    format!("{} {}", store.inner.connection.place, url.bucket_and_key().0)
}

/// Part sizes are limited to 5 GiB.
fn in_memory(size: Option<u64>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(0)
}

fn nonce() -> Result<String> {
    Ok(random::<16>()?.map(|byte| format!("{byte:02x}")).concat())
}
