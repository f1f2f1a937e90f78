//! `backup_manifest`, PostgreSQL's own list of a backup's files, which `pg_verifybackup` checks.

mod reader;
mod writer;

pub use reader::{Entry, Reader, WalRange};
pub use writer::Writer;

/// The path below the data directory.
pub const PATH: &str = "backup_manifest";
