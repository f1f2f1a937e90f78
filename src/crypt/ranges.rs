//! Opens parts of a sealed stream: the records that hold wanted bytes, and no others. Each is authenticated as in the
//! whole stream, by its tag, its digest, its number and its place; what the index says is compared with that.

use crate::crypt::format::{BLOCK_BYTES, HEADER_BYTES, RecordKind, pad_bytes};
use crate::crypt::index::{Entry, Index, Run};
use crate::crypt::key::{MAX_CONTEXT_BYTES, Passphrase};
use crate::crypt::open::{
    Decryptor, RecordReader, damaged, fit_key, open_records, read_array, read_start, truncated, written,
};
use crate::error::{Error, IoContext, Kind, Result};
use crate::io::read_full;
use aes::cipher::KeyIvInit;
use std::io::{Read, Write};
use std::ops::Range;

/// Opens `wanted`, bytes of the plaintext, ascending and without overlap, from what [`Index::object_ranges`] names, which
/// is all that `reader` gives. Returns the bytes released, as [`open`](crate::crypt::open) does.
pub fn open_ranges(
    mut reader: impl Read + Send,
    writer: &mut impl Write,
    passphrases: &[Passphrase],
    context: &[u8],
    (index, wanted): (&Index, &[Range<u64>]),
    jobs: usize,
) -> Result<u64> {
    if context.len() > MAX_CONTEXT_BYTES {
        return Err(Error::usage(format!("the context is longer than {MAX_CONTEXT_BYTES} bytes")));
    }
    let runs = index.runs(wanted)?;
    let start = read_start(&mut reader)?;
    if (start.iterations, start.salt) != (index.iterations, index.salt) {
        return Err(Error::damaged("the index is that of another sealed stream"));
    }
    let Some(first) = runs.first() else { return read_end(&mut reader).map(|()| 0) };
    let before = match first.records.start {
        0 => None,
        _ => Some(read_array::<BLOCK_BYTES>(&mut reader, truncated)?),
    };
    let header: [u8; HEADER_BYTES] = read_array(&mut reader, truncated)?;
    let (keys, header, chain) =
        fit_key(&start, before, header, passphrases, context).map_err(|error| match error.kind {
            Kind::Key if before.is_some() => error.hint("or the index is not that of this object"),
            _ => error,
        })?;
    let read = |mut records: RecordReader<'_, _>| {
        let mut header = Some(header);
        for run in &runs {
            if header.is_none() {
                // A run that begins with the first record comes first.
                let before: [u8; BLOCK_BYTES] = read_array(&mut records.reader, truncated)?;
                records.chain = Decryptor::new(&records.keys.aes.into(), &before.into());
            }
            if !read_run(&mut records, run, index, header.take())? {
                return Ok(());
            }
        }
        read_end(&mut records.reader)
    };
    written(writer, |taker| open_records(reader, taker, (keys, chain), jobs, read))
}

/// `header`: of the first record, if it was read already. False when nothing more is to be read.
fn read_run<R: Read>(
    records: &mut RecordReader<'_, R>,
    run: &Run,
    index: &Index,
    header: Option<crate::crypt::format::Header>,
) -> Result<bool> {
    let mut header = header;
    let mut offset = run.offset;
    let mut wanted = run.wanted.iter().peekable();
    for (number, entry) in (run.records.start..).zip(&index.records[run.records.clone()]) {
        let header = match header.take() {
            Some(header) => header,
            None => records.read_header()?,
        };
        let fields = header.fields().ok_or_else(|| damaged("a record's header does not have the format"))?;
        let stored = HEADER_BYTES + pad_bytes(fields.payload_bytes) + fields.payload_bytes;
        let found = Entry { plain: fields.plain_bytes as u32, stored: stored as u32 };
        if (fields.kind, fields.sequence, fields.offset, found)
            != (RecordKind::Data, number as u64, offset, *entry)
        {
            return Err(damaged("a record is not what the index says"));
        }
        let end = offset + fields.plain_bytes as u64;
        let mut pieces = Vec::new();
        while let Some(piece) = wanted.next_if(|piece| piece.start < end) {
            // Within a record of some millions of bytes.
            pieces.push((piece.start - offset) as usize..(piece.end - offset) as usize);
        }
        if !records.read_body(fields, header, pieces)? {
            return Ok(false);
        }
        offset = end;
    }
    Ok(true)
}

fn read_end(reader: &mut impl Read) -> Result<()> {
    match read_full(reader, &mut [0u8; 1]).during("read the sealed stream")? {
        0 => Ok(()),
        _ => Err(damaged("data follows the last wanted record")),
    }
}
