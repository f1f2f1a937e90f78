//! The archived segments of a cluster as runs without a hole. They are listed in the order of their names, so memory
//! follows the number of holes.

use crate::catalog::{BackupFacts, layout};
use crate::error::Result;
use crate::info::sets::Set;
use crate::info::wal::listing::Place;
use crate::pg::{Lsn, timeline, wal};
use crate::store::{Store, Url};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// Segments of one timeline, by number, without a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub timeline: u32,
    pub first: u64,
    pub last: u64,
    /// When the last of them was stored: later than everything in it happened.
    pub stored_at: Option<OffsetDateTime>,
}

impl Run {
    /// A segment goes on from the last of `runs`, or begins another: they come in the order of their names.
    pub fn add(runs: &mut Vec<Run>, timeline: u32, number: u64, stored_at: Option<OffsetDateTime>) {
        match runs.last_mut() {
            Some(run) if run.timeline == timeline && run.last + 1 == number => {
                run.last = number;
                run.stored_at = stored_at;
            }
            _ => runs.push(Run { timeline, first: number, last: number, stored_at }),
        }
    }
}

/// Where the WAL of the cluster lies of which this is a backup.
pub fn directory(repository: &Url, set: &Set) -> Url {
    repository.join(&layout::wal_directory(&set.cluster, set.system_identifier))
}

/// The size with which the last segment that a backup needs holds the end of that backup.
pub fn segment_bytes(set: &Set) -> Option<u64> {
    size_in(&set.record()?.backup)
}

/// The first of one system identifier's sets by which that size is known.
pub fn sized(sets: &[Set]) -> Option<(&Set, u64)> {
    sets.iter().find_map(|set| Some((set, segment_bytes(set)?)))
}

/// The same of a record that is not, or no longer, one of a complete backup.
pub fn size_in(backup: &BackupFacts) -> Option<u64> {
    let before_stop = Lsn(backup.stop_lsn.0.checked_sub(1)?);
    wal::SEGMENT_SIZES
        .into_iter()
        .find(|size| wal::segment_name(backup.timeline, before_stop, *size) == backup.wal_last)
}

/// Of each timeline the last segment that a backup needs.
pub fn expected(sets: &[Set], segment_bytes: u64) -> BTreeMap<u32, u64> {
    let mut expected = BTreeMap::new();
    for record in sets.iter().filter_map(Set::record) {
        if let Some((timeline, last)) = wal::segment_number(&record.backup.wal_last, segment_bytes) {
            let known = expected.entry(timeline).or_insert(last);
            *known = last.max(*known);
        }
    }
    expected
}

/// From where to where the archive has a timeline, whatever is missing in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    pub first: u64,
    pub last: u64,
    /// When the newest was stored; nothing if the store does not tell that of each.
    pub stored_at: Option<OffsetDateTime>,
}

pub type Extents = BTreeMap<u32, Extent>;

/// What lies in an archive.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    pub runs: Vec<Run>,
    /// With segments that are not full: a timeline may have nothing else.
    pub extents: Extents,
    /// Timelines that have a history.
    pub histories: BTreeSet<u32>,
}

impl Listed {
    /// Of the cluster of these backups, whose segments have this size.
    pub fn read(store: &Store, repository: &Url, sets: &[Set], segment_bytes: u64) -> Result<Self> {
        let mut listed = Listed::default();
        let Some(set) = sets.first() else { return Ok(listed) };
        let place = Place { store, directory: &directory(repository, set), segment_bytes };
        place.list(&expected(sets, segment_bytes), &mut |found| {
            listed.add(found.name, segment_bytes, found.entry.modified);
            Ok(())
        })?;
        Ok(listed)
    }

    /// Names come in their order.
    pub fn add(&mut self, name: &str, segment_bytes: u64, stored_at: Option<OffsetDateTime>) {
        let segment = name.strip_suffix(".partial").unwrap_or(name);
        self.histories.extend(timeline::timeline_of_history(name));
        let Some((timeline, number)) = wal::segment_number(segment, segment_bytes) else { return };
        if segment == name {
            Run::add(&mut self.runs, timeline, number, stored_at);
        }
        let new = Extent { first: number, last: number, stored_at };
        let extent = self.extents.entry(timeline).or_insert(new);
        extent.first = extent.first.min(number);
        extent.last = extent.last.max(number);
        extent.stored_at = extent.stored_at.zip(stored_at).map(|(one, other)| one.max(other));
    }
}
