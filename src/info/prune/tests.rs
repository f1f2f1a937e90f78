use super::*;
use crate::catalog::time_of;
use crate::catalog::{BackupFacts, Blocks, Files, Findings, Label, Mode, ObjectEntry, Record};
use crate::catalog::{Pin, VERDICT_FORMAT, Verdict, VerdictKind};
use crate::info::marks::{Content, Mark, Marks};
use crate::info::wal::retention::Kept;
use crate::pg::{Lsn, wal};
use proptest::prelude::*;
use time::format_description::well_known::Rfc3339;

const START: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z
const DAY: i64 = 86_400;

pub(super) fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(START + seconds).unwrap()
}

fn set(label: Label, parent: Option<&Label>, stopped: OffsetDateTime, system_identifier: u64) -> Set {
    let time = stopped.format(&Rfc3339).unwrap();
    let backup = BackupFacts {
        backup_type: label.backup_type(),
        mode: parent.map(|_| Mode::Blocks),
        parent: parent.cloned(),
        merged_from: Vec::new(),
        label: label.clone(),
        system_identifier,
        pg_version: "15.20".to_owned(),
        host: "h".to_owned(),
        started_at: time.clone(),
        stopped_at: time,
        start_lsn: Lsn(0),
        stop_lsn: Lsn(0),
        timeline: 1,
        wal_first: String::new(),
        wal_last: String::new(),
        wal_included: true,
        tablespaces_changed: false,
        archiving: true,
        tablespaces: Vec::new(),
        database_bytes: 1,
        stream_bytes: 1,
        files: Files::default(),
        blocks: Blocks::default(),
        findings: Findings::default(),
        configuration: Vec::new(),
        tool_version: String::new(),
    };
    let record = Record {
        format: String::new(),
        backup,
        cluster: "c".to_owned(),
        objects: Vec::<ObjectEntry>::new(),
        key_name: None,
        annotations: BTreeMap::new(),
    };
    let hours = u64::try_from((stopped - at(0)).whole_hours()).unwrap();
    let mut set = Set {
        cluster: "c".to_owned(),
        system_identifier,
        url: format!("file:///r/c/1/backup/{label}"),
        label,
        stored_bytes: 1,
        state: State::Complete(Box::new(record)),
        verdicts: Vec::new(),
        unread_verdict: None,
        marks: Marks::default(),
    };
    // A segment an hour.
    lay(&mut set, 1, hours, hours);
    set
}

pub(super) const SEGMENT: u64 = wal::DEFAULT_SEGMENT_BYTES;
/// Into its last segment a backup ends so many bytes.
pub(super) const STOP: u64 = 0xF0;

/// Where it was made.
pub(super) fn lay(set: &mut Set, timeline: u32, first: u64, last: u64) {
    let State::Complete(record) = &mut set.state else { unreachable!("it was just made") };
    let backup = &mut record.backup;
    backup.timeline = timeline;
    (backup.start_lsn, backup.stop_lsn) = (Lsn(first * SEGMENT + 40), Lsn(last * SEGMENT + STOP));
    backup.wal_first = wal::name_of_number(timeline, first, SEGMENT);
    backup.wal_last = wal::name_of_number(timeline, last, SEGMENT);
}

/// The next night's backup: a full, or what changed since the newest, or since the newest full.
pub(super) fn next(sets: &[&Set], kind: u8, began: i64, system_identifier: u64) -> Set {
    let newest = sets.last().map(|set| &set.label);
    let full = sets.iter().rev().map(|set| &set.label).find(|label| label.backup_type() == BackupType::Full);
    let (label, parent) = match (kind, full, newest) {
        (1, Some(full), _) => (Label::increment(full, BackupType::Diff, at(began)), Some(full)),
        (2.., Some(_), Some(newest)) => (Label::increment(newest, BackupType::Incr, at(began)), Some(newest)),
        _ => (Label::full(at(began)), None),
    };
    set(label.unwrap(), parent, at(began + 60), system_identifier)
}

/// What becomes of a night's backup.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fortune {
    Well,
    Verified,
    FoundBad,
    /// Found bad, and later good.
    Acquitted,
    DamagedRecord,
    Interrupted,
    LostObject,
    BadPages,
}

pub(super) fn fortune() -> impl Strategy<Value = Fortune> {
    prop_oneof![
        12 => Just(Fortune::Well),
        2 => Just(Fortune::Verified),
        2 => Just(Fortune::FoundBad),
        1 => Just(Fortune::Acquitted),
        1 => Just(Fortune::DamagedRecord),
        2 => Just(Fortune::Interrupted),
        1 => Just(Fortune::LostObject),
        1 => Just(Fortune::BadPages),
    ]
}

pub(super) fn befall(set: &mut Set, fortune: Fortune) {
    let verdict = |kind, ok| Verdict {
        format: VERDICT_FORMAT.to_owned(),
        kind,
        started_at: String::new(),
        seconds: 1,
        restore_seconds: None,
        bytes: 1,
        ok,
        findings: Vec::new(),
    };
    match fortune {
        Fortune::Well => {}
        Fortune::Verified => set.verdicts = vec![verdict(VerdictKind::Verify, true)],
        Fortune::FoundBad => set.verdicts = vec![verdict(VerdictKind::Drill, false)],
        // The newest of each kind; what is wrong with WAL is nothing wrong with a backup.
        Fortune::Acquitted => {
            set.verdicts = vec![verdict(VerdictKind::Verify, true), verdict(VerdictKind::Wal, false)];
        }
        Fortune::DamagedRecord => {
            set.state = State::Damaged { why: "cut".to_owned(), record: None };
        }
        Fortune::BadPages => {
            if let State::Complete(record) = &mut set.state {
                record.backup.findings.bad_pages = 3;
            }
        }
        Fortune::Interrupted => set.state = State::Incomplete("no record".to_owned()),
        Fortune::LostObject => {
            let complete = std::mem::replace(&mut set.state, State::Incomplete(String::new()));
            let State::Complete(record) = complete else { unreachable!("it was just made") };
            set.state = State::Damaged { why: "data.pgv is missing".to_owned(), record: Some(record) };
        }
    }
}

fn labels(sets: &[Set]) -> BTreeSet<String> {
    sets.iter().map(|set| set.label.to_string()).collect()
}

pub(super) fn stay(fates: &[Fate<'_>]) -> BTreeSet<String> {
    let kept = fates.iter().filter(|fate| !fate.reasons.is_empty());
    kept.map(|fate| fate.set.label.to_string()).collect()
}

fn is_full(set: &Set) -> bool {
    set.label.backup_type() == BackupType::Full
}

fn parent(set: &Set) -> Option<&Label> {
    set.record().and_then(|record| record.backup.parent.as_ref())
}

/// Of one system identifier: `kept` of `before`, whatever removed the rest.
fn check_whole(before: &[Set], kept: &BTreeSet<String>) {
    let stays = |set: &Set| kept.contains(set.label.as_str());
    let was_there = |label: &Label| before.iter().any(|set| set.label == *label);
    for set in before.iter().filter(|set| stays(set)) {
        if let Some(parent) = parent(set).filter(|parent| was_there(parent)) {
            assert!(kept.contains(parent.as_str()), "{} lost its parent", set.label);
        }
    }
    let good = good(before);
    let newest_good_full = before.iter().zip(&good).rfind(|(set, good)| **good && is_full(set));
    assert!(newest_good_full.is_none_or(|(set, _)| stays(set)), "the newest good full went");
}

/// Of one system identifier: what a rule promises it promises of good backups.
fn check_rules(before: &[Set], kept: &BTreeSet<String>, rules: &Rules, now: OffsetDateTime) {
    let good = good(before);
    let good: Vec<&Set> = before.iter().zip(good).filter_map(|(set, good)| good.then_some(set)).collect();
    let stays = |set: &&Set| kept.contains(set.label.as_str());
    let newest = before.iter().rfind(|set| set.record().is_some());
    assert!(newest.as_ref().is_none_or(stays), "the newest went");
    assert!(good.last().is_none_or(&stays), "the newest good one went");
    let clean: Vec<&Set> =
        before.iter().zip(clean(before)).filter_map(|(set, clean)| clean.then_some(set)).collect();
    assert!(clean.last().is_none_or(&stays), "the newest one without bad pages went");
    if let Some(last) = rules.last {
        assert!(good.iter().rev().take(last).all(stays), "one of the last went");
    }
    if let Some(full) = rules.full {
        assert!(good.iter().rev().filter(|set| is_full(set)).take(full).all(stays), "a full went");
    }
    if let Some(daily) = rules.daily {
        let day = |set: &&Set| stopped_at(set).unwrap().date();
        let days: BTreeSet<_> = good.iter().map(day).collect();
        let left: BTreeSet<_> = good.iter().filter(|set| stays(set)).map(day).collect();
        assert!(days.iter().rev().take(daily).all(|day| left.contains(day)), "a day went");
    }
    if let Some(within) = rules.within {
        let age = |set: &Set| now - stopped_at(set).unwrap();
        assert!(good.iter().filter(|set| age(set) < within).all(stays), "a young one went");
        let base = good.iter().rfind(|set| age(set) >= within);
        assert!(base.is_none_or(stays), "the first moment of the window cannot be reached");
    }
    for set in before.iter().filter(|set| set.may_be_running(now)) {
        assert!(stays(&set), "{} may be running, and went", set.label);
        let chain = before.iter().filter(|other| other.label.full_part() == set.label.full_part());
        let chain: Vec<&Set> = chain.filter(|other| other.record().is_some()).collect();
        assert!(is_full(set) || chain.iter().all(stays), "a base of {} went", set.label);
    }
}

/// Of one system identifier: what is pinned stays, with all that it is built on as far as records tell, whatever removes.
fn check_pins(before: &[Set], kept: &BTreeSet<String>, now: OffsetDateTime) {
    for set in before.iter().filter(|set| !matches!(set.state, State::Incomplete(_))) {
        let holds = match set.marks.pin.as_ref().map(|pin| &pin.content) {
            None => false,
            Some(Content::Good(pin)) => {
                pin.pinned && pin.until.as_ref().is_none_or(|until| now < time_of(until).unwrap())
            }
            Some(_) => true,
        };
        let mut link = Some(set).filter(|_| holds);
        while let Some(one) = link {
            assert!(kept.contains(one.label.as_str()), "{} went, and {} is pinned", one.label, set.label);
            let parent = one.committed().and_then(|record| record.backup.parent.as_ref());
            let is_backup = |other: &&Set| !matches!(other.state, State::Incomplete(_));
            link = before.iter().filter(is_backup).find(|other| Some(&other.label) == parent);
        }
    }
}

/// What a person decides about a backup.
fn mark(set: &mut Set, pick: i64, now: OffsetDateTime) {
    let content = match pick {
        1 => Content::Good(Pin::new(None, None).unwrap()),
        2 => Content::Good(Pin::new(Some(now + time::Duration::days(40)), None).unwrap()),
        3 => Content::Good(Pin::removal(None)),
        _ => Content::Wrong("cut".to_owned()),
    };
    set.marks.pin = Some(Mark { name: String::new(), content });
}

/// No WAL goes that a backup which stays needs.
fn check_wal(left: &[Set], now: OffsetDateTime) {
    let unknown = |set: &Set| matches!(set.state, State::Damaged { record: None, .. });
    let held = left.iter().any(|set| unknown(set) || set.may_be_running(now));
    let first = |set: &Set| set.committed().map(|record| record.backup.wal_first.clone());
    match Kept::since_oldest(left, now) {
        Ok(kept) => {
            assert!(!held);
            let least = left.iter().filter_map(first).min();
            assert_eq!(kept.is_some(), least.is_some());
            if let (Some(kept), Some(least)) = (kept, least) {
                let (_, number) = wal::segment_number(&least, SEGMENT).unwrap();
                let older = number.checked_sub(1).map(|number| wal::name_of_number(1, number, SEGMENT));
                assert!(
                    kept.holds(&least, None) && older.is_none_or(|older| !kept.holds(&older, None)),
                    "{kept:?}"
                );
            }
        }
        Err(why) => assert!(held, "{why}"),
    }
}

pub(super) fn rules() -> impl Strategy<Value = Rules> {
    let count = || proptest::option::of(1usize..12);
    (count(), count(), count(), count(), count(), count(), proptest::option::of(1u64..40)).prop_map(
        |(full, diff, last, daily, weekly, monthly, days)| Rules {
            full,
            diff,
            last,
            daily,
            weekly,
            monthly,
            within: days.map(|days| Duration::from_secs(days * 86_400)),
            ..Rules::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Years of nights of a cluster, and of the one that a major upgrade makes of it, with all that befalls
    /// backups; and now and then a person who removes one, pins one, or takes a pin back.
    #[test]
    fn misfortune_breaks_no_promise(
        rules in rules().prop_filter("no rule", |rules| rules.check().is_ok()),
        upgrade in 1usize..600,
        nights in proptest::collection::vec((0u8..8, fortune(), 0i64..7_200, 0u8..12, 1i64..3), 600),
    ) {
        let mut all: Vec<Set> = Vec::new();
        let mut day = 0;
        for (night, (kind, fortune, late, person, step)) in nights.into_iter().enumerate() {
            day += step;
            let (began, system) = (day * DAY + late, 1 + u64::from(night >= upgrade));
            let now = at(began + 120);
            let of_it: Vec<&Set> = all.iter().filter(|set| set.system_identifier == system).collect();
            let mut set = next(&of_it, kind, began, system);
            befall(&mut set, fortune);
            // Those of the upgraded cluster are the younger ones, so they stay in the order of collect().
            all.push(set);
            let mut kept = stay(&prune(&all, &rules, now).unwrap());
            for sets in systems(&all) {
                let alone = stay(&prune(sets, &rules, now).unwrap());
                assert_eq!(alone, &kept & &labels(sets), "another system's backups count");
                check_whole(sets, &kept);
                check_rules(sets, &kept, &rules, now);
                check_pins(sets, &kept, now);
            }
            let named = all[late as usize % all.len()].label.clone();
            if let Some(gone) = (person == 0).then(|| prune_labels(&all, &[named], now).ok()).flatten() {
                let gone: BTreeSet<String> = gone.iter().map(|fate| fate.set.label.to_string()).collect();
                kept = &labels(&all) - &gone;
                systems(&all).for_each(|sets| check_whole(sets, &kept));
                systems(&all).for_each(|sets| check_pins(sets, &kept, now));
            }
            let pick = late % 100;
            if (1..5).contains(&pick) {
                let marked = late as usize / 100 % all.len();
                mark(&mut all[marked], pick, now);
            }
            all.retain(|set| kept.contains(set.label.as_str()));
            systems(&all).for_each(|sets| check_wal(sets, now));
        }
    }
}

/// A chain of a full, differentials and incrementals: what each pin keeps, under a rule that keeps none of it.
#[test]
fn a_pin_keeps_what_it_is_built_on_and_nothing_else() {
    let mut all: Vec<Set> = Vec::new();
    // Full, diff, incr, incr, diff, incr; and a later full, which the rule keeps.
    for (day, kind) in [0u8, 1, 2, 2, 1, 2, 0].into_iter().enumerate() {
        let made = next(&all.iter().collect::<Vec<_>>(), kind, i64::try_from(day).unwrap() * DAY, 1);
        all.push(made);
    }
    let (rules, now) = (Rules { full: Some(1), ..Rules::default() }, at(10 * DAY));
    let kept = |all: &[Set]| -> Vec<usize> {
        let stay = stay(&prune(all, &rules, now).unwrap());
        (0..6).filter(|at| stay.contains(all[*at].label.as_str())).collect()
    };
    assert!(kept(&all).is_empty());
    for (pinned, chain) in [(0, &[0][..]), (2, &[0, 1, 2]), (3, &[0, 1, 2, 3]), (5, &[0, 4, 5])] {
        mark(&mut all[pinned], 1, now);
        assert_eq!(kept(&all), chain, "pinned {pinned}");
        // No label of the chain goes, nor what would take it along; what it is not built on does.
        for named in 0..6 {
            let result = prune_labels(&all, &[all[named].label.clone()], now);
            assert_eq!(result.is_err(), chain.contains(&named), "pinned {pinned}, named {named}");
            if let Err(error) = result {
                let hint =
                    format!("nothing was deleted; to unpin it: pgv-pin c {} --remove", all[pinned].label);
                assert_eq!(error.hints(), [hint], "{error}");
            }
        }
        mark(&mut all[pinned], 2, now);
        assert_eq!(kept(&all), chain, "pinned {pinned} until later");
        assert_eq!(stay(&prune(&all, &rules, now + time::Duration::days(40)).unwrap()).len(), 1, "{pinned}");
        mark(&mut all[pinned], 4, now);
        assert_eq!(kept(&all), chain, "the pin of {pinned} is damaged");
        mark(&mut all[pinned], 3, now);
        assert!(kept(&all).is_empty(), "unpinned {pinned}");
    }
    // A record that tells no parent: any of what is older may be it.
    mark(&mut all[3], 1, now);
    befall(&mut all[2], Fortune::DamagedRecord);
    assert_eq!(kept(&all), [0, 1, 2, 3]);
    assert!(prune_labels(&all, &[all[1].label.clone()], now).is_err());
    // What was deleted before it was pinned is no backup.
    befall(&mut all[3], Fortune::Interrupted);
    assert!(kept(&all).is_empty());
}
