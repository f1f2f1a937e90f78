//! What PostgreSQL looks like on disk and in its own files, for the versions in `major.rs`: the only holder of
//! its names and numbers.

pub mod backup_label;
pub mod backup_manifest;
pub mod conf;
pub mod conninfo;
pub mod control;
pub mod crc;
pub mod guc;
pub mod incremental;
pub mod log;
mod lsn;
pub mod major;
pub mod page;
pub mod records;
pub mod relation;
pub mod segment;
pub mod settings;
pub mod timeline;
pub mod wal;

pub use lsn::Lsn;
