//! Which holes of an archive are findings. With PGV_KEEP_WAL expiry makes holes: before the window it leaves what each
//! backup needs itself, and nothing else. So a hole counts where the window needs what is missing, or a backup does.
//! Without the key every hole counts: nobody knows which of them an expiry made.

use crate::info::sets::{Set, good};
use crate::info::wal::reach::Need;
use crate::info::wal::runs::{Extents, Run};
use crate::info::wal::window::{KeepWal, Stretch, needed, place};

/// What is known of one system identifier.
pub(super) struct Judge<'a> {
    pub(super) sets: &'a [Set],
    pub(super) segment_bytes: u64,
    pub(super) extents: &'a Extents,
    /// Backups that expect their WAL in the archive.
    pub(super) needs: &'a [Need],
    pub(super) keep: Option<&'a KeepWal>,
}

impl Judge<'_> {
    /// What of these holes is a finding.
    pub(super) fn findings(&self, holes: Vec<Run>) -> Vec<Run> {
        let Some(window) = self.window() else { return holes };
        holes.iter().flat_map(|hole| self.parts(hole, &window)).collect()
    }

    /// What the window needs; nothing as long as that is all WAL since the oldest backup.
    fn window(&self) -> Option<Vec<Stretch>> {
        let placed = place(self.sets, &good(self.sets), self.segment_bytes)?;
        let needed = needed(&placed, self.extents, self.keep?);
        needed.from.map(|_| needed.stretches)
    }

    /// What of a hole the window needs, or a backup itself.
    fn parts(&self, hole: &Run, window: &[Stretch]) -> Vec<Run> {
        let own = self.needs.iter().map(|need| (need.timeline, need.first, need.last));
        let on_it = own.chain(window.iter().copied()).filter(|(timeline, ..)| *timeline == hole.timeline);
        let inside = on_it.map(|(_, first, last)| (first.max(hole.first), last.min(hole.last)));
        let mut inside: Vec<(u64, u64)> = inside.filter(|(first, last)| first <= last).collect();
        inside.sort_unstable();
        let mut parts: Vec<Run> = Vec::new();
        for (first, last) in inside {
            match parts.last_mut() {
                Some(part) if first <= part.last + 1 => part.last = part.last.max(last),
                _ => parts.push(Run { first, last, ..hole.clone() }),
            }
        }
        parts
    }
}
