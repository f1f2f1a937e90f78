//! A bucket as a store: the only place where the SDK and its runtime are named. Everything outside is
//! synchronous; the runtime is inside, and so are two threads that keep parts moving while the caller
//! reads its input.

mod answer;
mod body;
mod checksum;
mod connect;
mod explain;
mod get;
mod listing;
mod part;
mod parts;
mod put;
mod retries;
mod watch;

pub use get::Download;
pub use put::Upload;

use crate::cli::StoreOptions;
use crate::error::{Error, Kind, Result};
use crate::store::{Entry, Leftover, PutOptions, Range, Url};
use answer::Expected;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ChecksumMode, Delete, ObjectIdentifier};
use connect::Connection;
use explain::{Failure, TOO_SKEWED, explain_one};
use retries::Backoff;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use time::OffsetDateTime;
use tokio::runtime::{Builder, Runtime};

/// Requests for single objects on their way at once.
const AT_ONCE: usize = 16;
/// Keys that one request may name:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
const BATCH: usize = 1000;
/// How often the same question is asked when the answers contradict each other.
const CONTRADICTIONS: u32 = 5;

#[derive(Clone)]
pub struct S3Store {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Runtime,
    connection: Connection,
}

impl S3Store {
    /// Reads the configuration; asks nobody yet, but for a region or a role where that needs asking.
    pub fn open(options: &StoreOptions) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Error::io("start the S3 client", error))?;
        let connection = runtime.block_on(connect::connect(options))?;
        Ok(S3Store { inner: Arc::new(Inner { runtime, connection }) })
    }

    pub fn create(&self, url: &Url, options: &PutOptions) -> Result<Upload> {
        Upload::begin(self.clone(), url, options)
    }

    pub fn get(&self, url: &Url, range: Option<Range>, jobs: usize) -> Result<Download> {
        Download::begin(self, url, range, jobs)
    }

    pub fn stat(&self, url: &Url) -> Result<Entry> {
        let what = format!("stat {url}");
        let head = self.block_on(self.head(url, &what, true))?.ok_or_else(|| absent(&what))?;
        Ok(Entry {
            url: url.clone(),
            bytes: unsigned(head.content_length()),
            modified: head.last_modified().and_then(time_of),
            etag: head.e_tag().map(unquoted),
        })
    }

    /// One object, which must be there.
    pub fn remove(&self, url: &Url) -> Result<()> {
        let what = format!("rm {url}");
        self.block_on(async {
            self.head(url, &what, true).await?.ok_or_else(|| absent(&what))?;
            self.delete(url).await
        })
    }

    /// As [`Store::remove_all`](crate::store::Store::remove_all): in batches, or one by one where the service knows no
    /// batches. All of them are tried, whatever happens to some; those whose failure may pass again and again.
    pub fn remove_all(&self, urls: &[Url], known: bool) -> Result<Vec<(Url, Error)>> {
        let (there, mut failed) = if known { (urls.to_vec(), Vec::new()) } else { self.look_for(urls) };
        for batch in there.chunks(BATCH) {
            match self.delete_stubbornly(batch) {
                Ok(stay) => failed.extend(stay),
                Err(failure) if failure.knows_no_batches() => {
                    failed.extend(
                        self.each_at_once(batch, |store, url| async move { store.delete(&url).await }),
                    );
                }
                Err(failure) => {
                    let others = batch.len() - 1;
                    return Err(failure.explain(format_args!("rm {} and {others} others", batch[0])));
                }
            }
        }
        Ok(failed)
    }

    /// Those that are there, and why others are not taken for it.
    fn look_for(&self, urls: &[Url]) -> (Vec<Url>, Vec<(Url, Error)>) {
        let failed = self.each_at_once(urls, |store, url| async move {
            let what = format!("rm {url}");
            store.head(&url, &what, true).await?.ok_or_else(|| absent(&what)).map(drop)
        });
        let there =
            urls.iter().filter(|url| failed.iter().all(|(failed, _)| failed != *url)).cloned().collect();
        (there, failed)
    }

    /// The failures of `work` on each, several of them at once.
    fn each_at_once<F>(&self, urls: &[Url], work: impl Fn(S3Store, Url) -> F) -> Vec<(Url, Error)>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut failed = Vec::new();
        for some in urls.chunks(AT_ONCE) {
            let running: Vec<_> =
                some.iter().map(|url| self.inner.runtime.spawn(work(self.clone(), url.clone()))).collect();
            for (url, task) in some.iter().zip(running) {
                if let Err(error) = self.block_on(task).map_err(stopped).and_then(|done| done) {
                    failed.push((url.clone(), error));
                }
            }
        }
        failed
    }

    /// What does not go, for as long as the store's patience lasts.
    fn delete_stubbornly(&self, urls: &[Url]) -> std::result::Result<Vec<(Url, Error)>, Failure> {
        let patience = self.inner.connection.patience().timeout;
        let (begun, mut backoff) = (Instant::now(), Backoff::new(patience));
        let (mut stay, mut left) = (Vec::new(), urls.to_vec());
        loop {
            let failed = self.delete_batch(&left, begun)?;
            let (passing, lasting): (Vec<_>, Vec<_>) =
                failed.into_iter().partition(|(_, error)| error.kind == Kind::Temporary);
            stay.extend(lasting);
            if passing.is_empty() || begun.elapsed() >= patience {
                stay.extend(passing);
                return Ok(stay);
            }
            left = passing.into_iter().map(|(url, _)| url).collect();
            self.block_on(backoff.pause());
        }
    }

    /// What one request, one of those that began `begun`, did not remove.
    fn delete_batch(&self, urls: &[Url], begun: Instant) -> std::result::Result<Vec<(Url, Error)>, Failure> {
        let Some((bucket, _)) = urls.first().map(Url::bucket_and_key) else { return Ok(Vec::new()) };
        let mut failed = Vec::new();
        let mut objects = Vec::new();
        for url in urls {
            match ObjectIdentifier::builder().key(url.bucket_and_key().1).build() {
                Ok(named) if url.bucket_and_key().0 == bucket => objects.push(named),
                _ => failed.push((url.clone(), Error::usage(format!("rm {url}: it is in another bucket")))),
            }
        }
        let Ok(batch) = Delete::builder().set_objects(Some(objects)).quiet(true).build() else {
            return Ok(failed);
        };
        let expected = Expected::Document("DeleteResult");
        let request = self.client().delete_objects().bucket(bucket).delete(batch).customize();
        let request = request.config_override(self.inner.connection.attempts_since(begun, expected));
        let answer = self.block_on(request.send()).map_err(Failure::from)?;
        for refused in answer.errors() {
            let url = Url::of_key(bucket, refused.key().unwrap_or_default());
            let (code, text) = (refused.code().unwrap_or_default(), refused.message().unwrap_or_default());
            // It is gone all the same.
            if code != "NoSuchKey" {
                failed.push((url.clone(), explain_one(format_args!("rm {url}"), code, text)));
            }
        }
        Ok(failed)
    }

    async fn delete(&self, url: &Url) -> Result<()> {
        let (bucket, key) = object(url)?;
        let request = self.client().delete_object().bucket(bucket).key(key).customize();
        let request = request.config_override(self.inner.connection.attempts());
        request.send().await.map(drop).map_err(|error| Failure::from(error).explain(format_args!("rm {url}")))
    }

    pub fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        let id = leftover.upload.as_deref().unwrap_or_default();
        self.block_on(abort(&self.inner.connection, &leftover.url, id))
            .map_err(|failure| failure.explain(format_args!("rm --uploads {}", leftover.url)))
    }

    fn client(&self) -> &aws_sdk_s3::Client {
        &self.inner.connection.client
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.inner.runtime.block_on(future)
    }

    /// Nothing if the object is not there. An answer to HEAD has no text, so a request for its first byte, which needs
    /// the same right, says what a failure is; with `prove` also whether the bucket is there, of which 404 says nothing.
    async fn head(&self, url: &Url, what: &str, prove: bool) -> Result<Option<HeadObjectOutput>> {
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
                Err(refusal) if failure.status == 404 && refusal.is("NoSuchKey") => return Ok(None),
                // Of an empty object every range is beyond the end.
                Err(refusal) if refusal.status != 416 => return Err(refusal.explain(what)),
                // It is there, and may be read: what was said of it before is over, or was never true.
                _ => backoff.pause().await,
            }
        }
        Err(Error::new(
            Kind::Temporary,
            format!("{what}: the service gives the object, and refuses again and again to say what it is"),
        ))
    }
}

async fn abort(connection: &Connection, url: &Url, id: &str) -> std::result::Result<(), Failure> {
    let (bucket, key) = url.bucket_and_key();
    let request =
        connection.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).customize();
    match request.config_override(connection.attempts()).send().await.map_err(Failure::from) {
        Err(failure) if !failure.is("NoSuchUpload") => Err(failure),
        _ => Ok(()),
    }
}

fn is_there(what: &str) -> Error {
    Error::new(Kind::Exists, format!("{what}: it exists, nothing was overwritten"))
        .hint("--replace replaces it")
}

fn object(url: &Url) -> Result<(&str, &str)> {
    match url.bucket_and_key() {
        (_, key) if key.is_empty() || key.ends_with('/') => {
            Err(Error::usage(format!("{url} names a directory, not an object")))
        }
        names => Ok(names),
    }
}

fn absent(what: &str) -> Error {
    Error::not_found(format!("{what}: no such object"))
}

/// A task ends early only when the process does.
fn stopped(error: tokio::task::JoinError) -> Error {
    Error::failed(format!("the S3 client stopped: {error}"))
}

fn unsigned(length: Option<i64>) -> u64 {
    length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0)
}

fn unquoted(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

fn time_of(time: &DateTime) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(time.as_nanos()).ok()
}
