//! Values of lines: no byte of a value ends it, hides it or commands a terminal.

use std::fmt::Write as _;

/// Any bytes as printable UTF-8 without a line break: `\\`, `\n`, `\t`, and `\xHH` for every byte of what is not
/// printable. It is a subset of what `printf %b` reads.
pub fn escape(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    escape_into(&mut text, value);
    text
}

fn escape_into(text: &mut String, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                c if is_hidden(c) => escape_bytes(text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        escape_bytes(text, chunk.invalid());
    }
}

fn escape_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String does not fail.
        let _infallible = write!(text, "\\x{byte:02x}").is_err();
    }
}

/// Control characters, other line ends, and what changes the direction or the width of the text around it.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// What [`escape`] made a text from; none if a backslash begins no escape.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        if first != b'\\' {
            value.push(first);
            rest = behind;
            continue;
        }
        let (byte, length) = match behind {
            [b'\\', ..] => (b'\\', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'x', high, low, ..] => (hexadecimal(*high)? << 4 | hexadecimal(*low)?, 3),
            _ => return None,
        };
        value.push(byte);
        rest = behind.get(length..).unwrap_or_default();
    }
    Some(value)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_escapes_are_refused() {
        for bad in ["\\", "\\x1", "\\xzz", "\\0101", "\\c"] {
            assert!(unescape(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_escaped_comes_back(value: Vec<u8>) {
            let text = escape(&value);
            prop_assert!(!text.contains(|c: char| c.is_control()));
            prop_assert_eq!(unescape(&text).unwrap(), value);
        }
    }
}
