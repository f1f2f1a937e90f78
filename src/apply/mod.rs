//! `pgv-apply`: lays a stream of `pgv-snap` down as a data directory, and checks every byte of it.
//!
//! Memory: two buffers of 1 MiB, whatever the size of the database and the number of its files.

mod aside;
mod base;
mod commit;
mod decide;
mod delta;
mod layer;
mod lists;
mod look;
mod merge;
mod options;
mod parent;
mod pieces;
mod places;
mod plan;
mod prune;
mod run;
mod target;
mod user;

pub use aside::set_aside;
pub use commit::commit;
pub use delta::{compare, complete};
pub use options::Options;
pub use plan::plan;
pub use run::run;
pub use user::Owner;
