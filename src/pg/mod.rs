//! What PostgreSQL looks like on disk and in its own files, for versions 13 to 18: the only holder of
//! its names and numbers.

pub mod backup_label;
pub mod backup_manifest;
pub mod conf;
pub mod control;
pub mod crc;
pub mod guc;
pub mod incremental;
mod lsn;
pub mod page;
pub mod records;
pub mod relation;
pub mod segment;
pub mod settings;
pub mod timeline;
pub mod wal;

pub use lsn::Lsn;
