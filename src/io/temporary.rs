//! A nameless temporary file for what must be written after it was collected.

use crate::error::{Error, IoContext, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

/// In TMPDIR, or /tmp; gone with the process, however that ends.
pub fn temporary_file() -> Result<File> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|e| Error::failed(format!("read random bytes: {e}")))?;
    let path = std::env::temp_dir().join(format!("pgv-{:016x}", u64::from_le_bytes(random)));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .during_path("create", &path)?;
    std::fs::remove_file(&path).during_path("remove", &path)?;
    Ok(file)
}
