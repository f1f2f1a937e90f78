//! `pgv-apply`: lays a stream of `pgv-snap` down as a data directory, and checks every byte of it.
//!
//! Memory: two buffers of 1 MiB, whatever the size of the database and the number of its files.

mod archive;
mod check;
mod commit;
mod merge;
mod parent;
mod places;
mod prune;
mod run;
mod target;

pub use commit::commit;
pub use run::{Options, run};
pub use target::Owner;
