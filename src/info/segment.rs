//! What the header of a WAL segment says, as lines or JSON, and whether that is what its surroundings say.

use crate::error::{Error, Result};
use crate::pg::wal::SegmentHeader;

/// What a segment must be; what is `None` is not asked.
#[derive(Default)]
pub struct Expected<'a> {
    pub name: Option<&'a str>,
    pub system_identifier: Option<u64>,
    /// Bytes of the file.
    pub file_bytes: Option<u64>,
}

/// A segment under a name, in a cluster or of a length that is not its own is damaged, or a stranger.
pub fn check_segment(header: &SegmentHeader, expected: &Expected<'_>) -> Result<()> {
    let bad = |why: String| Err(Error::damaged(why));
    match (expected.name, header.name()) {
        (Some(name), own) if name != own => {
            return bad(format!("it is not segment {name}: its header says {own}"));
        }
        _ => {}
    }
    match (expected.system_identifier, header.system_identifier) {
        (Some(wanted), own) if wanted != own => {
            return bad(format!(
                "it is a segment of another cluster: its header says system identifier {own}, not {wanted}"
            ));
        }
        _ => {}
    }
    match (expected.file_bytes, header.segment_bytes) {
        (Some(length), whole) if length != u64::from(whole) => {
            bad(format!("it is not a whole segment: it has {length} bytes of {whole}"))
        }
        _ => Ok(()),
    }
}

/// "key value" lines, or one line of JSON with the same keys and a format.
pub fn segment(header: &SegmentHeader, json: bool) -> Result<String> {
    let SegmentHeader { major, timeline, address, system_identifier, segment_bytes, block_bytes } = header;
    let name = header.name();
    if json {
        let value = serde_json::json!({
            "format": "pgv-segment/1", "name": name, "major": major, "timeline": timeline,
            "address": address, "system_identifier": system_identifier.to_string(),
            "segment_bytes": segment_bytes, "block_bytes": block_bytes,
        });
        let text = serde_json::to_string(&value);
        return text.map(|text| text + "\n").map_err(|e| Error::failed(format!("encode {name}: {e}")));
    }
    Ok(format!(
        "name {name}\nmajor {major}\ntimeline {timeline}\naddress {address}\n\
         system_identifier {system_identifier}\nsegment_bytes {segment_bytes}\nblock_bytes {block_bytes}\n"
    ))
}
