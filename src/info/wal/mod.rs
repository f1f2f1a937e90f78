//! What the archived WAL is good for, what is missing in it, what of it may go, and what waits to be archived. It reads
//! names and times only: no key is needed.

mod archive;
mod arrival;
mod between;
mod holes;
pub(super) mod listing;
mod metrics;
pub(super) mod pages;
mod points;
mod reach;
pub(super) mod retention;
pub(super) mod runs;
mod show;
mod unknown;
mod waiting;
pub(super) mod window;

#[cfg(test)]
pub use archive::archive;
pub use archive::{Archive, archives};
pub use arrival::await_wal;
pub use between::segments_between;
pub use metrics::wal_metrics;
pub use retention::unneeded;
pub use runs::Run;
pub use show::{complaints as wal_complaints, show_wal, wal_lines};
pub use unknown::{complaint, without_history};
pub use waiting::{Waiting, waiting};
pub use window::{KeepWal, beginnings};

/// What is missing and needed.
#[cfg(test)]
pub fn gaps_of(archive: &Archive) -> Vec<Run> {
    archive.gaps.clone()
}
