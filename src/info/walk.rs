//! Which segments of an archive recovery replays, from a backup on along the timelines that lead to a target: as
//! PostgreSQL asks for them (`XLogFileReadAnyTLI` in xlogrecovery.c), but never past the place where a timeline was
//! left, where PostgreSQL itself would go on if the younger one has no segment there.

use crate::error::Result;
use crate::info::Set;
use crate::info::wal::listing::Place as Archive;
use crate::info::wal::pages::Lane;
use crate::info::wal::runs::{directory, expected, sized};
use crate::info::wal::{Run, without_history};
use crate::pg::timeline::{self, Branch};
use crate::pg::wal;
use crate::store::{Store, Url};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// The names and times of what lies in a cluster's `wal/`: of each timeline whether there is something, and its history;
/// and the segments, if there are few, else from the first that is asked for.
pub struct Archived {
    pub(super) segment_bytes: u64,
    pub(super) runs: Vec<Run>,
    /// Last segments that are not full, by timeline and number.
    pub(super) partials: BTreeMap<(u32, u64), Option<OffsetDateTime>>,
    /// Timelines that have a history.
    pub(super) histories: BTreeSet<u32>,
    /// Timelines that have a segment, or a part of one.
    pub(super) timelines: BTreeSet<u32>,
    unlisted: Option<Unlisted>,
}

/// An archive of which not everything was listed.
struct Unlisted {
    store: Store,
    directory: Url,
    /// Of timelines, a segment that should be there.
    expected: BTreeMap<u32, u64>,
    /// From which segment on a timeline was listed.
    listed_from: BTreeMap<u32, u64>,
}

impl Archived {
    /// Of the cluster of these backups; none is no WAL either.
    pub fn list(store: &Store, repository: &Url, sets: &[Set]) -> Result<Self> {
        let Some((set, segment_bytes)) = sized(sets) else {
            return Ok(Archived::new(wal::DEFAULT_SEGMENT_BYTES));
        };
        let mut archived = Archived::new(segment_bytes);
        let directory = directory(repository, set);
        let place = Archive { store, directory: &directory, segment_bytes };
        let (outline, is_whole) = place.outline(&mut |found| {
            archived.add(found.name, found.entry.modified);
            Ok(())
        })?;
        archived.histories = outline.histories;
        archived.timelines = outline.timelines;
        if !is_whole {
            let (store, expected) = (store.clone(), expected(sets, segment_bytes));
            let listed_from = BTreeMap::new();
            archived.unlisted = Some(Unlisted { store, directory, expected, listed_from });
        }
        Ok(archived)
    }

    fn new(segment_bytes: u64) -> Self {
        Archived {
            segment_bytes,
            runs: Vec::new(),
            partials: BTreeMap::new(),
            histories: BTreeSet::new(),
            timelines: BTreeSet::new(),
            unlisted: None,
        }
    }

    /// Makes sure that the segments of these timelines are known, from segment `from` on.
    pub fn know(&mut self, timelines: impl Iterator<Item = u32>, from: u64) -> Result<()> {
        let Some(mut unlisted) = self.unlisted.take() else { return Ok(()) };
        let lanes: Vec<Lane> = timelines
            .filter(|id| self.timelines.contains(id))
            .filter(|id| unlisted.listed_from.get(id).is_none_or(|listed_from| from < *listed_from))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|timeline| Lane {
                timeline,
                from: Some(from),
                to: None,
                expected: unlisted.expected.get(&timeline).copied(),
            })
            .collect();
        let mut more = Archived::new(self.segment_bytes);
        let place = Archive {
            store: &unlisted.store,
            directory: &unlisted.directory,
            segment_bytes: self.segment_bytes,
        };
        place.list_lanes(&lanes, &mut |found| {
            more.add(found.name, found.entry.modified);
            Ok(())
        })?;
        let is_new = |timeline: u32| lanes.iter().any(|lane| lane.timeline == timeline);
        self.runs.retain(|run| !is_new(run.timeline));
        self.partials.retain(|(timeline, _), _| !is_new(*timeline));
        self.runs.append(&mut more.runs);
        self.runs.sort_by_key(|run| (run.timeline, run.first));
        self.partials.append(&mut more.partials);
        unlisted.listed_from.extend(lanes.iter().map(|lane| (lane.timeline, from)));
        self.unlisted = Some(unlisted);
        Ok(())
    }

    fn add(&mut self, name: &str, stored_at: Option<OffsetDateTime>) {
        let segment_bytes = self.segment_bytes;
        if let Some((timeline, number)) = wal::segment_number(name, segment_bytes) {
            self.timelines.insert(timeline);
            Run::add(&mut self.runs, timeline, number, stored_at);
        } else if let Some(segment) = name.strip_suffix(".partial")
            && let Some(place) = wal::segment_number(segment, segment_bytes)
        {
            self.timelines.insert(place.0);
            self.partials.insert(place, stored_at);
        } else if let Some(timeline) = timeline::timeline_of_history(name) {
            self.histories.insert(timeline);
        }
    }

    /// Whether there is anything that recovery could ask for.
    pub fn is_empty(&self) -> bool {
        self.timelines.is_empty() && self.histories.is_empty()
    }

    /// Timelines that have WAL or a backup, and began after another, but have no history.
    pub fn without_history(&self, sets: &[Set]) -> BTreeSet<u32> {
        without_history(sets, self.timelines.iter().copied(), &self.histories)
    }

    fn run(&self, timeline: u32, number: u64) -> Option<&Run> {
        self.runs.iter().find(|run| run.timeline == timeline && run.first <= number && number <= run.last)
    }
}

/// A segment: timeline and number.
pub type Place = (u32, u64);

/// What recovery finds.
#[derive(Debug, PartialEq, Eq)]
pub struct Walk {
    pub segments: u64,
    pub first: Option<Place>,
    pub last: Option<Place>,
    /// Timeline, first and last of each stretch, oldest first.
    pub stretches: Vec<(u32, u64, u64)>,
    /// When the last one, or the part of one, was stored: later than everything in it happened.
    pub stored_at: Option<OffsetDateTime>,
    /// Where it ends: the first that is not there.
    pub end: Place,
    /// The end is there as a part of a segment.
    pub is_partial: bool,
    /// The end is a hole: this is there, and is of no use.
    pub beyond: Option<Place>,
}

/// The way of a backup to a target: timelines, oldest first, the backup's before all others.
pub struct Way<'a> {
    pub branches: &'a [Branch],
    pub archived: &'a Archived,
}

impl Way<'_> {
    /// From segment `first` on; the archive need not have `held`, which came with the backup.
    pub fn walk(&self, first: u64, held: Option<Place>) -> Walk {
        let mut walk = Walk {
            segments: 0,
            first: None,
            last: None,
            stretches: Vec::new(),
            stored_at: None,
            end: (self.timeline_of(first), first),
            is_partial: false,
            beyond: None,
        };
        loop {
            let (timeline, number) = walk.end;
            if let Some(run) = self.archived.run(timeline, number) {
                let last = run.last.min(self.last_of(timeline));
                self.take(&mut walk, run, number, last);
            } else if held == Some(walk.end) {
                walk.end = (self.timeline_of(number + 1), number + 1);
            } else {
                break;
            }
        }
        self.look_beyond(&mut walk);
        walk
    }

    fn take(&self, walk: &mut Walk, run: &Run, first: u64, last: u64) {
        walk.segments += last - first + 1;
        walk.first = walk.first.or(Some((run.timeline, first)));
        walk.last = Some((run.timeline, last));
        walk.stretches.push((run.timeline, first, last));
        walk.stored_at = run.stored_at.filter(|_| last == run.last);
        walk.end = (self.timeline_of(last + 1), last + 1);
    }

    /// The end is a hole, a part of a segment, or the archive's end.
    fn look_beyond(&self, walk: &mut Walk) {
        let (timeline, number) = walk.end;
        walk.beyond = self.next_on_the_way(number);
        if walk.beyond.is_none()
            && let Some(older) = self.older_copy(walk)
        {
            // A timeline that was just begun: what it has of this segment is what the older one has. Beyond that the
            // older one is another story.
            match self.is_left_inside(number) && older.last == number {
                true => {
                    self.take(walk, older, number, number);
                    walk.end = (timeline, number + 1);
                    return;
                }
                false => walk.beyond = Some((older.timeline, number)),
            }
        }
        let begun = self.branches.iter().rev().map(|branch| (branch.timeline, number));
        let part = begun.filter(|place| *place == walk.end || self.is_left_inside(number));
        let part = part.filter_map(|place| self.archived.partials.get_key_value(&place)).next();
        if let (None, Some((place, stored_at))) = (walk.beyond, part) {
            walk.end = *place;
            walk.is_partial = true;
            walk.stored_at = *stored_at;
        }
    }

    /// The timeline whose copy of a segment is to be replayed.
    fn timeline_of(&self, number: u64) -> u32 {
        let mut youngest_first = self.branches.iter().rev();
        let of = youngest_first.find(|branch| self.first_of(branch) <= number).or(self.branches.first());
        of.map_or(0, |branch| branch.timeline)
    }

    fn first_of(&self, branch: &Branch) -> u64 {
        branch.begin.0 / self.archived.segment_bytes
    }

    /// The last segment that is this timeline's to replay.
    fn last_of(&self, timeline: u32) -> u64 {
        let younger = self.branches.iter().filter(|branch| branch.timeline > timeline);
        younger.map(|branch| self.first_of(branch).saturating_sub(1)).min().unwrap_or(u64::MAX)
    }

    /// The first segment after `number` that would have to be replayed, and is there.
    fn next_on_the_way(&self, number: u64) -> Option<Place> {
        let own = |branch: &Branch| {
            let from = self.first_of(branch).max(number + 1);
            let to = self.last_of(branch.timeline);
            let runs = self.archived.runs.iter().filter(|run| run.timeline == branch.timeline);
            let places = runs.map(|run| (run.first.max(from), run.last.min(to)));
            places.filter(|(first, last)| first <= last).map(|(first, _)| (branch.timeline, first)).min()
        };
        self.branches.iter().filter_map(own).min_by_key(|(_, number)| *number)
    }

    /// The same segment as an older timeline has it; PostgreSQL goes back to none before the one it is on.
    fn older_copy(&self, walk: &Walk) -> Option<&Run> {
        let (timeline, number) = walk.end;
        let from = walk.last.map_or(0, |(timeline, _)| timeline);
        let older = self.branches.iter().rev().filter(|older| (from..timeline).contains(&older.timeline));
        older.filter_map(|older| self.archived.run(older.timeline, number)).next()
    }

    /// Whether a timeline was left in the midst of this segment.
    fn is_left_inside(&self, number: u64) -> bool {
        let inside = |branch: &Branch| {
            self.first_of(branch) == number && !branch.begin.0.is_multiple_of(self.archived.segment_bytes)
        };
        self.branches.iter().skip(1).any(inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Lsn;

    const MIB16: u64 = 16 << 20;

    fn at(second: u64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(i64::try_from(second).unwrap()).unwrap()
    }

    /// Of each timeline: first and last. A segment is stored in the second of its number.
    fn archive(runs: &[(u32, u64, u64)]) -> Archived {
        let mut archived = Archived::new(MIB16);
        for &(timeline, first, last) in runs {
            for number in first..=last {
                archived.add(&wal::name_of_number(timeline, number, MIB16), Some(at(number)));
            }
        }
        archived
    }

    /// Timeline 1 until `fork` segments, 2 from there on.
    fn two(fork: f64) -> Vec<Branch> {
        let fork = Lsn((fork * MIB16 as f64) as u64);
        vec![Branch { end: fork, ..Branch::alone(1) }, Branch { begin: fork, ..Branch::alone(2) }]
    }

    /// Segments, last, end and what is beyond it.
    fn walk(
        branches: &[Branch],
        archived: &Archived,
        first: u64,
    ) -> (u64, Option<Place>, Place, Option<Place>) {
        let walk = Way { branches, archived }.walk(first, None);
        (walk.segments, walk.last, walk.end, walk.beyond)
    }

    #[test]
    fn along_one_timeline() {
        let alone = [Branch::alone(1)];
        let whole = archive(&[(1, 2, 9)]);
        assert_eq!(walk(&alone, &whole, 4), (6, Some((1, 9)), (1, 10), None));
        assert_eq!(walk(&alone, &whole, 10), (0, None, (1, 10), None));
        let holed = archive(&[(1, 2, 5), (1, 8, 9)]);
        assert_eq!(walk(&alone, &holed, 4), (2, Some((1, 5)), (1, 6), Some((1, 8))));
        assert_eq!(walk(&alone, &holed, 8), (2, Some((1, 9)), (1, 10), None));
        // What the backup holds needs not be there.
        let way = Way { branches: &alone, archived: &holed };
        let held = way.walk(7, Some((1, 7)));
        assert_eq!((held.segments, held.end, held.beyond, held.stored_at), (2, (1, 10), None, Some(at(9))));
        assert_eq!(way.walk(6, Some((1, 6))).end, (1, 7));
    }

    #[test]
    fn over_to_another_timeline() {
        for fork in [5.0, 5.5] {
            let way = two(fork);
            assert_eq!(walk(&way, &archive(&[(1, 2, 9), (2, 5, 7)]), 3), (5, Some((2, 7)), (2, 8), None));
            // Before the fork, and behind it; the older timeline's segments are no help.
            assert_eq!(
                walk(&way, &archive(&[(1, 2, 3), (1, 5, 9), (2, 5, 7)]), 3),
                (1, Some((1, 3)), (1, 4), Some((2, 5)))
            );
            assert_eq!(
                walk(&way, &archive(&[(1, 2, 9), (2, 5, 5), (2, 7, 8)]), 3),
                (3, Some((2, 5)), (2, 6), Some((2, 7)))
            );
            // The segment of the fork.
            assert_eq!(
                walk(&way, &archive(&[(1, 2, 9), (2, 6, 8)]), 3),
                (2, Some((1, 4)), (2, 5), Some((2, 6)))
            );
            // The older one went on, the younger one has nothing yet: they must not be mixed.
            assert_eq!(walk(&way, &archive(&[(1, 2, 9)]), 3), (2, Some((1, 4)), (2, 5), Some((1, 5))));
        }
        // It has nothing yet, and the older one ends there.
        assert_eq!(walk(&two(5.5), &archive(&[(1, 2, 5)]), 3), (3, Some((1, 5)), (2, 6), None));
        assert_eq!(walk(&two(5.0), &archive(&[(1, 2, 4)]), 3), (2, Some((1, 4)), (2, 5), None));
    }

    #[test]
    fn two_forks_in_one_segment() {
        let fork = |part: u64| Lsn(5 * MIB16 + part);
        let way = [
            Branch { end: fork(100), ..Branch::alone(1) },
            Branch { begin: fork(100), end: fork(200), timeline: 2 },
            Branch { begin: fork(200), ..Branch::alone(3) },
        ];
        assert_eq!(
            walk(&way, &archive(&[(1, 2, 9), (2, 5, 9), (3, 5, 6)]), 3),
            (4, Some((3, 6)), (3, 7), None)
        );
        assert_eq!(walk(&way, &archive(&[(1, 2, 9), (2, 5, 9), (3, 6, 6)]), 3).2, (3, 5));
    }

    #[test]
    fn a_part_of_the_last_segment() {
        let part = |mut archived: Archived, timeline, number, branches: &[Branch]| {
            let name = wal::name_of_number(timeline, number, MIB16) + ".partial";
            archived.add(&name, Some(at(99)));
            let walk = Way { branches, archived: &archived }.walk(3, None);
            (walk.end, walk.is_partial, walk.stored_at)
        };
        assert_eq!(part(archive(&[(1, 2, 4)]), 1, 5, &[Branch::alone(1)]), ((1, 5), true, Some(at(99))));
        assert!(!part(archive(&[(1, 2, 4), (1, 6, 6)]), 1, 5, &[Branch::alone(1)]).1);
        // Of the timeline that was left there, whole in the younger one; and where that has nothing yet.
        assert_eq!(part(archive(&[(1, 2, 4), (2, 5, 5)]), 1, 5, &two(5.5)), ((2, 6), false, Some(at(5))));
        assert_eq!(part(archive(&[(1, 2, 4)]), 1, 5, &two(5.5)), ((1, 5), true, Some(at(99))));
        assert!(!part(archive(&[(1, 2, 4)]), 1, 5, &two(5.0)).1);
    }

    #[test]
    fn names_in_an_archive() {
        let mut archived = Archived::new(MIB16);
        for name in ["0000000A.history", "000000020000000000000003.00000028.backup", "x", "A.history"] {
            archived.add(name, None);
        }
        assert_eq!(archived.histories.iter().copied().collect::<Vec<_>>(), [10]);
        assert!(archived.runs.is_empty() && archived.partials.is_empty());
    }
}
