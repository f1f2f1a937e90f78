//! The text between binaries and scripts: `key value` lines, one fact a line.
//!
//! A value is escaped so that no text of a user can be a key, end a line or hide a control character. Scripts read the
//! lines with `read_lines` and `each_line` of `pgv-lines.sh`.

use crate::catalog::escape;
use crate::error::{IoContext, Result};
use crate::io::die_if_unread;
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
        self.text.push_str(&escape(value));
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
        print(&self.text)
    }
}

/// Writes `text` to stdout, and flushes it. A reader that went away ends the process as SIGPIPE would.
pub fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(die_if_unread).during("write stdout")
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
