//! An upload of unknown length. What fits into one part is one request; longer streams are multipart
//! uploads, begun when the second part begins. The object appears when [`Upload::commit`] says so and
//! not before; whatever else happens, nothing of it stays.
//!
//! Memory: the parts on their way and the one being filled. That is (jobs + 1) × 16 MiB for the first
//! 17 GiB; then parts double and fewer of them are held, at last two: of 64 MiB from 52 GiB on, of
//! 128 MiB from 121 GiB on, of 4 GiB from 4.3 TiB on. With a part size asked for it is
//! (jobs + 1) × that.
//!
//! Not replacing what is there: by a condition, where the service honours it. Some ignore it, so this looks as well:
//! before anything is read, before the object is made, and afterwards whether what is there is ours.

use crate::error::{Error, IoContext, Kind, Result};
use crate::io::{Unfinished, on_interrupt, read_full};
use crate::report;
use crate::store::s3::answer::Expected;
use crate::store::s3::body::{Signing, sliced};
use crate::store::s3::explain::Failure;
use crate::store::s3::part::{Buffers, Part};
use crate::store::s3::parts::Parts;
use crate::store::s3::{S3Store, abort, checksum, is_there, object, stopped, unquoted, unsigned};
use crate::store::{LockMode, PutOptions, Stored, Url};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, ObjectLockMode,
    ServerSideEncryption, StorageClass,
};
use bytes::Bytes;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};
use tokio::task::{AbortHandle, JoinSet};

/// Metadata that tells our object from another's after a lost answer.
const NONCE: &str = "pgv-upload";
/// How long a signal waits for a request that decides about the upload, and for the one that undoes it.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(10);
/// After so long something else may have got the name of what is one request.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Attempts to make an object while the service says that something else is writing to it.
const CONFLICTS: u32 = 5;

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
    /// Full, and not sent yet: what ends with it is one request.
    first: Option<Part>,
    filling: Part,
    /// Of the part being filled, from 1.
    number: u64,
    bytes: u64,
    crc: u64,
    sending: JoinSet<Result<CompletedPart>>,
    sent: Vec<CompletedPart>,
    begun: Arc<Mutex<Begun>>,
    unfinished: Option<Unfinished>,
    /// Services are asked for what they can do, not known by name.
    integrity: Integrity,
    conditional: bool,
    /// An attempt to begin had no answer: what it may have begun nobody knows by its id.
    lost: Arc<AtomicBool>,
}

/// The checksum that goes with a body, for the service to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Integrity {
    /// Which the service keeps of the whole object, too.
    Crc64,
    Md5,
}

/// What has to be undone, shared with the thread that waits for signals.
#[derive(Default)]
struct Begun {
    id: Option<String>,
    running: Vec<AbortHandle>,
    /// By a signal: nothing is begun any more.
    closed: bool,
}

impl Upload {
    /// Without `replace` an existing object is refused here already, before anything is read.
    pub fn begin(store: S3Store, url: &Url, options: &PutOptions) -> Result<Self> {
        let upload = Self::unlooked(store, url, options)?;
        if !options.replace && upload.head()?.is_some() {
            return Err(upload.exists());
        }
        Ok(upload)
    }

    fn unlooked(store: S3Store, url: &Url, options: &PutOptions) -> Result<Self> {
        object(url)?;
        let equal = store.inner.connection.equal_parts;
        let parts = Parts::plan(options.part_size, options.expected_size, options.max_parts, equal)?;
        let buffers = Buffers::default();
        let filling = buffers.part(in_memory(parts.size(1)));
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
            number: 1,
            bytes: 0,
            crc: 0,
            sending: JoinSet::new(),
            sent: Vec::new(),
            begun: Arc::default(),
            unfinished: None,
            integrity: Integrity::Crc64,
            conditional: !options.replace,
            lost: Arc::default(),
        })
    }

    /// Whether the service itself refuses to replace the object `url`, which is there with `content`: as one request,
    /// and in parts. Where it does not, the object is replaced by what it was.
    pub fn condition_is_honoured(store: &S3Store, url: &Url, content: &[u8]) -> Result<(bool, bool)> {
        let mut one = Self::unlooked(store.clone(), url, &PutOptions::default())?;
        one.take(&mut &*content)?;
        let (body, crc) = std::mem::replace(&mut one.filling, one.buffers.nothing()).into_bytes();
        one.crc = crc;
        let whole = one.put_whole(body.clone());
        let mut parts = Self::unlooked(store.clone(), url, &PutOptions::default())?;
        parts.bytes = body.len() as u64;
        let made = parts.send_part(body, crc).and_then(|()| {
            while parts.take_sent(true)? {}
            Ok(parts.complete())
        });
        parts.abandon();
        let refused = |answer: std::result::Result<(), Failure>| match answer {
            Ok(()) => Ok(false),
            Err(failure) if failure.is_conflict() => Ok(true),
            Err(failure) if failure.is_unsupported() => Ok(false),
            Err(failure) => Err(failure.explain(format_args!("put {url}"))),
        };
        Ok((refused(whole)?, refused(made?)?))
    }

    /// Reads from `from` once, and gives what was read and is on its way now; nothing at the end of the input.
    pub fn take(&mut self, from: &mut dyn Read) -> Result<&[u8]> {
        // A part that failed is no reason to read on.
        while self.take_sent(false)? {}
        if self.filling.is_full() {
            let Some(size) = self.parts.size(self.number + 1) else { return self.expect_the_end(from) };
            let full = std::mem::replace(&mut self.filling, self.buffers.nothing());
            match self.number {
                1 => self.first = Some(full),
                _ => self.send(full)?,
            }
            self.number += 1;
            // Only now: the buffer of a part that was sent meanwhile will do.
            self.filling = self.buffers.part(in_memory(Some(size)));
        }
        let read = self.filling.read(from).during(format_args!("put {}: read", self.url))?;
        if let Some(first) = self.first.take_if(|_| read > 0) {
            self.send(first)?;
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

    fn finish(&mut self) -> Result<Stored> {
        let answer = self.make_object()?;
        // What was just stored is not gone because of one answer that says so.
        let prove = answer.is_ok();
        let head = self.store.block_on(self.store.head(&self.url, &self.what(), prove));
        match (answer, head) {
            (Ok(()), Ok(Some(head))) if self.is_ours(&head) => self.compare(&head),
            (Ok(()), Ok(Some(_))) => Err(Error::new(
                Kind::Exists,
                format!(
                    "{}: another upload of this name ended at the same moment, and is stored",
                    self.what()
                ),
            )),
            (Ok(()), Ok(None)) => Err(Error::new(
                Kind::Temporary,
                format!("{}: the service says that it is stored, and that it is not there", self.what()),
            )),
            (Ok(()), Err(error)) => Err(error),
            // The answer that said so was lost, and the request sent again.
            (Err(_), Ok(Some(head))) if self.is_ours(&head) => self.compare(&head),
            (Err(failure), Ok(Some(_))) if failure.is_conflict() => Err(self.exists()),
            (Err(failure), _) if failure.status == 409 => {
                Err(Error::new(Kind::Temporary, format!("{}: something else is writing to it", self.what())))
            }
            (Err(failure), _) => Err(failure.explain(self.what())),
        }
    }

    /// An object of ours that is not what was sent does not keep the name.
    fn compare(&self, head: &HeadObjectOutput) -> Result<Stored> {
        let bytes = unsigned(head.content_length());
        let crc = head.checksum_crc64_nvme();
        let wrong = if bytes != self.bytes {
            format!("{}: the service has {bytes} bytes of {}", self.what(), self.bytes)
        } else if crc.is_some_and(|crc| crc != checksum::encode(self.crc)) {
            format!("{}: the service has other bytes than were sent", self.what())
        } else {
            return Ok(Stored { crc64nvme: crc.map(str::to_owned), etag: head.e_tag().map(unquoted) });
        };
        // What it replaced is gone already: nothing at all would be worse than what can still be looked at.
        if self.options.replace {
            return Err(Error::damaged(format!(
                "{wrong}; it has the name, and what had it before was replaced"
            ))
            .hint(format!("store it again, or remove it: pgv-s3 rm {}", self.url)));
        }
        match self.remove_ours(head) {
            Ok(()) => Err(Error::damaged(format!("{wrong}; it was removed"))),
            Err(failure) => Err(Error::damaged(format!("{wrong}, and still has the name"))
                .hint(failure.explain(format_args!("rm {}", self.url)).message())
                .hint(format!("remove it: pgv-s3 rm {}", self.url))),
        }
    }

    fn remove_ours(&self, head: &HeadObjectOutput) -> std::result::Result<(), Failure> {
        let (bucket, key) = self.url.bucket_and_key();
        let remove = |condition: Option<String>| {
            let request = self.store.client().delete_object().bucket(bucket).key(key).set_if_match(condition);
            let request = request.customize().config_override(self.store.inner.connection.attempts());
            self.store.block_on(request.send()).map(drop).map_err(Failure::from)
        };
        match remove(head.e_tag().map(str::to_owned)) {
            Err(failure) if failure.is_unsupported() => remove(None),
            done => done,
        }
    }

    /// The outer failure is one of a part, the inner that of the request that makes the object.
    fn make_object(&mut self) -> Result<std::result::Result<(), Failure>> {
        let last = std::mem::replace(&mut self.filling, self.buffers.nothing());
        let whole = match self.first.take() {
            Some(first) => Some(first),
            None if self.number == 1 => Some(last),
            None => {
                if last.len() > 0 {
                    self.send(last)?;
                }
                while self.take_sent(true)? {}
                self.sent.sort_unstable_by_key(CompletedPart::part_number);
                None
            }
        };
        let whole = whole.map(Part::into_bytes);
        if let Some((_, crc)) = &whole {
            self.crc = *crc;
        }
        let mut conflicts = 0;
        loop {
            // Where the condition is ignored this is what keeps another's object.
            let old_news = whole.is_none() || self.looked.elapsed() > LOOK_AGAIN;
            if !self.options.replace && old_news && self.head()?.is_some_and(|head| !self.is_ours(&head)) {
                return Err(self.exists());
            }
            self.looked = Instant::now();
            let answer = match &whole {
                Some((body, _)) => self.put_whole(body.clone()),
                None => self.complete(),
            };
            match answer {
                Err(failure) if self.do_without(&failure) => self.looked -= LOOK_AGAIN,
                // S3 has found two writers, and asks both to try again.
                Err(failure) if failure.status == 409 && whole.is_some() && conflicts < CONFLICTS => {
                    conflicts += 1;
                    std::thread::sleep(LOOK_AGAIN * conflicts);
                }
                answer => return Ok(answer),
            }
        }
    }

    /// Leaves out what not every service has, if this failure may come from it: 501 is the answer to a
    /// condition, 400 that to an unknown checksum.
    fn do_without(&mut self, failure: &Failure) -> bool {
        let before = (self.integrity, self.conditional);
        if failure.is_unsupported() {
            self.integrity = Integrity::Md5;
            self.conditional &= failure.status != 501;
        }
        before != (self.integrity, self.conditional)
    }

    fn put_whole(&mut self, body: Bytes) -> std::result::Result<(), Failure> {
        let (bucket, key) = self.url.bucket_and_key();
        let length = body.len();
        let request = self
            .client()
            .put_object()
            .bucket(bucket)
            .key(key)
            .metadata(NONCE, &self.nonce)
            .set_if_none_match(self.condition())
            .set_storage_class(self.storage_class())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.encryption_key())
            .set_object_lock_mode(self.lock_mode())
            .set_object_lock_retain_until_date(self.retain_until())
            .set_checksum_crc64_nvme(crc_header(self.integrity, self.crc))
            .set_content_md5(md5_header(self.integrity, &body))
            .content_length(length as i64)
            .body(sliced(body.clone()))
            .customize()
            .config_override(self.attempts())
            .interceptor(Signing::of(body));
        self.store.block_on(request.send()).map(drop).map_err(Failure::from)
    }

    fn complete(&mut self) -> std::result::Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.sent.clone())).build();
        let (bucket, key) = self.url.bucket_and_key();
        let checksums = self.integrity == Integrity::Crc64;
        // Held to the end: a signal waits for the answer.
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let request = self
            .client()
            .complete_multipart_upload()
            .bucket(bucket)
            .key(key)
            .set_upload_id(begun.id.clone())
            .multipart_upload(parts)
            .set_if_none_match(self.condition())
            .set_checksum_type(checksums.then_some(ChecksumType::FullObject))
            .set_checksum_crc64_nvme(crc_header(self.integrity, self.crc))
            .mpu_object_size(self.bytes as i64)
            .customize()
            .config_override(self.store.inner.connection.attempts_of_completion());
        let answer = self.store.block_on(request.send()).map(drop).map_err(Failure::from);
        if answer.is_ok() {
            begun.id = None;
        }
        answer
    }

    fn send(&mut self, part: Part) -> Result<()> {
        let (body, crc) = part.into_bytes();
        self.send_part(body, crc)
    }

    /// Starts to send a part, when there is room for one more on its way.
    fn send_part(&mut self, body: Bytes, crc: u64) -> Result<()> {
        let most = self.parts.at_once(self.options.jobs, body.len() as u64);
        while self.sending.len() >= most {
            self.take_sent(true)?;
        }
        let id = self.upload_id()?;
        self.crc = checksum::combine(self.crc, crc, body.len() as u64);
        let number = i32::try_from(self.sent.len() + self.sending.len() + 1).unwrap_or(i32::MAX);
        let part = PartRequest {
            client: self.client().clone(),
            url: self.url.clone(),
            id,
            number,
            crc,
            attempts: self.attempts(),
            body,
        };
        let (what, integrity) = (self.what(), self.integrity);
        let sending = async move {
            let (etag, checksum) = match part.send(integrity).await {
                Err(failure) if failure.is_unsupported() && integrity == Integrity::Crc64 => {
                    (part.send(Integrity::Md5).await, None)
                }
                answer => (answer, crc_header(integrity, crc)),
            };
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(etag.map_err(|failure| failure.explain(what))?)
                .set_checksum_crc64_nvme(checksum)
                .build())
        };
        let running = self.sending.spawn_on(sending, self.store.inner.runtime.handle());
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.running.retain(|task| !task.is_finished());
        begun.running.push(running);
        Ok(())
    }

    /// Takes what has been sent, and its failure; waits for one part if `wait`. Says whether there may
    /// be more to take.
    fn take_sent(&mut self, wait: bool) -> Result<bool> {
        let next = match wait {
            true => self.store.block_on(self.sending.join_next()),
            false => self.sending.try_join_next(),
        };
        let Some(part) = next else { return Ok(false) };
        self.sent.push(part.map_err(stopped)??);
        Ok(true)
    }

    /// Of the multipart upload, which begins with the first part that is sent.
    fn upload_id(&mut self) -> Result<String> {
        let shared = Arc::clone(&self.begun);
        // Held over the request: a signal in the midst of it learns the id.
        let mut begun = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = &begun.id {
            return Ok(id.clone());
        }
        if begun.closed {
            return Err(Error::failed(format!("{}: it was interrupted", self.what())));
        }
        let (store, url, undo) = (self.store.clone(), self.url.clone(), Arc::clone(&self.begun));
        self.unfinished = Some(on_interrupt(move || give_up_on_signal(&store, &url, &undo))?);
        let answer = loop {
            match self.begin_multipart() {
                Err(failure) if self.do_without(&failure) => {}
                answer => break answer,
            }
        };
        let id = answer.map_err(|failure| failure.explain(self.what()))?;
        let id = id.ok_or_else(|| Error::failed(format!("{}: no upload id came back", self.what())))?;
        Ok(begun.id.insert(id).clone())
    }

    fn begin_multipart(&self) -> std::result::Result<Option<String>, Failure> {
        let (bucket, key) = self.url.bucket_and_key();
        let checksums = self.integrity == Integrity::Crc64;
        let request = self
            .client()
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .metadata(NONCE, &self.nonce)
            .set_storage_class(self.storage_class())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.encryption_key())
            .set_object_lock_mode(self.lock_mode())
            .set_object_lock_retain_until_date(self.retain_until())
            .set_checksum_algorithm(checksums.then_some(ChecksumAlgorithm::Crc64Nvme))
            .set_checksum_type(checksums.then_some(ChecksumType::FullObject))
            .customize()
            .config_override(self.store.inner.connection.attempts_of_begin(&self.lost));
        let answer = self.store.block_on(request.send()).map_err(Failure::from)?;
        Ok(answer.upload_id().map(str::to_owned))
    }

    /// An upload that began without our learning its id has no parts, but stays.
    fn say_what_was_lost(&self) {
        if self.lost.load(Ordering::Relaxed) {
            report::warn(format_args!(
                "{}: an answer was lost, and with it perhaps an empty upload",
                self.what()
            ));
            report::hint("pgv-s3 rm --uploads --older-than 1d removes what is left of it");
        }
    }

    fn head(&self) -> Result<Option<HeadObjectOutput>> {
        self.store.block_on(self.store.head(&self.url, &self.what(), false))
    }

    fn is_ours(&self, head: &HeadObjectOutput) -> bool {
        head.metadata().and_then(|metadata| metadata.get(NONCE)) == Some(&self.nonce)
    }

    fn exists(&self) -> Error {
        is_there(&self.what())
    }

    fn too_long(&self) -> Error {
        let capacity = self.parts.capacity();
        Error::failed(format!(
            "{}: the stream is longer than the {capacity} bytes of all its parts",
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

    fn attempts(&self) -> aws_sdk_s3::config::Builder {
        self.store.inner.connection.attempts_expecting(Expected::Stored)
    }

    fn condition(&self) -> Option<String> {
        self.conditional.then(|| "*".to_owned())
    }

    fn storage_class(&self) -> Option<StorageClass> {
        self.options.kept.storage_class.as_deref().map(StorageClass::from)
    }

    /// `AES256`, `aws:kms` or `aws:kms=KEY`.
    fn encryption(&self) -> Option<ServerSideEncryption> {
        let name = self.options.kept.sse.as_deref()?;
        Some(name.split_once('=').map_or(name, |(kind, _)| kind).into())
    }

    fn encryption_key(&self) -> Option<String> {
        self.options.kept.sse.as_deref()?.split_once('=').map(|(_, key)| key.to_owned())
    }

    fn lock_mode(&self) -> Option<ObjectLockMode> {
        self.options.kept.object_lock.map(|lock| match lock.mode {
            LockMode::Governance => ObjectLockMode::Governance,
            LockMode::Compliance => ObjectLockMode::Compliance,
        })
    }

    fn retain_until(&self) -> Option<DateTime> {
        self.options.kept.object_lock.map(|lock| DateTime::from(SystemTime::now() + lock.duration))
    }
}

/// One part on its way; it may have to be sent with another checksum.
struct PartRequest {
    client: aws_sdk_s3::Client,
    url: Url,
    id: String,
    number: i32,
    crc: u64,
    attempts: aws_sdk_s3::config::Builder,
    body: Bytes,
}

impl PartRequest {
    /// The part's ETag.
    async fn send(&self, integrity: Integrity) -> std::result::Result<Option<String>, Failure> {
        let (bucket, key) = self.url.bucket_and_key();
        let request = self
            .client
            .upload_part()
            .bucket(bucket)
            .key(key)
            .upload_id(&self.id)
            .part_number(self.number)
            .set_checksum_crc64_nvme(crc_header(integrity, self.crc))
            .set_content_md5(md5_header(integrity, &self.body))
            .content_length(self.body.len() as i64)
            .body(sliced(self.body.clone()))
            .customize()
            .config_override(self.attempts.clone())
            .interceptor(Signing::of(self.body.clone()));
        let answer = request.send().await.map_err(Failure::from)?;
        Ok(answer.e_tag().map(str::to_owned))
    }
}

fn crc_header(integrity: Integrity, crc: u64) -> Option<String> {
    (integrity == Integrity::Crc64).then(|| checksum::encode(crc))
}

fn md5_header(integrity: Integrity, body: &Bytes) -> Option<String> {
    (integrity == Integrity::Md5).then(|| checksum::md5(body))
}

/// Part sizes are limited to 5 GiB.
fn in_memory(size: Option<u64>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(0)
}

fn give_up_on_signal(store: &S3Store, url: &Url, shared: &Mutex<Begun>) {
    let deadline = Instant::now() + SIGNAL_PATIENCE;
    while Instant::now() < deadline {
        match shared.try_lock() {
            Ok(mut begun) => return give_up(store, url, &mut begun),
            Err(TryLockError::Poisoned(poisoned)) => return give_up(store, url, &mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    report::warn(format_args!("put {url}: interrupted in the last request, which may yet make the object"));
}

/// Parts on their way first: one that lands after the upload was aborted would stay.
fn give_up(store: &S3Store, url: &Url, begun: &mut Begun) {
    begun.closed = true;
    let under_way =
        begun.running.drain(..).filter(|task| !task.is_finished()).map(|task| task.abort()).count();
    let Some(id) = begun.id.take() else { return };
    let aborting = async {
        abort(&store.inner.connection, url, &id).await?;
        // The service may have got a part meanwhile.
        match under_way {
            0 => Ok(()),
            _ => abort(&store.inner.connection, url, &id).await,
        }
    };
    let aborted = store.block_on(async { tokio::time::timeout(SIGNAL_PATIENCE, aborting).await });
    let why = match aborted {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure.explain(format_args!("give up the upload to {url}")).to_string(),
        Err(_) => format!("give up the upload to {url}: no answer for {} s", SIGNAL_PATIENCE.as_secs()),
    };
    report::warn(why);
    report::hint("pgv-s3 rm --uploads removes what is left of it");
}

fn nonce() -> Result<String> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|error| Error::failed(format!("read random bytes: {error}")))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
