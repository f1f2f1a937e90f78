//! The documents of S3: listings and refusals written, orders read.

use crate::http::Answer;
use crate::objects::{Entry, Page, Upload, Wanted};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What S3 leaves as it is where keys are encoded.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');

pub fn document(root: &str, content: &str) -> Answer {
    let begin = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    let text = format!("{begin}<{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{content}</{root}>");
    Answer::new("200 OK", text).with("Content-Type", "application/xml")
}

pub fn refusal(status: &'static str, code: &str) -> Answer {
    let text = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    Answer::new(status, text).with("Content-Type", "application/xml")
}

/// Of ListObjectsV2.
pub fn listing(bucket: &str, wanted: &Wanted<'_>, page: &Page<'_>, encodes: bool) -> Answer {
    let name = |text: &str| match encodes {
        true => utf8_percent_encode(text, &ENCODED).to_string(),
        false => escaped(text),
    };
    let mut text = element("Name", bucket) + &element("Prefix", &name(wanted.prefix));
    text += &wanted.delimiter.map_or_else(String::new, |delimiter| element("Delimiter", &name(delimiter)));
    text += &element("MaxKeys", &wanted.most.to_string());
    text += &element("KeyCount", &page.entries.len().to_string());
    text += if encodes { "<EncodingType>url</EncodingType>" } else { "" };
    text += &element("IsTruncated", if page.next.is_some() { "true" } else { "false" });
    text +=
        &page.next.as_deref().map_or_else(String::new, |next| element("NextContinuationToken", &token(next)));
    for entry in &page.entries {
        text += &match entry {
            Entry::Below(prefix) => element("CommonPrefixes", &element("Prefix", &name(prefix))),
            Entry::Object(key, object) => {
                let facts = [
                    element("Key", &name(key)),
                    element("LastModified", &time(object.modified)),
                    element("ETag", &format!("&quot;{}&quot;", object.etag)),
                    element("Size", &object.bytes.to_string()),
                    element("StorageClass", "STANDARD"),
                ];
                element("Contents", &facts.concat())
            }
        };
    }
    document("ListBucketResult", &text)
}

/// Of ListMultipartUploads, all on one page.
pub fn uploads(bucket: &str, prefix: &str, all: &BTreeMap<String, Upload>) -> Answer {
    let mut text = element("Bucket", bucket) + &element("IsTruncated", "false");
    for (id, upload) in all.iter().filter(|(_, upload)| upload.key.starts_with(prefix)) {
        let facts = [
            element("Key", &escaped(&upload.key)),
            element("UploadId", id),
            element("Initiated", &time(upload.begun)),
        ];
        text += &element("Upload", &facts.concat());
    }
    document("ListMultipartUploadsResult", &text)
}

/// What is in each element of this name; elements within it are not looked at.
pub fn texts(document: &[u8], name: &str) -> Vec<String> {
    let document = String::from_utf8_lossy(document);
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let parts = document.split(begin.as_str()).skip(1);
    parts.filter_map(|part| part.split_once(end.as_str())).map(|(text, _)| unescaped(text)).collect()
}

/// A place in a listing, which nobody but the service is to understand.
fn token(after: &str) -> String {
    after.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// None: it is none of ours.
pub fn place(token: &str) -> Option<String> {
    let pairs = token.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8(pairs.map(byte).collect::<Option<Vec<u8>>>()?).ok()
}

pub fn element(name: &str, text: &str) -> String {
    format!("<{name}>{text}</{name}>")
}

fn time(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&apos;", "'").replace("&#39;", "'").replace("&amp;", "&")
}
