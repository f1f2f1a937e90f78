//! `pgv-info`: what a repository holds. It lists each cluster's `backup/` once and reads the records, so its
//! cost follows the number of backups and nothing else; only `pgv-info wal` lists `wal/`.

mod choose;
mod metrics;
mod prune;
mod record;
mod segment;
mod sets;
mod show;
mod verdict;
mod wal;

pub use choose::{Choice, choose, require};
pub use metrics::metrics;
pub use prune::{Fate, Rules, prune};
pub use record::{RecordInput, record};
pub use segment::{Expected, check_segment, segment};
pub use sets::{Query, Set, State, collect};
pub use show::{Format, show, too_old};
pub use verdict::verdict;
pub use wal::{Archive, archives, show_wal, wal_metrics};
