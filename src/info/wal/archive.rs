//! From when to when a cluster can be restored along each timeline, and which segments are missing in between.

use crate::error::Result;
use crate::info::sets::{Set, systems};
use crate::info::wal::holes::Judge;
use crate::info::wal::points::{Point, points};
use crate::info::wal::reach::{Need, Window, needs, windows};
use crate::info::wal::runs::{Listed, Run, sized};
use crate::info::wal::unknown::without_history;
use crate::info::wal::window::KeepWal;
use crate::store::{Store, Url};
use std::collections::BTreeSet;

/// The WAL of one cluster and system identifier.
pub struct Archive {
    pub cluster: String,
    pub system_identifier: u64,
    pub(in crate::info) segment_bytes: u64,
    /// Backups from which nothing but their own end can be restored.
    pub(in crate::info) points: Vec<Point>,
    pub(in crate::info) windows: Vec<Window>,
    /// What is missing and needed.
    pub(in crate::info) gaps: Vec<Run>,
    /// Timelines whose history is missing.
    pub(in crate::info) unknown: BTreeSet<u32>,
    /// Of each timeline, and when it was stored.
    pub(in crate::info) newest: Vec<Run>,
}

impl Archive {
    /// Whether WAL or a history is missing that a backup might need to reach what comes after it.
    pub fn has_gaps(&self) -> bool {
        !self.gaps.is_empty() || !self.unknown.is_empty()
    }
}

/// Of every cluster that has complete backups: without one, WAL restores nothing. `keep`: PGV_KEEP_WAL.
pub fn archives(
    store: &Store,
    repository: &Url,
    sets: &[Set],
    keep: Option<&KeepWal>,
) -> Result<Vec<Archive>> {
    let mut found = Vec::new();
    for sets in systems(sets) {
        if let Some((_, segment_bytes)) = sized(sets) {
            let listed = Listed::read(store, repository, sets, segment_bytes)?;
            found.push(archive(sets, &listed, segment_bytes, keep));
        }
    }
    Ok(found)
}

/// Of one system identifier.
pub fn archive(sets: &[Set], listed: &Listed, segment_bytes: u64, keep: Option<&KeepWal>) -> Archive {
    let runs = &listed.runs;
    let mut needs = needs(sets, segment_bytes);
    let reached = windows(&needs, runs);
    let (points, mut windows) = points(&needs, runs, &reached);
    let unknown = without_history(sets, listed.extents.keys().copied(), &listed.histories);
    windows
        .retain_mut(|window| !unknown.contains(&window.run.timeline) || window.begin_on_own_timeline(&needs));
    needs.retain(|need| need.expects_archive);
    let judge = Judge { sets, segment_bytes, extents: &listed.extents, needs: &needs, keep };
    let newest = runs.chunk_by(|a, b| a.timeline == b.timeline).filter_map(<[Run]>::last);
    Archive {
        cluster: sets.first().map(|set| set.cluster.clone()).unwrap_or_default(),
        system_identifier: sets.first().map_or(0, |set| set.system_identifier),
        segment_bytes,
        points,
        windows,
        gaps: judge.findings(gaps(&needs, runs, &reached)),
        unknown,
        newest: newest.cloned().collect(),
    }
}

/// Missing segments before a run, unless they are older than all that backups need. Not all of them are needed.
fn gaps(needs: &[Need], runs: &[Run], windows: &[Window]) -> Vec<Run> {
    let Some(least) = needs.iter().map(|need| need.first).min() else { return Vec::new() };
    let before = |(at, run): (usize, &Run)| {
        let first = match runs[..at].last().filter(|older| older.timeline == run.timeline) {
            Some(older) => older.last + 1,
            None => expected_first(needs, &runs[..at], run, windows)?,
        };
        let gap = Run { timeline: run.timeline, first, last: run.first.checked_sub(1)?, stored_at: None };
        (gap.first <= gap.last && gap.last >= least).then_some(gap)
    };
    runs.iter().enumerate().filter_map(before).collect()
}

/// Where the first run of a timeline should begin, if that is not where it does: at what a backup on it needs, or, if
/// no window reaches it, where an older timeline ends.
fn expected_first(needs: &[Need], older: &[Run], run: &Run, windows: &[Window]) -> Option<u64> {
    let earlier = needs.iter().filter(|need| need.first < run.first);
    let own = earlier.clone().filter(|need| need.timeline == run.timeline).map(|need| need.first).min();
    if own.is_some() || windows.iter().any(|window| window.run == *run) {
        return own;
    }
    // It goes on from one that nobody can restore any more: nothing is missing between the two.
    if older.iter().any(|older| older.first <= run.first && run.first <= older.last + 1) {
        return None;
    }
    let left = older.iter().map(|older| older.last + 1).filter(|next| *next <= run.first).max();
    left.or_else(|| earlier.filter(|need| need.timeline < run.timeline).map(|need| need.first).min())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    fn run(timeline: u32, first: u64, last: u64) -> Run {
        Run { timeline, first, last, stored_at: Some(at(1000 + i64::try_from(last).unwrap())) }
    }

    fn need(timeline: u32, first: u64, last: u64, stopped: i64) -> Need {
        Need {
            timeline,
            first,
            last,
            stopped_at: at(stopped),
            label: format!("at{stopped}"),
            expects_archive: true,
            is_included: true,
        }
    }

    fn labels(windows: &[Window]) -> Vec<(u32, u64, &str)> {
        windows.iter().map(|window| (window.run.timeline, window.run.first, window.label.as_str())).collect()
    }

    #[test]
    fn a_run_is_restorable_from_the_oldest_backup_in_it() {
        let needs = [need(1, 4, 5, 50), need(1, 7, 7, 70)];
        assert_eq!(labels(&windows(&needs, &[run(1, 2, 9)])), [(1, 2, "at50")]);
        // A hole between the two backups, one inside of a backup's need, and WAL that no backup reaches.
        assert_eq!(labels(&windows(&needs, &[run(1, 2, 5), run(1, 7, 9)])), [(1, 2, "at50"), (1, 7, "at70")]);
        assert_eq!(labels(&windows(&needs, &[run(1, 2, 4), run(1, 6, 9)])), [(1, 6, "at70")]);
        assert_eq!(labels(&windows(&needs, &[run(1, 8, 9)])), []);
    }

    #[test]
    fn a_timeline_goes_on_where_it_left_an_older_one() {
        let needs = [need(1, 2, 2, 20)];
        for first in [5, 6] {
            let runs = [run(1, 2, 5), run(2, first, 9)];
            assert_eq!(labels(&windows(&needs, &runs)), [(1, 2, "at20"), (2, first, "at20")]);
        }
        // After a hole; and what lies behind a hole in the younger one.
        assert_eq!(labels(&windows(&needs, &[run(1, 2, 5), run(2, 7, 9)])), [(1, 2, "at20")]);
        let runs = [run(1, 2, 5), run(2, 5, 6), run(2, 8, 9)];
        assert_eq!(labels(&windows(&needs, &runs)), [(1, 2, "at20"), (2, 5, "at20")]);
    }

    #[test]
    fn gaps_are_what_lies_between_runs_and_may_be_needed() {
        let runs = [run(1, 2, 4), run(1, 6, 8), run(2, 11, 12)];
        let missing = |needs: &[Need]| {
            gaps(needs, &runs, &windows(needs, &runs))
                .iter()
                .map(|gap| (gap.timeline, gap.first, gap.last))
                .collect::<Vec<_>>()
        };
        assert_eq!(missing(&[need(1, 3, 3, 30)]), [(1, 5, 5), (2, 9, 10)]);
        assert_eq!(missing(&[need(1, 6, 6, 60)]), [(2, 9, 10)]);
        assert_eq!(missing(&[need(2, 11, 11, 60)]), []);
        assert_eq!(missing(&[]), []);
    }

    /// What is missing, and how many windows there are.
    fn missing(needs: &[Need], runs: &[Run]) -> (Vec<(u32, u64, u64)>, usize) {
        let windows = windows(needs, runs);
        let gaps = gaps(needs, runs, &windows);
        (gaps.iter().map(|gap| (gap.timeline, gap.first, gap.last)).collect(), windows.len())
    }

    #[test]
    fn a_timeline_that_no_window_reaches_has_a_gap_before_it() {
        let needs = [need(1, 2, 2, 20)];
        assert_eq!(missing(&needs, &[run(1, 2, 7), run(2, 0xA, 0xC)]), (vec![(2, 8, 9)], 1));
        for first in [7, 8] {
            assert_eq!(missing(&needs, &[run(1, 2, 7), run(2, first, 0xC)]), (vec![], 2));
        }
        // Behind the older one's own hole; with a backup of its own; and older than all need.
        let runs = [run(1, 2, 4), run(1, 6, 7), run(2, 8, 9)];
        assert_eq!(missing(&needs, &runs), (vec![(1, 5, 5), (2, 8, 9)].drain(..1).collect(), 1));
        let own = [need(1, 2, 2, 20), need(2, 0xB, 0xB, 110)];
        assert_eq!(missing(&own, &[run(1, 2, 7), run(2, 0xA, 0xC)]), (vec![], 2));
        assert_eq!(
            missing(&[need(3, 0x20, 0x20, 320)], &[run(1, 2, 7), run(2, 0xA, 0xC), run(3, 0x20, 0x21)]),
            (vec![], 1)
        );
        // Joined to one that no backup reaches any more, which goes on, or ends there.
        for last in [0x22, 0x30] {
            let runs = [run(1, 2, 3), run(2, 4, last), run(3, 0x23, 0x27), run(4, 0x22, 0x23)];
            assert_eq!(missing(&[need(4, 0x22, 0x22, 320)], &runs), (vec![], 1));
        }
        // Left in the very segment in which the backup ended, or before that.
        assert_eq!(missing(&[need(1, 5, 5, 50)], &[run(1, 5, 5), run(2, 5, 9)]), (vec![], 2));
        assert_eq!(missing(&[need(1, 5, 6, 60)], &[run(1, 5, 8), run(2, 5, 9)]), (vec![], 1));
    }

    #[test]
    fn the_first_segments_of_a_backup_are_missed_when_later_ones_are_there() {
        assert_eq!(missing(&[need(1, 3, 4, 40)], &[run(1, 4, 9)]), (vec![(1, 3, 3)], 0));
        assert_eq!(missing(&[need(1, 3, 4, 40)], &[run(1, 5, 9)]), (vec![(1, 3, 4)], 0));
        assert_eq!(missing(&[need(1, 3, 4, 40)], &[run(2, 5, 9)]), (vec![(2, 3, 4)], 0));
        // Not archived yet.
        assert_eq!(missing(&[need(1, 3, 4, 40)], &[run(1, 1, 2)]), (vec![], 0));
        assert_eq!(missing(&[need(1, 3, 4, 40)], &[run(1, 1, 3)]), (vec![], 0));
    }
}
