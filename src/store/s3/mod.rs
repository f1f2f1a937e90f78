//! A bucket as a store: the only place where the SDK and its runtime are named. Everything outside is
//! synchronous; the runtime is inside, and so are two threads that keep parts moving while the caller
//! reads its input.

mod answer;
mod body;
mod checksum;
mod client;
mod connect;
mod count;
mod explain;
mod get;
mod listing;
mod part;
mod parts;
mod put;
mod remove;
mod retries;
mod watch;

pub use client::S3Store;
pub use count::{Requests, requests, say_requests};
pub use get::Download;
pub use put::Upload;

use crate::error::Result;
use crate::store::object::{Entry, PutOptions, Range};
use crate::store::url::Url;
use client::{absent, time_of, unquoted, unsigned};
use std::collections::VecDeque;

impl S3Store {
    pub fn create(&self, url: &Url, options: &PutOptions) -> Result<Upload> {
        Upload::begin(self.clone(), url, options)
    }

    pub fn get(&self, url: &Url, range: Option<Range>, jobs: usize) -> Result<Download> {
        Download::begin(self, url, range, jobs)
    }

    pub fn get_parts(
        &self,
        url: &Url,
        parts: VecDeque<std::ops::Range<u64>>,
        jobs: usize,
    ) -> Result<Download> {
        Download::begin_parts(self, url, parts, jobs)
    }

    pub fn get_whole(&self, url: &Url) -> Result<Download> {
        Download::whole(self, url)
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
}
