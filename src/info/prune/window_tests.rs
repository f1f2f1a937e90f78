//! The WAL window over histories with failovers, restores to the past, bad backups and lost segments. Whatever the rules
//! are: what could be restored and is promised can be restored after expiry, and nothing stays that nobody needs.

use super::tests::{Fortune, SEGMENT, STOP, at, befall, fortune, lay, next, rules, stay};
use super::*;
use crate::info::wal::retention::Kept;
use crate::info::wal::runs::Listed;
use crate::info::wal::window::{KeepWal, beginnings_of};
use crate::info::wal::{archive, gaps_of};
use crate::pg::wal;
use proptest::prelude::*;

const DAY: i64 = 86_400;

/// A cluster and its archive, and what no name tells: where each timeline comes from.
#[derive(Default)]
struct World {
    sets: Vec<Set>,
    /// When each segment was stored, in seconds.
    files: BTreeMap<(u32, u64), i64>,
    lost: BTreeSet<(u32, u64)>,
    /// Of each timeline but the first: its parent, and the segment and the byte in it where that was left.
    parents: BTreeMap<u32, (u32, u64, u64)>,
    timeline: u32,
    /// The segment that is being written.
    number: u64,
}

impl World {
    /// The timelines that lead to one, youngest first, with the first segment and byte of each.
    fn way(&self, timeline: u32) -> Vec<(u32, u64, u64)> {
        let mut way = Vec::new();
        let mut here = timeline;
        while let Some(&(parent, number, byte)) = self.parents.get(&here) {
            way.push((here, number, byte));
            here = parent;
        }
        way.push((here, 0, 0));
        way
    }

    /// Whose copy of a segment is replayed on the way to a timeline.
    fn owner(&self, timeline: u32, number: u64) -> u32 {
        self.way(timeline).iter().find(|(_, first, _)| *first <= number).unwrap().0
    }

    fn lies_on_way(&self, set: &Set, timeline: u32) -> bool {
        let (own, _, last) = place_of(set);
        let way = self.way(timeline);
        let Some(at) = way.iter().position(|(id, ..)| *id == own) else { return false };
        at == 0 || (last, STOP) <= (way[at - 1].1, way[at - 1].2)
    }

    /// Whether a recovery from `set` comes to the end of a segment.
    fn reaches(&self, set: &Set, timeline: u32, number: u64) -> bool {
        let (_, _, last) = place_of(set);
        self.lies_on_way(set, timeline)
            && last <= number
            && (last..=number).all(|number| self.files.contains_key(&(self.owner(timeline, number), number)))
    }

    fn write(&mut self, now: i64, is_lost: bool) {
        let file = (self.timeline, self.number);
        if is_lost {
            self.lost.insert(file);
        } else {
            self.files.insert(file, now);
        }
        self.number += 1;
    }

    /// A failover, or a restore to so many segments ago.
    fn leave(&mut self, back: u64, byte: u64) {
        let number = self.number.saturating_sub(back).max(1);
        let parent = self.owner(self.timeline, number);
        // Nobody restores what cannot be restored.
        let from = |set: &Set| (place_of(set).2, STOP) <= (number, byte) && self.reaches(set, parent, number);
        if back > 0 && !self.good().any(from) {
            return;
        }
        let newest = self.parents.keys().max().copied().unwrap_or(1);
        self.timeline = newest + 1;
        self.parents.insert(self.timeline, (parent, number, byte));
        self.number = number;
    }

    fn back_up(&mut self, kind: u8, began: i64, segments: u64, fortune: Fortune) {
        let of_it: Vec<&Set> = self.sets.iter().collect();
        let mut set = next(&of_it, kind, began, 1);
        let (first, last) = (self.number, self.number + segments);
        lay(&mut set, self.timeline, first, last);
        befall(&mut set, fortune);
        self.sets.push(set);
        for _ in first..=last {
            self.write(began + 60, false);
        }
    }

    fn listed(&self) -> Listed {
        let mut listed = Listed::default();
        for (&(timeline, number), stored) in &self.files {
            listed.add(&wal::name_of_number(timeline, number, SEGMENT), SEGMENT, Some(at(*stored)));
        }
        listed
    }

    fn expire(&mut self, rules: &Rules, keep: &KeepWal) -> (usize, usize) {
        let before = (self.sets.len(), self.files.len());
        let beginnings = beginnings_of(&self.sets, SEGMENT, &self.listed().extents, keep);
        let rules = Rules { beginnings: beginnings.into_iter().collect(), ..rules.clone() };
        let kept = stay(&prune(&self.sets, &rules, keep.now).unwrap());
        self.sets.retain(|set| kept.contains(set.label.as_str()));
        if let Some(kept) = self.kept(keep) {
            self.files.retain(|(timeline, number), stored| {
                kept.holds(&wal::name_of_number(*timeline, *number, SEGMENT), Some(at(*stored)))
            });
        }
        (before.0 - self.sets.len(), before.1 - self.files.len())
    }

    fn kept(&self, keep: &KeepWal) -> Option<Kept> {
        let kept = Kept::since_oldest(&self.sets, keep.now).ok()??;
        Some(kept.within(&self.sets, SEGMENT, &self.listed().extents, keep))
    }

    fn good(&self) -> impl Iterator<Item = &Set> {
        self.sets.iter().zip(good(&self.sets)).filter_map(|(set, good)| good.then_some(set))
    }

    /// Segments in which a moment of the window lies.
    fn reachable(&self, since: OffsetDateTime) -> Vec<Reached> {
        let young = self.files.iter().filter(|(_, stored)| at(**stored) >= since);
        let reach = young.map(|(&(timeline, number), stored)| {
            let from =
                |set: &&Set| stopped_at(set).unwrap() < at(*stored) && self.reaches(set, timeline, number);
            let sets: Vec<&Set> = self.good().filter(from).collect();
            let is_old = sets.iter().any(|set| stopped_at(set).unwrap() < since);
            ((timeline, number), sets.iter().map(|set| set.label.to_string()).collect(), is_old)
        });
        reach.collect()
    }

    /// What there is, for whoever reads of a failure.
    fn tell(&self, since: OffsetDateTime) -> String {
        let set = |(set, good): (&Set, bool)| {
            let place = set.committed().map(|_| place_of(set));
            format!("{} {place:?} {good}", set.label)
        };
        let sets: Vec<String> = self.sets.iter().zip(good(&self.sets)).map(set).collect();
        let runs = self.listed().runs;
        let runs: Vec<_> =
            runs.iter().map(|run| (run.timeline, run.first, run.last, run.stored_at.unwrap())).collect();
        format!("{since}: {runs:?}, {:?}, {sets:#?}", self.parents)
    }

    /// Segments that are missing, as pgv-info wal tells.
    fn gaps(&self, keep: Option<&KeepWal>) -> BTreeSet<(u32, u64)> {
        let gaps = gaps_of(&archive(&self.sets, &self.listed(), SEGMENT, keep));
        gaps.iter().flat_map(|gap| (gap.first..=gap.last).map(|number| (gap.timeline, number))).collect()
    }
}

/// A segment, the backups from which it is reached, and whether one of them is older than the window.
type Reached = ((u32, u64), Vec<String>, bool);

fn place_of(set: &Set) -> (u32, u64, u64) {
    let backup = &set.committed().unwrap().backup;
    let number = |name: &str| wal::segment_number(name, SEGMENT).unwrap().1;
    (backup.timeline, number(&backup.wal_first), number(&backup.wal_last))
}

/// Of a history without other timelines, by another way than the program's.
fn check_linear(world: &World, since: OffsetDateTime) {
    let is_old = |set: &&Set| stopped_at(set).unwrap() < since;
    let committed = || world.sets.iter().filter(|set| set.committed().is_some());
    let least = |is_one: fn(&&Set) -> bool| committed().filter(is_one).map(|set| place_of(set).1).min();
    let beginning = world.good().filter(is_old).last().map(|set| place_of(set).1);
    let from = beginning.or(least(|_| true)).unwrap();
    for (_, number) in world.files.keys() {
        let is_own = committed().any(|set| (place_of(set).1..=place_of(set).2).contains(number));
        assert!(
            *number >= from || is_own,
            "{number} stays, and nobody needs it; the window begins at {from}"
        );
    }
    let last = world.files.keys().last().copied().unwrap_or_default();
    let gaps =
        world.gaps(Some(&KeepWal { length: Duration::from_secs(1), now: since + time::Duration::SECOND }));
    let complete = least(|set| set.record().is_some()).unwrap_or(u64::MAX);
    for lost in world.lost.iter().filter(|lost| lost.1 >= from.max(complete) && **lost < last) {
        assert!(
            gaps.contains(lost),
            "{lost:?} is missing, and nobody says so: {gaps:?}, {}",
            world.tell(since)
        );
    }
}

#[derive(Clone, Debug)]
struct Night {
    kind: u8,
    fortune: Fortune,
    days: i64,
    /// Written before the backup.
    segments: u64,
    own: u64,
    /// A new timeline, at so many segments ago, and this byte.
    fork: Option<(u64, u64)>,
    is_lost: bool,
    expires: bool,
}

fn night(forks: bool, losses: bool) -> impl Strategy<Value = Night> {
    let fork = prop_oneof![
        20 => Just(None),
        u32::from(forks) => (Just(0u64), prop_oneof![Just(0x40u64), Just(0x1000)]).prop_map(Some),
        u32::from(forks) => (0u64..40, prop_oneof![Just(0x40u64), Just(0x1000)]).prop_map(Some),
    ];
    let lost = if losses { prop::bool::weighted(0.05).boxed() } else { Just(false).boxed() };
    (0u8..8, fortune(), 1i64..3, 0u64..4, 0u64..2, fork, lost, prop::bool::weighted(0.3)).prop_map(
        |(kind, fortune, days, segments, own, fork, is_lost, expires)| Night {
            kind,
            fortune,
            days,
            segments,
            own,
            fork,
            is_lost,
            expires,
        },
    )
}

fn live(nights: Vec<Night>, rules: &Rules, days: u64) {
    let mut world = World { timeline: 1, number: 1, ..World::default() };
    let mut day = 0;
    for night in nights {
        day += night.days;
        if let Some((back, byte)) = night.fork {
            world.leave(back, byte);
        }
        for segment in 0..night.segments {
            world.write(day * DAY - 3_600, night.is_lost && segment == 0);
        }
        world.back_up(night.kind, day * DAY, night.own, night.fortune);
        let keep = KeepWal { length: Duration::from_secs(days * 86_400), now: at(day * DAY + 120) };
        if night.expires {
            check_expiry(&mut world, rules, &keep);
        }
    }
}

fn check_expiry(world: &mut World, rules: &Rules, keep: &KeepWal) {
    let since = keep.now - keep.length;
    let files = world.files.clone();
    let reachable = world.reachable(since);
    if world.lost.is_empty() {
        assert_eq!(world.gaps(Some(keep)), BTreeSet::new(), "before expiry, {}", world.tell(since));
    }
    world.expire(rules, keep);
    check_promises(world, keep, &files, &reachable);
    if world.kept(keep).is_some() && world.parents.is_empty() {
        check_linear(world, since);
    }
    let again = world.expire(rules, keep);
    // Where timelines were left, names tell less before an expiry than after it, and in doubt more stayed.
    assert!(!world.parents.is_empty() || again == (0, 0), "a second expiry deletes more: {again:?}");
    check_promises(world, keep, &files, &reachable);
}

/// After an expiry: `files` and `reachable` are of before.
fn check_promises(world: &World, keep: &KeepWal, files: &BTreeMap<(u32, u64), i64>, reachable: &[Reached]) {
    let since = keep.now - keep.length;
    let left = world.reachable(since);
    for (moment, from, is_old) in reachable {
        let now: Vec<String> =
            left.iter().find(|(at, ..)| at == moment).map(|(_, from, _)| from.clone()).unwrap_or_default();
        assert!(!is_old || !now.is_empty(), "{moment:?} could be restored from {from:?}");
        // From an older one nothing but its own end is promised.
        let young = world.sets.iter().filter(|set| stopped_at(set).is_some_and(|stopped| stopped >= since));
        for label in young.map(|set| set.label.to_string()).filter(|label| from.contains(label)) {
            assert!(now.contains(&label), "{moment:?} could be restored from {label}, which stays");
        }
    }
    for set in world.sets.iter().filter(|set| set.committed().is_some()) {
        let (timeline, first, last) = place_of(set);
        for number in first..=last {
            let file = (timeline, number);
            assert_eq!(
                files.contains_key(&file),
                world.files.contains_key(&file),
                "{} lost its own {number}",
                set.label
            );
        }
    }
    if world.lost.is_empty() {
        assert_eq!(world.gaps(Some(keep)), BTreeSet::new(), "after expiry, {}", world.tell(since));
    }
    // Where the key is not set, all that is missing is told.
    assert!(world.gaps(None).is_superset(&world.gaps(Some(keep))), "without the key, {}", world.tell(since));
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let length = Some(Duration::from_secs(1));
    rules().prop_map(move |rules| Rules { wal: length, ..rules })
}

/// A restore into the segment in which a backup ended, whose older timeline went with an expiry long ago.
#[test]
fn what_an_expiry_deleted_is_no_gap_after_a_restore_to_the_past() {
    let rules = Rules { last: Some(9), wal: Some(Duration::from_secs(1)), ..Rules::default() };
    let mut world = World { timeline: 1, number: 1, ..World::default() };
    world.back_up(0, DAY, 0, Fortune::Well);
    (0..4).for_each(|_| world.write(2 * DAY, false));
    world.back_up(0, 2 * DAY, 0, Fortune::FoundBad);
    world.leave(0, 0x40);
    (0..4).for_each(|_| world.write(3 * DAY, false));
    world.back_up(0, 4 * DAY, 0, Fortune::Well);
    let last = place_of(&world.sets[2]).2;
    (0..4).for_each(|_| world.write(8 * DAY, false));
    let keep = |day| KeepWal { length: Duration::from_secs(2 * 86_400), now: at(day * DAY + 120) };
    assert_ne!(world.expire(&rules, &keep(8)).1, 0);
    assert_eq!(world.gaps(Some(&keep(8))), BTreeSet::new());
    world.leave(world.number - last, 0x1000);
    assert_eq!(world.timeline, 3);
    (0..4).for_each(|_| world.write(12 * DAY, false));
    assert_eq!(world.gaps(Some(&keep(12))), BTreeSet::new(), "{}", world.tell(at(10 * DAY)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn one_timeline(
        rules in some_rules(),
        days in 1u64..30,
        nights in proptest::collection::vec(night(false, false), 120),
    ) {
        live(nights, &rules, days);
    }

    #[test]
    fn one_timeline_with_losses(
        rules in some_rules(),
        days in 1u64..30,
        nights in proptest::collection::vec(night(false, true), 120),
    ) {
        live(nights, &rules, days);
    }

    #[test]
    fn many_timelines(
        rules in some_rules(),
        days in 1u64..30,
        nights in proptest::collection::vec(night(true, false), 120),
    ) {
        live(nights, &rules, days);
    }

    #[test]
    fn many_timelines_with_losses(
        rules in some_rules(),
        days in 1u64..30,
        nights in proptest::collection::vec(night(true, true), 120),
    ) {
        live(nights, &rules, days);
    }
}
