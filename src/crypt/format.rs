//! The bytes of a sealed stream: first line, record headers, limits.
//!
//! Everything after byte 144 is a multiple of 16 bytes, so that each record begins on a cipher block
//! and the PKCS#7 padding that openssl wants is one block with a single legal value.

use crate::error::{Error, Result};

pub const FIRST_LINE_BYTES: usize = 128;
/// What `openssl enc` writes before the salt.
pub const SALTED: &[u8; 8] = b"Salted__";
pub const SALT_BYTES: usize = 8;
pub const BLOCK_BYTES: usize = 16;
pub const HEADER_BYTES: usize = 96;
pub const TAG_BYTES: usize = 32;
pub const DIGEST_BYTES: usize = 32;
/// Every chunk is compressed for itself. On a database of 1.9 GB at level 3, against one frame for all
/// of it: 1 MiB +3.4 %, 2 MiB +1.1 %, 4 MiB +0.3 %, 8 MiB nothing, at twice the memory of the one before.
pub const CHUNK_BYTES: usize = 4 << 20;
/// The chunk of a short file, such as a segment of WAL: it spreads over the cores, and fewer fresh pages are
/// touched. 16 MiB of WAL at level 3: 1 to 2 % larger than in chunks of 4 MiB, in two thirds of the time.
pub const SHORT_CHUNK_BYTES: usize = 1 << 20;
/// What is short: segments are of 16 MiB unless initdb was told otherwise.
pub const SHORT_FILE_BYTES: u64 = 64 << 20;
/// The padding of block-aligned data (RFC 5652, 6.3).
pub const PADDING: [u8; BLOCK_BYTES] = [BLOCK_BYTES as u8; BLOCK_BYTES];

/// Caps what a hostile stream can cost: about two seconds of key derivation.
const MAX_ITERATIONS: u32 = 10_000_000;
const AUTHENTICATED_BYTES: usize = HEADER_BYTES - TAG_BYTES;
/// Of a record that a reader accepts.
pub const MAX_PLAIN_BYTES: u32 = 8 << 20;
const MAX_PAYLOAD_BYTES: u32 = 8_454_144;
/// The header's bytes after the skippable frame's own eight.
const FRAME_HEADER_BYTES: u32 = 88;
const LINE_START: &str = "pgv1: tail -n +2 FILE | openssl enc -d -aes-256-cbc -pbkdf2 -md sha256 -iter ";
const LINE_END: &str = " -pass file:KEY | zstd -d";

/// Zstandard's skippable frame magics (RFC 8878, 3.1.2), the kind in the low nibble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    Data,
    End,
    /// Reserved; authenticated and ignored.
    Aux,
}

impl RecordKind {
    fn magic(self) -> u32 {
        match self {
            RecordKind::Data => 0x184D_2A5D,
            RecordKind::End => 0x184D_2A5E,
            RecordKind::Aux => 0x184D_2A5A,
        }
    }

    fn of_magic(magic: u32) -> Option<Self> {
        [RecordKind::Data, RecordKind::End, RecordKind::Aux].into_iter().find(|kind| kind.magic() == magic)
    }
}

/// The first line for `iterations`, space padded, newline at byte 127.
pub fn first_line(iterations: u32) -> [u8; FIRST_LINE_BYTES] {
    let text = format!("{LINE_START}{iterations}{LINE_END}");
    let mut line = [b' '; FIRST_LINE_BYTES];
    for (to, from) in line.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    line[FIRST_LINE_BYTES - 1] = b'\n';
    line
}

/// The iteration count of a first line that is, byte for byte, one we would write.
pub fn parse_first_line(line: &[u8; FIRST_LINE_BYTES]) -> Result<u32> {
    let iterations = std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.strip_prefix(LINE_START))
        .and_then(|rest| rest.split(' ').next())
        .and_then(|digits| digits.parse().ok())
        .filter(|n| (1..=MAX_ITERATIONS).contains(n) && first_line(*n) == *line);
    iterations.ok_or_else(|| {
        Error::damaged("not a pgv stream: its first line does not begin a pgv1 stream")
            .hint("head -c 127 FILE shows it; a pgv stream begins with \"pgv1: \"")
    })
}

/// A record's header before encryption. Its fields are read only after its tag was verified.
pub struct Header([u8; HEADER_BYTES]);

#[derive(Clone, Copy, Debug)]
pub struct Fields {
    pub kind: RecordKind,
    pub sequence: u64,
    pub offset: u64,
    pub payload_bytes: usize,
    pub plain_bytes: usize,
}

/// Zero bytes that make header, pad and payload block aligned.
pub fn pad_bytes(payload_bytes: usize) -> usize {
    payload_bytes.wrapping_neg() % BLOCK_BYTES
}

impl Header {
    /// Lengths must be within the limits, as a writer's are: at most libzstd's bound for CHUNK_BYTES.
    pub fn new(fields: &Fields, digest: &[u8; DIGEST_BYTES]) -> Self {
        let mut bytes = [0u8; HEADER_BYTES];
        let frame = FRAME_HEADER_BYTES + pad_bytes(fields.payload_bytes) as u32;
        bytes[0..4].copy_from_slice(&fields.kind.magic().to_le_bytes());
        bytes[4..8].copy_from_slice(&frame.to_le_bytes());
        bytes[8..16].copy_from_slice(&fields.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&fields.offset.to_le_bytes());
        bytes[24..28].copy_from_slice(&(fields.payload_bytes as u32).to_le_bytes());
        bytes[28..32].copy_from_slice(&(fields.plain_bytes as u32).to_le_bytes());
        bytes[32..64].copy_from_slice(digest);
        Header(bytes)
    }

    pub fn from_bytes(bytes: [u8; HEADER_BYTES]) -> Self {
        Header(bytes)
    }

    pub fn authenticated(&self) -> &[u8] {
        &self.0[..AUTHENTICATED_BYTES]
    }

    pub fn tag(&self) -> &[u8] {
        &self.0[AUTHENTICATED_BYTES..]
    }

    pub fn set_tag(&mut self, tag: &[u8; TAG_BYTES]) {
        self.0[AUTHENTICATED_BYTES..].copy_from_slice(tag);
    }

    pub fn as_bytes(&self) -> &[u8; HEADER_BYTES] {
        &self.0
    }

    pub fn digest(&self) -> &[u8] {
        &self.0[32..64]
    }

    /// Whether it begins as the first record of any stream does, under whatever tag: then the key was
    /// right, and the context or the header is not.
    pub fn begins_a_stream(&self) -> bool {
        RecordKind::of_magic(self.u32_at(0)).is_some() && self.u64_at(8) == 0
    }

    /// The fields, if they are within the limits. To be called after the tag was verified.
    pub fn fields(&self) -> Option<Fields> {
        let kind = RecordKind::of_magic(self.u32_at(0))?;
        let (payload, plain) = (self.u32_at(24), self.u32_at(28));
        let in_limits = match kind {
            RecordKind::Data => {
                (1..=MAX_PAYLOAD_BYTES).contains(&payload) && (1..=MAX_PLAIN_BYTES).contains(&plain)
            }
            RecordKind::Aux => (8..=MAX_PAYLOAD_BYTES).contains(&payload) && plain == 0,
            RecordKind::End => payload == 0 && plain == 0,
        };
        let payload_bytes = payload as usize;
        let frame_fits = self.u32_at(4) == FRAME_HEADER_BYTES + pad_bytes(payload_bytes) as u32;
        (in_limits && frame_fits).then_some(Fields {
            kind,
            sequence: self.u64_at(8),
            offset: self.u64_at(16),
            payload_bytes,
            plain_bytes: plain as usize,
        })
    }

    fn u32_at(&self, at: usize) -> u32 {
        self.0[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    fn u64_at(&self, at: usize) -> u64 {
        u64::from(self.u32_at(at + 4)) << 32 | u64::from(self.u32_at(at))
    }
}
