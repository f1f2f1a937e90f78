//! What backups need of the WAL, and which runs of the archive they reach. A timeline's run goes on from the run of an
//! older timeline that ends where it begins.

use crate::info::choose::stopped_at;
use crate::info::sets::Set;
use crate::info::wal::runs::Run;
use crate::pg::wal;
use time::OffsetDateTime;

/// Every moment from the end of a backup to the end of a run can be restored.
#[derive(Clone)]
pub(in crate::info) struct Window {
    pub(in crate::info) run: Run,
    pub(in crate::info) from: OffsetDateTime,
    /// The oldest backup that reaches it.
    pub(in crate::info) label: String,
    /// The last segment that this backup needs.
    pub(super) backup_last: u64,
}

impl Window {
    /// When its last segment was stored. That is told by another clock than the backup's end is, or in whole seconds;
    /// the end of the backup itself can be restored in any case.
    pub(in crate::info) fn to(&self) -> Option<OffsetDateTime> {
        self.run.stored_at.map(|stored_at| stored_at.max(self.from))
    }

    /// Where no older backup can follow the timeline: lets the window begin with the oldest of the timeline itself, if
    /// there is one.
    pub(super) fn begin_on_own_timeline(&mut self, needs: &[Need]) -> bool {
        let run = &self.run;
        let is_inside =
            |need: &&Need| need.timeline == run.timeline && need.first >= run.first && need.last <= run.last;
        let Some(own) = needs.iter().find(is_inside) else { return false };
        self.from = own.stopped_at;
        self.label.clone_from(&own.label);
        self.backup_last = own.last;
        true
    }
}

/// What a backup needs of the WAL.
pub(super) struct Need {
    pub(super) timeline: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) stopped_at: OffsetDateTime,
    pub(super) label: String,
    /// From its beginning on; or it was made before there was one, and has what it needs.
    pub(super) expects_archive: bool,
    /// The backup holds it.
    pub(super) is_included: bool,
}

pub(super) fn needs(sets: &[Set], segment_bytes: u64) -> Vec<Need> {
    let need = |set: &Set| {
        let backup = &set.record()?.backup;
        Some(Need {
            timeline: wal::segment_number(&backup.wal_first, segment_bytes)?.0,
            first: wal::segment_number(&backup.wal_first, segment_bytes)?.1,
            last: wal::segment_number(&backup.wal_last, segment_bytes)?.1,
            stopped_at: stopped_at(set)?,
            label: set.label.to_string(),
            expects_archive: backup.archiving || !backup.wal_included,
            is_included: backup.wal_included,
        })
    };
    let mut needs: Vec<_> = sets.iter().filter_map(need).collect();
    needs.sort_by_key(|need| need.stopped_at);
    needs
}

/// `needs` oldest first, `runs` by timeline: a timeline's ancestors come before it.
pub(super) fn windows(needs: &[Need], runs: &[Run]) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut timeline = 0;
    for run in runs {
        let begins = run.timeline != timeline;
        timeline = run.timeline;
        let own = needs
            .iter()
            .find(|need| need.timeline == timeline && need.first >= run.first && need.last <= run.last)
            .map(|need| (need.stopped_at, need.label.clone(), need.last));
        // Its first segment is the one in which the older timeline was left, or the one after it; and the backup was
        // complete by then.
        let is_left_by = |older: &&Window| {
            let after = &older.run;
            begins
                && after.timeline < timeline
                && older.backup_last <= run.first
                && run.first <= after.last + 1
        };
        let older = windows.iter().rev().find(is_left_by);
        let older = older.map(|older| (older.from, older.label.clone(), older.backup_last));
        if let Some((from, label, backup_last)) = own.into_iter().chain(older).min_by_key(|(from, ..)| *from)
        {
            windows.push(Window { run: run.clone(), from, label, backup_last });
        }
    }
    windows
}
