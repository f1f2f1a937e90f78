//! What the header of a WAL segment says, as lines or JSON, and whether that is what its surroundings say.

use crate::error::{Error, Result};
use crate::pg::timeline;
use crate::pg::wal::{self, SegmentHeader};

/// What a segment must be; what is `None` is not asked.
#[derive(Default)]
pub struct Expected<'a> {
    pub name: Option<&'a str>,
    /// The text of the history file of the name's timeline.
    pub history: Option<&'a str>,
    pub system_identifier: Option<u64>,
    /// Bytes of the file.
    pub file_bytes: Option<u64>,
}

/// A segment under a name, in a cluster or of a length that is not its own is damaged, or a stranger.
pub fn check_segment(header: &SegmentHeader, expected: &Expected<'_>) -> Result<()> {
    let bad = |why: String| Err(Error::damaged(why));
    match (expected.name, header.name()) {
        (Some(name), own) if name != own && !is_first_of_timeline(header, name, expected.history) => {
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

/// A timeline that was left in the middle of a segment begins with a copy of that segment, whose header is still of the
/// timeline that was left (XLogFileCopy in xlog.c). The history of the new one says whether that is so.
fn is_first_of_timeline(header: &SegmentHeader, name: &str, history: Option<&str>) -> bool {
    let segment_bytes = u64::from(header.segment_bytes);
    let number = header.address.0 / segment_bytes;
    let same_place = wal::segment_number(name, segment_bytes)
        .is_some_and(|(timeline, own)| own == number && timeline > header.timeline);
    let left_here = |history| {
        timeline::left_at(history, header.timeline)
            .is_some_and(|switch| switch > header.address && switch.0 / segment_bytes == number)
    };
    same_place && history.is_some_and(left_here)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Lsn;

    const MIB16: u64 = 16 << 20;

    fn accepted(header_timeline: u32, name: &str, history: Option<&str>) -> bool {
        let header = SegmentHeader {
            major: 15,
            timeline: header_timeline,
            address: Lsn(10 * MIB16),
            system_identifier: 1,
            segment_bytes: 16 << 20,
            block_bytes: 8192,
        };
        check_segment(&header, &Expected { name: Some(name), history, ..Expected::default() }).is_ok()
    }

    #[test]
    fn the_first_segment_of_a_timeline_may_have_the_header_of_the_one_that_was_left() {
        let name = "00000003000000000000000A";
        let left_inside = "1\t0/A000100\tx\n2\t0/A800000\tx\n";
        assert!(accepted(3, name, None));
        assert!(accepted(2, name, Some(left_inside)));
        assert!(accepted(1, name, Some(left_inside)));
        assert!(!accepted(2, name, None));
        assert!(!accepted(2, name, Some("")));
        // Left at its beginning, before it, after it; by a younger one; another address.
        assert!(!accepted(2, name, Some("2\t0/A000000\tx\n")));
        assert!(!accepted(2, name, Some("2\t0/9FFFFFF\tx\n")));
        assert!(!accepted(2, name, Some("2\t0/B000000\tx\n")));
        assert!(!accepted(4, name, Some("4\t0/A000100\tx\n")));
        assert!(!accepted(2, "00000003000000000000000B", Some(left_inside)));
    }
}
