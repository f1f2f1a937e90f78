//! The requests of this process, by the classes in which services charge for them. Every attempt counts that may have
//! reached a service, retries included; one that got no connection does not.

use crate::report;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that were sent, by class. AWS has a price for the first two:
/// <https://aws.amazon.com/s3/pricing/>, "Requests & data retrievals".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Requests {
    /// PUT, COPY, POST and LIST. Parts of uploads and the deletion of many objects at once are among them.
    pub writes: u64,
    /// GET, HEAD and all others.
    pub reads: u64,
    /// DELETE, which is free: of one object, or of an upload.
    pub deletes: u64,
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes and lists, {} reads, {} deletes", self.writes, self.reads, self.deletes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Write,
    Read,
    Delete,
}

/// A fact of the process, like its exit status: all its clients count here.
static SENT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

impl Class {
    /// Of a request with this method and this target or URL.
    pub fn of(method: &str, uri: &str) -> Self {
        let query = uri.split_once('?').map_or("", |(_, query)| query);
        let is_list = query.split('&').any(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            matches!(name, "list-type" | "uploads")
        });
        match method {
            "PUT" | "POST" => Class::Write,
            "GET" if is_list => Class::Write,
            "DELETE" => Class::Delete,
            _ => Class::Read,
        }
    }

    /// One more is on its way.
    pub fn count(self) {
        SENT[self as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// It was counted, and did not go out.
    pub fn take_back(self) {
        SENT[self as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Those of this process so far.
pub fn requests() -> Requests {
    let [writes, reads, deletes] =
        [Class::Write, Class::Read, Class::Delete].map(|class| SENT[class as usize].load(Ordering::Relaxed));
    Requests { writes, reads, deletes }
}

/// Prints them with `--verbose`, if there were any.
pub fn say_requests() {
    let requests = requests();
    if requests != Requests::default() {
        report::verbose(format_args!("requests: {requests}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (method, uri, class) in [
            ("PUT", "http://h/b/k?x-id=PutObject", Class::Write),
            ("PUT", "https://b.h/k?partNumber=1&uploadId=x", Class::Write),
            ("POST", "http://h/b/?delete", Class::Write),
            ("POST", "http://h/b/k?uploads", Class::Write),
            ("GET", "http://h/b/?list-type=2&prefix=x", Class::Write),
            ("GET", "http://h/b/?uploads&prefix=x", Class::Write),
            ("GET", "http://h/b/k?x-id=GetObject", Class::Read),
            // A key may have any name.
            ("GET", "http://h/b/uploads/list-type=2?x-id=GetObject", Class::Read),
            ("HEAD", "http://h/b/k", Class::Read),
            ("DELETE", "http://h/b/k?x-id=DeleteObject", Class::Delete),
            ("DELETE", "http://h/b/k?uploadId=x", Class::Delete),
        ] {
            assert_eq!(Class::of(method, uri), class, "{method} {uri}");
        }
    }
}
