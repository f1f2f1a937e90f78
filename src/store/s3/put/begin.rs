//! The request that begins an upload in parts. It is sent beside the reading, and parts that are full wait for its
//! answer: on a long line that is time in which the next ones become full.

use crate::error::{Error, IoContext, Result};
use crate::io::on_interrupt;
use crate::store::s3::explain::Failure;
use crate::store::s3::put::began::{Abilities, Began, Beginning};
use crate::store::s3::put::request::Integrity;
use crate::store::s3::put::undo::give_up_on_signal;
use crate::store::s3::put::{NONCE, Upload};
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use std::sync::{Arc, PoisonError};
use std::thread;
use tokio::sync::watch;

impl Upload {
    /// Sends the request, once.
    pub(super) fn beginning(&mut self) -> Result<Beginning> {
        if let Some(beginning) = &self.beginning {
            return Ok(beginning.clone());
        }
        let (store, url, undo) = (self.store.clone(), self.url.clone(), Arc::clone(&self.begun));
        self.unfinished = Some(on_interrupt(move || give_up_on_signal(&store, &url, &undo))?);
        let (tell, told) = watch::channel(None);
        let (shared, what, mut abilities) = (Arc::clone(&self.begun), self.what(), self.abilities);
        let (store, request, lost) = (self.store.clone(), self.begin_request(), Arc::clone(&self.lost));
        let ask = move |abilities: Abilities| {
            let checksums = abilities.integrity == Integrity::Crc64;
            let request = request
                .clone()
                .set_checksum_algorithm(checksums.then_some(ChecksumAlgorithm::Crc64Nvme))
                .set_checksum_type(checksums.then_some(ChecksumType::FullObject))
                .customize()
                .config_override(store.inner.connection.attempts_of_begin(&lost));
            store.block_on(request.send()).map_err(Failure::from)
        };
        let mut begin = move || {
            // Held over the request: a signal in the midst of it learns the id.
            let mut begun = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if begun.closed {
                return Err(Error::failed(format!("{what}: it was interrupted")));
            }
            let answer = loop {
                match ask(abilities) {
                    Err(failure) if abilities.do_without(&failure) => {}
                    answer => break answer.map_err(|failure| failure.explain(&what))?,
                }
            };
            let id = answer.upload_id().map(str::to_owned);
            let id = id.ok_or_else(|| Error::failed(format!("{what}: the service returned no upload id")))?;
            begun.id = Some(id.clone());
            Ok(Began { id, abilities })
        };
        thread::Builder::new()
            .spawn(move || {
                tell.send_replace(Some(begin()));
            })
            .during(format_args!("{}: start a thread", self.what()))?;
        Ok(self.beginning.insert(Beginning::of(told)).clone())
    }

    fn begin_request(&self) -> CreateMultipartUploadFluentBuilder {
        let (bucket, key) = self.url.bucket_and_key();
        self.client()
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .metadata(NONCE, &self.nonce)
            .set_storage_class(self.storage_class())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.encryption_key())
            .set_object_lock_mode(self.lock_mode())
            .set_object_lock_retain_until_date(self.retain_until())
    }
}
