//! A bucket as a store: the only place where the SDK and its runtime are named. Everything outside is
//! synchronous; the runtime is inside, and so are two threads that keep parts moving while the caller
//! reads its input.

mod body;
mod checksum;
mod connect;
mod explain;
mod get;
mod part;
mod parts;
mod put;

pub use get::Download;
pub use put::Upload;

use crate::cli::StoreOptions;
use crate::error::{Error, Kind, Result};
use crate::store::{Entry, Leftover, PutOptions, Range, Url};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ChecksumMode, Delete, EncodingType, ObjectIdentifier};
use connect::Connection;
use explain::{Failure, explain_one};
use percent_encoding::percent_decode_str;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::runtime::{Builder, Runtime};

/// Requests for single objects on their way at once.
const AT_ONCE: usize = 16;
/// Keys that one request may name:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
const BATCH: usize = 1000;

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

    /// As [`Store::list_after`](crate::store::Store::list_after); a bucket that is not there is an error.
    /// Memory: one page of a thousand keys.
    pub fn list(
        &self,
        directory: &Url,
        recursive: bool,
        after: &str,
        each: &mut dyn FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        let (bucket, key) = directory.bucket_and_key();
        let slash = if key.is_empty() || key.ends_with('/') { "" } else { "/" };
        let prefix = format!("{key}{slash}");
        let first = Url::of_key(bucket, &format!("{prefix}{after}"));
        let mut token = None;
        loop {
            let request = self
                .client()
                .list_objects_v2()
                .bucket(bucket)
                .prefix(&prefix)
                .set_delimiter((!recursive).then(|| "/".to_owned()))
                .set_start_after((!after.is_empty()).then(|| format!("{prefix}{after}")))
                // Not every key can be written in XML as it is.
                .encoding_type(EncodingType::Url)
                .set_continuation_token(token)
                .customize()
                .config_override(self.inner.connection.attempts_for(0));
            let page = self.block_on(request.send());
            let page = page.map_err(|error| Failure::from(error).explain(format_args!("ls {directory}")))?;
            // Not every service knows where to start.
            let mut behind = entries_of(&page, bucket)?.into_iter().filter(|entry| entry.url > first);
            behind.try_for_each(&mut *each)?;
            // A page that says "more" without where would be asked for for ever.
            token = page.next_continuation_token().map(str::to_owned);
            if !page.is_truncated().unwrap_or(false) || token.is_none() {
                return Ok(());
            }
        }
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
    /// batches. All of them are tried, whatever happens to some.
    pub fn remove_all(&self, urls: &[Url], known: bool) -> Result<Vec<(Url, Error)>> {
        let (there, mut failed) = if known { (urls.to_vec(), Vec::new()) } else { self.look_for(urls) };
        for batch in there.chunks(BATCH) {
            match self.delete_batch(batch) {
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

    /// What one request did not remove.
    fn delete_batch(&self, urls: &[Url]) -> std::result::Result<Vec<(Url, Error)>, Failure> {
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
        let request = self.client().delete_objects().bucket(bucket).delete(batch).customize();
        let request = request.config_override(self.inner.connection.attempts_for(0));
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
        let request = request.config_override(self.inner.connection.attempts_for(0));
        request.send().await.map(drop).map_err(|error| Failure::from(error).explain(format_args!("rm {url}")))
    }

    pub fn leftovers(
        &self,
        directory: &Url,
        older: Duration,
        each: &mut dyn FnMut(Leftover) -> Result<()>,
    ) -> Result<()> {
        let (bucket, prefix) = directory.bucket_and_key();
        let limit = OffsetDateTime::now_utc() - older;
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let request = self
                .client()
                .list_multipart_uploads()
                .bucket(bucket)
                .prefix(prefix)
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .customize()
                .config_override(self.inner.connection.attempts_for(0));
            let page = self.block_on(request.send());
            let page =
                page.map_err(|error| Failure::from(error).explain(format_args!("rm --uploads {directory}")))?;
            for upload in page.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
                let begun = upload.initiated().and_then(time_of);
                // All of them, whatever the service's clock says.
                if older.is_zero() || begun.is_some_and(|begun| begun <= limit) {
                    each(Leftover { url: Url::of_key(bucket, key), upload: Some(id.to_owned()) })?;
                }
            }
            // A page that says "more" without where would be asked for for ever.
            if !page.is_truncated().unwrap_or(false) || page.next_key_marker().is_none() {
                return Ok(());
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
        }
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

    /// Nothing if the object is not there. An answer to HEAD has no text, so a listing of that one key says
    /// what a failure is; with `prove` also whether the bucket is there, of which 404 says nothing.
    async fn head(&self, url: &Url, what: &str, prove: bool) -> Result<Option<HeadObjectOutput>> {
        let (bucket, key) = object(url)?;
        let attempts = || self.inner.connection.attempts_for(0);
        let head = self.client().head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        let failure = match head.customize().config_override(attempts()).send().await {
            Ok(head) => return Ok(Some(head)),
            Err(error) => Failure::from(error),
        };
        if failure.status == 404 && !prove {
            return Ok(None);
        }
        if !matches!(failure.status, 301 | 400 | 403 | 404) {
            return Err(failure.explain(what));
        }
        let listing = self.client().list_objects_v2().bucket(bucket).prefix(key).max_keys(1).customize();
        match listing.config_override(attempts()).send().await {
            Ok(_) if failure.status == 404 => Ok(None),
            Ok(_) => Err(failure.explain(what)),
            Err(error) => Err(Failure::from(error).explain(what)),
        }
    }
}

async fn abort(connection: &Connection, url: &Url, id: &str) -> std::result::Result<(), Failure> {
    let (bucket, key) = url.bucket_and_key();
    let request =
        connection.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).customize();
    match request.config_override(connection.attempts_for(0)).send().await.map_err(Failure::from) {
        Err(failure) if !failure.is("NoSuchUpload") => Err(failure),
        _ => Ok(()),
    }
}

/// A page of a listing, in the order of URLs.
fn entries_of(page: &ListObjectsV2Output, bucket: &str) -> Result<Vec<Entry>> {
    let encoded = page.encoding_type() == Some(&EncodingType::Url);
    let url_of = |key: &str| match encoded {
        true => decoded(key).map(|key| Url::of_key(bucket, &key)),
        false => Ok(Url::of_key(bucket, key)),
    };
    let mut entries = Vec::with_capacity(page.contents().len() + page.common_prefixes().len());
    // What consoles make to show an empty directory is no object of ours.
    for object in page.contents().iter().filter(|object| !object.key().is_none_or(|key| key.ends_with('/'))) {
        entries.push(Entry {
            url: url_of(object.key().unwrap_or_default())?,
            bytes: unsigned(object.size()),
            modified: object.last_modified().and_then(time_of),
            etag: object.e_tag().map(unquoted),
        });
    }
    for below in page.common_prefixes().iter().filter_map(|below| below.prefix()) {
        entries.push(Entry { url: url_of(below)?, bytes: 0, modified: None, etag: None });
    }
    entries.sort_unstable_by(|a, b| a.url.cmp(&b.url));
    Ok(entries)
}

/// As a form encodes it: a plus is a space.
fn decoded(key: &str) -> Result<String> {
    let spaced = key.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| Error::failed(format!("the key {key} is not UTF-8, no object of pgv is")))
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
