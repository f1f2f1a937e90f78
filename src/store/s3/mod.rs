//! A bucket as a store: the only place where the SDK and its runtime are named. Everything outside is
//! synchronous; the runtime is inside, and so are two threads that keep parts moving while the caller
//! reads its input.

mod body;
mod checksum;
mod connect;
mod explain;
mod get;
mod parts;
mod put;

pub use get::Download;
pub use put::Upload;

use crate::cli::StoreOptions;
use crate::error::{Error, Result};
use crate::store::{Entry, Leftover, PutOptions, Range, Url};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ChecksumMode;
use connect::Connection;
use explain::Failure;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::runtime::{Builder, Runtime};

/// Removals on their way at once.
const REMOVALS: usize = 16;

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

    /// As [`Store::list`](crate::store::Store::list); a bucket that is not there is an error.
    /// Memory: one page of a thousand keys.
    pub fn list(
        &self,
        directory: &Url,
        recursive: bool,
        each: &mut dyn FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        let (bucket, key) = directory.bucket_and_key();
        let slash = if key.is_empty() || key.ends_with('/') { "" } else { "/" };
        let prefix = format!("{key}{slash}");
        let mut pages = self
            .client()
            .list_objects_v2()
            .bucket(bucket)
            .prefix(&prefix)
            .set_delimiter((!recursive).then(|| "/".to_owned()))
            .into_paginator()
            .send();
        let url_of = |key: &str| Url::of_key(bucket, key);
        while let Some(page) = self.block_on(pages.next()) {
            let page = page.map_err(|error| Failure::from(error).explain(format_args!("ls {directory}")))?;
            let mut entries = Vec::with_capacity(page.contents().len() + page.common_prefixes().len());
            // What consoles make to show an empty directory is no object of ours.
            for object in
                page.contents().iter().filter(|object| !object.key().is_none_or(|key| key.ends_with('/')))
            {
                entries.push(Entry {
                    url: url_of(object.key().unwrap_or_default()),
                    bytes: unsigned(object.size()),
                    modified: object.last_modified().and_then(time_of),
                    etag: object.e_tag().map(unquoted),
                });
            }
            for below in page.common_prefixes().iter().filter_map(|below| below.prefix()) {
                entries.push(Entry { url: url_of(below), bytes: 0, modified: None, etag: None });
            }
            entries.sort_unstable_by(|a, b| a.url.cmp(&b.url));
            entries.into_iter().try_for_each(&mut *each)?;
        }
        Ok(())
    }

    /// One object, which must be there.
    pub fn remove(&self, url: &Url) -> Result<()> {
        let what = format!("rm {url}");
        self.block_on(async {
            self.head(url, &what, true).await?.ok_or_else(|| absent(&what))?;
            self.delete(url).await
        })
    }

    /// Objects of a listing, several at once and in no order. The first failure ends it.
    pub fn remove_listed(&self, urls: &[Url]) -> Result<()> {
        urls.chunks(REMOVALS).try_for_each(|some| {
            let running: Vec<_> = some.iter().map(|url| self.spawn_delete(url)).collect();
            // All are waited for before the first failure is told: none goes on behind the caller's back.
            let results: Vec<_> = running.into_iter().map(|task| self.block_on(task)).collect();
            results.into_iter().try_for_each(|result| result.map_err(stopped)?)
        })
    }

    fn spawn_delete(&self, url: &Url) -> tokio::task::JoinHandle<Result<()>> {
        let (store, url) = (self.client().clone(), url.clone());
        self.inner.runtime.spawn(async move {
            let (bucket, key) = url.bucket_and_key();
            let deleted = store.delete_object().bucket(bucket).key(key).send().await;
            deleted.map(drop).map_err(|error| Failure::from(error).explain(format_args!("rm {url}")))
        })
    }

    async fn delete(&self, url: &Url) -> Result<()> {
        self.spawn_delete(url).await.map_err(stopped)?
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
                .set_upload_id_marker(id_marker);
            let page = self.block_on(request.send());
            let page =
                page.map_err(|error| Failure::from(error).explain(format_args!("rm --uploads {directory}")))?;
            for upload in page.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
                let begun = upload.initiated().and_then(time_of);
                if begun.is_some_and(|begun| begun <= limit) {
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
        let head = self.client().head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        let failure = match head.send().await {
            Ok(head) => return Ok(Some(head)),
            Err(error) => Failure::from(error),
        };
        if failure.status == 404 && !prove {
            return Ok(None);
        }
        if !matches!(failure.status, 301 | 400 | 403 | 404) {
            return Err(failure.explain(what));
        }
        let listing = self.client().list_objects_v2().bucket(bucket).prefix(key).max_keys(1).send().await;
        match listing {
            Ok(_) if failure.status == 404 => Ok(None),
            Ok(_) => Err(failure.explain(what)),
            Err(error) => Err(Failure::from(error).explain(what)),
        }
    }
}

async fn abort(connection: &Connection, url: &Url, id: &str) -> std::result::Result<(), Failure> {
    let (bucket, key) = url.bucket_and_key();
    let request = connection.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id);
    match request.send().await.map_err(Failure::from) {
        Err(failure) if !failure.is("NoSuchUpload") => Err(failure),
        _ => Ok(()),
    }
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
