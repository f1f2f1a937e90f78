//! Retention where chains are merged: consolidation loses no moment that a rule promises, and what it made is no reason to
//! keep or remove more.

use super::tests::{
    at, befall, check_pins, check_rules, check_wal, check_whole, fortune, labels, lay, mark, next, rules,
    set, stay,
};
use super::*;
use crate::info::choose::chain;
use crate::info::merging;
use crate::pg::wal;
use proptest::prelude::*;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// What pgv-consolidate makes of the newest chain, if it makes anything.
fn consolidate(sets: &[Set], began: i64) -> Option<Set> {
    let of_newest = merging(sets, None).ok()?;
    let links: Vec<_> = of_newest.records().map(|record| &record.backup).collect();
    let newest = links.last().filter(|_| links.len() > 1)?;
    let stopped = crate::catalog::time_of(&newest.stopped_at)?;
    let mut made = set(Label::full(at(began)).unwrap(), None, stopped, newest.system_identifier);
    let number = |name: &str| wal::segment_number(name, wal::DEFAULT_SEGMENT_BYTES).unwrap().1;
    lay(&mut made, newest.timeline, number(&newest.wal_first), number(&newest.wal_last));
    let State::Complete(record) = &mut made.state else { unreachable!("it was just made") };
    record.backup.merged_from = links.iter().map(|link| link.label.clone()).collect();
    record.backup.findings.bad_pages = links.iter().map(|link| link.findings.bad_pages).sum();
    Some(made)
}

/// As a repository is listed.
fn add(sets: &mut Vec<Set>, set: Set) {
    sets.push(set);
    sets.sort_by(|a, b| (a.system_identifier, a.age()).cmp(&(b.system_identifier, b.age())));
}

fn refs(sets: &[Set]) -> Vec<&Set> {
    sets.iter().collect()
}

/// The ends of the good backups that stay because a rule says so.
fn promised(sets: &[Set], rules: &Rules, now: OffsetDateTime) -> BTreeSet<OffsetDateTime> {
    const RULES: [&str; 9] = [
        "full",
        "diff",
        "last",
        "hourly",
        "daily",
        "weekly",
        "monthly",
        "within",
        "start of the recovery window",
    ];
    let fates = prune(sets, rules, now).unwrap();
    let by_rule = |fate: &&Fate<'_>| fate.reasons.iter().any(|reason| RULES.contains(&reason.as_str()));
    fates.iter().filter(|fate| fate.good).filter(by_rule).filter_map(|fate| stopped_at(fate.set)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Nights of backups, some of which a consolidation follows, or runs beside: then the increment belongs to the chain
    /// that was the newest when it began.
    #[test]
    fn consolidation_breaks_no_promise(
        rules in rules().prop_filter("no rule", |rules| rules.check().is_ok()),
        nights in proptest::collection::vec((0u8..12, fortune(), 0u8..6, fortune(), 0u8..60, 1i64..3), 250),
    ) {
        let mut all: Vec<Set> = Vec::new();
        let mut day = 0;
        for (kind, fortune, merge, merged_fortune, pick, step) in nights {
            day += step;
            let (began, now) = (day * DAY, at(day * DAY + 6 * HOUR));
            let made = (merge < 3).then(|| consolidate(&all, began + 60)).flatten();
            // It began before the other, or after it and knew nothing of it, or when that was complete.
            let late = match merge {
                0 => Some(began),
                1 => Some(began + 120),
                _ => None,
            };
            let beside = late.map(|began| next(&refs(&all), kind, began, 1));
            if let Some(mut made) = made {
                let (label, before) = (made.label.clone(), promised(&all, &rules, now));
                let State::Complete(record) = &made.state else { unreachable!("it was just made") };
                prop_assert_eq!(record.backup.contradiction(), None);
                add(&mut all, made);
                let after = promised(&all, &rules, now);
                prop_assert!(before.is_subset(&after), "{before:?} {after:?}: {label} took a moment away");
                let at = all.iter().position(|set| set.label == label).unwrap();
                made = all.remove(at);
                befall(&mut made, merged_fortune);
                add(&mut all, made);
            }
            let mut set = beside.unwrap_or_else(|| next(&refs(&all), kind, began + 180, 1));
            befall(&mut set, fortune);
            add(&mut all, set);
            for (at, set) in all.iter().enumerate() {
                let parent = set.committed().and_then(|record| record.backup.parent.as_ref());
                let later = all[at..].iter().any(|other| Some(&other.label) == parent);
                prop_assert!(!later, "{} comes before its parent", set.label);
            }
            let kept = stay(&prune(&all, &rules, now).unwrap());
            check_whole(&all, &kept);
            check_rules(&all, &kept, &rules, now);
            check_pins(&all, &kept, now);
            let named = all[usize::from(pick) % all.len()].label.clone();
            if let Some(gone) = (pick < 10).then(|| prune_labels(&all, &[named], now).ok()).flatten() {
                let gone: BTreeSet<String> = gone.iter().map(|fate| fate.set.label.to_string()).collect();
                let left = &labels(&all) - &gone;
                check_whole(&all, &left);
                check_pins(&all, &left, now);
                all.retain(|set| left.contains(set.label.as_str()));
            } else {
                all.retain(|set| kept.contains(set.label.as_str()));
            }
            if (10..14).contains(&pick) {
                let marked = usize::try_from(day).unwrap() % all.len();
                mark(&mut all[marked], i64::from(pick) - 9, now);
            }
            check_wal(&all, now);
        }
    }
}

/// A full and three increments on as many days, and what became of them on the fifth.
fn consolidated() -> Vec<Set> {
    let mut all = Vec::new();
    for (day, kind) in [0u8, 2, 2, 2].into_iter().enumerate() {
        let made = next(&refs(&all), kind, i64::try_from(day).unwrap() * DAY, 1);
        add(&mut all, made);
    }
    let made = consolidate(&all, 3 * DAY + HOUR).unwrap();
    add(&mut all, made);
    all
}

fn left(all: &[Set], rules: &Rules, now: i64) -> Vec<usize> {
    let stay = stay(&prune(all, rules, at(now)).unwrap());
    (0..all.len()).filter(|at| stay.contains(all[*at].label.as_str())).collect()
}

#[test]
fn the_old_chain_goes_by_the_ordinary_rules() {
    let mut all = consolidated();
    assert!(
        all[4].is_synthetic() && stopped_at(&all[4]) == stopped_at(&all[3]),
        "it follows the last one in it"
    );
    // It takes the place of the last backup in it in any rule of periods and numbers.
    for (rules, stays) in [
        (Rules { daily: Some(1), ..Rules::default() }, &[4][..]),
        (Rules { daily: Some(2), ..Rules::default() }, &[0, 1, 2, 4]),
        (Rules { last: Some(1), ..Rules::default() }, &[4]),
        (Rules { last: Some(2), ..Rules::default() }, &[0, 1, 2, 4]),
        (Rules { weekly: Some(1), ..Rules::default() }, &[4]),
        (Rules { full: Some(1), ..Rules::default() }, &[0, 1, 2, 3, 4]),
        (Rules { full: Some(1), diff: Some(1), ..Rules::default() }, &[0, 1, 2, 3, 4]),
        (Rules { within: Some(Duration::from_secs(86_400)), ..Rules::default() }, &[4]),
    ] {
        assert_eq!(left(&all, &rules, 5 * DAY), stays, "{rules:?}");
    }
    // What builds on it needs it, and nothing older.
    let made = next(&refs(&all), 2, 4 * DAY, 1);
    assert_eq!(made.label.full_part(), all[4].label.as_str());
    add(&mut all, made);
    assert_eq!(left(&all, &Rules { last: Some(1), ..Rules::default() }, 5 * DAY), [4, 5]);
    assert_eq!(chain(&all, &all[5]).unwrap().len(), 2);
    // It can be named like any other, unless it is the last good full, or pinned.
    let named = |all: &[Set], at: usize| {
        prune_labels(all, &[all[at].label.clone()], super::tests::at(5 * DAY)).is_ok()
    };
    assert!(named(&all, 0) && !named(&all, 4));
    mark(&mut all[3], 1, at(5 * DAY));
    assert!(!named(&all, 0), "a pinned link keeps its chain");
    assert_eq!(left(&all, &Rules { last: Some(1), ..Rules::default() }, 5 * DAY), [0, 1, 2, 3, 4, 5]);
}

/// Day after day, with one full for ever.
#[test]
fn daily_consolidation_keeps_what_the_rules_say_and_no_more() {
    let rules = Rules { daily: Some(7), monthly: Some(3), ..Rules::default() };
    let mut all: Vec<Set> = Vec::new();
    for day in 0..120 {
        let made = next(&refs(&all), if day == 0 { 0 } else { 2 }, day * DAY, 1);
        add(&mut all, made);
        if let Some(made) = consolidate(&all, day * DAY + HOUR) {
            add(&mut all, made);
        }
        let kept = stay(&prune(&all, &rules, at(day * DAY + 2 * HOUR)).unwrap());
        all.retain(|set| kept.contains(set.label.as_str()));
        let days: BTreeSet<_> = all.iter().filter_map(|set| Some(stopped_at(set)?.date())).collect();
        assert!(days.len() >= usize::try_from(day + 1).unwrap().min(7), "day {day}: {days:?}");
        // One a day, and one a month.
        assert!(all.len() <= 7 + 3 + 1, "day {day}: {} backups", all.len());
    }
    assert!(all.iter().all(Set::is_synthetic), "nothing of the first chain is needed");
}

/// A synthetic full that is found bad counts for nothing, and the chain from which it was made stays.
#[test]
fn a_bad_synthetic_full_stands_for_nothing() {
    let mut all = consolidated();
    befall(&mut all[4], super::tests::Fortune::FoundBad);
    for rules in [Rules { daily: Some(1), ..Rules::default() }, Rules { last: Some(1), ..Rules::default() }] {
        assert_eq!(left(&all, &rules, 5 * DAY), [0, 1, 2, 3, 4], "{rules:?}");
    }
    // Bad pages of any link are its own.
    let mut all = consolidated();
    all.pop();
    befall(&mut all[2], super::tests::Fortune::BadPages);
    let made = consolidate(&all, 3 * DAY + HOUR).unwrap();
    add(&mut all, made);
    assert_eq!(
        left(&all, &Rules { last: Some(1), ..Rules::default() }, 5 * DAY),
        [0, 1, 4],
        "the newest clean one"
    );
}
