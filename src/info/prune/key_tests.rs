//! Data keys over histories of weeks and months, with a second host, wrong clocks, failovers, pins and copies: whatever the
//! rules are, the key of everything that stays stays too, and in the end none stays that nobody needs.

use super::tests::{Fortune, SEGMENT, at, befall, fortune, lay, mark, next, rules, stay};
use super::*;
use crate::catalog::key_object::LONGEST_USE;
use crate::info::key_expiry::{Needs, Use, may_have_sealed};
use crate::info::marks::Marks;
use crate::info::wal::retention::Kept;
use crate::pg::wal;
use proptest::prelude::*;

const DAY: i64 = 86_400;

/// Times in seconds: by the clock of the store, and by the host's.
#[derive(Clone, Debug)]
struct Key {
    name: String,
    stored: i64,
    made: i64,
    host: usize,
}

/// A WAL file, the key that sealed it, and when it was stored.
#[derive(Clone, Debug)]
struct File {
    name: String,
    key: String,
    stored: i64,
}

/// A repository, and a host with the key with which it seals.
#[derive(Default)]
struct World {
    sets: Vec<Set>,
    keys: Vec<Key>,
    files: Vec<File>,
    /// Of each host, which of the keys is the current one, and how wrong its clock is.
    current: [Option<usize>; 2],
    wrong: [i64; 2],
    every: i64,
    made: usize,
    timeline: u32,
    number: u64,
}

impl World {
    fn new(every: i64) -> Self {
        World { every, timeline: 1, number: 1, ..World::default() }
    }

    /// As a host does, by its own clock.
    fn seal(&mut self, host: usize, now: i64, anew: bool) -> String {
        let clock = now + self.wrong[host];
        let is_due = |key: &Key| clock >= key.made + self.every || clock < key.made;
        if anew || self.current[host].is_none_or(|at| is_due(&self.keys[at])) {
            self.made += 1;
            let name = format!("{:016x}", self.made);
            self.keys.push(Key { name, stored: now, made: clock, host });
            self.current[host] = Some(self.keys.len() - 1);
        }
        self.keys[self.current[host].unwrap()].name.clone()
    }

    fn write(&mut self, host: usize, now: i64) {
        let key = self.seal(host, now, false);
        let name = wal::name_of_number(self.timeline, self.number, SEGMENT);
        // The other host had it first, perhaps.
        if host == 1 && self.number.is_multiple_of(2) {
            let name = format!("{name}.{key}");
            self.files.push(File { name, key, stored: now });
            return;
        }
        self.files.push(File { name, key, stored: now });
        self.number += 1;
    }

    fn promote(&mut self, now: i64) {
        self.timeline += 1;
        let key = self.seal(0, now, true);
        self.files.push(File { name: format!("{:08X}.history", self.timeline), key, stored: now });
    }

    fn back_up(&mut self, kind: u8, began: i64, fortune: Fortune) {
        let of_it: Vec<&Set> = self.sets.iter().collect();
        let mut set = next(&of_it, kind, began, 1);
        let is_full = set.label.backup_type() == BackupType::Full;
        lay(&mut set, self.timeline, self.number, self.number);
        let key = self.seal(0, began, is_full);
        let State::Complete(record) = &mut set.state else { unreachable!("it was just made") };
        record.key_name = Some(key);
        befall(&mut set, fortune);
        self.sets.push(set);
        self.write(0, began + 60);
    }

    /// The newest backup becomes a full, on the other host: the first goes on with its key.
    fn consolidate(&mut self, began: i64) {
        let Some(newest) = self.sets.last().and_then(Set::record).cloned() else { return };
        let mut set = next(&[], 0, began, 1);
        let key = self.seal(1, began, true);
        let State::Complete(record) = &mut set.state else { unreachable!("it was just made") };
        let label = std::mem::replace(&mut record.backup.label, newest.backup.label.clone());
        record.backup = newest.backup;
        (record.backup.merged_from, record.backup.label) = (vec![record.backup.label.clone()], label);
        (record.backup.backup_type, record.backup.mode, record.backup.parent) =
            (BackupType::Full, None, None);
        record.key_name = Some(key);
        self.sets.push(set);
    }

    fn used(key: &Key) -> Use {
        Use::of(at(key.stored), at(key.made))
    }

    /// Sets and WAL go, and then keys: how many.
    fn expire(&mut self, rules: &Rules, now: i64) -> usize {
        let rules = Rules { wal: None, beginnings: BTreeSet::new(), ..rules.clone() };
        if rules == Rules::default() {
            return 0;
        }
        let kept = stay(&prune(&self.sets, &rules, at(now)).unwrap());
        self.sets.retain(|set| kept.contains(set.label.as_str()));
        if let Ok(Some(kept)) = Kept::since_oldest(&self.sets, at(now)) {
            self.files.retain(|file| kept.holds(&file.name, Some(at(file.stored))));
        }
        let Some(needs) = Needs::of(&self.sets, at(now)) else { return 0 };
        let before = self.keys.len();
        let files = &self.files;
        let goes = |key: &Key| {
            let used = Self::used(key);
            let sealed = |file: &File| may_have_sealed(&key.name, used, &file.name, Some(at(file.stored)));
            needs.allows(&key.name, used) && !files.iter().any(sealed)
        };
        let current = self.current.map(|at| at.map(|at| self.keys[at].name.clone()));
        self.keys.retain(|key| !goes(key));
        self.current = current.map(|name| self.keys.iter().position(|key| Some(&key.name) == name.as_ref()));
        before - self.keys.len()
    }

    /// The same, elsewhere: keys first.
    fn copy(&self, now: i64) -> World {
        let mut copy = World::new(self.every);
        copy.follow(self, now);
        copy
    }

    /// Brought up to date.
    fn follow(&mut self, original: &World, now: i64) {
        for key in &original.keys {
            if !self.keys.iter().any(|own| own.name == key.name) {
                self.keys.push(Key { stored: now, ..key.clone() });
            }
        }
        for file in &original.files {
            if !self.files.iter().any(|own| own.name == file.name) {
                self.files.push(File { stored: now + 60, ..file.clone() });
            }
        }
        for set in &original.sets {
            if set.record().is_some() && !self.sets.iter().any(|own| own.label == set.label) {
                self.sets.push(twin(set));
            }
        }
        self.sets.sort_by(|a, b| a.age().cmp(&b.age()));
    }

    /// Everything that stays opens.
    fn check(&self, what: &str) {
        let has = |name: &str| self.keys.iter().any(|key| key.name == name);
        for set in &self.sets {
            if let Some(name) = set.committed().and_then(|record| record.key_name.as_ref()) {
                assert!(has(name), "{what}: {} needs {name}", set.label);
            }
        }
        for file in &self.files {
            assert!(has(&file.key), "{what}: {} needs {}, of {:?}", file.name, file.key, self.keys);
        }
        for at in self.current.iter().flatten() {
            assert!(*at < self.keys.len(), "{what}: a key went that seals");
        }
    }
}

/// Of a complete backup, without what was found and decided since.
fn twin(set: &Set) -> Set {
    Set {
        cluster: set.cluster.clone(),
        system_identifier: set.system_identifier,
        label: set.label.clone(),
        url: set.url.clone(),
        stored_bytes: set.stored_bytes,
        state: State::Complete(Box::new(set.record().unwrap().clone())),
        verdicts: Vec::new(),
        unread_verdict: None,
        marks: Marks::default(),
    }
}

#[derive(Clone, Debug)]
struct Night {
    days: i64,
    kind: u8,
    fortune: Fortune,
    segments: u64,
    second: bool,
    promotes: bool,
    /// By so many days, until the next night.
    wrong: i64,
    pin: Option<i64>,
    expires: bool,
    copies: bool,
    consolidates: bool,
}

fn night() -> impl Strategy<Value = Night> {
    let wrong = prop_oneof![12 => Just(0i64), 1 => -2000i64..-1, 1 => 1i64..40];
    let few = prop::bool::weighted(0.06);
    let days = prop_oneof![6 => 1i64..8, 1 => 20i64..120];
    let pin = prop::option::weighted(0.1, 0i64..100);
    let (half, other) = (prop::bool::weighted(0.5), prop::bool::weighted(0.2));
    let other = (other, other);
    (days, 0u8..6, fortune(), 0u64..4, few, few, wrong, pin, half, other).prop_map(
        |(days, kind, fortune, segments, second, promotes, wrong, pin, expires, (copies, consolidates))| {
            Night {
                days,
                kind,
                fortune,
                segments,
                second,
                promotes,
                wrong,
                pin,
                expires,
                copies,
                consolidates,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_key_of_what_stays_stays(
        nights in prop::collection::vec(night(), 1..60),
        every in 1i64..=90,
        rules in rules(),
    ) {
        let mut world = World::new(every * DAY);
        let mut copy: Option<World> = None;
        let mut now = 0;
        for night in nights {
            now += night.days * DAY;
            world.wrong[0] = night.wrong * DAY;
            if night.promotes {
                world.promote(now);
            }
            for segment in 0..night.segments {
                world.write(0, now + 600 * i64::try_from(segment).unwrap());
            }
            if night.second {
                world.write(1, now + 3_000);
            }
            world.back_up(night.kind, now + 3_600, night.fortune);
            if let (Some(pick), Some(set)) = (night.pin, world.sets.last_mut()) {
                mark(set, pick, at(now));
            }
            if night.consolidates {
                world.consolidate(now + 4_500);
            }
            if night.copies {
                let then = now + 5_000;
                match &mut copy {
                    Some(copy) => copy.follow(&world, then),
                    None => copy = Some(world.copy(then)),
                }
            }
            if night.expires {
                world.expire(&rules, now + 7_200);
                world.check("the repository");
                if let Some(copy) = &mut copy {
                    copy.expire(&rules, now + 7_200);
                    copy.check("the copy");
                }
            }
        }
    }
}

/// A year of weekly fulls, of which one stays: so do the keys of its last months.
#[test]
fn a_key_goes_when_nothing_needs_it() {
    let mut world = World::new(7 * DAY);
    let rules = Rules { last: Some(1), ..Rules::default() };
    let mut gone = 0;
    for week in 0..52 {
        let now = week * 7 * DAY;
        world.write(0, now);
        world.back_up(0, now + 3_600, Fortune::Well);
        gone += world.expire(&rules, now + 7_200);
        world.check("the repository");
    }
    let most = usize::try_from(LONGEST_USE.as_secs() / 86_400 / 7).unwrap() + 3;
    assert!(
        world.keys.len() <= most && gone + world.keys.len() >= 52,
        "{gone} went, {} stay",
        world.keys.len()
    );
    // A history stays for ever, and with it the keys that may have sealed it.
    world.promote(52 * 7 * DAY);
    let at_promotion = world.keys.len();
    for week in 53..104 {
        world.back_up(0, week * 7 * DAY, Fortune::Well);
        world.expire(&rules, week * 7 * DAY + 7_200);
        world.check("after a promotion");
    }
    assert!(world.keys.len() >= at_promotion);
    assert!(world.keys.iter().all(|key| key.host == 0));
}
