//! A small S3 service on loopback, of one bucket, that counts what it is asked. It looks at no signature. It can wait
//! before each answer, as a service far away seems to.

use crate::http::{Answer, Body, Request, serve};
use crate::objects::{Object, Objects, Upload, Wanted, digest};
use crate::xml;
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::format_description;

pub const BUCKET: &str = "scale";
/// In this bucket, which no service could have, the server answers for itself.
const OWN: &str = "/-/";
/// Of any page of a listing.
const MOST: usize = 1000;

/// Ends when it is dropped.
pub struct Server {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    objects: Arc<RwLock<Objects>>,
    seen: Mutex<Vec<Seen>>,
    delay: Duration,
    over: AtomicBool,
    parts: Mutex<PartsUnderWay>,
    released: Condvar,
}

/// The requests that bring parts of uploads.
#[derive(Default)]
struct PartsUnderWay {
    /// None of them is answered.
    held: bool,
    now: usize,
    most: usize,
    answered: usize,
}

/// One request.
struct Seen {
    kind: &'static str,
    line: String,
}

impl Server {
    /// `port`: 0 for any that is free. `delay`: before each answer, and once more for each connection.
    pub fn start(objects: Arc<RwLock<Objects>>, port: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            objects,
            seen: Mutex::default(),
            delay,
            over: AtomicBool::new(false),
            parts: Mutex::default(),
            released: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    std::thread::sleep(shared.delay);
                    let _client_gone = serve(client, |request| shared.answer(request)).is_err();
                });
            }
        });
        Server { url, shared }
    }

    /// How many requests of each kind there were: batch, delete, get, head, list, put, upload.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.shared.counts()
    }

    /// Of an object that is no synthetic one.
    pub fn content(&self, key: &str) -> Vec<u8> {
        self.shared.objects.read().unwrap().by_key[key].content.as_ref().unwrap().to_vec()
    }

    /// From now on no part of an upload is answered, or all that came are.
    pub fn hold_parts(&self, held: bool) {
        self.shared.parts.lock().unwrap().held = held;
        self.shared.released.notify_all();
    }

    /// Parts that came and are not answered, the most of them so far, and those that are answered.
    pub fn parts_under_way(&self) -> (usize, usize, usize) {
        let parts = self.shared.parts.lock().unwrap();
        (parts.now, parts.most, parts.answered)
    }

    /// Method and target of each, oldest first.
    pub fn requests(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().iter().map(|seen| seen.line.clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        let _wakes_it = TcpStream::connect(self.url.trim_start_matches("http://")).is_ok();
    }
}

impl Shared {
    fn answer(&self, request: &Request) -> Answer {
        if let Some(own) = request.path.strip_prefix(OWN) {
            return self.answer_for_itself(request, own);
        }
        std::thread::sleep(self.delay);
        let (bucket, key) = request.path[1..].split_once('/').unwrap_or((&request.path[1..], ""));
        let query: Vec<_> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let line = format!("{} {} {}", request.method, request.path, query.join("&"));
        let line = format!("{line} {}", request.header("range").unwrap_or_default()).trim_end().to_owned();
        self.seen.lock().unwrap().push(Seen { kind: kind(request, key), line });
        if bucket != BUCKET {
            return xml::refusal("404 Not Found", "NoSuchBucket");
        }
        match (request.method.as_str(), request.asked("uploadId")) {
            ("GET", _) if key.is_empty() && request.asked("uploads").is_some() => {
                let prefix = request.asked("prefix").unwrap_or_default();
                xml::uploads(BUCKET, prefix, &self.objects.read().unwrap().uploads)
            }
            ("GET", _) if key.is_empty() => self.list(request),
            ("HEAD", _) if key.is_empty() => Answer::new("200 OK", ""),
            ("POST", _) if key.is_empty() && request.asked("delete").is_some() => self.remove_batch(request),
            ("GET" | "HEAD", _) => self.get(request, key),
            ("POST", None) if request.asked("uploads").is_some() => self.begin(request, key),
            ("PUT", Some(id)) => self.take_part(request, id),
            ("POST", Some(id)) => self.complete(request, key, id),
            ("DELETE", Some(id)) => match self.objects.write().unwrap().uploads.remove(id) {
                Some(_) => Answer::new("204 No Content", ""),
                None => xml::refusal("404 Not Found", "NoSuchUpload"),
            },
            ("PUT", None) => self.put(request, key, Object::new(&request.body, now()), kept(request)),
            ("DELETE", None) => self.remove(request, key),
            _ => xml::refusal("501 Not Implemented", "NotImplemented"),
        }
    }

    /// `counts` and `requests`, as lines, for those who start it by hand; DELETE forgets what was seen.
    fn answer_for_itself(&self, request: &Request, own: &str) -> Answer {
        match (request.method.as_str(), own) {
            ("DELETE", _) => {
                self.seen.lock().unwrap().clear();
                Answer::new("204 No Content", "")
            }
            (_, "counts") => {
                let lines = self.counts().into_iter().map(|(kind, count)| format!("{kind} {count}\n"));
                Answer::new("200 OK", lines.collect::<String>())
            }
            (_, "requests") => {
                let seen = self.seen.lock().unwrap();
                Answer::new("200 OK", seen.iter().map(|seen| format!("{}\n", seen.line)).collect::<String>())
            }
            _ => Answer::new("404 Not Found", ""),
        }
    }

    fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for seen in self.seen.lock().unwrap().iter() {
            *counts.entry(seen.kind).or_default() += 1;
        }
        counts
    }

    fn list(&self, request: &Request) -> Answer {
        let after = match request.asked("continuation-token").filter(|token| !token.is_empty()) {
            Some(token) => xml::place(token),
            None => request.asked("start-after").map(str::to_owned),
        };
        let most = request.asked("max-keys").and_then(|most| most.parse().ok()).unwrap_or(MOST);
        let wanted = Wanted {
            prefix: request.asked("prefix").unwrap_or_default(),
            delimiter: request.asked("delimiter").filter(|delimiter| !delimiter.is_empty()),
            after: after.filter(|after| !after.is_empty()),
            most: most.min(MOST),
        };
        let encodes = request.asked("encoding-type") == Some("url");
        let objects = self.objects.read().unwrap();
        xml::listing(BUCKET, &wanted, &objects.page(&wanted), encodes)
    }

    fn get(&self, request: &Request, key: &str) -> Answer {
        let objects = self.objects.read().unwrap();
        let Some(object) = objects.by_key.get(key) else { return xml::refusal("404 Not Found", "NoSuchKey") };
        if request.header("if-match").is_some_and(|etag| etag.trim_matches('"') != object.etag) {
            return xml::refusal("412 Precondition Failed", "PreconditionFailed");
        }
        let (status, range) = match request.header("range").map(|range| wanted_bytes(range, object.bytes)) {
            None => ("200 OK", 0..object.bytes),
            Some(Some(range)) => ("206 Partial Content", range),
            Some(None) => return xml::refusal("416 Requested Range Not Satisfiable", "InvalidRange"),
        };
        let mut answer = Answer::new(status, "");
        let at = |byte: u64| usize::try_from(byte).unwrap();
        answer.body = match &object.content {
            Some(content) => Body::Bytes(content[at(range.start)..at(range.end)].to_vec()),
            None => Body::Zeros(range.end - range.start),
        };
        if status.starts_with("206") {
            let (first, last) = (range.start, range.end - 1);
            answer = answer.with("Content-Range", format!("bytes {first}-{last}/{}", object.bytes));
        }
        // Of the whole, so only beside the whole.
        let asks = request.header("x-amz-checksum-mode").is_some() && status.starts_with("200");
        let kept = object.headers.iter().filter(|(name, _)| asks || !name.starts_with("x-amz-checksum-"));
        answer.headers.extend(kept.cloned());
        answer
            .with("ETag", format!("\"{}\"", object.etag))
            .with("Last-Modified", http_time(object.modified))
            .with("Accept-Ranges", "bytes")
    }

    fn put(&self, request: &Request, key: &str, object: Object, headers: Vec<(String, String)>) -> Answer {
        let mut objects = self.objects.write().unwrap();
        if request.header("if-none-match") == Some("*") && objects.by_key.contains_key(key) {
            return xml::refusal("412 Precondition Failed", "PreconditionFailed");
        }
        let etag = format!("\"{}\"", object.etag);
        objects.by_key.insert(key.to_owned(), Object { headers, ..object });
        Answer::new("200 OK", "").with("ETag", etag)
    }

    fn begin(&self, request: &Request, key: &str) -> Answer {
        let (key, headers) = (key.to_owned(), kept(request));
        let mut objects = self.objects.write().unwrap();
        let id = digest(format!("{key} {} {}", now(), objects.uploads.len()).as_bytes());
        let text = xml::element("Key", &key) + &xml::element("UploadId", &id);
        objects.uploads.insert(id, Upload { key, begun: now(), headers, parts: BTreeMap::new() });
        xml::document("InitiateMultipartUploadResult", &text)
    }

    fn wait_with_part(&self) {
        let mut parts = self.parts.lock().unwrap();
        parts.now += 1;
        parts.most = parts.most.max(parts.now);
        let mut parts = self.released.wait_while(parts, |parts| parts.held).unwrap();
        parts.now -= 1;
        parts.answered += 1;
    }

    fn take_part(&self, request: &Request, id: &str) -> Answer {
        self.wait_with_part();
        let mut objects = self.objects.write().unwrap();
        let number = request.asked("partNumber").and_then(|number| number.parse().ok());
        let Some((upload, number)) = objects.uploads.get_mut(id).zip(number) else {
            return xml::refusal("404 Not Found", "NoSuchUpload");
        };
        upload.parts.insert(number, request.body.clone());
        Answer::new("200 OK", "").with("ETag", format!("\"{}\"", digest(&request.body)))
    }

    /// Of all parts that came: pgv names them all.
    fn complete(&self, request: &Request, key: &str, id: &str) -> Answer {
        let objects = self.objects.read().unwrap();
        let Some(upload) = objects.uploads.get(id) else {
            return xml::refusal("404 Not Found", "NoSuchUpload");
        };
        let content: Vec<u8> = upload.parts.values().flatten().copied().collect();
        let checksum = "x-amz-checksum-crc64nvme";
        let checksum = request.header(checksum).map(|value| (checksum.to_owned(), value.to_owned()));
        let headers = upload.headers.iter().cloned().chain(checksum).collect();
        drop(objects);
        let object = Object::new(&content, now());
        let text = xml::element("Key", key) + &xml::element("ETag", &object.etag);
        let put = self.put(request, key, object, headers);
        if !put.status.starts_with("200") {
            return put;
        }
        self.objects.write().unwrap().uploads.remove(id);
        xml::document("CompleteMultipartUploadResult", &text)
    }

    fn remove(&self, request: &Request, key: &str) -> Answer {
        let mut objects = self.objects.write().unwrap();
        let etag = objects.by_key.get(key).map(|object| object.etag.as_str());
        if request.header("if-match").is_some_and(|wanted| Some(wanted.trim_matches('"')) != etag) {
            return xml::refusal("412 Precondition Failed", "PreconditionFailed");
        }
        objects.by_key.remove(key);
        Answer::new("204 No Content", "")
    }

    fn remove_batch(&self, request: &Request) -> Answer {
        let mut objects = self.objects.write().unwrap();
        for key in xml::texts(&request.body, "Key") {
            objects.by_key.remove(&key);
        }
        xml::document("DeleteResult", "")
    }
}

fn kind(request: &Request, key: &str) -> &'static str {
    match (request.method.as_str(), key.is_empty()) {
        ("GET", true) => "list",
        ("GET", false) => "get",
        ("HEAD", _) => "head",
        ("PUT", _) => "put",
        ("DELETE", _) => "delete",
        (_, true) => "batch",
        (_, false) => "upload",
    }
}

/// What describes an object for as long as it is there.
fn kept(request: &Request) -> Vec<(String, String)> {
    let is_kept = |name: &str| name.starts_with("x-amz-meta-") || name == "x-amz-checksum-crc64nvme";
    let lower = request.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
    lower.filter(|(name, _)| is_kept(name)).collect()
}

/// Of `bytes=FIRST-LAST`, `bytes=FIRST-` and `bytes=-COUNT`; none if there is nothing of it.
fn wanted_bytes(header: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => first..length.min(last + 1),
        (Ok(first), Err(_)) => first..length,
        (Err(_), Ok(count)) => length.saturating_sub(count)..length,
        (Err(_), Err(_)) => return None,
    };
    (range.start < range.end).then_some(range)
}

fn http_time(at: OffsetDateTime) -> String {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    at.format(form).unwrap()
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().replace_nanosecond(0).unwrap()
}
