//! Lines of the files that pgv writes as JSON lines, and the digits in them.

use crate::error::{Error, IoContext, Result};
use std::io::{BufRead, Read};

/// The next line, with its newline, of at most `limit` bytes. The end of the input is damage. `name`: for messages.
pub fn read_line(source: &mut impl BufRead, limit: u64, name: &str) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    Read::take(&mut *source, limit).read_until(b'\n', &mut line).during(format_args!("read {name}"))?;
    match line.last() {
        Some(b'\n') => Ok(line),
        _ => Err(Error::damaged(format!("{name} ends too early, or has a line that is too long"))),
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Two digits a byte.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.1.is_empty().then(|| digits.0.iter().map(byte).collect())?
}
