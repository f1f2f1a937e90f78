//! WAL file names (xlog_internal.h).

use crate::pg::Lsn;

/// The name of the segment that holds `lsn`: timeline, then segment number in two halves
/// (`XLogFileName`). `segment_bytes`: wal_segment_size, a power of two from 1 MiB to 1 GiB.
pub fn segment_name(timeline: u32, lsn: Lsn, segment_bytes: u64) -> String {
    name_of_number(timeline, lsn.0 / segment_bytes, segment_bytes)
}

/// All segments that hold bytes of `start..stop`, in order.
pub fn segment_names(timeline: u32, start: Lsn, stop: Lsn, segment_bytes: u64) -> Vec<String> {
    let last = stop.0.saturating_sub(1).max(start.0) / segment_bytes;
    (start.0 / segment_bytes..=last).map(|number| name_of_number(timeline, number, segment_bytes)).collect()
}

fn name_of_number(timeline: u32, number: u64, segment_bytes: u64) -> String {
    let per_id = 0x1_0000_0000 / segment_bytes;
    format!("{timeline:08X}{:08X}{:08X}", number / per_id, number % per_id)
}

/// A complete segment's name: 24 upper-case hexadecimal digits (`IsXLogFileName`).
pub fn is_segment_name(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(is_hex)
}

/// Everything that may lie in a WAL archive: a segment, a `.partial` one, a `.backup` history file,
/// a timeline's `.history`.
pub fn is_wal_file_name(name: &str) -> bool {
    let hex = |text: &str, len: usize| text.len() == len && text.bytes().all(is_hex);
    match name.split_once('.') {
        None => hex(name, 24),
        Some((stem, "partial")) => hex(stem, 24),
        Some((stem, "history")) => hex(stem, 8),
        Some((stem, rest)) => {
            hex(stem, 24) && rest.strip_suffix(".backup").is_some_and(|offset| hex(offset, 8))
        }
    }
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB16: u64 = 16 << 20;

    #[test]
    fn names_as_postgresql_makes_them() {
        assert_eq!(segment_name(1, Lsn(0x2000028), MIB16), "000000010000000000000002");
        assert_eq!(segment_name(2, Lsn(0x1_0000_0000), MIB16), "000000020000000100000000");
        assert_eq!(segment_name(1, Lsn(0x1_4000_0000), 1 << 30), "000000010000000100000001");
    }

    #[test]
    fn a_stop_on_a_boundary_does_not_need_the_next_segment() {
        let names = segment_names(1, Lsn(0x2000028), Lsn(0x4000000), MIB16);
        assert_eq!(names, ["000000010000000000000002", "000000010000000000000003"]);
    }

    #[test]
    fn archive_names() {
        for good in [
            "00000001000000000000000A",
            "00000001000000000000000A.partial",
            "0000000A.history",
            "00000001000000000000000A.00000028.backup",
        ] {
            assert!(is_wal_file_name(good), "{good}");
        }
        for bad in [
            "",
            "00000001000000000000000a",
            "00000001.partial",
            "00000001000000000000000A.ready",
            "../0000000100000000000000",
            "00000001000000000000000A.backup",
        ] {
            assert!(!is_wal_file_name(bad), "{bad}");
        }
    }
}
