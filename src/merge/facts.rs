//! What a record says of the merged full, from the records of the backups in it.

use crate::catalog::{BackupFacts, BackupType, Blocks, Facts, Files, Findings, Label, Record};
use crate::error::{Error, IoContext, Result};
use crate::io::Output;
use std::io::Write;

/// What was counted while it was written.
pub struct Counted {
    pub files: u64,
    /// Of the files as they lie on disk.
    pub bytes: u64,
    pub stream_bytes: u64,
    /// In them, with a wrong checksum.
    pub bad_pages: u64,
}

/// Writes them to `output`, for `pgv-info record`. `records`: one for each link, oldest first.
pub fn write(
    mut output: Output,
    label: &Label,
    records: &[Record],
    merged_from: &[Label],
    counted: &Counted,
) -> Result<()> {
    let newest = records.last().ok_or_else(|| Error::usage("--facts needs --record of each stream"))?;
    let facts = Facts::new(BackupFacts {
        label: label.clone(),
        backup_type: BackupType::Full,
        mode: None,
        parent: None,
        merged_from: merged_from.to_vec(),
        database_bytes: counted.bytes,
        stream_bytes: counted.stream_bytes,
        files: Files { total: counted.files, whole: counted.files, blocks: 0, same: 0, removed: 0 },
        blocks: Blocks::default(),
        findings: Findings { bad_pages: counted.bad_pages, ..newest.backup.findings },
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..newest.backup.clone()
    });
    let mut json = serde_json::to_vec(&facts).map_err(|e| Error::failed(format!("encode the facts: {e}")))?;
    json.push(b'\n');
    output.write_all(&json).during(format_args!("write {}", output.name()))?;
    output.finish()
}
