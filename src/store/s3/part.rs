//! The bytes of a part, while they come and while they are sent. Buffers go round: fresh pages for every part would
//! cost as much as sending them does.

use crate::store::s3::checksum;
use bytes::Bytes;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// One read; what is read is checksummed while it is in the processor's cache.
const READ_BYTES: usize = 1 << 20;

#[derive(Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// A part of at most `size` bytes, empty.
    pub fn part(&self, size: usize) -> Part {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Parts grow: what is too small now is never used again.
        free.retain(|buffer| buffer.len() >= size);
        // Zeros that are never touched cost nothing.
        let used = free.pop().unwrap_or_else(|| vec![0; size]);
        drop(free);
        Part { bytes: used, size, filled: 0, crc: checksum::digest(), buffers: self.clone() }
    }

    /// A part that holds nothing, in place of one that is on its way.
    pub fn nothing(&self) -> Part {
        Part { bytes: Vec::new(), size: 0, filled: 0, crc: checksum::digest(), buffers: self.clone() }
    }
}

/// A part that is being filled.
pub struct Part {
    bytes: Vec<u8>,
    size: usize,
    filled: usize,
    crc: crc_fast::Digest,
    buffers: Buffers,
}

impl Part {
    pub fn is_full(&self) -> bool {
        self.filled == self.size
    }

    pub fn len(&self) -> usize {
        self.filled
    }

    /// Reads once; gives how much, which is nothing at the end of the input.
    pub fn read(&mut self, from: &mut dyn Read) -> io::Result<usize> {
        let end = self.size.min(self.filled + READ_BYTES);
        let length = loop {
            match from.read(&mut self.bytes[self.filled..end]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.crc.update(&self.bytes[self.filled..self.filled + length]);
        self.filled += length;
        Ok(length)
    }

    /// The last `length` bytes that were read.
    pub fn last(&self, length: usize) -> &[u8] {
        &self.bytes[self.filled - length..self.filled]
    }

    /// What was read, and its CRC-64/NVME. The buffer comes back when the last copy of it is gone.
    pub fn into_bytes(self) -> (Bytes, u64) {
        let crc = self.crc.finalize();
        let Part { bytes, filled, buffers, .. } = self;
        (Bytes::from_owner(Lent { bytes, filled, buffers }), crc)
    }
}

struct Lent {
    bytes: Vec<u8>,
    filled: usize,
    buffers: Buffers,
}

/// One part after the other of what was read as a whole, and the CRC of each.
pub fn cut(whole: &Bytes, size: usize) -> impl Iterator<Item = (Bytes, u64)> {
    whole.chunks(size).map(|part| {
        let mut crc = checksum::digest();
        crc.update(part);
        (whole.slice_ref(part), crc.finalize())
    })
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.bytes);
        self.buffers.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}
