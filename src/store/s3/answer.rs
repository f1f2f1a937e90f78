//! Whether an answer is all of one. The SDK's XML reader takes a document that ends in the middle for the whole of it,
//! and a body without a stated length ends wherever its connection does; so half a listing would look like a short
//! one. Here such a body ends with an error instead of an end, which is a broken connection to all who read it.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use http_body_1x::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What the answer to a request holds if it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing, or nothing that matters.
    Nothing,
    /// An XML document whose root element has this name.
    Document(&'static str),
    /// The same; but services also begin with 200 and end with a document that says what failed, which the SDK reads.
    DocumentOrError(&'static str),
    /// Nothing but the name of what was stored, in the header ETag: whatever is between here and there may say 200.
    Stored,
    /// Nothing but the description of an object in headers.
    Described,
    /// An object, whose length and checksum say whether it is whole.
    Object,
}

/// Bytes of an answer, at most: a page of a listing has a thousand entries, of some kilobytes each.
const LIMIT: usize = 64 << 20;

impl Intercept for Expected {
    fn name(&self) -> &'static str {
        "whether an answer is all of one"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let expected = match response.status().is_success() {
            true if *self == Expected::Object => return Ok(()),
            true => Some(*self),
            false => None,
        };
        let lacks = |header: &'static str| response.headers().get(header).is_none();
        let is_bare = match expected {
            Some(Expected::Stored) => lacks("etag"),
            Some(Expected::Described) => lacks("etag") || lacks("content-length"),
            _ => false,
        };
        if is_bare {
            *response.body_mut() = SdkBody::from_body_1_x(Never("the answer does not describe the object"));
            return Ok(());
        }
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        *response.body_mut() =
            SdkBody::from_body_1_x(Whole { body, seen: Vec::new(), expected, over: false });
        Ok(())
    }
}

/// The body of an answer that is none.
struct Never(&'static str);

impl Body for Never {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(Some(Err(self.0.into())))
    }
}

/// A body that fails at its end if it is not whole, or beyond [`LIMIT`]. Memory: all of it, which is a page of a listing.
struct Whole {
    body: SdkBody,
    seen: Vec<u8>,
    /// None: a refusal, of which only the end is checked.
    expected: Option<Expected>,
    over: bool,
}

impl Body for Whole {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => {
                let more = frame.data_ref().map_or(0, Bytes::len);
                if self.seen.len() + more > LIMIT {
                    self.over = true;
                    return Poll::Ready(Some(Err("the answer is too long".into())));
                }
                self.seen.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                self.over = true;
                let fault = fault(&self.seen, self.expected);
                Poll::Ready(fault.map(|why| Err(why.into())))
            }
            broken => Poll::Ready(broken),
        }
    }
}

/// Why `body` is not the whole answer that was expected, if it is not.
fn fault(body: &[u8], expected: Option<Expected>) -> Option<String> {
    let shape = Shape::of(body);
    let root = match shape {
        Shape::Whole(root) => Some(root),
        Shape::Cut | Shape::Other => None,
    };
    match (expected, &shape) {
        // Pages of proxies are seldom well formed, and are no proof of anything.
        (None, Shape::Cut) if !is_page(body) => Some("the answer was truncated".to_owned()),
        (None, _) => None,
        (Some(Expected::Nothing | Expected::Stored | Expected::Described), Shape::Other) => None,
        (Some(_), _) if is_page(body) => Some("the answer is a web page, not an S3 answer".to_owned()),
        (Some(Expected::Document(_)), Shape::Whole(b"Error")) => {
            Some(format!("the answer began with success and ended with {}", code(body)))
        }
        (Some(Expected::DocumentOrError(_)), Shape::Whole(b"Error")) => None,
        (Some(Expected::Document(name) | Expected::DocumentOrError(name)), Shape::Whole(_))
            if root != Some(name.as_bytes()) =>
        {
            Some(format!("the answer is not a {name}"))
        }
        (Some(Expected::Document(name) | Expected::DocumentOrError(name)), Shape::Other)
            if !body.trim_ascii().is_empty() =>
        {
            Some(format!("the answer is not a {name}"))
        }
        (Some(_), Shape::Whole(_)) => None,
        (Some(_), Shape::Cut | Shape::Other) => Some("the answer was truncated".to_owned()),
    }
}

/// Of an error document, for a person.
fn code(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or("an error", |(code, _)| code).to_owned()
}

fn is_page(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let begins = |with: &[u8]| start.len() >= with.len() && start[..with.len()].eq_ignore_ascii_case(with);
    begins(b"<!doctype") || begins(b"<html")
}

/// As much of XML as tells whether a document is closed.
#[derive(Debug, PartialEq, Eq)]
enum Shape<'a> {
    /// Its root element is closed; the local name of it.
    Whole(&'a [u8]),
    Cut,
    /// No XML.
    Other,
}

impl<'a> Shape<'a> {
    fn of(body: &'a [u8]) -> Self {
        let mut rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
        if !rest.starts_with(b"<") {
            return Shape::Other;
        }
        let (mut root, mut depth) = (None, 0usize);
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            rest = &rest[at..];
            let Some(length) = markup(rest) else { return Shape::Cut };
            let tag = &rest[..length];
            rest = &rest[length..];
            match tag[1] {
                b'?' | b'!' => continue,
                b'/' => depth = depth.saturating_sub(1),
                _ => {
                    root = root.or(Some(local_name(tag)));
                    depth += usize::from(!tag.ends_with(b"/>"));
                }
            }
            if let Some(root) = root.filter(|_| depth == 0) {
                return Shape::Whole(root);
            }
        }
        Shape::Cut
    }
}

/// The length of what begins here with `<`; none if it does not end.
fn markup(text: &[u8]) -> Option<usize> {
    let after = |end: &[u8]| {
        text.windows(end.len()).position(|window| window == end).map(|position| position + end.len())
    };
    match text {
        [b'<', b'!', b'-', b'-', ..] => after(b"-->"),
        [b'<', b'!', b'[', ..] => after(b"]]>"),
        [b'<', b'?', ..] => after(b"?>"),
        _ => {
            let mut quote = None;
            for (at, byte) in text.iter().enumerate() {
                match (quote, byte) {
                    (None, b'>') => return Some(at + 1),
                    (None, b'"' | b'\'') => quote = Some(*byte),
                    (Some(open), byte) if open == *byte => quote = None,
                    _ => {}
                }
            }
            None
        }
    }
}

/// Without its prefix.
fn local_name(tag: &[u8]) -> &[u8] {
    let name = tag.strip_prefix(b"<").unwrap_or(tag);
    let end = name.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'>'));
    let name = &name[..end.unwrap_or(name.len())];
    name.iter().rposition(|byte| *byte == b':').map_or(name, |colon| &name[colon + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "<?xml version=\"1.0\"?>\n<!-- <a> --><x:ListBucketResult xmlns:x='a>b'>\
        <Name>b</Name><IsTruncated>false</IsTruncated><Contents><Key><![CDATA[</x>]]></Key><Size/></Contents>\
        </x:ListBucketResult>\n";

    /// The same over and over.
    struct Endless(Bytes);

    impl Body for Endless {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(Some(Ok(Frame::data(self.0.clone()))))
        }
    }

    #[test]
    fn an_answer_without_an_end_ends() {
        let body = SdkBody::from_body_1_x(Endless(Bytes::from(vec![b' '; 16 << 20])));
        let mut whole = Whole { body, seen: Vec::new(), expected: None, over: false };
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut next = || match Pin::new(&mut whole).poll_frame(&mut context) {
            Poll::Ready(Some(frame)) => Some(frame.err().map(|error| error.to_string())),
            _ => None,
        };
        for _ in 0..4 {
            assert_eq!(next(), Some(None));
        }
        assert_eq!(next(), Some(Some("the answer is too long".to_owned())));
        assert_eq!(next(), None);
    }

    fn of_listing(body: &str) -> Option<String> {
        fault(body.as_bytes(), Some(Expected::Document("ListBucketResult")))
    }

    #[test]
    fn a_document_is_whole_when_its_root_is_closed_and_nowhere_before() {
        assert_eq!(of_listing(LISTING), None);
        let whole = LISTING.trim_end().len();
        for end in 0..whole {
            assert!(of_listing(&LISTING[..end]).is_some(), "{}", &LISTING[..end]);
        }
        assert_eq!(of_listing(&LISTING[..whole]), None);
        assert_eq!(of_listing("<ListBucketResult/>"), None);
    }

    #[test]
    fn what_is_no_answer_of_s3_is_none() {
        for body in ["OK", "<html><body>log in</body></html>", "<!DOCTYPE html><p>", "<DeleteResult/>"] {
            assert!(of_listing(body).is_some(), "{body}");
        }
        let error = of_listing("<Error><Code>InternalError</Code></Error>").unwrap_or_default();
        assert!(error.contains("InternalError"), "{error}");
        let completed = Some(Expected::DocumentOrError("CompleteMultipartUploadResult"));
        assert_eq!(fault(b"<Error><Code>InternalError</Code></Error>", completed), None);
        assert!(fault(b"<Error><Code>InternalErr", completed).is_some());
        assert!(fault(b"", completed).is_some());
    }

    #[test]
    fn an_answer_without_content_has_none_and_no_page() {
        for (body, is_whole) in
            [("", true), ("OK", true), ("<a/>", true), ("<a>", false), ("<html></html>", false)]
        {
            assert_eq!(fault(body.as_bytes(), Some(Expected::Nothing)).is_none(), is_whole, "{body}");
        }
    }

    /// A refusal decides by its code, which must not be half of one; what a proxy writes does not matter.
    #[test]
    fn a_refusal_is_whole_or_a_page() {
        for (body, is_whole) in [
            ("<Error><Code>NoSuchKey</Code></Error>", true),
            ("<Error><Code>NoSuch", false),
            ("<html><hr>502", true),
            ("", true),
        ] {
            assert_eq!(fault(body.as_bytes(), None).is_none(), is_whole, "{body}");
        }
    }
}
