//! `pgv-info`: what a repository holds. It lists each cluster's `backup/` once (never `wal/`) and reads
//! the records, so its cost follows the number of backups and nothing else.

mod choose;
mod prune;
mod record;
mod sets;
mod show;

pub use choose::{Choice, choose};
pub use prune::{Rules, Verdict, prune};
pub use record::{RecordInput, record};
pub use sets::{Query, Set, State, collect};
pub use show::{Format, is_too_old, show};
