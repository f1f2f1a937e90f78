//! As much of HTTP/1.1 as S3 clients speak: one request after the other on a connection that stays open.

use percent_encoding::percent_decode_str;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

pub struct Request {
    pub method: String,
    /// Decoded, with its slash.
    pub path: String,
    /// Names and values, decoded.
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, |found| found.eq_ignore_ascii_case(name))
    }

    /// A value of the query; it is empty where the query has only the name.
    pub fn asked(&self, name: &str) -> Option<&str> {
        value(&self.query, |found| found == name)
    }
}

fn value(pairs: &[(String, String)], is_it: impl Fn(&str) -> bool) -> Option<&str> {
    pairs.iter().find(|(name, _)| is_it(name)).map(|(_, value)| value.as_str())
}

pub enum Body {
    Bytes(Vec<u8>),
    /// So many zero bytes, which nobody has to keep.
    Zeros(u64),
}

/// The answer to HEAD has the length of its body, and not the body.
pub struct Answer {
    pub status: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

impl Answer {
    pub fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Answer { status, headers: Vec::new(), body: Body::Bytes(body.into()) }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    fn length(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Zeros(bytes) => *bytes,
        }
    }

    fn send(self, to: &mut TcpStream, has_body: bool) -> io::Result<()> {
        let lines = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines: String = lines.collect();
        let head = format!("HTTP/1.1 {}\r\n{lines}Content-Length: {}\r\n\r\n", self.status, self.length());
        match self.body {
            Body::Bytes(bytes) if has_body => to.write_all(&[head.as_bytes(), &bytes].concat()),
            Body::Zeros(bytes) if has_body => {
                to.write_all(head.as_bytes())?;
                io::copy(&mut io::repeat(0).take(bytes), to).map(drop)
            }
            _ => to.write_all(head.as_bytes()),
        }
    }
}

/// Until the client closes the connection.
pub fn serve(mut client: TcpStream, answer: impl Fn(&Request) -> Answer) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client.try_clone()?);
    while let Some(request) = read(&mut reader, &mut client)? {
        answer(&request).send(&mut client, request.method != "HEAD")?;
    }
    Ok(())
}

/// None: the client is gone.
fn read(reader: &mut impl BufRead, client: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut request = Request {
        method: method.to_owned(),
        path: decoded(path),
        query: pairs.map(|(name, value)| (decoded(name), decoded(&value.replace('+', " ")))).collect(),
        headers: headers(reader)?,
        body: Vec::new(),
    };
    if request.header("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    match reader.take(length).read_to_end(&mut body)? as u64 == length {
        true => request.body = body,
        false => return Ok(None),
    }
    Ok(Some(request))
}

fn headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(found);
        }
        if let Some((name, value)) = line.split_once(':') {
            found.push((name.to_owned(), value.trim().to_owned()));
        }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
