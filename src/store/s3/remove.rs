//! Removes objects: one, or many in few requests.

use crate::error::{Error, Kind, Result};
use crate::store::object::Leftover;
use crate::store::s3::answer::Expected;
use crate::store::s3::client::{S3Store, abort, absent, object, stopped};
use crate::store::s3::explain::{Failure, explain_one};
use crate::store::s3::retries::Backoff;
use crate::store::url::Url;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use std::future::Future;
use std::time::Instant;

/// Requests for single objects on their way at once.
const AT_ONCE: usize = 16;
/// Keys that one request may name:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
const BATCH: usize = 1000;

impl S3Store {
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
}
