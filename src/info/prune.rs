//! Which backups may go. A backup stays if a rule keeps it, or if one that stays is built on it. Each system identifier
//! is looked at by itself, so that an upgraded cluster never makes another one's backups look old, and of each the
//! newest backup, the newest good one and the newest good full always stay.
//!
//! A backup is good if its chain is complete and nothing bad was found in any link of it when it was last looked at.
//! A rule counts good ones only. One that is not good stays as long as if it were, and stands for none: a verdict, which
//! may be wrong, makes backups stay and never go.

use crate::catalog::{BackupType, Label};
use crate::error::{Error, Result};
use crate::info::choose::{one_name, stopped_at};
use crate::info::sets::LONGEST_BACKUP;
use crate::info::{Set, State, good, systems};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use time::OffsetDateTime;

/// A backup that began a little later than yesterday's is not to fall out of its day.
const GRACE: Duration = Duration::from_secs(3_600);

/// Each rule keeps; together they keep what any of them keeps. In none of them is zero a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The newest fulls, each with all that is built on it; alone, if `diff` is given too.
    pub full: Option<usize>,
    /// The newest fulls or differentials, each with the incrementals that follow it.
    pub diff: Option<usize>,
    /// The newest backups of any type.
    pub last: Option<usize>,
    /// The newest backup of each of the last hours, days, … that have one.
    pub hourly: Option<usize>,
    pub daily: Option<usize>,
    pub weekly: Option<usize>,
    pub monthly: Option<usize>,
    pub yearly: Option<usize>,
    /// Everything that is younger, with [`GRACE`], and what reaches the oldest moment of that time.
    pub within: Option<Duration>,
}

/// What is to become of one set.
pub struct Fate<'a> {
    pub set: &'a Set,
    /// Why it stays; empty: it may go.
    pub reasons: Vec<String>,
    good: bool,
}

impl Fate<'_> {
    fn is_complete(&self) -> bool {
        self.set.record().is_some()
    }

    fn is_full(&self) -> bool {
        self.set.label.backup_type() == BackupType::Full
    }

    fn keep(&mut self, reason: &str) {
        let counts = if self.good { "" } else { ", not counted: it is not good" };
        self.reasons.push(format!("{reason}{counts}"));
    }
}

/// The fates of all sets, oldest first in each system identifier.
pub fn prune<'a>(sets: &'a [Set], rules: &Rules, now: OffsetDateTime) -> Result<Vec<Fate<'a>>> {
    one_name(sets)?;
    rules.check()?;
    Ok(systems(sets).flat_map(|sets| prune_system(sets, rules, now)).collect())
}

fn prune_system<'a>(sets: &'a [Set], rules: &Rules, now: OffsetDateTime) -> Vec<Fate<'a>> {
    let good = good(sets);
    let fate = |(set, good)| Fate { set, reasons: Vec::new(), good };
    let mut fates: Vec<_> = sets.iter().zip(good).map(fate).collect();
    keep_newest(&mut fates);
    if let Some(count) = rules.full {
        keep_fulls(&mut fates, count, rules.diff.is_some());
    }
    if let Some(count) = rules.diff {
        keep_differentials(&mut fates, count);
    }
    if let Some(count) = rules.last {
        keep_good(newest_first(&mut fates), count, "last");
    }
    for (count, name, period) in rules.periods() {
        keep_periods(&mut fates, count, name, period);
    }
    if let Some(within) = rules.within {
        keep_within(&mut fates, within, now);
    }
    keep_for_running(&mut fates, now);
    keep_parents(&mut fates);
    keep_incomplete(&mut fates, now);
    fates
}

/// What goes if these backups are to go: they, what is built on them, and what was interrupted. Oldest first in each
/// system identifier. Refuses what would leave nothing good.
pub fn prune_labels<'a>(sets: &'a [Set], labels: &[Label], now: OffsetDateTime) -> Result<Vec<Fate<'a>>> {
    one_name(sets)?;
    let named: BTreeSet<&Label> = labels.iter().collect();
    for label in &named {
        match sets.iter().filter(|set| set.label == **label).count() {
            0 => return Err(Error::not_found(format!("there is no backup {label}"))),
            1 => {}
            _ => {
                return Err(Error::usage(format!(
                    "backup {label} is there under several system identifiers"
                ))
                .hint("--system-id names one"));
            }
        }
    }
    let doomed: Vec<Vec<&Set>> = systems(sets).map(|sets| doom(sets, &named, now)).collect::<Result<_>>()?;
    let fate = |set| Fate { set, reasons: Vec::new(), good: false };
    Ok(doomed.into_iter().flatten().map(fate).collect())
}

/// Of one system identifier.
fn doom<'a>(sets: &'a [Set], named: &BTreeSet<&Label>, now: OffsetDateTime) -> Result<Vec<&'a Set>> {
    let mut doomed: BTreeSet<&str> = BTreeSet::new();
    // Oldest first: a parent's fate is known before its children's.
    for set in sets {
        let parent = set.committed().and_then(|record| record.backup.parent.as_ref());
        // What has no record tells its full only.
        let builds_on_doomed = match parent {
            Some(parent) => doomed.contains(parent.as_str()),
            None => doomed.contains(set.label.full_part()),
        };
        if named.contains(&set.label) || builds_on_doomed || set.is_interrupted(now) {
            doomed.insert(set.label.as_str());
        }
    }
    let chosen = |set: &&Set| doomed.contains(set.label.as_str());
    let chains: BTreeSet<&str> = sets
        .iter()
        .filter(|set| chosen(set) && !set.is_interrupted(now))
        .map(|set| set.label.full_part())
        .collect();
    if let Some(running) =
        sets.iter().find(|set| set.may_be_running(now) && chains.contains(set.label.full_part()))
    {
        let days = LONGEST_BACKUP.as_secs() / 86_400;
        return Err(Error::failed(format!(
            "{} was begun less than {days} days ago: a backup that may be running is built on what would go",
            running.label
        ))
        .hint("wait for its end; the next pgv-backup removes it if it was interrupted"));
    }
    refuse_last(sets, &doomed)?;
    Ok(sets.iter().filter(chosen).collect())
}

fn refuse_last(sets: &[Set], doomed: &BTreeSet<&str>) -> Result<()> {
    let complete: Vec<&Set> = sets.iter().filter(|set| set.record().is_some()).collect();
    let goes = |set: &Set| doomed.contains(set.label.as_str());
    if !complete.is_empty() && complete.iter().all(|set| goes(set)) {
        let (cluster, system) = (&complete[0].cluster, complete[0].system_identifier);
        return Err(Error::failed(format!("that would remove every complete backup of {cluster} {system}"))
            .hint("make a new backup first, or remove them with pgv-s3 rm"));
    }
    let is_full = |set: &Set| set.label.backup_type() == BackupType::Full;
    let good_full = sets.iter().zip(good(sets)).rfind(|(set, good)| *good && is_full(set));
    let newest = match good_full {
        Some((set, _)) => Some((set, "newest good full backup")),
        None => complete.iter().rfind(|set| is_full(set)).map(|set| (*set, "newest full backup")),
    };
    match newest {
        Some((set, what)) if goes(set) => Err(Error::failed(format!(
            "that would remove {}, the {what} of {} {}",
            set.label, set.cluster, set.system_identifier
        ))
        .hint("make a new full first, or remove it with pgv-s3 rm")),
        _ => Ok(()),
    }
}

/// Tells apart the hours, days, … of UTC.
type Period = fn(OffsetDateTime) -> (i32, u32);

impl Rules {
    fn check(&self) -> Result<()> {
        let counts = [self.full, self.diff, self.last];
        let periods = [self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        let numbers = [&counts[..], &periods[..]].concat();
        if numbers.contains(&Some(0)) {
            return Err(Error::usage("a rule that keeps zero backups keeps none, and pgv keeps the newest")
                .hint("leave the rule out, or keep 1"));
        }
        match numbers.iter().any(Option::is_some) || self.within.is_some() {
            true => Ok(()),
            false => Err(Error::usage("no rule says what to keep")
                .hint("give --keep-full N, or set PGV_KEEP_FULL in the configuration")),
        }
    }

    fn periods(&self) -> Vec<(usize, &'static str, Period)> {
        let all: [(Option<usize>, &'static str, Period); 5] = [
            (self.hourly, "hourly", |time| {
                (time.year(), u32::from(time.ordinal()) * 24 + u32::from(time.hour()))
            }),
            (self.daily, "daily", |time| (time.year(), u32::from(time.ordinal()))),
            (self.weekly, "weekly", |time| {
                let (year, week, _) = time.to_iso_week_date();
                (year, u32::from(week))
            }),
            (self.monthly, "monthly", |time| (time.year(), u32::from(u8::from(time.month())))),
            (self.yearly, "yearly", |time| (time.year(), 0)),
        ];
        all.into_iter().filter_map(|(count, name, period)| Some((count?, name, period))).collect()
    }
}

fn newest_first<'f, 'a>(fates: &'f mut [Fate<'a>]) -> impl Iterator<Item = &'f mut Fate<'a>> {
    fates.iter_mut().rev().filter(|fate| fate.is_complete())
}

/// The first of these until so many good ones stay.
fn keep_good<'f, 'a: 'f>(candidates: impl Iterator<Item = &'f mut Fate<'a>>, count: usize, reason: &str) {
    let mut left = count;
    for fate in candidates {
        if left == 0 {
            return;
        }
        fate.keep(reason);
        left -= usize::from(fate.good);
    }
}

/// Whatever the rules.
fn keep_newest(fates: &mut [Fate<'_>]) {
    if let Some(newest) = newest_first(fates).next() {
        newest.keep("newest");
    }
    if let Some(newest) = newest_first(fates).find(|fate| fate.good) {
        newest.keep("newest good");
    }
    if let Some(newest) = newest_first(fates).find(|fate| fate.good && fate.is_full()) {
        newest.keep("newest good full");
    }
}

fn keep_fulls(fates: &mut [Fate<'_>], count: usize, alone: bool) {
    const FULL: &str = "full";
    keep_good(newest_first(fates).filter(|fate| fate.is_full()), count, FULL);
    if alone {
        return;
    }
    let has_reason = |fate: &&Fate<'_>| fate.reasons.iter().any(|reason| reason.starts_with(FULL));
    let kept: BTreeSet<String> =
        fates.iter().filter(has_reason).map(|fate| fate.set.label.to_string()).collect();
    let built_on = newest_first(fates).filter(|fate| !fate.is_full());
    for fate in built_on.filter(|fate| kept.contains(fate.set.label.full_part())) {
        fate.keep(FULL);
    }
}

/// A head is a full or a differential; the incrementals between it and the next one follow it.
fn keep_differentials(fates: &mut [Fate<'_>], count: usize) {
    const DIFF: &str = "diff";
    let is_head = |fate: &Fate<'_>| fate.set.label.backup_type() != BackupType::Incr;
    keep_good(newest_first(fates).filter(|fate| is_head(fate)), count, DIFF);
    // Oldest first, so that a parent's head is known before its children ask for it.
    let mut kept: BTreeMap<String, bool> = BTreeMap::new();
    for fate in fates.iter_mut().filter(|fate| fate.is_complete()) {
        let parent = fate.set.record().and_then(|record| record.backup.parent.as_ref());
        let stays = match is_head(fate) {
            true => fate.reasons.iter().any(|reason| reason.starts_with(DIFF)),
            false => {
                let parent = parent.and_then(|parent| kept.get(parent.as_str()));
                parent.or_else(|| kept.get(fate.set.label.full_part())).is_some_and(|kept| *kept)
            }
        };
        if stays && !is_head(fate) {
            fate.keep(DIFF);
        }
        kept.insert(fate.set.label.to_string(), stays);
    }
}

fn keep_periods(fates: &mut [Fate<'_>], count: usize, name: &str, period: Period) {
    let mut seen = Vec::new();
    for fate in newest_first(fates) {
        let Some(stopped) = stopped_at(fate.set) else {
            fate.keep("unknown time");
            continue;
        };
        let this = period(stopped.to_offset(time::UtcOffset::UTC));
        if seen.last() != Some(&this) && seen.len() < count {
            fate.keep(name);
            if fate.good {
                seen.push(this);
            }
        }
    }
}

/// The young ones, and the newest good one that reaches the first moment of that time.
fn keep_within(fates: &mut [Fate<'_>], within: Duration, now: OffsetDateTime) {
    let age = |set: &Set| stopped_at(set).map(|stopped| now - stopped);
    for fate in newest_first(fates) {
        if age(fate.set).is_none_or(|age| age < within.saturating_add(GRACE)) {
            fate.keep("within");
        }
    }
    if let Some(start) =
        newest_first(fates).find(|fate| fate.good && age(fate.set).is_some_and(|age| age >= within))
    {
        start.keep("start of the recovery window");
    }
}

/// What a backup that is being made may be built on: nobody knows yet on which of them.
fn keep_for_running(fates: &mut [Fate<'_>], now: OffsetDateTime) {
    let is_running = |fate: &&Fate<'_>| fate.set.may_be_running(now) && !fate.is_full();
    let running: Vec<Label> = fates.iter().filter(is_running).map(|fate| fate.set.label.clone()).collect();
    for running in running {
        let chain = fates.iter_mut().filter(|fate| fate.set.label.full_part() == running.full_part());
        chain
            .filter(|fate| fate.is_complete())
            .for_each(|fate| fate.reasons.push(format!("{running} is being made")));
    }
}

/// Newest first, so that a parent is reached after all its children.
fn keep_parents(fates: &mut [Fate<'_>]) {
    let index: BTreeMap<String, usize> =
        fates.iter().enumerate().map(|(at, fate)| (fate.set.label.to_string(), at)).collect();
    for at in (0..fates.len()).rev() {
        let parent = fates[at].set.record().and_then(|record| record.backup.parent.clone());
        let found = parent.and_then(|parent| index.get(parent.as_str()).copied());
        if let Some(parent) = found.filter(|_| !fates[at].reasons.is_empty()) {
            let reason = format!("parent of {}", fates[at].set.label);
            fates[parent].reasons.push(reason);
        }
    }
}

/// What is no backup goes if it was interrupted; what may be running stays; and whether what is damaged is of use is for a
/// person to say. Nothing of it stays whose full goes.
fn keep_incomplete(fates: &mut [Fate<'_>], now: OffsetDateTime) {
    let goes = |fate: &&Fate<'_>| fate.is_complete() && fate.is_full() && fate.reasons.is_empty();
    let gone: BTreeSet<String> = fates.iter().filter(goes).map(|fate| fate.set.label.to_string()).collect();
    for fate in fates.iter_mut().filter(|fate| !fate.is_complete() && !fate.set.is_interrupted(now)) {
        let reason = match &fate.set.state {
            State::Damaged { record: None, .. } => "its record is damaged",
            State::Damaged { .. } => "its record does not fit its objects",
            State::Unreadable(_) => "its record cannot be read",
            State::Incomplete(_) | State::Complete(_) => "may be running",
        };
        if !gone.contains(fate.set.label.full_part()) {
            fate.reasons.push(reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{BackupFacts, Blocks, Files, Findings, Label, Mode, ObjectEntry, Record};
    use crate::catalog::{VERDICT_FORMAT, Verdict, VerdictKind};
    use crate::info::wal::needed_from;
    use crate::pg::Lsn;
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;

    const START: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z
    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(START + seconds).unwrap()
    }

    fn set(label: Label, parent: Option<&Label>, stopped: OffsetDateTime, system_identifier: u64) -> Set {
        let time = stopped.format(&Rfc3339).unwrap();
        let backup = BackupFacts {
            backup_type: label.backup_type(),
            mode: parent.map(|_| Mode::Blocks),
            parent: parent.cloned(),
            label: label.clone(),
            system_identifier,
            pg_version: "15.20".to_owned(),
            host: "h".to_owned(),
            started_at: time.clone(),
            stopped_at: time,
            start_lsn: Lsn(0),
            stop_lsn: Lsn(1),
            timeline: 1,
            wal_first: wal_first(stopped),
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
        Set {
            cluster: "c".to_owned(),
            system_identifier,
            url: format!("file:///r/c/1/backup/{label}"),
            label,
            stored_bytes: 1,
            state: State::Complete(Box::new(record)),
            verdicts: Vec::new(),
            unread_verdict: None,
        }
    }

    /// A segment an hour.
    fn wal_first(stopped: OffsetDateTime) -> String {
        let hours = (stopped - at(0)).whole_hours();
        format!("00000001{:08X}{:08X}", hours / 256, hours % 256)
    }

    /// The next night's backup: a full, or what changed since the newest, or since the newest full.
    fn next(sets: &[&Set], kind: u8, began: i64, system_identifier: u64) -> Set {
        let newest = sets.last().map(|set| &set.label);
        let full =
            sets.iter().rev().map(|set| &set.label).find(|label| label.backup_type() == BackupType::Full);
        let (label, parent) = match (kind, full, newest) {
            (1, Some(full), _) => (Label::increment(full, BackupType::Diff, at(began)), Some(full)),
            (2.., Some(_), Some(newest)) => {
                (Label::increment(newest, BackupType::Incr, at(began)), Some(newest))
            }
            _ => (Label::full(at(began)), None),
        };
        set(label.unwrap(), parent, at(began + 60), system_identifier)
    }

    /// What becomes of a night's backup.
    #[derive(Clone, Copy, Debug)]
    enum Fortune {
        Well,
        Verified,
        FoundBad,
        /// Found bad, and later good.
        Acquitted,
        DamagedRecord,
        Interrupted,
        LostObject,
    }

    fn fortune() -> impl Strategy<Value = Fortune> {
        prop_oneof![
            12 => Just(Fortune::Well),
            2 => Just(Fortune::Verified),
            2 => Just(Fortune::FoundBad),
            1 => Just(Fortune::Acquitted),
            1 => Just(Fortune::DamagedRecord),
            2 => Just(Fortune::Interrupted),
            1 => Just(Fortune::LostObject),
        ]
    }

    fn befall(set: &mut Set, fortune: Fortune) {
        let verdict = |kind, ok| Verdict {
            format: VERDICT_FORMAT.to_owned(),
            kind,
            started_at: String::new(),
            seconds: 1,
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

    fn stay(fates: &[Fate<'_>]) -> BTreeSet<String> {
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

    /// No WAL goes that a backup which stays needs.
    fn check_wal(left: &[Set], now: OffsetDateTime) {
        let unknown = |set: &Set| matches!(set.state, State::Damaged { record: None, .. });
        let held = left.iter().any(|set| unknown(set) || set.may_be_running(now));
        let first = |set: &Set| set.committed().map(|record| record.backup.wal_first[8..].to_owned());
        match needed_from(left, now) {
            Ok(least) => assert!(!held && least == left.iter().filter_map(first).min()),
            Err(why) => assert!(held, "{why}"),
        }
    }

    fn rules() -> impl Strategy<Value = Rules> {
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
        /// backups; and now and then a person who removes one.
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
                }
                let named = all[late as usize % all.len()].label.clone();
                if let Some(gone) = (person == 0).then(|| prune_labels(&all, &[named], now).ok()).flatten() {
                    let gone: BTreeSet<String> = gone.iter().map(|fate| fate.set.label.to_string()).collect();
                    kept = &labels(&all) - &gone;
                    systems(&all).for_each(|sets| check_whole(sets, &kept));
                }
                all.retain(|set| kept.contains(set.label.as_str()));
                systems(&all).for_each(|sets| check_wal(sets, now));
            }
        }
    }
}
