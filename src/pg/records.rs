//! WAL records as recovery reads them (xlogreader.c), as far as a restore must know them in advance: where each whole
//! record begins and ends, and when a transaction ended. The format is the same from 13 to 19.

use crate::pg::Lsn;
use crate::pg::wal::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// `SizeOfXLogShortPHD`.
const PAGE_HEADER_BYTES: usize = 24;
/// `XLP_FIRST_IS_CONTRECORD`: a page begins with the rest of a record.
const CONTINUED: u8 = 0x01;
/// `SizeOfXLogRecord`.
const RECORD_HEADER_BYTES: usize = 24;
/// `MAXALIGN`.
const ALIGNMENT: usize = 8;
/// `XLogRecordMaxSize` is just below 1 GiB.
const LONGEST: usize = 1 << 30;
/// `RM_XLOG_ID` and `XLOG_SWITCH`.
const SWITCH: (u8, u8) = (0, 0x40);
/// `RM_XACT_ID`.
const TRANSACTION: u8 = 1;
/// `XLOG_XACT_OPMASK`; commit, abort, and both of a prepared transaction: their data begin with the time.
const OPERATION: u8 = 0x70;
const ENDS: [u8; 4] = [0x00, 0x20, 0x30, 0x40];
/// `XLOG_RESTORE_POINT` of `RM_XLOG_ID`; `XLOG_XACT_PREPARE`; `RM_TBLSPC_ID` and `RM_LOGICALMSG_ID` (rmgrlist.h).
const RESTORE_POINT: (u8, u8) = (0, 0x70);
const PREPARE: u8 = 0x10;
const TABLESPACE: u8 = 5;
const MESSAGE: u8 = 21;
/// Seconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH: i64 = 946_684_800;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub start: Lsn,
    /// The byte after its last.
    pub end: Lsn,
    /// Microseconds since 1970, if the record ends a transaction.
    pub transaction_end: Option<i64>,
    /// The rest of its segment holds none.
    pub switches: bool,
    pub text: Text,
}

/// Whether a record has a text that a user wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    None,
    /// The name of a restore point.
    Name,
    /// A message, the name of a prepared transaction, or the place of a tablespace.
    Any,
}

/// Calls `each` for every whole record in the consecutive segments of `content`, the first of which has `header`. It ends
/// at the first record that is not whole: what an earlier use of the file left behind is none. Returns where that is, unless
/// `content` ends within it.
pub fn scan(content: &[u8], header: &SegmentHeader, each: &mut dyn FnMut(Record)) -> Option<Lsn> {
    let mut reader = Reader::new(content, header);
    // The rest of a record that began before.
    let rest = reader.enter_page();
    reader.all(rest, each)
}

/// The same, from a record that begins at `from`, or at the next place where one may; what lies before its page is not
/// looked at.
pub fn scan_from(
    content: &[u8],
    header: &SegmentHeader,
    from: Lsn,
    each: &mut dyn FnMut(Record),
) -> Option<Lsn> {
    let mut reader = Reader::new(content, header);
    reader.at = usize::try_from(from.0.checked_sub(header.address.0)?).ok()?;
    let rest = reader.records(each);
    reader.all(rest, each)
}

struct Reader<'a> {
    content: &'a [u8],
    address: u64,
    segment: usize,
    page: usize,
    at: usize,
    /// Where something is that is no record, and no page.
    broken: Option<usize>,
}

impl<'a> Reader<'a> {
    fn new(content: &'a [u8], header: &SegmentHeader) -> Self {
        Reader {
            content,
            address: header.address.0,
            segment: (header.segment_bytes as usize).max(1),
            page: (header.block_bytes as usize).max(PAGE_HEADER_BYTES * 2),
            at: 0,
            broken: None,
        }
    }

    /// `rest`: what `enter_page` said.
    fn all(&mut self, mut rest: Option<usize>, each: &mut dyn FnMut(Record)) -> Option<Lsn> {
        while let Some(continued) = rest
            && self.skip(continued).is_some()
        {
            rest = self.records(each);
        }
        self.broken.map(|at| Lsn(self.address + at as u64))
    }

    /// At a page's first byte: goes behind its header, and returns how much of an earlier record follows. `None` if this
    /// is no page of this WAL.
    fn enter_page(&mut self) -> Option<usize> {
        let header = self.content.get(self.at..self.at + PAGE_HEADER_BYTES)?;
        let address = u64::from_le_bytes(header.get(8..16)?.try_into().ok()?);
        if address != self.address.wrapping_add(self.at as u64) {
            self.broken = Some(self.at);
            return None;
        }
        let is_continued = header.get(2)? & CONTINUED != 0;
        let rest = u32::from_le_bytes(header.get(16..20)?.try_into().ok()?) as usize;
        self.at +=
            if self.at.is_multiple_of(self.segment) { SEGMENT_HEADER_BYTES } else { PAGE_HEADER_BYTES };
        Some(if is_continued { rest } else { 0 })
    }

    /// `length` bytes of one record, over as many pages as they take. `None` at the end; the record may also have been
    /// given up, and its next page begins with another (`XLP_FIRST_IS_OVERWRITE_CONTRECORD`).
    fn take(&mut self, length: usize, into: &mut Vec<u8>) -> Option<()> {
        let mut left = length;
        while left > 0 {
            if self.at.is_multiple_of(self.page) {
                let page = self.at;
                if self.enter_page()? == 0 {
                    self.at = page;
                    return None;
                }
            }
            let piece = left.min(self.page - self.at % self.page);
            into.extend_from_slice(self.content.get(self.at..self.at + piece)?);
            self.at += piece;
            left -= piece;
        }
        Some(())
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length, &mut Vec::new())
    }

    /// Whole records up to the end, or to a page that begins anew; returns what `enter_page` said of that.
    fn records(&mut self, each: &mut dyn FnMut(Record)) -> Option<usize> {
        let mut bytes = Vec::new();
        loop {
            self.at = self.at.next_multiple_of(ALIGNMENT);
            if self.at.is_multiple_of(self.page) {
                let continued = self.enter_page()?;
                if continued > 0 {
                    return Some(continued);
                }
            }
            let start = self.at;
            let length = u32::from_le_bytes(self.content.get(start..start + 4)?.try_into().ok()?) as usize;
            if !(RECORD_HEADER_BYTES..LONGEST).contains(&length) {
                self.broken = Some(start);
                return None;
            }
            bytes.clear();
            if self.take(length, &mut bytes).is_none() {
                return self.at.is_multiple_of(self.page).then(|| self.enter_page()).flatten();
            }
            if !is_whole(&bytes) {
                self.broken = Some(start);
                return None;
            }
            let switches = (bytes[17], bytes[16]) == SWITCH;
            each(Record {
                start: Lsn(self.address + start as u64),
                end: Lsn(self.address + self.at as u64),
                transaction_end: transaction_end(&bytes),
                switches,
                text: text(bytes[17], bytes[16]),
            });
            if switches {
                self.at = self.at.next_multiple_of(self.segment);
            }
        }
    }
}

fn text(manager: u8, info: u8) -> Text {
    match manager {
        TABLESPACE | MESSAGE => Text::Any,
        TRANSACTION if info & OPERATION == PREPARE => Text::Any,
        _ if (manager, info & 0xF0) == RESTORE_POINT => Text::Name,
        _ => Text::None,
    }
}

fn is_whole(record: &[u8]) -> bool {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&record[RECORD_HEADER_BYTES..]), &record[..20]);
    record[20..24] == crc.to_le_bytes()
}

/// Of `xl_xact_commit` and `xl_xact_abort`, which are a record's main data, behind all that it says of blocks.
fn transaction_end(record: &[u8]) -> Option<i64> {
    if record[17] != TRANSACTION || !ENDS.contains(&(record[16] & OPERATION)) {
        return None;
    }
    let mut at = RECORD_HEADER_BYTES;
    let length = loop {
        match *record.get(at)? {
            // `XLR_BLOCK_ID_DATA_SHORT`, `_LONG`, `XLR_BLOCK_ID_ORIGIN` and `_TOPLEVEL_XID`.
            255 => break usize::from(*record.get(at + 1)?),
            254 => break u32::from_le_bytes(record.get(at + 1..at + 5)?.try_into().ok()?) as usize,
            253 => at += 3,
            252 => at += 5,
            _ => return None,
        }
    };
    let data = record.get(record.len().checked_sub(length)?..)?;
    let since_2000 = i64::from_le_bytes(data.get(..8)?.try_into().ok()?);
    since_2000.checked_add(EPOCH * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 8192;
    const SEGMENT: usize = 1 << 20;

    fn header() -> SegmentHeader {
        SegmentHeader {
            major: 15,
            timeline: 1,
            address: Lsn(SEGMENT as u64 * 3),
            system_identifier: 7,
            segment_bytes: SEGMENT as u32,
            block_bytes: PAGE as u32,
        }
    }

    /// Writes WAL as PostgreSQL does: records are aligned, and go on behind the next page's header.
    struct Writer(Vec<u8>);

    impl Writer {
        fn page(&mut self, rest: usize) {
            let address = header().address.0 + self.0.len() as u64;
            let long = self.0.len().is_multiple_of(SEGMENT);
            let mut page = vec![0; if long { 40 } else { 24 }];
            page[..2].copy_from_slice(&0xD110u16.to_le_bytes());
            page[2] = u8::from(rest > 0) | if long { 2 } else { 0 };
            page[8..16].copy_from_slice(&address.to_le_bytes());
            page[16..20].copy_from_slice(&u32::try_from(rest).unwrap().to_le_bytes());
            self.0.extend(page);
        }

        fn record(&mut self, resource: u8, info: u8, data: &[u8]) -> Lsn {
            let mut record = vec![0; 24];
            record[16] = info;
            record[17] = resource;
            record.push(254);
            record.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            record.extend(data);
            if resource == 0 {
                record.truncate(24);
            }
            let length = u32::try_from(record.len()).unwrap();
            record[..4].copy_from_slice(&length.to_le_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&record[24..]), &record[..20]);
            record[20..24].copy_from_slice(&crc.to_le_bytes());
            self.0.resize(self.0.len().next_multiple_of(8), 0);
            if self.0.len().is_multiple_of(PAGE) {
                self.page(0);
            }
            let start = header().address.0 + self.0.len() as u64;
            for (index, byte) in record.iter().enumerate() {
                if self.0.len().is_multiple_of(PAGE) {
                    self.page(record.len() - index);
                }
                self.0.push(*byte);
            }
            Lsn(start)
        }

        fn commit(&mut self, second: i64) -> Lsn {
            self.record(1, 0x80, &((second - EPOCH) * 1_000_000).to_le_bytes())
        }
    }

    fn scanned(content: &[u8]) -> Vec<Record> {
        let mut found = Vec::new();
        scan(content, &header(), &mut |record| found.push(record));
        found
    }

    #[test]
    fn records_over_pages_and_segments() {
        let mut writer = Writer(Vec::new());
        let mut starts = Vec::new();
        writer.page(0);
        for turn in 0..60 {
            starts.push(writer.record(10, 0, &vec![7; 1000 * turn + turn]));
            starts.push(writer.commit(2_000_000_000 + turn as i64));
        }
        assert!(writer.0.len() > SEGMENT, "one record at least goes over to the next segment");
        let end = writer.0.len();
        writer.0.resize(2 * SEGMENT, 0);
        let found = scanned(&writer.0);
        assert_eq!(found.iter().map(|record| record.start).collect::<Vec<_>>(), starts);
        assert_eq!(found.last().unwrap().end.0, header().address.0 + end as u64);
        let times: Vec<_> = found.iter().filter_map(|record| record.transaction_end).collect();
        assert_eq!(times.len(), 60);
        assert_eq!(times[59], 2_000_000_059_000_000);
        for (number, start) in starts.iter().enumerate() {
            let mut rest = Vec::new();
            scan_from(&writer.0, &header(), *start, &mut |record| rest.push(record.start));
            assert_eq!(rest, starts[number..]);
        }
        scan_from(&writer.0, &header(), Lsn(0), &mut |_| panic!("that is before the first segment"));
        // The second segment alone begins with the rest of a record, which is none of its own.
        let second = SegmentHeader { address: Lsn(header().address.0 + SEGMENT as u64), ..header() };
        let mut own = Vec::new();
        scan(&writer.0[SEGMENT..], &second, &mut |record| own.push(record.start));
        assert!(!own.is_empty() && own == starts[starts.len() - own.len()..]);
    }

    #[test]
    fn a_switch_ends_a_segment_and_what_is_not_whole_ends_all() {
        let mut writer = Writer(Vec::new());
        writer.page(0);
        let first = writer.commit(2_000_000_000);
        let switch = writer.record(0, 0x40, &[]);
        writer.0.resize(SEGMENT, 0);
        writer.page(0);
        let second = writer.commit(2_000_000_001);
        let kept = writer.0.len();
        writer.commit(2_000_000_002);
        let starts = |content: &[u8]| scanned(content).iter().map(|r| r.start).collect::<Vec<_>>();
        assert_eq!(starts(&writer.0).len(), 4);
        writer.0[kept + 10] ^= 1;
        assert_eq!(starts(&writer.0), [first, switch, second]);
        let broken = |content: &[u8]| scan(content, &header(), &mut |_| {});
        assert_eq!(broken(&writer.0), Some(Lsn(header().address.0 + kept.next_multiple_of(8) as u64)));
        assert_eq!(broken(&writer.0[..kept]), None);
        assert_eq!(starts(&writer.0[..SEGMENT]), [first, switch]);
        assert_eq!(starts(&[]), []);
        assert_eq!(starts(&vec![0; SEGMENT]), []);
    }
}
