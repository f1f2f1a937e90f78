//! `pgv-snap`: a data directory as one tar stream.
//!
//! The stream's order is its safety: `global/pg_control` comes last, and the tar end marker only when
//! all else succeeded, so that nothing cut short can be taken for a backup, or started.

mod archive;
mod base;
mod config;
mod copy;
mod estimate;
mod ledger;
mod options;
mod psql;
mod run;
mod session;
mod since;
mod source;
mod tablespaces;
mod tree;
mod wal;

pub use estimate::{Estimate, estimate};
pub use options::Options;
pub use run::run;
