//! The request that sends one part, and the checksum that goes with a body.

use crate::store::s3::body::{Signing, sliced};
use crate::store::s3::checksum;
use crate::store::s3::explain::Failure;
use crate::store::url::Url;
use bytes::Bytes;

/// The checksum that goes with a body, for the service to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// Which the service keeps of the whole object, too.
    Crc64,
    Md5,
}

/// One part on its way; it may have to be sent with another checksum.
pub struct PartRequest {
    pub client: aws_sdk_s3::Client,
    pub url: Url,
    pub id: String,
    pub number: i32,
    pub crc: u64,
    pub attempts: aws_sdk_s3::config::Builder,
    pub body: Bytes,
}

impl PartRequest {
    /// The part's ETag.
    pub async fn send(&self, integrity: Integrity) -> std::result::Result<Option<String>, Failure> {
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

pub fn crc_header(integrity: Integrity, crc: u64) -> Option<String> {
    (integrity == Integrity::Crc64).then(|| checksum::encode(crc))
}

pub fn md5_header(integrity: Integrity, body: &Bytes) -> Option<String> {
    (integrity == Integrity::Md5).then(|| checksum::md5(body))
}
