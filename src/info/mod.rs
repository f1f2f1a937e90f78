//! `pgv-info`: what a repository holds. It lists each cluster's `backup/` once and reads the records, on S3 only those
//! that no earlier run has read, so its cost follows the number of backups and nothing else; only `pgv-info wal`, `recovery` and totals list `wal/`, and `prune`
//! where a window of WAL is kept.

mod archiving;
mod cache;
mod checks;
mod choose;
mod claim;
mod columns;
mod data_keys;
mod databases;
mod doctor;
mod estimate;
mod facts;
mod files;
mod glance;
mod histories;
mod key_expiry;
mod lineage;
mod listed;
mod look;
mod manifests;
mod marking;
mod marks;
mod merging;
mod metrics;
mod next;
mod note;
mod page;
mod pins;
mod plan;
mod plan_json;
mod prune;
mod record;
mod recovery;
mod repository;
mod rooms;
mod sets;
mod show;
mod totals;
mod transfer;
mod values;
mod verdict;
mod wal;
mod walk;
mod words;

pub use archiving::{Archiving, archiving};
pub use checks::{backup_checks, wal_checks};
pub use choose::{Choice, choose, require};
pub use claim::{claim, leftovers, remember};
pub use columns::{object_lines, set_line, with_parents};
pub use data_keys::{Wanted as DataKeys, data_keys};
pub use databases::{
    Share, databases_of, read_databases, select as select_databases, share, way as way_of_databases,
};
pub use doctor::{Limits, doctor};
pub use files::{Patterns, choose as choose_files, list as list_files};
pub use glance::glance;
pub use histories::{
    archived as archived_histories, missing as missing_histories, to_archive as histories_to_archive,
};
pub use key_expiry::unneeded_keys;
pub use lineage::Lineage;
pub use manifests::gather;
pub use marking::{annotate, new_pin, pin};
pub use marks::Marks;
pub use merging::{Merging, merging};
pub use metrics::{metrics, readable};
pub use next::{Next, Wanted, next, not_earlier};
pub use note::NOTE;
pub use page::Page;
pub use pins::{kept_by_pins, refuse_unread as refuse_unread_pins};
pub use plan::{Asked, plan};
pub use plan_json::plan_json;
pub use prune::{Fate, Rules, prune, prune_labels};
pub use record::{RecordInput, record, require_rest};
pub use recovery::{Along, Histories, Recovery, Request, Target, recovery};
pub use repository::{Repository, orphans, warn_of_damaged, warn_of_marks};
pub use sets::systems;
pub use sets::{
    Query, Set, State, collect, is_repository, refuse_unread, survey, survey_chain, survey_newest,
};
use sets::{clean, good};
pub use show::{Format, show, show_fates, show_marks, too_old};
pub use totals::{Totals, WalBytes, show_totals, totals, totals_metrics};
pub use transfer::{Listing, Wanted as Transfer, parse_listing, transfer};
pub use values::Values;
pub use verdict::{began, findings, verdict};
pub use wal::{
    Archive, KeepWal, Waiting, archives, await_wal, beginnings, segments_between, show_wal, unneeded,
    waiting, wal_complaints, wal_lines, wal_metrics,
};
pub use walk::Archived;
