//! Listings, page by page. A page counts when it is whole: its document is closed, it holds as many entries as it says,
//! and if it says that there are more it says where. What a listing does not show is taken for absent by all who read
//! it, so a page that is not whole is asked for again, like one whose connection broke.

use crate::error::{Error, Kind, Result};
use crate::store::object::{Entry, Leftover, Span};
use crate::store::s3::answer::Expected;
use crate::store::s3::client::{S3Store, time_of, unquoted, unsigned};
use crate::store::s3::explain::Failure;
use crate::store::s3::retries::Backoff;
use crate::store::url::Url;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::operation::list_multipart_uploads::ListMultipartUploadsOutput;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;
use std::collections::HashSet;
use std::future::Future;
use std::hash::Hash;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// Where the next page begins; none at the end of the listing. Or why the page is not whole.
type Next<T> = std::result::Result<Option<T>, String>;

impl S3Store {
    /// As [`Store::scan`](crate::store::Store::scan); a bucket that is not there is an error.
    /// Memory: one page of a thousand keys, and a token for each page.
    pub fn scan(
        &self,
        directory: &Url,
        span: &Span<'_>,
        each: &mut dyn FnMut(Entry) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let after = span.after;
        let (bucket, key) = directory.bucket_and_key();
        let slash = if key.is_empty() || key.ends_with('/') { "" } else { "/" };
        let prefix = format!("{key}{slash}");
        let first = Url::of_key(bucket, &format!("{prefix}{after}"));
        let what = format!("ls {directory}");
        let mut places = Places::default();
        let mut token: Option<String> = None;
        loop {
            let ask = |attempts: Builder| {
                let request = self
                    .client()
                    .list_objects_v2()
                    .bucket(bucket)
                    .prefix(&prefix)
                    .set_delimiter((!span.recursive).then(|| "/".to_owned()))
                    .set_max_keys(span.page.map(i32::from))
                    .set_start_after((!after.is_empty()).then(|| format!("{prefix}{after}")))
                    // Not every key can be written in XML as it is.
                    .encoding_type(EncodingType::Url)
                    .set_continuation_token(token.clone())
                    .customize()
                    .config_override(attempts);
                async move { request.send().await.map_err(Failure::from) }
            };
            let (page, next) = self.page(&what, "ListBucketResult", ask, next_of_objects)?;
            // Not every service knows where to start.
            for entry in entries_of(&page, bucket)?.into_iter().filter(|entry| entry.url > first) {
                if each(entry)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            let Some(next) = next else { return Ok(ControlFlow::Continue(())) };
            token = Some(places.new_one(&what, next)?);
        }
    }

    /// As [`Store::leftovers`](crate::store::Store::leftovers).
    pub fn leftovers(
        &self,
        directory: &Url,
        older: Duration,
        each: &mut dyn FnMut(Leftover) -> Result<()>,
    ) -> Result<()> {
        let (bucket, prefix) = directory.bucket_and_key();
        let limit = OffsetDateTime::now_utc() - older;
        let what = format!("rm --uploads {directory}");
        let mut places = Places::default();
        let mut marker: (Option<String>, Option<String>) = (None, None);
        loop {
            let ask = |attempts: Builder| {
                let (key, id) = marker.clone();
                let request = self
                    .client()
                    .list_multipart_uploads()
                    .bucket(bucket)
                    .prefix(prefix)
                    .set_key_marker(key)
                    .set_upload_id_marker(id)
                    .customize()
                    .config_override(attempts);
                async move { request.send().await.map_err(Failure::from) }
            };
            let (page, next) = self.page(&what, "ListMultipartUploadsResult", ask, next_of_uploads)?;
            for upload in page.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
                let begun = upload.initiated().and_then(time_of);
                // All of them, whatever the service's clock says.
                if older.is_zero() || begun.is_some_and(|begun| begun <= limit) {
                    each(Leftover { url: Url::of_key(bucket, key), upload: Some(id.to_owned()) })?;
                }
            }
            let Some(next) = next else { return Ok(()) };
            marker = places.new_one(&what, next)?;
        }
    }

    /// One page, asked for until it is whole or the store's patience ends; and where the next one begins.
    fn page<P, T, F>(
        &self,
        what: &str,
        root: &'static str,
        ask: impl Fn(Builder) -> F,
        next: impl Fn(&P) -> Next<T>,
    ) -> Result<(P, Option<T>)>
    where
        F: Future<Output = std::result::Result<P, Failure>>,
    {
        let connection = &self.inner.connection;
        let patience = connection.patience().timeout;
        let (begun, mut backoff) = (Instant::now(), Backoff::new(patience));
        loop {
            let attempts = connection.attempts_since(begun, Expected::Document(root));
            let page = self.block_on(ask(attempts)).map_err(|failure| failure.explain(what))?;
            match next(&page) {
                Ok(next) => return Ok((page, next)),
                Err(why) if begun.elapsed() >= patience => {
                    return Err(Error::new(Kind::Temporary, format!("{what}: incomplete answer: {why}")));
                }
                Err(_) => self.block_on(backoff.pause()),
            }
        }
    }
}

/// The places where pages began. They mean nothing to anybody but the service; but the same one twice has no end.
struct Places<T>(HashSet<T>);

impl<T> Default for Places<T> {
    fn default() -> Self {
        Places(HashSet::new())
    }
}

impl<T: Clone + Eq + Hash> Places<T> {
    fn new_one(&mut self, what: &str, place: T) -> Result<T> {
        match self.0.insert(place.clone()) {
            true => Ok(place),
            false => {
                Err(Error::failed(format!("{what}: the service returned the same page of the listing again")))
            }
        }
    }
}

fn next_of_objects(page: &ListObjectsV2Output) -> Next<String> {
    // Of common prefixes as of keys. Some services count less; what they count is there all the same.
    let (counted, came) =
        (unsigned(page.key_count().map(i64::from)), page.contents().len() + page.common_prefixes().len());
    if counted > came as u64 {
        return Err(format!("a page has {came} entries instead of {counted}"));
    }
    if page.contents().iter().any(|object| object.key().is_none() || object.size().is_none()) {
        return Err("an entry has no key or no size".to_owned());
    }
    let token = page.next_continuation_token().filter(|token| !token.is_empty()).map(str::to_owned);
    match (page.is_truncated(), token) {
        (Some(false), _) | (None, None) => Ok(None),
        (_, Some(token)) => Ok(Some(token)),
        (Some(true), None) => Err("it has more entries, but no token to continue".to_owned()),
    }
}

fn next_of_uploads(page: &ListMultipartUploadsOutput) -> Next<(Option<String>, Option<String>)> {
    if page.uploads().iter().any(|upload| upload.key().is_none() || upload.upload_id().is_none()) {
        return Err("an upload has no key or no id".to_owned());
    }
    let given = |marker: Option<&str>| marker.filter(|marker| !marker.is_empty()).map(str::to_owned);
    let (key, id) = (given(page.next_key_marker()), given(page.next_upload_id_marker()));
    match (page.is_truncated().unwrap_or(false), key) {
        (false, _) => Ok(None),
        (true, Some(key)) => Ok(Some((Some(key), id))),
        (true, None) => Err("it has more uploads, but no marker to continue".to_owned()),
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
        .map_err(|_| Error::failed(format!("the key {key} is not UTF-8, and so not of pgv")))
}
