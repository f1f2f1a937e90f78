//! WAL on its way, in the state directory of a host. `out`: which segments are stored before PostgreSQL asks for them.
//! `in`: which segments lie here before recovery asks for them. Nothing here is needed: what is missing, or cannot be
//! read, is pushed and fetched again by PostgreSQL's own call.

mod ahead;
mod incoming;
mod outgoing;
mod server;

pub use ahead::Ahead;
pub use incoming::Incoming;
pub use outgoing::{Outgoing, check_segment};
pub use server::Server;

/// How many segments of `segment_bytes` a spool of `bytes` may hold; one at least.
pub fn segments(bytes: u64, segment_bytes: u64) -> usize {
    usize::try_from(bytes / segment_bytes.max(1)).unwrap_or(usize::MAX).max(1)
}
