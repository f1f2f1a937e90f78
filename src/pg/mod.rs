//! What PostgreSQL looks like on disk and in its own files, for versions 13 to 18: the only holder of
//! its names and numbers.

mod lsn;
pub mod wal;

pub use lsn::Lsn;
