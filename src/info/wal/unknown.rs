//! Timelines whose history is not in the archive. PostgreSQL archives a history when it begins the timeline, and never
//! again: a server that was promoted while it did not archive leaves it in its `pg_wal` only. Without it no recovery
//! from an older timeline can follow the timeline, nor know that its number is taken.

use crate::info::Set;
use crate::pg::timeline;
use std::collections::BTreeSet;

/// Of `archived`, which have WAL, and those of complete backups: the timelines that began after another of them, and have
/// no history. Nothing leads to the oldest one, so it needs none.
pub fn without_history(
    sets: &[Set],
    archived: impl Iterator<Item = u32>,
    histories: &BTreeSet<u32>,
) -> BTreeSet<u32> {
    let mut archived = archived.chain(histories.iter().copied()).peekable();
    // Where no WAL is archived, each backup is restored by itself.
    if archived.peek().is_none() {
        return BTreeSet::new();
    }
    let backed_up = sets.iter().filter_map(|set| Some(set.record()?.backup.timeline));
    let known: BTreeSet<u32> = archived.chain(backed_up).collect();
    known.into_iter().skip(1).filter(|timeline| !histories.contains(timeline)).collect()
}

/// What is wrong with such a timeline, and what to do.
pub fn complaint(timeline: u32, cluster: &str) -> (String, String) {
    let name = timeline::history_name(timeline);
    (
        format!(
            "timeline {timeline}: its history, {name}, is not in the archive: no older backup can follow it"
        ),
        format!(
            "the server has it in pg_wal, and pgv-backup archives it: pgv-backup {cluster}; or in the data directory, \
             as its owner: pgv-wal-push pg_wal/{name}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_timeline_needs_no_history() {
        let unknown = |archived: &[u32], histories: &[u32]| {
            let histories = histories.iter().copied().collect();
            without_history(&[], archived.iter().copied(), &histories).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(unknown(&[1, 2, 3], &[3]), [2]);
        assert!(unknown(&[1, 2, 3], &[2, 3]).is_empty());
        // Such as one that pg_resetwal began.
        assert!(unknown(&[4], &[]).is_empty());
        assert_eq!(unknown(&[4, 5], &[]), [5]);
        assert!(unknown(&[], &[]).is_empty());
    }
}
