//! pgv: PostgreSQL backups as Unix streams.
//!
//! Five tools are built on this library: `pgv-snap`, `pgv-apply`, `pgv-crypt`, `pgv-s3` and `pgv-info`.
//! The rooms `snap`, `apply`, `crypt`, `store`, `info` and `recover` never import each other (`info` may import
//! `store`); `pg`, `manifest` and `catalog` describe what PostgreSQL, the manifest and the repository
//! look like; `cli`, `io`, `report` and `error` are the ground floor. `tests/layers.rs` keeps it so.

pub mod apply;
pub mod catalog;
pub mod cli;
pub mod crypt;
pub mod error;
pub mod info;
pub mod io;
pub mod manifest;
pub mod pg;
pub mod recover;
pub mod report;
pub mod snap;
pub mod store;
