//! Between pgv-s3 and a server: it sees every request, and lets one go wrong where a test says so. One request a
//! connection.

use rustix::net::sockopt::set_socket_linger;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone)]
pub enum Fault {
    Nothing,
    /// The connection is closed before the body was read.
    Drop,
    /// The same, with a reset.
    Reset,
    /// All of it is read, and never answered.
    Stall,
    /// Its body is not read to the end, and it is never answered.
    Unread,
    /// A status line and a body, instead of asking the server.
    Answer(&'static str, &'static str),
    /// Only so many bytes of the answer's body, then the connection ends.
    Cut(usize),
    /// Only so many bytes of the answer's body, then nothing.
    Freeze(usize),
    /// Only so many bytes of the answer's body, whose length is stated nowhere, so that its end is where the connection's is.
    Unstated(usize),
    /// So many bytes of the answer's body, then one after the other, slowly.
    Drip(usize),
    /// The answer says something else in this header.
    Retold(&'static str, &'static str),
    /// A byte in the middle of the request's body is another one.
    FlipSent,
    /// A byte in the middle of the answer's body is another one.
    FlipGot,
    /// It is carried out, and nobody says so.
    Lose,
    /// The answer says that it is all of the object, whatever range was asked for.
    Whole,
    /// Calls this before it is carried out.
    First(Arc<dyn Fn() + Send + Sync>),
    /// Calls this when it has been carried out, before the answer goes on.
    Then(Arc<dyn Fn() + Send + Sync>),
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    /// Method, path and what else tells it from its like: the same in every run.
    pub label: String,
    /// How many of this label were there before.
    pub nth: usize,
    /// How many of any label.
    pub place: usize,
    pub bytes: usize,
    /// Of the answer's body, once there was one.
    pub answered: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

type Plan = dyn Fn(&Request) -> Fault + Send + Sync;

struct Shared {
    upstream: String,
    plan: Box<Plan>,
    seen: Mutex<Vec<Request>>,
    /// Full checksums by path, kept as AWS does, for a server that does not.
    checksums: Option<&'static Mutex<HashMap<String, String>>>,
    over: AtomicBool,
    /// Requests that came and have not been answered.
    busy: AtomicUsize,
}

/// Ends, with the connections that stand still, when it is dropped.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn start(upstream: &str, plan: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Self {
        Self::with(upstream, None, Box::new(plan))
    }

    /// Answers whoever asks for it with the CRC-64/NVME that an upload through any proxy of this kind gave.
    pub fn with_checksums(upstream: &str, plan: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Self {
        static CHECKSUMS: std::sync::OnceLock<Mutex<HashMap<String, String>>> = std::sync::OnceLock::new();
        Self::with(upstream, Some(CHECKSUMS.get_or_init(Mutex::default)), Box::new(plan))
    }

    fn with(
        upstream: &str,
        checksums: Option<&'static Mutex<HashMap<String, String>>>,
        plan: Box<Plan>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, over, busy) = (Mutex::default(), AtomicBool::new(false), AtomicUsize::new(0));
        let shared = Arc::new(Shared { upstream: upstream.to_owned(), plan, seen, checksums, over, busy });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                shared.busy.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    let _client_gone = shared.serve(client).is_err();
                    shared.busy.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Proxy { url, shared }
    }

    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until the server has carried out what was asked for, also by a client that is gone.
    pub fn settle(&self) {
        for _ in 0..6_000 {
            if self.shared.busy.load(Ordering::Relaxed) == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server has not answered for a minute");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        let _wakes_it = TcpStream::connect(self.url.trim_start_matches("http://")).is_ok();
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let head = read_head(&mut reader)?;
        let number = |value: &str| value.parse::<usize>().ok();
        let bytes = header(&head, "content-length").and_then(number).unwrap_or(0);
        if header(&head, "expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let (index, request) = self.note(&head, bytes);
        let fault = (self.plan)(&request);
        match fault {
            Fault::Drop => return client.shutdown(Shutdown::Both),
            Fault::Reset => return Ok(set_socket_linger(&client, Some(Duration::ZERO))?),
            Fault::Unread => return self.stand_still(),
            _ => {}
        }
        let mut body = Vec::with_capacity(bytes);
        reader.by_ref().take(bytes as u64).read_to_end(&mut body)?;
        match fault {
            Fault::Stall => return self.stand_still(),
            Fault::Answer(status, text) => {
                let length = text.len();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n");
                return client
                    .write_all(format!("{head}x-amz-request-id: of-the-proxy\r\n\r\n{text}").as_bytes());
            }
            Fault::FlipSent => flip(&mut body),
            Fault::First(ref first) => first(),
            _ => {}
        }
        let (answer_head, mut answer) = self.ask(&head, &body)?;
        self.seen.lock().unwrap()[index].answered = answer.len();
        let answer_head = self.checksummed(&head, answer_head);
        let answer_head = match fault {
            Fault::Unstated(_) => {
                with_header(&with_header(&answer_head, "content-length", None), "transfer-encoding", None)
            }
            Fault::Retold(name, value) => with_header(&answer_head, name, Some(value)),
            Fault::Whole => {
                with_header(&answer_head, "content-range", None).replace("206 Partial Content", "200 OK")
            }
            _ => answer_head,
        };
        let most = match fault {
            Fault::Lose => return client.shutdown(Shutdown::Both),
            Fault::Then(ref then) => {
                then();
                answer.len()
            }
            Fault::FlipGot => {
                flip(&mut answer);
                answer.len()
            }
            Fault::Cut(bytes) | Fault::Freeze(bytes) | Fault::Unstated(bytes) | Fault::Drip(bytes) => {
                bytes.min(answer.len())
            }
            _ => answer.len(),
        };
        client.write_all(answer_head.as_bytes())?;
        client.write_all(&answer[..most])?;
        match fault {
            Fault::Freeze(_) => self.stand_still(),
            Fault::Drip(_) => self.drip(&mut client, &answer[most..]),
            _ => client.shutdown(Shutdown::Both),
        }
    }

    fn note(&self, head: &str, bytes: usize) -> (usize, Request) {
        let mut seen = self.seen.lock().unwrap();
        let label = label(head);
        let nth = seen.iter().filter(|request| request.label == label).count();
        let place = seen.len();
        let request = Request { head: head.to_owned(), label, nth, place, bytes, answered: 0 };
        seen.push(request.clone());
        (place, request)
    }

    fn ask(&self, head: &str, body: &[u8]) -> io::Result<(String, Vec<u8>)> {
        let mut server = TcpStream::connect(&self.upstream)?;
        let kept = head.lines().filter(|line| {
            let name = line.split(':').next().unwrap_or_default().to_lowercase();
            !matches!(name.as_str(), "connection" | "expect")
        });
        let head: String = kept.map(|line| format!("{line}\r\n")).collect();
        server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
        server.write_all(body)?;
        // The client is gone: so that the server does not wait for the rest.
        if header(&head, "content-length").is_some_and(|wanted| wanted != body.len().to_string()) {
            server.shutdown(Shutdown::Write)?;
        }
        let mut reader = BufReader::new(server);
        let mut head = read_head(&mut reader)?;
        if header(&head, "connection").is_none() {
            head.push_str("Connection: close\r\n");
        }
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer)?;
        Ok((format!("{head}\r\n"), answer))
    }

    fn checksummed(&self, head: &str, answer: String) -> String {
        let Some(checksums) = self.checksums.filter(|_| answer.contains(" 200 ")) else { return answer };
        let path = head.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
        let mut kept = checksums.lock().unwrap();
        if let Some(whole) =
            header(head, "x-amz-checksum-crc64nvme").filter(|_| !head.contains("partNumber="))
        {
            kept.insert(path, whole.to_owned());
            return answer;
        }
        let is_asked = header(head, "x-amz-checksum-mode").is_some() && header(head, "range").is_none();
        match kept.get(&path).filter(|_| is_asked) {
            Some(crc) => answer.replacen("\r\n", &format!("\r\nx-amz-checksum-crc64nvme: {crc}\r\n"), 1),
            None => answer,
        }
    }

    fn drip(&self, client: &mut TcpStream, rest: &[u8]) -> io::Result<()> {
        for byte in rest {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            client.write_all(&[*byte])?;
            std::thread::sleep(Duration::from_millis(500));
        }
        client.shutdown(Shutdown::Both)
    }

    fn stand_still(&self) -> io::Result<()> {
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// The head of an answer with another value of a header, or without it.
fn with_header(head: &str, name: &str, value: Option<&str>) -> String {
    let others = head.trim_end().lines().filter(|line| {
        let found = line.split_once(':').map_or("", |(found, _)| found);
        !found.eq_ignore_ascii_case(name)
    });
    let new = value.map(|value| format!("{name}: {value}"));
    let lines: String = others.map(str::to_owned).chain(new).map(|line| format!("{line}\r\n")).collect();
    format!("{lines}\r\n")
}

/// Up to the empty line, which is not part of it.
fn read_head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head[before..].trim().is_empty() {
            head.truncate(before);
            return Ok(head);
        }
    }
}

/// Of an upload without its id, of a range its end: where a broken connection is taken up differs.
fn label(head: &str) -> String {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let telling = query.split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        matches!(name, "partNumber" | "uploads" | "uploadId" | "list-type" | "delete" | "max-keys")
    });
    let telling: Vec<&str> =
        telling.map(|pair| if pair.starts_with("uploadId") { "uploadId" } else { pair }).collect();
    let method = head.split(' ').next().unwrap_or_default();
    let end = header(head, "range").and_then(|range| range.split_once('-')).map_or("", |(_, end)| end);
    format!("{method} {path} {} {end}", telling.join("&")).trim_end().to_owned()
}

fn flip(body: &mut [u8]) {
    let middle = body.len() / 2;
    if let Some(byte) = body.get_mut(middle) {
        *byte ^= 0x01;
    }
}
