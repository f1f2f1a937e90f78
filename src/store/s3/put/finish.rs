//! The end of an upload: the object is made, and what the service then has under its name is compared with it.

use crate::error::{Error, Kind, Result};
use crate::store::object::{PutOptions, Stored};
use crate::store::s3::body::{Signing, sliced};
use crate::store::s3::checksum;
use crate::store::s3::client::{S3Store, unquoted, unsigned};
use crate::store::s3::explain::Failure;
use crate::store::s3::part::Part;
use crate::store::s3::put::condition::{Known, remember};
use crate::store::s3::put::request::{Integrity, crc_header, md5_header};
use crate::store::s3::put::{NONCE, Upload, place_of};
use crate::store::url::Url;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::types::{ChecksumType, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// After so long something else may have got the name of what is one request.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Attempts to make an object while the service says that something else is writing to it.
const CONFLICTS: u32 = 5;

impl Upload {
    /// Whether the service itself refuses to replace the object `url`, which is there with `content`: as one request,
    /// and in parts. Where it does not, the object is replaced by what it was.
    pub fn condition_is_honoured(store: &S3Store, url: &Url, content: &[u8]) -> Result<(bool, bool)> {
        let mut one = Self::unlooked(store.clone(), url, &PutOptions::default())?;
        one.take(&mut &*content)?;
        let (body, crc) = std::mem::replace(&mut one.filling, one.buffers.nothing()).into_bytes();
        one.crc = crc;
        let whole = one.put_whole(body.clone()).map(drop);
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

    pub(super) fn finish(&mut self) -> Result<Stored> {
        let answer = self.make_object()?.map(|stored| self.is_trusted().then_some(stored).flatten());
        let answer = match answer {
            Ok(Some(stored)) => return Ok(stored),
            Ok(None) => Ok(()),
            Err(failure) => Err(failure),
        };
        // What was just stored is not gone because of one answer that says so.
        let prove = answer.is_ok();
        let head = self.store.block_on(self.store.head(&self.url, &self.what(), prove));
        match (answer, head) {
            (Ok(()), Ok(Some(head))) if self.is_ours(&head) => self.compare(&head),
            (Ok(()), Ok(Some(_))) => Err(Error::new(
                Kind::Exists,
                format!(
                    "{}: another upload to this name ended at the same moment, and was stored",
                    self.what()
                ),
            )),
            (Ok(()), Ok(None)) => Err(Error::new(
                Kind::Temporary,
                format!("{}: the service reported success, but the object does not exist", self.what()),
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
    pub(super) fn compare(&self, head: &HeadObjectOutput) -> Result<Stored> {
        let bytes = unsigned(head.content_length());
        let crc = head.checksum_crc64_nvme();
        let wrong = if bytes != self.bytes {
            format!("{}: the service stored {bytes} bytes of {}", self.what(), self.bytes)
        } else if crc.is_some_and(|crc| crc != checksum::encode(self.crc)) {
            format!("{}: the service stored other content than was sent", self.what())
        } else {
            return Ok(Stored { crc64nvme: crc.map(str::to_owned), etag: head.e_tag().map(unquoted) });
        };
        // What it replaced is gone already: nothing at all would be worse than what can still be looked at.
        if self.options.replace {
            return Err(Error::damaged(format!("{wrong}; this wrong object has replaced the previous one"))
                .hint(format!("store it again, or delete it: pgv-s3 rm {}", self.url)));
        }
        match self.remove_ours(head) {
            Ok(()) => Err(Error::damaged(format!("{wrong}; it was removed"))),
            Err(failure) => Err(Error::damaged(format!("{wrong}, and could not be removed"))
                .hint(failure.explain(format_args!("rm {}", self.url)).message())
                .hint(format!("delete it: pgv-s3 rm {}", self.url))),
        }
    }

    pub(super) fn remove_ours(&self, head: &HeadObjectOutput) -> std::result::Result<(), Failure> {
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

    /// The outer failure is one of a part, the inner that of the request that makes the object. What the service says that
    /// it has, if it says that.
    pub(super) fn make_object(&mut self) -> Result<std::result::Result<Option<Stored>, Failure>> {
        let last = std::mem::replace(&mut self.filling, self.buffers.nothing());
        // What was just looked for.
        let mut seen = None;
        let whole = match self.first.take() {
            Some(first) => Some(first),
            None if self.number == self.parts.held() => Some(last),
            None => {
                if last.len() > 0 {
                    self.send(last)?;
                }
                while self.sending.len() > 1 {
                    self.take_sent(true)?;
                }
                if !self.options.replace {
                    seen = Some(self.look_beside_last()?);
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
            let is_trusted = whole.is_some() && self.is_trusted();
            let old_news = !is_trusted && (whole.is_none() || self.looked.elapsed() > LOOK_AGAIN);
            if !self.options.replace && old_news {
                let found = seen.take().map_or_else(|| self.head(), Ok)?;
                if found.is_some_and(|head| !self.is_ours(&head)) {
                    return Err(self.exists());
                }
            }
            self.looked = Instant::now();
            let answer = match &whole {
                Some((body, _)) => self.put_whole(body.clone()).map(|answer| self.told(&answer, body)),
                None => self.complete().map(|()| None),
            };
            self.learn(whole.as_ref().map(|(body, _)| body), answer.as_ref().map(drop));
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

    /// What has the name while the last part is under way, and that part.
    fn look_beside_last(&mut self) -> Result<Option<HeadObjectOutput>> {
        let what = self.what();
        let look = self.store.head(&self.url, &what, false);
        let (found, part) = self.store.block_on(async { tokio::join!(look, self.sending.join_next()) });
        self.took(part)?;
        found
    }

    /// What the answer says of the object, if that is what was sent: by the checksum, or by the name of a content that is
    /// its MD5.
    fn told(&self, answer: &PutObjectOutput, body: &Bytes) -> Option<Stored> {
        let crc = answer.checksum_crc64_nvme();
        let etag = answer.e_tag().map(unquoted);
        let is_ours = match crc {
            Some(crc) => crc == checksum::encode(self.crc),
            None => self.is_trusted() && etag.as_deref() == Some(&checksum::md5_name(body)),
        };
        is_ours.then(|| Stored { crc64nvme: crc.map(str::to_owned), etag })
    }

    /// Whether the service honours the condition: a refusal is a proof. Where nothing is remembered, what was stored just
    /// now is offered again.
    fn learn(&mut self, whole: Option<&Bytes>, answer: std::result::Result<(), &Failure>) {
        let (Some(body), Some(file)) = (whole, self.options.remember.clone()) else { return };
        if !self.abilities.conditional || self.known != Known::Nothing {
            return;
        }
        let known = match answer {
            Err(failure) if failure.status == 412 => Known::Refuses,
            Ok(()) if !self.store.inner.tried.swap(true, Ordering::Relaxed) => {
                match self.put_whole(body.clone()) {
                    Err(failure) if failure.status == 412 => Known::Refuses,
                    // The same content again.
                    Ok(_) => Known::Replaces,
                    Err(_) => Known::Nothing,
                }
            }
            _ => Known::Nothing,
        };
        remember(&file, &place_of(&self.store, &self.url), known);
    }

    pub(super) fn put_whole(&mut self, body: Bytes) -> std::result::Result<PutObjectOutput, Failure> {
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
            .set_checksum_crc64_nvme(crc_header(self.abilities.integrity, self.crc))
            .set_content_md5(md5_header(self.abilities.integrity, &body))
            .content_length(length as i64)
            .body(sliced(body.clone()))
            .customize()
            .config_override(self.attempts())
            .interceptor(Signing::of(body));
        self.store.block_on(request.send()).map_err(Failure::from)
    }

    pub(super) fn complete(&mut self) -> std::result::Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.sent.clone())).build();
        let (bucket, key) = self.url.bucket_and_key();
        let checksums = self.abilities.integrity == Integrity::Crc64;
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
            .set_checksum_crc64_nvme(crc_header(self.abilities.integrity, self.crc))
            .mpu_object_size(self.bytes as i64)
            .customize()
            .config_override(self.store.inner.connection.attempts_of_completion());
        let answer = self.store.block_on(request.send()).map(drop).map_err(Failure::from);
        if answer.is_ok() {
            begun.id = None;
        }
        answer
    }

    pub(super) fn is_ours(&self, head: &HeadObjectOutput) -> bool {
        head.metadata().and_then(|metadata| metadata.get(NONCE)) == Some(&self.nonce)
    }
}
