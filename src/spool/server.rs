//! One run of a server, from its start to its end: what it was told, and what is fetched for it, is no other run's.

use crate::pg::wal;
use std::path::Path;

/// From postmaster.pid: the process, and when it was started, seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub process: u32,
    pub started: u64,
}

impl Server {
    /// The server that runs in a data directory; none of a call by hand.
    pub fn of(data_directory: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(data_directory.join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        let process = lines.next()?.trim().parse().ok()?;
        let started = lines.nth(1)?.trim().parse().ok()?;
        Some(Server { process, started })
    }

    pub fn runs(process: u32) -> bool {
        Path::new("/proc").join(process.to_string()).is_dir()
    }
}

/// Whether recovery is to ask for segments still.
pub fn recovers(data_directory: &Path) -> bool {
    ["recovery.signal", "standby.signal"].iter().any(|signal| data_directory.join(signal).exists())
}

/// The segment that a file of a spool belongs to: `NAME`, `NAME.ok`, `NAME.lock`.
pub fn segment_of(file: &str) -> Option<&str> {
    file.get(..24).filter(|name| wal::is_segment_name(name))
}
