//! Backups that can be restored to their own end and no further: all WAL of the archive that they reach is their own,
//! and more recent WAL exists. Expiry leaves them before the window of PGV_KEEP_WAL.

use crate::info::wal::reach::{Need, Window};
use crate::info::wal::runs::Run;
use time::OffsetDateTime;

pub(in crate::info) struct Point {
    /// The segments that it needs.
    pub(in crate::info) run: Run,
    pub(in crate::info) at: OffsetDateTime,
    pub(in crate::info) label: String,
}

/// `reached`: the runs that backups reach. Divided into those that hold nothing but what one backup needs, and windows.
pub(super) fn points(needs: &[Need], runs: &[Run], reached: &[Window]) -> (Vec<Point>, Vec<Window>) {
    let own = |window: &Window| {
        needs.iter().any(|need| need.label == window.label && need.timeline == window.run.timeline)
    };
    let goes_on = |window: &&Window| {
        let is_followed = |other: &Window| other.label == window.label && other.run != window.run;
        // The newest run may yet grow.
        let may_grow = runs.last() == Some(&window.run);
        window.backup_last < window.run.last || !own(window) || may_grow || reached.iter().any(is_followed)
    };
    let windows: Vec<Window> = reached.iter().filter(goes_on).cloned().collect();
    let is_point = |need: &&Need| {
        let on_it = || runs.iter().filter(|run| run.timeline == need.timeline);
        // Where its own WAL begins too late in the archive, nobody knows here how far it gets.
        let goes_on = on_it().any(|run| run.first <= need.last + 1 && run.last > need.last);
        let is_whole =
            need.is_included || on_it().any(|run| run.first <= need.first && need.last <= run.last);
        let is_inside = |window: &Window| {
            window.run.timeline == need.timeline
                && window.run.first <= need.last
                && need.last <= window.run.last
        };
        is_whole && !goes_on && !windows.iter().any(is_inside)
    };
    let point = |need: &Need| Point {
        run: Run { timeline: need.timeline, first: need.first, last: need.last, stored_at: None },
        at: need.stopped_at,
        label: need.label.clone(),
    };
    (needs.iter().filter(is_point).map(point).collect(), windows)
}
