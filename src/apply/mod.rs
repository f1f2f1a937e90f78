//! `pgv-apply`: lays a stream of `pgv-snap` down as a data directory, and checks every byte of it.
//!
//! Memory: two buffers of 1 MiB, whatever the size of the database and the number of its files.

mod archive;
mod aside;
mod check;
mod claims;
mod commit;
mod decide;
mod look;
mod merge;
mod parent;
mod places;
mod prune;
mod run;
mod target;
mod user;

pub use aside::set_aside;
pub use claims::Claims;
pub use commit::commit;
pub use run::{Options, plan, run};
pub use user::Owner;
