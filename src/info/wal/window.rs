//! The WAL that the window of PGV_KEEP_WAL needs: from the backups with which it begins, along every timeline on which
//! one of its moments may lie. Histories are sealed, so where a timeline comes from is judged by names: by a timeline
//! that reaches the place where it begins. In doubt more is needed: what is needed in vain costs room, and the contrary
//! costs data.

use crate::catalog::{Label, Record, time_of};
use crate::error::Result;
use crate::info::choose::stopped_at;
use crate::info::sets::{Set, good, systems};
use crate::info::wal::runs::{Extent, Extents, Listed, size_in, sized};
use crate::pg::wal;
use crate::store::{Store, Url};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use time::OffsetDateTime;

/// A segment is dated by the clock of the store, a backup by that of its server.
const GRACE: time::Duration = time::Duration::HOUR;

/// How far back every moment can be restored.
#[derive(Clone, Copy, Debug)]
pub struct KeepWal {
    pub length: Duration,
    pub now: OffsetDateTime,
}

impl KeepWal {
    fn since(&self) -> OffsetDateTime {
        let length = time::Duration::try_from(self.length).unwrap_or(time::Duration::MAX);
        self.now.saturating_sub(length)
    }

    /// What was stored before holds nothing of the window.
    pub fn stored_since(&self) -> OffsetDateTime {
        self.since().saturating_sub(GRACE)
    }
}

/// Where a backup lies that is, or was, complete.
pub struct Placed<'a> {
    pub set: &'a Set,
    pub timeline: u32,
    /// The segments that it needs itself.
    pub first: u64,
    pub last: u64,
    pub stopped_at: OffsetDateTime,
    /// Whether a window may begin with it.
    counts: bool,
}

/// Of one system identifier, in its order. `counts`: of each set, whether a window may begin with it. Nothing if one of
/// them cannot be placed, or their segments differ in size.
pub fn place<'a>(sets: &'a [Set], counts: &[bool], segment_bytes: u64) -> Option<Vec<Placed<'a>>> {
    let committed =
        sets.iter().zip(counts).filter_map(|(set, counts)| Some((set, set.committed()?, *counts)));
    let one = |(set, record, counts): (&'a Set, &Record, bool)| {
        let backup = &record.backup;
        let (timeline, first) = wal::segment_number(&backup.wal_first, segment_bytes)?;
        let (_, last) = wal::segment_number(&backup.wal_last, segment_bytes)?;
        let stopped_at = time_of(&backup.stopped_at)?;
        let fits = size_in(backup) == Some(segment_bytes);
        fits.then_some(Placed { set, timeline, first, last, stopped_at, counts })
    };
    committed.map(one).collect()
}

/// Segments of one timeline that the window needs, first and last.
pub type Stretch = (u32, u64, u64);

/// What the window needs.
#[derive(Default)]
pub struct Needed<'a> {
    /// The backups with which it begins: more than one if timelines were left, or in doubt.
    pub beginnings: Vec<&'a Set>,
    /// Without those of timelines that only may be on the way.
    pub stretches: Vec<Stretch>,
    /// The least segment that must stay, on whatever timeline; nothing while the window begins before all backups, or
    /// with none that counts: then all WAL since the oldest backup stays.
    pub from: Option<u64>,
}

/// `placed`: of one system identifier.
pub fn needed<'a>(placed: &[Placed<'a>], extents: &Extents, keep: &KeepWal) -> Needed<'a> {
    let since = keep.since();
    let Some(least) = placed.iter().map(|one| one.first).min() else { return Needed::default() };
    let old = placed.iter().filter(|one| one.counts && one.stopped_at < since).collect();
    let mut way = Way {
        old,
        extents,
        followed: BTreeMap::new(),
        found: Vec::new(),
        stretches: Vec::new(),
        from: u64::MAX,
    };
    // The newest that is older than the window, whatever became of its timeline since.
    let newest = way.old.iter().max_by_key(|one| one.stopped_at).map(|one| one.timeline);
    // What was stored before the window holds none of its moments; what is older than all backups is of no use.
    let is_active = |extent: &Extent| {
        extent.last >= least && extent.stored_at.is_none_or(|stored_at| stored_at >= keep.stored_since())
    };
    let active = extents.iter().filter(|(_, extent)| is_active(extent));
    let timelines: BTreeSet<u32> = active.map(|(timeline, _)| *timeline).chain(newest).collect();
    let mut is_known = !way.old.is_empty();
    for timeline in timelines {
        is_known &= way.follow(timeline, None, true);
    }
    let young = placed.iter().filter(|one| one.stopped_at >= since);
    let firsts = way.found.iter().copied().chain(young).map(|one| one.first);
    let from = firsts.fold(way.from, u64::min);
    Needed {
        beginnings: way.found.iter().map(|one| one.set).collect(),
        stretches: way.stretches,
        from: is_known.then_some(from),
    }
}

struct Way<'p, 'a> {
    /// With which a window may begin.
    old: Vec<&'p Placed<'a>>,
    extents: &'p Extents,
    /// Timelines, up to where they were followed, whether they are on the way for sure; and whether a backup was found.
    followed: BTreeMap<(u32, u64, bool), bool>,
    found: Vec<&'p Placed<'a>>,
    stretches: Vec<Stretch>,
    /// The first segment of all stretches, the others too.
    from: u64,
}

impl<'p, 'a> Way<'p, 'a> {
    /// Looks for the newest backups from which a timeline can be reached, up to the segment in which it was left.
    /// Whether there is one.
    fn follow(&mut self, timeline: u32, left_in: Option<u64>, is_on_way: bool) -> bool {
        let bound = left_in.unwrap_or(u64::MAX);
        let key = (timeline, bound, is_on_way);
        if let Some(found) = self.followed.get(&key) {
            return *found;
        }
        // One that ends in the segment in which the timeline was left may end after that place.
        let sure = self.newest(timeline, |end| end < bound);
        let perhaps = self.newest(timeline, |end| end == bound);
        self.found.extend(sure.into_iter().chain(perhaps));
        let mut is_found = sure.or(perhaps).is_some();
        let begins = self.extents.get(&timeline).map_or(bound, |extent| extent.first.min(bound));
        let own = sure.map_or(begins, |one| one.first);
        self.from = perhaps.map_or(own, |one| one.first.min(own)).min(self.from);
        if is_on_way {
            // If the newest may be the one, it is enough that its way is whole: a copy that was restored to the end of
            // a backup begins a timeline in that segment. And the younger timeline has a copy of the segment itself.
            let last = left_in.map_or(u64::MAX, |left_in| left_in.saturating_sub(1));
            self.stretches.push((timeline, perhaps.map_or(own, |one| one.first), last));
        }
        if sure.is_none() {
            let parents = self.parents(timeline, begins);
            // An expiry that began with the newest deleted what came before it.
            let is_on_way = is_on_way && perhaps.is_none() && parents.len() == 1;
            for parent in &parents {
                is_found |= self.follow(*parent, Some(begins), is_on_way);
            }
        }
        self.followed.insert(key, is_found);
        is_found
    }

    fn newest(&self, timeline: u32, ends: impl Fn(u64) -> bool) -> Option<&'p Placed<'a>> {
        let own = self.old.iter().copied().filter(|one| one.timeline == timeline && ends(one.last));
        own.max_by_key(|one| one.stopped_at)
    }

    /// The older timelines that reach a place. If none does, any of them may have.
    fn parents(&self, timeline: u32, at: u64) -> BTreeSet<u32> {
        let older = || self.extents.range(..timeline);
        let reach = older().filter(|(_, extent)| extent.first <= at && at <= extent.last.saturating_add(1));
        let reach: BTreeSet<u32> = reach.map(|(id, _)| *id).collect();
        if !reach.is_empty() {
            return reach;
        }
        let backed_up = self.old.iter().map(|one| one.timeline).filter(|id| *id < timeline);
        older().map(|(id, _)| *id).chain(backed_up).collect()
    }
}

/// The backups with which the windows begin, by system identifier.
pub fn beginnings(
    store: &Store,
    repository: &Url,
    sets: &[Set],
    keep: &KeepWal,
) -> Result<BTreeSet<(u64, Label)>> {
    let mut found = BTreeSet::new();
    for sets in systems(sets) {
        let Some((_, segment_bytes)) = sized(sets) else { continue };
        let extents = Listed::read(store, repository, sets, segment_bytes)?.extents;
        found.extend(beginnings_of(sets, segment_bytes, &extents, keep));
    }
    Ok(found)
}

/// Of one system identifier.
pub fn beginnings_of(
    sets: &[Set],
    segment_bytes: u64,
    extents: &Extents,
    keep: &KeepWal,
) -> Vec<(u64, Label)> {
    let counts = good(sets);
    let key = |set: &Set| (set.system_identifier, set.label.clone());
    match place(sets, &counts, segment_bytes) {
        Some(placed) => needed(&placed, extents, keep).beginnings.into_iter().map(key).collect(),
        None => {
            let is_old = |set: &Set| stopped_at(set).is_some_and(|stopped| stopped < keep.since());
            let newest = sets.iter().zip(counts).rfind(|(set, counts)| *counts && is_old(set));
            newest.map(|(set, _)| key(set)).into_iter().collect()
        }
    }
}
