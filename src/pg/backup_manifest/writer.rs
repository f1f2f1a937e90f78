//! Writes a `backup_manifest` line by line, as the server lays it out (backup_manifest.c).

use crate::error::{Error, IoContext, Result};
use crate::pg::Lsn;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Write;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] GMT");

/// Memory does not grow with the number of files: every line goes to `sink` at once.
#[must_use]
pub struct Writer<W> {
    sink: W,
    sha256: Sha256,
    first: bool,
}

impl<W: Write> Writer<W> {
    /// `major`: the server's; 17 and later know version 2, which carries the system identifier.
    pub fn new(sink: W, major: u32, system_identifier: u64) -> Result<Self> {
        let mut writer = Writer { sink, sha256: Sha256::new(), first: true };
        let head = match major {
            ..17 => "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n".to_owned(),
            _ => format!(
                "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": {system_identifier},\n"
            ),
        };
        writer.put(&head)?;
        writer.put("\"Files\": [")?;
        Ok(writer)
    }

    /// `modified`: seconds since 1970, in a form that nobody parses.
    pub fn file(&mut self, path: &[u8], size: u64, modified: i64, crc32c: u32) -> Result<()> {
        let separator = if self.first { "\n" } else { ",\n" };
        self.first = false;
        let name = match std::str::from_utf8(path) {
            Ok(text) => format!("\"Path\": {}", Value::from(text)),
            Err(_) => format!("\"Encoded-Path\": \"{}\"", hex(path)),
        };
        let time = OffsetDateTime::from_unix_timestamp(modified)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
            .format(TIME)
            .map_err(|e| Error::failed(format!("format a time: {e}")))?;
        // The checksum's bytes are printed as they lie in memory.
        let sum = hex(&crc32c.to_le_bytes());
        self.put(&format!(
            "{separator}{{ {name}, \"Size\": {size}, \"Last-Modified\": \"{time}\", \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{sum}\" }}"
        ))
    }

    /// `range`: timeline, start and stop of the WAL that the backup needs, if it needs any.
    pub fn finish(mut self, range: Option<(u32, Lsn, Lsn)>) -> Result<W> {
        self.put("\n],\n\"WAL-Ranges\": [\n")?;
        if let Some((timeline, start, stop)) = range {
            self.put(&format!(
                "{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{start}\", \"End-LSN\": \"{stop}\" }}\n"
            ))?;
        }
        self.put("],\n")?;
        let sum = hex(&self.sha256.finalize_reset());
        self.put(&format!("\"Manifest-Checksum\": \"{sum}\"}}\n"))?;
        self.sink.flush().during("write backup_manifest")?;
        Ok(self.sink)
    }

    fn put(&mut self, text: &str) -> Result<()> {
        self.sha256.update(text.as_bytes());
        self.sink.write_all(text.as_bytes()).during("write backup_manifest")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _infallible = write!(text, "{byte:02x}").is_ok();
        text
    })
}
