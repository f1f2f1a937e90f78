//! A download: the object in pieces, a few on their way at once, handed out in order. A connection that
//! breaks is taken up again at the byte where it stopped, and only of the same object (its ETag).
//!
//! A short object may be asked for as a whole: then its checksum comes in the same answer.
//!
//! Memory: as many pieces of 8 MiB as are asked for at once, and the one being read. Their buffers are
//! used again: the allocator would keep what several threads take and give back.

use crate::error::{Error, Kind, Result};
use crate::store::object::Range;
use crate::store::s3::answer::Expected;
use crate::store::s3::checksum;
use crate::store::s3::client::{S3Store, object, stopped, unsigned};
use crate::store::s3::explain::{Failure, root};
use crate::store::s3::retries::Backoff;
use crate::store::url::Url;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use std::collections::VecDeque;
use std::io;
use std::time::Instant;
use tokio::task::JoinHandle;

const PIECE: u64 = 8 << 20;
/// What is asked for as a whole is read in one go up to here, and from here on in pieces.
const WHOLE: u64 = 32 << 20;
/// What a connection must bring before it breaks, or it counts as none.
const PROGRESS: usize = 64 << 10;

/// Reads to its end or fails: a short object is an error, never an end.
pub struct Download {
    store: S3Store,
    object: Remote,
    /// Of what is wanted: the first byte that no piece was asked for yet, and the end.
    next: u64,
    end: u64,
    /// What is wanted behind that.
    more: VecDeque<std::ops::Range<u64>>,
    length: u64,
    at_once: usize,
    pieces: VecDeque<JoinHandle<Result<Vec<u8>>>>,
    current: Vec<u8>,
    /// Bytes of the current piece that were handed out.
    read: usize,
    check: Option<Check>,
}

/// The whole object's own checksum.
struct Check {
    seen: crc_fast::Digest,
    expected: Sum,
}

enum Sum {
    /// Of the answer; None where the service told none.
    Told(Option<String>),
    /// Asked for beside the first pieces.
    Asked(JoinHandle<Result<Option<String>>>),
}

impl Download {
    /// Asks for the first piece, whose answer says how long the object is.
    pub fn begin(store: &S3Store, url: &Url, range: Option<Range>, at_once: usize) -> Result<Self> {
        object(url)?;
        let from = range.map_or(0, |range| range.from);
        let wanted = range.and_then(|range| range.end).unwrap_or(u64::MAX);
        let (mut download, total) = Self::begin_at(store, url, from, wanted, at_once)?;
        download.end = wanted.min(total);
        download.length = download.end - from;
        if range.is_none() {
            let expected = Sum::Asked(store.inner.runtime.spawn(download.object.clone().checksum()));
            download.check = Some(Check { seen: checksum::digest(), expected });
        }
        Ok(download)
    }

    /// Parts of the object, ascending; it must not end before one of them does.
    pub fn begin_parts(
        store: &S3Store,
        url: &Url,
        mut parts: VecDeque<std::ops::Range<u64>>,
        at_once: usize,
    ) -> Result<Self> {
        object(url)?;
        let length = parts.iter().map(|part| part.end - part.start).sum();
        let last = parts.back().map_or(0, |part| part.end);
        // Of no parts there is nothing to ask for but whether the object is there.
        let first = parts.pop_front().unwrap_or(0..0);
        if first.is_empty() {
            store.stat(url)?;
            return Ok(Self::nothing(store, Remote { store: store.clone(), url: url.clone(), etag: None }));
        }
        let (mut download, total) = Self::begin_at(store, url, first.start, first.end, at_once)?;
        if total < last {
            return Err(Error::damaged(format!(
                "get {url}: the object ends at byte {total}, before byte {last}"
            )));
        }
        (download.end, download.more, download.length) = (first.end, parts, length);
        Ok(download)
    }

    /// With its first piece on its way; and the length of the object.
    fn begin_at(store: &S3Store, url: &Url, from: u64, wanted: u64, at_once: usize) -> Result<(Self, u64)> {
        let first_end = wanted.min(from.saturating_add(PIECE));
        let mut object = Remote { store: store.clone(), url: url.clone(), etag: None };
        let first = match store.block_on(object.ask_first(Some((from, first_end)))) {
            Ok(first) => first,
            // A range that begins beyond the end: of an empty object every range does.
            Err(failure) if failure.status == 416 && from == 0 => {
                return Self::empty(store, object).map(|empty| (empty, 0));
            }
            Err(failure) if failure.status == 416 => {
                return Err(Error::failed(format!("get {url}: the object ends before byte {from}")));
            }
            Err(failure) => return Err(failure.explain(format_args!("get {url}"))),
        };
        let (_, total) =
            object.position(&first).filter(|(start, _)| *start == from).ok_or_else(|| object.no_range())?;
        object.etag = first.e_tag().map(str::to_owned);
        let next = first_end.min(total);
        let piece = object.clone();
        let piece =
            store.inner.runtime.spawn(async move { piece.fetch(Vec::new(), from, next, Some(first)).await });
        let mut download = Self::nothing(store, object);
        (download.next, download.at_once) = (next, at_once);
        download.pieces.push_back(piece);
        Ok((download, total))
    }

    /// Asks for all of it in one request, as suits an object of some MiB.
    pub fn whole(store: &S3Store, url: &Url) -> Result<Self> {
        object(url)?;
        let mut object = Remote { store: store.clone(), url: url.clone(), etag: None };
        let first = store.block_on(object.ask_first(None));
        let first = first.map_err(|failure| failure.explain(format_args!("get {url}")))?;
        let Some(end) = first.content_length().and_then(|length| u64::try_from(length).ok()) else {
            // Where nobody says how long it is, a range does.
            return Self::begin(store, url, None, 1);
        };
        object.etag = first.e_tag().map(str::to_owned);
        let (next, piece) = (end.min(WHOLE), object.clone());
        let expected = Sum::Told(first.checksum_crc64_nvme().map(str::to_owned));
        let piece =
            store.inner.runtime.spawn(async move { piece.fetch(Vec::new(), 0, next, Some(first)).await });
        let mut download = Self::nothing(store, object);
        (download.next, download.end, download.length) = (next, end, end);
        download.pieces.push_back(piece);
        download.check = Some(Check { seen: checksum::digest(), expected });
        Ok(download)
    }

    fn empty(store: &S3Store, object: Remote) -> Result<Self> {
        let entry = store.stat(&object.url)?;
        if entry.bytes != 0 {
            return Err(object.no_range());
        }
        Ok(Self::nothing(store, object))
    }

    fn nothing(store: &S3Store, object: Remote) -> Self {
        Download {
            store: store.clone(),
            object,
            next: 0,
            end: 0,
            more: VecDeque::new(),
            length: 0,
            at_once: 1,
            pieces: VecDeque::new(),
            current: Vec::new(),
            read: 0,
            check: None,
        }
    }

    /// How many it gives.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The next piece; empty at the end.
    fn advance(&mut self) -> Result<()> {
        let mut spent = std::mem::take(&mut self.current);
        self.read = 0;
        while self.pieces.len() < self.at_once {
            if self.next == self.end {
                let Some(part) = self.more.pop_front() else { break };
                (self.next, self.end) = (part.start, part.end);
            }
            let (object, from, to) = (self.object.clone(), self.next, self.end.min(self.next + PIECE));
            let buffer = std::mem::take(&mut spent);
            self.pieces.push_back(
                self.store.inner.runtime.spawn(async move { object.fetch(buffer, from, to, None).await }),
            );
            self.next = to;
        }
        match self.pieces.pop_front() {
            Some(piece) => self.current = self.store.block_on(piece).map_err(stopped)??,
            None => self.compare()?,
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<()> {
        let Some(check) = self.check.take() else { return Ok(()) };
        let expected = match check.expected {
            Sum::Told(expected) => expected,
            Sum::Asked(answer) => self.store.block_on(answer).map_err(stopped)??,
        };
        match expected {
            Some(expected) if expected != checksum::encode(check.seen.finalize()) => Err(Error::damaged(
                format!("{}: its content does not match its checksum", self.object.what()),
            )),
            _ => Ok(()),
        }
    }
}

impl Download {
    /// What has come and was not consumed; nothing at the end.
    pub fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.current.len() {
            self.advance()?;
        }
        Ok(&self.current[self.read..])
    }

    pub fn consume(&mut self, length: usize) {
        if let Some(check) = &mut self.check {
            check.seen.update(&self.current[self.read..self.read + length]);
        }
        self.read += length;
    }
}

/// The object on the other side.
#[derive(Clone)]
struct Remote {
    store: S3Store,
    url: Url,
    /// Of the first answer: all others must be of the same content.
    etag: Option<String>,
}

impl Remote {
    /// The bytes of a range, or all.
    async fn ask(
        &self,
        range: Option<(u64, u64)>,
        begun: Instant,
    ) -> std::result::Result<GetObjectOutput, Failure> {
        let (bucket, key) = self.url.bucket_and_key();
        let bytes = range.map(|(from, end)| format!("bytes={from}-{}", end.saturating_sub(1)));
        let request = self.store.client().get_object().bucket(bucket).key(key).set_range(bytes);
        let request = request.set_if_match(self.etag.clone()).customize();
        let request = match range {
            Some(_) => request,
            // Not as the SDK asks for it, which would take another checksum for a broken connection.
            None => request.mutate_request(|request| {
                request.headers_mut().insert("x-amz-checksum-mode", "ENABLED");
            }),
        };
        request
            .config_override(self.store.inner.connection.attempts_since(begun, Expected::Object))
            .send()
            .await
            .map_err(Failure::from)
    }

    /// As [`Remote::ask`]. What has neither a range nor a name of the content is no answer of S3.
    async fn ask_first(&self, range: Option<(u64, u64)>) -> std::result::Result<GetObjectOutput, Failure> {
        let patience = self.store.inner.connection.patience().timeout;
        let (begun, mut backoff) = (Instant::now(), Backoff::new(patience));
        loop {
            let answer = self.ask(range, begun).await?;
            if answer.content_range().is_some() || answer.e_tag().is_some() {
                return Ok(answer);
            }
            if begun.elapsed() >= patience {
                return Err(Failure::garbled("the answer is not an S3 answer"));
            }
            backoff.pause().await;
        }
    }

    /// A whole piece, however often its connection breaks.
    async fn fetch(
        &self,
        mut piece: Vec<u8>,
        from: u64,
        end: u64,
        first: Option<GetObjectOutput>,
    ) -> Result<Vec<u8>> {
        let length = usize::try_from(end - from).unwrap_or(usize::MAX);
        piece.clear();
        piece.reserve_exact(length);
        let patience = self.store.inner.connection.patience();
        let (mut answer, mut backoff, mut moved) = (first, Backoff::new(patience.timeout), Instant::now());
        loop {
            let at = from + piece.len() as u64;
            let (reading, is_first) = match answer.take() {
                Some(first) => (first, true),
                None => {
                    let range = Some((at, end));
                    (self.ask(range, moved).await.map_err(|failure| self.changed(&failure))?, false)
                }
            };
            let before = piece.len();
            let is_whole = is_first && reading.content_range().is_none();
            // Read to its end where that is wanted: only then is the connection used again.
            let is_longer = is_whole && unsigned(reading.content_length()) > length as u64;
            let broken = match is_whole || self.same(&reading, at)? {
                true => read_body(reading, &mut piece, length, is_longer).await,
                // A gate's page, as the service has answered such requests before.
                false => Some("the answer is not for the requested byte range".to_owned()),
            };
            if piece.len() == length {
                return Ok(piece);
            }
            if piece.len() > length {
                return Err(self.no_range());
            }
            if piece.len() - before >= PROGRESS {
                backoff.reset();
                moved = Instant::now();
            } else if moved.elapsed() >= patience.timeout {
                let text = broken.unwrap_or_else(|| "the answers are too short".to_owned());
                return Err(Error::new(
                    Kind::Temporary,
                    format!("{}: the connection broke repeatedly: {text}", self.what()),
                ));
            }
            backoff.pause().await;
        }
    }

    /// Whether it is an answer to the request; an error if the object is another one.
    fn same(&self, answer: &GetObjectOutput, from: u64) -> Result<bool> {
        match self.position(answer) {
            Some((start, _)) if start == from => {}
            Some(_) => return Err(self.no_range()),
            None => return Ok(false),
        }
        match self.etag.is_some() && answer.e_tag() != self.etag.as_deref() {
            true => Err(self.other_content()),
            false => Ok(true),
        }
    }

    fn changed(&self, failure: &Failure) -> Error {
        match failure.status {
            412 => self.other_content(),
            404 if failure.is("NoSuchKey") => self.removed(),
            _ => failure.explain(self.what()),
        }
    }

    /// First byte and whole length. An answer to a request for all of a short object may lack it.
    fn position(&self, answer: &GetObjectOutput) -> Option<(u64, u64)> {
        let (range, total) = answer.content_range()?.strip_prefix("bytes ")?.split_once('/')?;
        Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
    }

    /// None where the service keeps no checksum of whole objects.
    async fn checksum(self) -> Result<Option<String>> {
        let head = self.store.head(&self.url, &self.what(), true).await?.ok_or_else(|| self.removed())?;
        if head.e_tag().is_some() && self.etag.is_some() && head.e_tag() != self.etag.as_deref() {
            return Err(self.other_content());
        }
        Ok(head.checksum_crc64_nvme().map(str::to_owned))
    }

    fn what(&self) -> String {
        format!("get {}", self.url)
    }

    fn no_range(&self) -> Error {
        Error::failed(format!("{}: the service does not support byte ranges", self.what()))
    }

    fn removed(&self) -> Error {
        Error::failed(format!("{}: it was removed while it was read", self.what()))
    }

    fn other_content(&self) -> Error {
        Error::failed(format!("{}: it was replaced while it was read", self.what()))
    }
}

/// Appends what comes, up to one byte too many, or to where the rest is not wanted in one go; says what broke.
async fn read_body(
    mut answer: GetObjectOutput,
    piece: &mut Vec<u8>,
    length: usize,
    may_be_longer: bool,
) -> Option<String> {
    while piece.len() < length || !may_be_longer {
        match answer.body.try_next().await {
            Ok(Some(bytes)) if piece.len() + bytes.len() <= length => piece.extend_from_slice(&bytes),
            Ok(Some(bytes)) if may_be_longer => piece.extend_from_slice(&bytes[..length - piece.len()]),
            Ok(Some(_)) => {
                piece.resize(length + 1, 0);
                return None;
            }
            Ok(None) => return None,
            Err(error) => return Some(root(&error)),
        }
    }
    None
}
