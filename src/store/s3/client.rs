//! One client of a service: its runtime and its connections, how it asks what an object is, and what every request says
//! alike.

use crate::error::{Error, Kind, Result};
use crate::store::s3::answer::Expected;
use crate::store::s3::connect::{self, Connection};
use crate::store::s3::explain::{Failure, TOO_SKEWED};
use crate::store::s3::retries::Backoff;
use crate::store::service::Service;
use crate::store::url::Url;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ChecksumMode;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use time::OffsetDateTime;
use tokio::runtime::{Builder, Runtime};

/// How often the same question is asked when the answers contradict each other.
const CONTRADICTIONS: u32 = 5;

#[derive(Clone)]
pub struct S3Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) runtime: Runtime,
    pub(super) connection: Connection,
    /// Whether it was tried in this process that the service refuses to replace.
    pub(super) tried: AtomicBool,
}

impl S3Store {
    /// Reads the configuration; asks nobody yet, but for a region or a role where that needs asking.
    pub fn open(service: &Service) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Error::io("start the S3 client", error))?;
        let connection = runtime.block_on(connect::connect(service))?;
        Ok(S3Store { inner: Arc::new(Inner { runtime, connection, tried: AtomicBool::new(false) }) })
    }

    /// Which service it is, as far as the configuration tells.
    pub fn place(&self) -> &str {
        &self.inner.connection.place
    }

    pub(super) fn client(&self) -> &aws_sdk_s3::Client {
        &self.inner.connection.client
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.inner.runtime.block_on(future)
    }

    /// Nothing if the object is not there. An answer to HEAD has no text, so a request for its first byte, which needs
    /// the same right, says what a failure is; with `prove` also whether the bucket is there, of which 404 says nothing.
    pub(super) async fn head(&self, url: &Url, what: &str, prove: bool) -> Result<Option<HeadObjectOutput>> {
        let (bucket, key) = object(url)?;
        let begun = Instant::now();
        let attempts = |expected| self.inner.connection.attempts_since(begun, expected);
        let mut backoff = Backoff::new(self.inner.connection.patience().timeout);
        for _ in 0..CONTRADICTIONS {
            let head =
                self.client().head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
            let failure = match head.customize().config_override(attempts(Expected::Described)).send().await {
                Ok(head) => return Ok(Some(head)),
                Err(error) => Failure::from(error),
            };
            if failure.status == 404 && !prove {
                return Ok(None);
            }
            if !matches!(failure.status, 301 | 400 | 403 | 404) || failure.is(TOO_SKEWED) {
                return Err(failure.explain(what));
            }
            let byte = self.client().get_object().bucket(bucket).key(key).range("bytes=0-0").customize();
            match byte.config_override(attempts(Expected::Object)).send().await.map_err(Failure::from) {
                // Whatever the answer without a text was about: this one says that the object is not there.
                Err(refusal) if refusal.is("NoSuchKey") => return Ok(None),
                // Of an empty object every range is beyond the end.
                Err(refusal) if refusal.status != 416 => return Err(refusal.explain(what)),
                // It is there, and may be read: what was said of it before is over, or was never true.
                _ => backoff.pause().await,
            }
        }
        Err(Error::new(
            Kind::Temporary,
            format!("{what}: the service returns the object, but repeatedly refuses to describe it (HEAD)"),
        ))
    }
}

pub async fn abort(connection: &Connection, url: &Url, id: &str) -> std::result::Result<(), Failure> {
    let (bucket, key) = url.bucket_and_key();
    let request =
        connection.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).customize();
    match request.config_override(connection.attempts()).send().await.map_err(Failure::from) {
        Err(failure) if !failure.is("NoSuchUpload") => Err(failure),
        _ => Ok(()),
    }
}

pub fn is_there(what: &str) -> Error {
    Error::new(Kind::Exists, format!("{what}: it exists, nothing was overwritten"))
        .hint("--replace overwrites it")
}

pub fn object(url: &Url) -> Result<(&str, &str)> {
    match url.bucket_and_key() {
        (_, key) if key.is_empty() || key.ends_with('/') => {
            Err(Error::usage(format!("{url} names a directory, not an object")))
        }
        names => Ok(names),
    }
}

pub fn absent(what: &str) -> Error {
    Error::not_found(format!("{what}: no such object"))
}

/// A task ends early only when the process does.
pub fn stopped(error: tokio::task::JoinError) -> Error {
    Error::failed(format!("the S3 client stopped: {error}"))
}

pub fn unsigned(length: Option<i64>) -> u64 {
    length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0)
}

pub fn unquoted(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

pub fn time_of(time: &DateTime) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(time.as_nanos()).ok()
}
