//! What waits in a data directory to be archived.

use crate::error::{IoContext, Result};
use crate::pg::control::Control;
use std::fs;
use std::path::Path;
use time::OffsetDateTime;

/// What waits in a data directory to be archived.
pub struct Waiting {
    pub(super) system_identifier: u64,
    pub(super) files: u64,
    /// Since when the oldest of them waits.
    pub(super) oldest: Option<OffsetDateTime>,
}

/// What the server itself knows of its archiving: `archive_status/*.ready`.
pub fn waiting(data_directory: &Path) -> Result<Waiting> {
    let system_identifier = Control::read(data_directory)?.system_identifier();
    let directory = data_directory.join("pg_wal/archive_status");
    let mut waiting = Waiting { system_identifier, files: 0, oldest: None };
    for entry in fs::read_dir(&directory).during_path("list", &directory)? {
        let path = entry.during_path("list", &directory)?.path();
        if path.extension().is_none_or(|extension| extension != "ready") {
            continue;
        }
        // One that is gone by now was archived meanwhile.
        if let Ok(modified) = fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            let modified = OffsetDateTime::from(modified);
            waiting.files += 1;
            waiting.oldest = Some(waiting.oldest.map_or(modified, |oldest| oldest.min(modified)));
        }
    }
    Ok(waiting)
}
