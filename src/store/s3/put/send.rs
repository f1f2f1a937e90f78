//! An upload in parts: it is begun when its second part begins, and parts are sent while the next one is read.

use crate::error::{Error, Result};
use crate::io::on_interrupt;
use crate::report;
use crate::store::s3::checksum;
use crate::store::s3::client::stopped;
use crate::store::s3::explain::Failure;
use crate::store::s3::part::Part;
use crate::store::s3::put::request::{Integrity, PartRequest, crc_header};
use crate::store::s3::put::undo::give_up_on_signal;
use crate::store::s3::put::{NONCE, Upload};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedPart};
use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

impl Upload {
    pub(super) fn send(&mut self, part: Part) -> Result<()> {
        let (body, crc) = part.into_bytes();
        self.send_part(body, crc)
    }

    /// Starts to send a part, when there is room for one more on its way.
    pub(super) fn send_part(&mut self, body: Bytes, crc: u64) -> Result<()> {
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
    pub(super) fn take_sent(&mut self, wait: bool) -> Result<bool> {
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
        let id =
            id.ok_or_else(|| Error::failed(format!("{}: the service returned no upload id", self.what())))?;
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
    pub(super) fn say_what_was_lost(&self) {
        if self.lost.load(Ordering::Relaxed) {
            report::warn(format_args!(
                "{}: an answer was lost; an empty upload may be left at the service",
                self.what()
            ));
            report::hint("to delete it: pgv-s3 rm --uploads --older-than 1d URL");
        }
    }
}
