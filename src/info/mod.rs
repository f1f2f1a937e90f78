//! `pgv-info`: what a repository holds. It lists each cluster's `backup/` once and reads the records, so its
//! cost follows the number of backups and nothing else; only `pgv-info wal` and `recovery` list `wal/`.

mod choose;
mod columns;
mod facts;
mod lineage;
mod look;
mod metrics;
mod next;
mod prune;
mod record;
mod recovery;
mod sets;
mod show;
mod verdict;
mod wal;
mod walk;

pub use choose::{Choice, choose, require};
pub use columns::{object_lines, set_line, with_parents};
pub use lineage::Lineage;
pub use metrics::metrics;
pub use next::{Next, Wanted, next, not_earlier};
pub use prune::{Fate, Rules, prune, prune_labels};
pub use record::{RecordInput, record};
pub use recovery::{Along, Histories, Recovery, Request, Target, recovery};
pub use sets::{Query, Set, State, collect, is_repository, refuse_unread, survey};
use sets::{good, systems};
pub use show::{Format, show, show_fates, too_old};
pub use verdict::verdict;
pub use wal::{Archive, Waiting, archives, show_wal, unneeded, waiting, wal_metrics};
pub use walk::Archived;
