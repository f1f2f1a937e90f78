//! `pgv-snap`: a data directory as one tar stream.
//!
//! The stream's order is its safety: `global/pg_control` comes last, and the tar end marker only when
//! all else succeeded, so that nothing cut short can be taken for a backup, or started.

mod base;
mod changed;
mod config;
mod copy;
mod data;
mod estimate;
mod facts;
mod finish;
mod head;
mod label;
mod ledger;
mod options;
mod psql;
mod reading;
mod run;
mod session;
mod since;
mod source;
mod start;
mod stream;
mod tablespaces;
mod tree;
mod wal;

pub use estimate::{Estimate, estimate};
pub use options::Options;
pub use run::run;
