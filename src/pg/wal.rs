//! WAL file names and the header of a segment (xlog_internal.h).

use crate::error::{Error, Result};
use crate::pg::Lsn;
use crate::pg::major::{MAJORS, NEWEST};

/// Bytes of `XLogLongPageHeaderData`, with which every segment begins.
pub const SEGMENT_HEADER_BYTES: usize = 40;
/// `XLP_LONG_HEADER`.
const LONG_HEADER: u16 = 0x0002;

/// What the first page of a segment says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// PostgreSQL's major version.
    pub major: u32,
    pub timeline: u32,
    /// Of the segment's first byte.
    pub address: Lsn,
    pub system_identifier: u64,
    /// wal_segment_size.
    pub segment_bytes: u32,
    /// XLOG_BLCKSZ.
    pub block_bytes: u32,
}

impl SegmentHeader {
    /// Reads `XLogLongPageHeaderData`, little-endian, and refuses as damaged what is none.
    pub fn parse(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self> {
        let bad = |why: &str| Error::damaged(format!("not the start of a WAL segment: {why}"));
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let magic = u16_at(0);
        let Some(major) = MAJORS.iter().find(|known| known.wal_magic == magic) else {
            return Err(bad(&format!("magic {magic:04X} does not belong to PostgreSQL 13 to {NEWEST}")));
        };
        if u16_at(2) & LONG_HEADER == 0 {
            return Err(bad("its first page has a short header"));
        }
        let header = SegmentHeader {
            major: major.number,
            timeline: u32_at(4),
            address: Lsn(u64_at(8)),
            system_identifier: u64_at(24),
            segment_bytes: u32_at(32),
            block_bytes: u32_at(36),
        };
        let size = header.segment_bytes;
        if !is_segment_size(u64::from(size)) {
            return Err(bad(&format!("{size} bytes is not the size of a WAL segment")));
        }
        if !header.address.0.is_multiple_of(u64::from(size)) {
            return Err(bad(&format!("no segment of {size} bytes begins at {}", header.address)));
        }
        Ok(header)
    }

    /// The name that this segment has.
    pub fn name(&self) -> String {
        segment_name(self.timeline, self.address, u64::from(self.segment_bytes))
    }
}

/// What initdb gives if nobody asks for another.
pub const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;

/// Whether the records of a segment's `content` reach its end, or a switch to the next: recovery then goes on behind it.
/// What a standby or a crashed server was still writing does not, whatever an earlier use of the file left behind that.
/// A full one that ends with many zeros is not known for what it is.
pub fn is_full(content: &[u8], header: &SegmentHeader) -> bool {
    let Some(last) = content.iter().rposition(|byte| *byte != 0) else { return false };
    let end = (last + 1).next_multiple_of(MAXALIGN);
    let start = end.saturating_sub(RECORD_HEADER_BYTES);
    let page = start / header.block_bytes.max(1) as usize * header.block_bytes as usize;
    let address = header.address.0.wrapping_add(page as u64).to_le_bytes();
    // `xlp_pageaddr`: not of a segment that had the file before.
    content.get(page + 8..page + 16) == Some(&address)
        && (end + FULL_WITHIN >= content.len() || content.get(start..end).is_some_and(is_switch))
}

/// Records are aligned to this.
const MAXALIGN: usize = 8;
/// The last record of a full segment may end with some zeros.
const FULL_WITHIN: usize = 64;
/// `SizeOfXLogRecord`: a switch is a record of a header alone.
const RECORD_HEADER_BYTES: usize = 24;
/// `XLOG_SWITCH`, and `RM_XLOG_ID`.
const SWITCH: [u8; 2] = [0x40, 0];

fn is_switch(record: &[u8]) -> bool {
    record[..4] == [RECORD_HEADER_BYTES as u8, 0, 0, 0] && record[16..18] == SWITCH
}

/// Up to where a segment's `content` is known to be written: its pages, and of the last of them the records that are
/// whole. What an earlier use of the file left behind that is not counted.
pub fn written(content: &[u8], header: &SegmentHeader) -> usize {
    let block = header.block_bytes.max(1) as usize;
    let is_own = |(index, page): &(usize, &[u8])| {
        let address = header.address.0.wrapping_add((index * block) as u64);
        page.get(8..16) == Some(&address.to_le_bytes())
    };
    let pages = content.chunks_exact(block).enumerate().take_while(is_own);
    pages.last().map_or(0, |(index, page)| index * block + end_of_records(page, index == 0))
}

/// `SizeOfXLogShortPHD`; the first page of a segment has the long one.
const PAGE_HEADER_BYTES: usize = 24;
/// `XLogRecord.xl_crc`, which is of what comes behind the header, and of the header up to it.
const CRC_AT: usize = 20;

/// Of the whole records that begin on a page.
fn end_of_records(page: &[u8], is_first: bool) -> usize {
    let u32_at = |at: usize| {
        page.get(at..at + 4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let header = if is_first { SEGMENT_HEADER_BYTES } else { PAGE_HEADER_BYTES };
    // `xlp_rem_len`: of a record that began before this page.
    let rest = u32_at(16).unwrap_or(0) as usize;
    let mut end = header;
    let mut next = header.saturating_add(rest).next_multiple_of(MAXALIGN);
    while let Some(length) = u32_at(next).map(|length| length as usize) {
        let Some(record) =
            page.get(next..next.saturating_add(length)).filter(|_| length >= RECORD_HEADER_BYTES)
        else {
            break;
        };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&record[RECORD_HEADER_BYTES..]), &record[..CRC_AT]);
        if u32_at(next + CRC_AT) != Some(crc) {
            break;
        }
        end = next + length;
        next = end.next_multiple_of(MAXALIGN);
    }
    end
}

/// Every wal_segment_size, in bytes (`IsValidWalSegSize`); first the default, for names that are of more than one size.
pub const SEGMENT_SIZES: [u64; 11] =
    [1 << 24, 1 << 20, 1 << 21, 1 << 22, 1 << 23, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30];

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

/// Timeline and number of a complete segment (`XLogFromFileName`); `None` for every other name.
pub fn segment_number(name: &str, segment_bytes: u64) -> Option<(u32, u64)> {
    let hex = |range| u32::from_str_radix(name.get(range)?, 16).ok();
    let (timeline, high, low) = match is_segment_name(name) {
        true => (hex(0..8)?, hex(8..16)?, hex(16..24)?),
        false => return None,
    };
    let per_id = 0x1_0000_0000 / segment_bytes;
    (u64::from(low) < per_id).then_some((timeline, u64::from(high) * per_id + u64::from(low)))
}

/// The name of the segment after one, on its timeline; `None` if `name` is not the name of a segment of that size, or
/// the last there can be.
pub fn following(name: &str, segment_bytes: u64) -> Option<String> {
    let (timeline, number) = segment_number(name, segment_bytes)?;
    let next = number + 1;
    (next <= u64::MAX / segment_bytes).then(|| name_of_number(timeline, next, segment_bytes))
}

/// Whether `bytes` is a wal_segment_size (`IsValidWalSegSize`): a power of two from 1 MiB to 1 GiB.
pub fn is_segment_size(bytes: u64) -> bool {
    SEGMENT_SIZES.contains(&bytes)
}

/// The name of a segment by its number, which counts from the first byte of all WAL.
pub fn name_of_number(timeline: u32, number: u64, segment_bytes: u64) -> String {
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
    fn names_and_numbers_are_the_same_thing() {
        assert_eq!(segment_number("0000000200000001000000FF", MIB16), Some((2, 0x1FF)));
        assert_eq!(name_of_number(2, 0x1FF, MIB16), "0000000200000001000000FF");
        assert_eq!(segment_number("000000020000000100000100", MIB16), None);
        assert_eq!(segment_number("00000002.history", MIB16), None);
    }

    #[test]
    fn the_segment_after_one() {
        let after = |name: &str| following(name, MIB16);
        assert_eq!(after("0000000200000001000000FE").as_deref(), Some("0000000200000001000000FF"));
        assert_eq!(after("0000000200000001000000FF").as_deref(), Some("000000020000000200000000"));
        assert_eq!(after("00000002FFFFFFFF000000FF"), None);
        assert_eq!(after("00000002.history"), None);
    }

    /// The first bytes of the second segment of a new cluster, as PostgreSQL 15.18 wrote them.
    const HEADER: [u8; SEGMENT_HEADER_BYTES] = [
        0x10, 0xd1, 0x07, 0, 1, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xca, 0x17, 0x8c,
        0xc4, 0x8a, 0x5b, 0x04, 0x6b, 0, 0, 0x40, 0, 0, 0x20, 0, 0,
    ];

    #[test]
    fn a_header_tells_whose_segment_it_is() {
        let header = SegmentHeader::parse(&HEADER).unwrap();
        let expected = SegmentHeader {
            major: 15,
            timeline: 1,
            address: Lsn(0x80_0000),
            system_identifier: 0x6b04_5b8a_c48c_17ca,
            segment_bytes: 4 << 20,
            block_bytes: 8192,
        };
        assert_eq!(header, expected);
        assert_eq!(header.name(), "000000010000000000000002");
    }

    #[test]
    fn a_full_segment_reaches_its_end_or_a_switch() {
        let header = SegmentHeader::parse(&HEADER).unwrap();
        let full = |change: &dyn Fn(&mut [u8])| {
            let mut content = vec![0; 4 << 20];
            content[..40].copy_from_slice(&HEADER);
            change(&mut content);
            is_full(&content, &header)
        };
        let begin_page = |content: &mut [u8], page: usize, address: u64| {
            content[page + 8..page + 16].copy_from_slice(&address.to_le_bytes());
        };
        let switch = |content: &mut [u8], at: usize| {
            content[at] = 24;
            content[at + 16] = 0x40;
            content[at + 20..at + 24].fill(9);
        };
        let last = (4 << 20) - 8192;
        assert!(!full(&|_| ()));
        assert!(!full(&|content| content[100..8000].fill(1)));
        assert!(full(&|content| switch(content, 96)));
        assert!(!full(&|content| {
            content[100..8000].fill(1);
            begin_page(content, last, 0xBF_E000);
        }));
        for (address, expected) in [(0xBF_E000, true), (0x7F_E000, false)] {
            let tail = |content: &mut [u8]| {
                begin_page(content, last, address);
                content[last + 16..last + 8150].fill(1);
            };
            assert_eq!(full(&tail), expected, "{address:X}");
            let switched = |content: &mut [u8]| {
                begin_page(content, last, address);
                switch(content, last + 32);
            };
            assert_eq!(full(&switched), expected, "{address:X}");
        }
    }

    #[test]
    fn what_is_no_header() {
        for (at, byte) in [(0, 0), (2, 5), (9, 1), (34, 0x41), (34, 0), (35, 0x80)] {
            let mut bytes = HEADER;
            bytes[at] = byte;
            assert!(SegmentHeader::parse(&bytes).is_err(), "byte {at}");
        }
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
