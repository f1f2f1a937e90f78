//! pgv: PostgreSQL backups as Unix streams.
//!
//! Five tools are built on this library: `pgv-snap`, `pgv-apply`, `pgv-crypt`, `pgv-s3` and `pgv-info`.
//! The rooms `snap`, `apply`, `crypt`, `store`, `info`, `recover` and `spool` never import each other (`info` may import
//! `store`); `tar`, `pg`, `manifest` and `catalog` describe what the stream, PostgreSQL's files, the manifest and the
//! repository look like; `cli`, `io`, `report` and `error` are the ground floor. `tests/layers.rs` keeps it so.

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
pub mod pg;
pub mod recover;
pub mod report;
pub mod snap;
pub mod spool;
pub mod store;
pub mod stream;
pub mod tar;
