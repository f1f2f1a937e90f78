//! pgv: PostgreSQL backups as Unix streams.
//!
//! The tools of `src/bin` are built on this library.
//! The rooms `snap`, `apply`, `merge`, `crypt`, `store`, `info`, `recover`, `find`, `spool` and `migrate` never import
//! each other (`info` may import `store`); `stream`, `tar`, `pg`, `manifest` and `catalog` describe what the stream, PostgreSQL's
//! files, the manifest and the repository look like; `cli`, `io`, `report` and `error` are the ground floor.
//! `tests/layers.rs` keeps it so.

pub mod apply;
pub mod catalog;
pub mod cli;
pub mod crypt;
pub mod error;
pub mod find;
pub mod info;
pub mod io;
pub mod manifest;
pub mod merge;
pub mod migrate;
pub mod pg;
pub mod recover;
pub mod report;
pub mod snap;
pub mod spool;
pub mod store;
pub mod stream;
pub mod tar;
