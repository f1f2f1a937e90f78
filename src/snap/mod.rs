//! `pgv-snap`: a data directory as one tar stream.
//!
//! The stream's order is its safety: `global/pg_control` comes last, and the tar end marker only when
//! all else succeeded, so that nothing cut short can be taken for a backup, or started.

mod archive;
mod connect;
mod copy;
mod ledger;
mod run;
mod session;
mod tablespaces;
mod tree;

pub use run::{Estimate, Options, estimate, run};
