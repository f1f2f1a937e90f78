//! What is printed of an object.

use pgv::store::Entry;
use time::format_description::well_known::Rfc3339;

#[derive(Clone, Copy)]
pub enum Line {
    Url,
    Long,
    Json,
}

pub fn describe(entry: &Entry, line: Line) -> String {
    let modified = entry.modified.and_then(|time| time.format(&Rfc3339).ok());
    match line {
        Line::Url => entry.url.to_string(),
        Line::Long => format!("{:>15} {} {}", entry.bytes, modified.unwrap_or_default(), entry.url),
        Line::Json => {
            serde_json::json!({"url": entry.url.to_string(), "bytes": entry.bytes, "modified": modified,
            "etag": entry.etag})
            .to_string()
        }
    }
}
