//! An upload in parts, which are sent while the next one is read.

use crate::error::Result;
use crate::report;
use crate::store::s3::answer::Expected;
use crate::store::s3::checksum;
use crate::store::s3::client::stopped;
use crate::store::s3::part::{Part, cut};
use crate::store::s3::put::Upload;
use crate::store::s3::put::began::{Began, Beginning};
use crate::store::s3::put::request::{Integrity, PartRequest, crc_header};
use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use tokio::task::JoinError;

impl Upload {
    pub(super) fn send(&mut self, part: Part) -> Result<()> {
        let (body, crc) = part.into_bytes();
        self.send_part(body, crc)
    }

    /// What might have been one request becomes the first parts.
    pub(super) fn send_first(&mut self, whole: Part) -> Result<()> {
        let size = usize::try_from(self.parts.size(1).unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let (whole, _) = whole.into_bytes();
        cut(&whole, size).try_for_each(|(part, crc)| self.send_part(part, crc))
    }

    /// Starts to send a part, when there is room for one more on its way.
    pub(super) fn send_part(&mut self, body: Bytes, crc: u64) -> Result<()> {
        let most = self.parts.at_once(self.options.jobs, body.len() as u64);
        while self.sending.len() >= most {
            self.take_sent(true)?;
        }
        let mut beginning = self.beginning()?;
        self.crc = checksum::combine(self.crc, crc, body.len() as u64);
        let number = i32::try_from(self.sent.len() + self.sending.len() + 1).unwrap_or(i32::MAX);
        let (client, url, what) = (self.client().clone(), self.url.clone(), self.what());
        let attempts = self.store.inner.connection.attempts_later(Expected::Stored);
        let sending = async move {
            let Began { id, abilities } = beginning.wait(&what).await?;
            let part = PartRequest { client, url, id, number, crc, attempts: attempts(), body };
            let integrity = abilities.integrity;
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
        let task = self.sending.spawn_on(sending, self.store.inner.runtime.handle());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|task| !task.is_finished());
        running.push(task);
        Ok(())
    }

    /// Takes what has been sent, and its failure; waits for one part if `wait`. Says whether there may
    /// be more to take.
    pub(super) fn take_sent(&mut self, wait: bool) -> Result<bool> {
        let next = match wait {
            true => self.store.block_on(self.sending.join_next()),
            false => self.sending.try_join_next(),
        };
        self.took(next)
    }

    pub(super) fn took(
        &mut self,
        next: Option<std::result::Result<Result<CompletedPart>, JoinError>>,
    ) -> Result<bool> {
        let Some(part) = next else { return Ok(false) };
        self.sent.push(part.map_err(stopped)??);
        self.abilities = self.beginning.as_ref().and_then(Beginning::abilities).unwrap_or(self.abilities);
        Ok(true)
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
