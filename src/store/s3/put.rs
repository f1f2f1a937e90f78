//! An upload of unknown length. What fits into one part is one request; longer streams are multipart
//! uploads, begun when the second part begins. The object appears when [`Upload::commit`] says so and
//! not before; whatever else happens, nothing of it stays.
//!
//! Memory: the parts on their way and the one being filled. That is (jobs + 1) × 16 MiB for the first
//! 19 GiB; then parts double and fewer of them are held, at last two: of 64 MiB from 58 GiB on, of
//! 128 MiB from 136 GiB on, of 2 GiB at the end of 4.9 TiB. With a part size asked for it is
//! (jobs + 1) × that.

use crate::error::{Error, Kind, Result};
use crate::io::catch_interrupts;
use crate::store::s3::explain::Failure;
use crate::store::s3::parts::Parts;
use crate::store::s3::{S3Store, abort, checksum, connect, object, stopped, unquoted, unsigned};
use crate::store::{PutOptions, Stored, Url};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
    StorageClass,
};
use bytes::Bytes;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use tokio::task::{AbortHandle, JoinSet};

/// Metadata that tells our object from another's after a lost answer.
const NONCE: &str = "pgv-upload";
/// How long a signal waits for a request that decides about the upload.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(10);

/// Ends with [`Upload::commit`] or [`Upload::abandon`]; dropped without either, as after a crash, it
/// leaves what `pgv-s3 rm --uploads` removes.
#[must_use]
pub struct Upload {
    store: S3Store,
    url: Url,
    options: PutOptions,
    parts: Parts,
    nonce: String,
    filling: Vec<u8>,
    /// Of the part being filled, from 1.
    number: u64,
    bytes: u64,
    crc: u64,
    sending: JoinSet<Result<CompletedPart>>,
    sent: Vec<CompletedPart>,
    begun: Arc<Mutex<Begun>>,
    /// Sent as long as the service does not refuse it: services are asked, not known by name.
    checksums: bool,
    conditional: bool,
}

/// What has to be undone, shared with the thread that waits for signals.
#[derive(Default)]
struct Begun {
    id: Option<String>,
    running: Vec<AbortHandle>,
}

impl Upload {
    /// Without `replace` an existing object is refused here already, before anything is read.
    pub fn begin(store: S3Store, url: &Url, options: &PutOptions) -> Result<Self> {
        object(url)?;
        let parts = Parts::plan(options.part_size, options.expected_size, options.max_parts)?;
        let upload = Upload {
            store,
            url: url.clone(),
            options: options.clone(),
            parts,
            nonce: nonce()?,
            filling: Vec::new(),
            number: 1,
            bytes: 0,
            crc: 0,
            sending: JoinSet::new(),
            sent: Vec::new(),
            begun: Arc::default(),
            checksums: true,
            conditional: !options.replace,
        };
        if upload.head()?.is_some() && !options.replace {
            return Err(upload.exists());
        }
        Ok(upload)
    }

    /// Gives the object its name, and makes sure of what the service has under it.
    pub fn commit(mut self) -> Result<Stored> {
        let committed = self.finish();
        if committed.is_err() {
            self.abandon();
        }
        committed
    }

    /// Nothing of it stays. A failure here leaves what `rm --uploads` finds; the failure that led here is
    /// the one to report.
    pub fn abandon(mut self) {
        self.store.block_on(self.sending.shutdown());
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        give_up(&self.store, &self.url, &mut begun);
    }

    fn finish(&mut self) -> Result<Stored> {
        let answer = self.make_object()?;
        let head = self.head();
        match (answer, head) {
            (Ok(()), Ok(Some(head))) if self.is_ours(&head) => self.compare(&head),
            (Ok(()), Ok(Some(_))) => Err(Error::new(
                Kind::Exists,
                format!(
                    "{}: another upload of this name ended at the same moment, and is stored",
                    self.what()
                ),
            )),
            (Ok(()), Ok(None)) => Err(Error::failed(format!("{}: stored, but not to be seen", self.what()))),
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

    fn compare(&self, head: &HeadObjectOutput) -> Result<Stored> {
        let bytes = unsigned(head.content_length());
        if bytes != self.bytes {
            return Err(Error::damaged(format!(
                "{}: the service has {bytes} bytes of {}",
                self.what(),
                self.bytes
            )));
        }
        let crc = head.checksum_crc64_nvme();
        if crc.is_some_and(|crc| crc != checksum::encode(self.crc)) {
            return Err(Error::damaged(format!(
                "{}: the service has other bytes than were sent",
                self.what()
            )));
        }
        Ok(Stored { crc64nvme: crc.map(str::to_owned), etag: head.e_tag().map(unquoted) })
    }

    /// The outer failure is one of a part, the inner that of the request that makes the object.
    fn make_object(&mut self) -> Result<std::result::Result<(), Failure>> {
        let whole = Bytes::from(std::mem::take(&mut self.filling));
        let single = self.number == 1;
        if !single {
            self.send_part(whole.clone())?;
            while self.take_sent(true)? {}
            self.sent.sort_unstable_by_key(CompletedPart::part_number);
        }
        loop {
            let answer = if single { self.put_whole(whole.clone()) } else { self.complete() };
            match answer {
                Err(failure) if self.do_without(&failure) => {}
                answer => return Ok(answer),
            }
            // Without the condition this is the last look before the object is made.
            if !self.options.replace && self.head()?.is_some() {
                return Err(self.exists());
            }
        }
    }

    /// Leaves out what not every service has, if this failure may come from it: 501 is the answer to a
    /// condition, 400 that to an unknown checksum.
    fn do_without(&mut self, failure: &Failure) -> bool {
        let before = (self.checksums, self.conditional);
        if failure.is_unsupported() {
            self.checksums = false;
            self.conditional &= failure.status != 501;
        }
        before != (self.checksums, self.conditional)
    }

    fn put_whole(&mut self, body: Bytes) -> std::result::Result<(), Failure> {
        let (bucket, key) = self.url.bucket_and_key();
        let length = body.len();
        self.crc = checksum::of(&body);
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
            .set_checksum_crc64_nvme(self.checksum(self.crc))
            .content_length(length as i64)
            .body(self.store.inner.connection.body(body))
            .customize()
            .config_override(self.store.inner.connection.attempt_for(length));
        let request = if self.https() { request.disable_payload_signing() } else { request };
        self.store.block_on(request.send()).map(drop).map_err(Failure::from)
    }

    fn complete(&mut self) -> std::result::Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.sent.clone())).build();
        let (bucket, key) = self.url.bucket_and_key();
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
            .set_checksum_type(self.checksums.then_some(ChecksumType::FullObject))
            .set_checksum_crc64_nvme(self.checksum(self.crc))
            .mpu_object_size(self.bytes as i64)
            .customize()
            .config_override(connect::attempt_of_completion());
        let answer = self.store.block_on(request.send()).map(drop).map_err(Failure::from);
        if answer.is_ok() {
            begun.id = None;
        }
        answer
    }

    /// Starts to send what has been filled, when there is room for one more part on its way.
    fn send_part(&mut self, body: Bytes) -> Result<()> {
        let most = self.parts.at_once(self.options.jobs, body.len() as u64);
        while self.sending.len() >= most {
            self.take_sent(true)?;
        }
        let id = self.upload_id()?;
        let crc = checksum::of(&body);
        self.crc = checksum::combine(self.crc, crc, body.len() as u64);
        let number = i32::try_from(self.number).unwrap_or(i32::MAX);
        let (bucket, key) = self.url.bucket_and_key();
        let length = body.len();
        let request = self
            .client()
            .upload_part()
            .bucket(bucket)
            .key(key)
            .upload_id(id)
            .part_number(number)
            .set_checksum_crc64_nvme(self.checksum(crc))
            .content_length(length as i64)
            .body(self.store.inner.connection.body(body))
            .customize()
            .config_override(self.store.inner.connection.attempt_for(length));
        let request = if self.https() { request.disable_payload_signing() } else { request };
        let (what, checksum) = (self.what(), self.checksum(crc));
        let sending = async move {
            let answer = request.send().await.map_err(|error| Failure::from(error).explain(what))?;
            let part = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(answer.e_tag().map(str::to_owned))
                .set_checksum_crc64_nvme(checksum);
            Ok(part.build())
        };
        let running = self.sending.spawn_on(sending, self.store.inner.runtime.handle());
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.running.retain(|task| !task.is_finished());
        begun.running.push(running);
        self.number += 1;
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
        let (store, url, undo) = (self.store.clone(), self.url.clone(), Arc::clone(&self.begun));
        catch_interrupts(move || give_up_on_signal(&store, &url, &undo))?;
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
        let request = self
            .client()
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .metadata(NONCE, &self.nonce)
            .set_storage_class(self.storage_class())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.encryption_key())
            .set_checksum_algorithm(self.checksums.then_some(ChecksumAlgorithm::Crc64Nvme))
            .set_checksum_type(self.checksums.then_some(ChecksumType::FullObject));
        let answer = self.store.block_on(request.send()).map_err(Failure::from)?;
        Ok(answer.upload_id().map(str::to_owned))
    }

    fn head(&self) -> Result<Option<HeadObjectOutput>> {
        self.store.block_on(self.store.head(&self.url, &self.what(), false))
    }

    fn is_ours(&self, head: &HeadObjectOutput) -> bool {
        head.metadata().and_then(|metadata| metadata.get(NONCE)) == Some(&self.nonce)
    }

    fn exists(&self) -> Error {
        Error::new(Kind::Exists, format!("{}: it exists, nothing was overwritten", self.what()))
            .hint("--replace replaces it")
    }

    fn what(&self) -> String {
        format!("put {}", self.url)
    }

    fn client(&self) -> &aws_sdk_s3::Client {
        self.store.client()
    }

    fn https(&self) -> bool {
        self.store.inner.connection.https
    }

    fn condition(&self) -> Option<String> {
        self.conditional.then(|| "*".to_owned())
    }

    fn checksum(&self, crc: u64) -> Option<String> {
        self.checksums.then(|| checksum::encode(crc))
    }

    fn storage_class(&self) -> Option<StorageClass> {
        self.options.storage_class.as_deref().map(StorageClass::from)
    }

    /// `AES256`, `aws:kms` or `aws:kms=KEY`.
    fn encryption(&self) -> Option<ServerSideEncryption> {
        let name = self.options.sse.as_deref()?;
        Some(name.split_once('=').map_or(name, |(kind, _)| kind).into())
    }

    fn encryption_key(&self) -> Option<String> {
        self.options.sse.as_deref()?.split_once('=').map(|(_, key)| key.to_owned())
    }
}

impl Write for Upload {
    /// A full part is sent when the next byte comes: what ends with it may still be one request.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Some(size) = self.parts.size(self.number) else { return Err(self.too_long().into()) };
        if self.filling.len() as u64 == size && !buf.is_empty() {
            let full = std::mem::take(&mut self.filling);
            self.send_part(full.into())?;
            while self.take_sent(false)? {}
            return self.write(buf);
        }
        let room = usize::try_from(size - self.filling.len() as u64).unwrap_or(usize::MAX);
        let taken = buf.len().min(room);
        if self.filling.is_empty() {
            // Memory that is not written to costs nothing, and growing would copy.
            self.filling.reserve_exact(room);
        }
        self.filling.extend_from_slice(&buf[..taken]);
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload {
    fn too_long(&self) -> Error {
        let capacity = self.parts.capacity();
        Error::failed(format!(
            "{}: the stream is longer than the {capacity} bytes of all its parts",
            self.what()
        ))
        .hint("give --expected-size, or a larger --part-size")
    }
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
}

/// Parts on their way first: one that lands after the upload was aborted would stay.
fn give_up(store: &S3Store, url: &Url, begun: &mut Begun) {
    begun.running.drain(..).for_each(|task| task.abort());
    if let Some(id) = begun.id.take() {
        let abort = abort(&store.inner.connection, url, &id);
        if let Err(failure) = store.block_on(abort) {
            crate::report::warn(failure.explain(format_args!("give up the upload to {url}")));
            crate::report::hint("pgv-s3 rm --uploads removes what is left of it");
        }
    }
}

fn nonce() -> Result<String> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|error| Error::failed(format!("read random bytes: {error}")))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
