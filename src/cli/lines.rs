//! The text between binaries and scripts: `key value` lines, one fact a line.
//!
//! A value is escaped so that no text of a user can be a key, end a line or hide a control character. Scripts read the
//! lines with `read_lines` and `each_line` of `pgv-lines.sh`.

use crate::error::{Error, IoContext, Result};
use crate::io::die_if_unread;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `key value` lines in the order in which they were added. A key may come more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    text: String,
}

impl Lines {
    pub fn new() -> Self {
        Self::default()
    }

    /// `key` consists of `a-z` and `_`: it is written by us, never by a user.
    pub fn add(&mut self, key: &'static str, value: impl std::fmt::Display) -> &mut Self {
        self.add_bytes(key, value.to_string().as_bytes())
    }

    /// Adds nothing if there is no value.
    pub fn add_some(&mut self, key: &'static str, value: Option<impl std::fmt::Display>) -> &mut Self {
        if let Some(value) = value {
            self.add(key, value);
        }
        self
    }

    /// A path need not be UTF-8.
    pub fn add_path(&mut self, key: &'static str, path: &Path) -> &mut Self {
        self.add_bytes(key, path.as_os_str().as_bytes())
    }

    pub fn add_bytes(&mut self, key: &'static str, value: &[u8]) -> &mut Self {
        debug_assert!(is_key(key), "{key}");
        self.text.push_str(key);
        self.text.push(' ');
        escape_into(&mut self.text, value);
        self.text.push('\n');
        self
    }

    pub fn append(&mut self, others: &Lines) -> &mut Self {
        self.text.push_str(&others.text);
        self
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Writes the lines to stdout, and flushes them.
    pub fn print(&self) -> Result<()> {
        let mut output = std::io::stdout().lock();
        let written = output.write_all(self.text.as_bytes()).and_then(|()| output.flush());
        written.map_err(die_if_unread).during("write stdout")
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

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

/// What [`escape`] made a text from.
pub fn unescape(text: &str) -> Result<Vec<u8>> {
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
            _ => return Err(no_escape()),
        };
        value.push(byte);
        rest = behind.get(length..).unwrap_or_default();
    }
    Ok(value)
}

fn hexadecimal(digit: u8) -> Result<u8> {
    let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    value.ok_or_else(no_escape)
}

fn no_escape() -> Error {
    Error::failed("a backslash in a value is not followed by \\, n, t or xHH")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_value_can_be_a_key_or_end_a_line() {
        let mut lines = Lines::new();
        lines.add("backup", "x\nparent evil").add("note", "a\\nb\tc").add("name", "\u{1b}[2J é \u{202e}");
        lines.add_bytes("place", b"/srv/\xff").add("nothing", "").add_some("absent", None::<u64>);
        assert_eq!(
            lines.as_str(),
            "backup x\\nparent evil\nnote a\\\\nb\\tc\nname \\x1b[2J é \\xe2\\x80\\xae\nplace /srv/\\xff\nnothing \n"
        );
    }

    #[test]
    fn other_escapes_are_refused() {
        for bad in ["\\", "\\x1", "\\xzz", "\\0101", "\\c"] {
            assert!(unescape(bad).is_err(), "{bad}");
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
