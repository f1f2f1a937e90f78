//! What the header of a WAL segment says, as lines or JSON.

use crate::error::{Error, Result};
use crate::pg::wal::SegmentHeader;

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
