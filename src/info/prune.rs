//! Which backups may go. A backup stays if a rule keeps it, or if one that stays is built on it; the
//! newest complete backup always stays.

use crate::catalog::BackupType;
use crate::error::{Error, Result};
use crate::info::choose::{one_cluster, stopped_at};
use crate::info::{Set, State};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use time::OffsetDateTime;

/// A backup that began a little later than yesterday's is not to fall out of its day.
const GRACE: Duration = Duration::from_secs(3_600);

/// A set without a record that is older was interrupted.
const LONGEST_BACKUP: Duration = Duration::from_secs(2 * 86_400);

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
    /// Everything that is younger, with [`GRACE`].
    pub within: Option<Duration>,
}

/// What is to become of one complete backup.
pub struct Fate<'a> {
    pub set: &'a Set,
    /// Why it stays; empty: it may go.
    pub reasons: Vec<String>,
}

/// Verdicts on all complete backups, oldest first.
pub fn prune<'a>(sets: &'a [Set], rules: &Rules, now: OffsetDateTime) -> Result<Vec<Fate<'a>>> {
    one_cluster(sets)?;
    rules.check()?;
    let complete = sets.iter().filter(|set| set.record().is_some());
    let mut fates: Vec<_> = complete.map(|set| Fate { set, reasons: Vec::new() }).collect();
    if let Some(newest) = fates.last_mut() {
        newest.reasons.push("newest".to_owned());
    }
    if let Some(count) = rules.full {
        keep_fulls(&mut fates, count, rules.diff.is_some());
    }
    if let Some(count) = rules.diff {
        keep_differentials(&mut fates, count);
    }
    if let Some(count) = rules.last {
        fates.iter_mut().rev().take(count).for_each(|fate| fate.reasons.push("last".to_owned()));
    }
    for (count, name, period) in rules.periods() {
        keep_periods(&mut fates, count, name, period);
    }
    if let Some(within) = rules.within {
        let young =
            |set: &Set| stopped_at(set).is_none_or(|stopped| now - stopped < within.saturating_add(GRACE));
        fates
            .iter_mut()
            .filter(|fate| young(fate.set))
            .for_each(|fate| fate.reasons.push("within".to_owned()));
    }
    keep_for_running(&mut fates, sets, now);
    keep_parents(&mut fates);
    Ok(fates)
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

fn keep_fulls(fates: &mut [Fate<'_>], count: usize, alone: bool) {
    let fulls = fates.iter().rev().filter(|fate| fate.set.label.backup_type() == BackupType::Full);
    let kept: BTreeSet<String> = fulls.take(count).map(|fate| fate.set.label.to_string()).collect();
    for fate in fates {
        let name = if alone { fate.set.label.as_str() } else { fate.set.label.full_part() };
        if kept.contains(name) {
            fate.reasons.push("full".to_owned());
        }
    }
}

/// Oldest first, so that a parent's head is known before its children ask for it.
fn keep_differentials(fates: &mut [Fate<'_>], count: usize) {
    let mut heads: BTreeMap<String, String> = BTreeMap::new();
    let labels = fates.iter().rev().map(|fate| &fate.set.label);
    let newest: BTreeSet<String> = labels
        .filter(|label| label.backup_type() != BackupType::Incr)
        .take(count)
        .map(ToString::to_string)
        .collect();
    for fate in fates {
        let label = &fate.set.label;
        let parent = fate.set.record().and_then(|record| record.backup.parent.as_ref());
        let head = match label.backup_type() {
            BackupType::Incr => parent.and_then(|parent| heads.get(parent.as_str())).cloned(),
            _ => Some(label.to_string()),
        };
        let head = head.unwrap_or_else(|| label.full_part().to_owned());
        if newest.contains(&head) {
            fate.reasons.push("diff".to_owned());
        }
        heads.insert(label.to_string(), head);
    }
}

fn keep_periods(fates: &mut [Fate<'_>], count: usize, name: &str, period: Period) {
    let mut seen = Vec::new();
    for fate in fates.iter_mut().rev() {
        let Some(stopped) = stopped_at(fate.set) else {
            fate.reasons.push("unknown time".to_owned());
            continue;
        };
        let this = period(stopped.to_offset(time::UtcOffset::UTC));
        if seen.last() != Some(&this) && seen.len() < count {
            seen.push(this);
            fate.reasons.push(name.to_owned());
        }
    }
}

/// What a backup that is being made may be built on: nobody knows yet on which of them.
fn keep_for_running(fates: &mut [Fate<'_>], sets: &[Set], now: OffsetDateTime) {
    let is_running = |set: &&Set| {
        let young = set.label.time().is_none_or(|begun| now - begun < LONGEST_BACKUP);
        young && matches!(set.state, State::Incomplete(_)) && set.label.backup_type() != BackupType::Full
    };
    for running in sets.iter().filter(is_running) {
        let chain = fates.iter_mut().filter(|fate| fate.set.label.full_part() == running.label.full_part());
        chain.for_each(|fate| fate.reasons.push(format!("{} is being made", running.label)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{BackupFacts, Blocks, Files, Findings, Label, Mode, ObjectEntry, Record};
    use crate::pg::Lsn;
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;

    const START: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z
    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(START + seconds).unwrap()
    }

    fn set(label: Label, parent: Option<&Label>, stopped: OffsetDateTime) -> Set {
        let time = stopped.format(&Rfc3339).unwrap();
        let backup = BackupFacts {
            backup_type: label.backup_type(),
            mode: parent.map(|_| Mode::Blocks),
            parent: parent.cloned(),
            label: label.clone(),
            system_identifier: 1,
            pg_version: "15.20".to_owned(),
            host: "h".to_owned(),
            started_at: time.clone(),
            stopped_at: time,
            start_lsn: Lsn(0),
            stop_lsn: Lsn(1),
            timeline: 1,
            wal_first: String::new(),
            wal_last: String::new(),
            wal_included: true,
            tablespaces_changed: false,
            tablespaces: Vec::new(),
            database_bytes: 1,
            stream_bytes: 1,
            files: Files::default(),
            blocks: Blocks::default(),
            findings: Findings::default(),
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
            system_identifier: 1,
            url: format!("file:///r/c/1/backup/{label}"),
            label,
            stored_bytes: 1,
            state: State::Complete(Box::new(record)),
            verdicts: Vec::new(),
        }
    }

    /// The next night's backup: a full, or what changed since the newest, or since the newest full.
    fn next(sets: &[Set], kind: u8, began: i64) -> Set {
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
        set(label.unwrap(), parent, at(began + 60))
    }

    /// What a person relies on, whatever the rules.
    fn check(before: &[Set], kept: &[&Set], rules: &Rules, now: OffsetDateTime) {
        let labels: BTreeSet<&str> = kept.iter().map(|set| set.label.as_str()).collect();
        for set in kept {
            let parent = set.record().unwrap().backup.parent.as_ref();
            assert!(
                parent.is_none_or(|parent| labels.contains(parent.as_str())),
                "{} lost its parent",
                set.label
            );
        }
        assert_eq!(kept.last().unwrap().label, before.last().unwrap().label, "the newest went");
        let fulls =
            |sets: &[&Set]| sets.iter().filter(|set| set.label.backup_type() == BackupType::Full).count();
        let all: Vec<&Set> = before.iter().collect();
        if let Some(full) = rules.full {
            assert!(fulls(kept) >= full.min(fulls(&all)), "fewer fulls than promised");
        }
        if let Some(last) = rules.last {
            let newest = before.iter().rev().take(last);
            assert!(newest.clone().all(|set| labels.contains(set.label.as_str())), "one of the last went");
        }
        if let Some(within) = rules.within {
            let young = before.iter().filter(|set| now - stopped_at(set).unwrap() < within);
            assert!(young.clone().all(|set| labels.contains(set.label.as_str())), "a young one went");
        }
        if let Some(daily) = rules.daily {
            let days: BTreeSet<_> = before.iter().map(|set| stopped_at(set).unwrap().date()).collect();
            let kept_days: BTreeSet<_> = kept.iter().map(|set| stopped_at(set).unwrap().date()).collect();
            assert!(days.iter().rev().take(daily).all(|day| kept_days.contains(day)), "a day went");
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

        /// Two years of nights, each with a backup and expiry, and a night off now and then.
        #[test]
        fn years_of_expiry_break_no_promise(
            rules in rules().prop_filter("no rule", |rules| rules.check().is_ok()),
            nights in proptest::collection::vec((0u8..8, 0i64..7_200, 1i64..3), 600..730),
        ) {
            let mut sets: Vec<Set> = Vec::new();
            let mut day = 0;
            for (kind, late, step) in nights {
                day += step;
                let began = day * DAY + late;
                sets.push(next(&sets, kind, began));
                let now = at(began + 120);
                let gone: BTreeSet<String> = {
                    let fates = prune(&sets, &rules, now).unwrap();
                    let kept: Vec<&Set> =
                        fates.iter().filter(|fate| !fate.reasons.is_empty()).map(|fate| fate.set).collect();
                    check(&sets, &kept, &rules, now);
                    let gone = fates.iter().filter(|fate| fate.reasons.is_empty());
                    gone.map(|fate| fate.set.label.to_string()).collect()
                };
                sets.retain(|set| !gone.contains(set.label.as_str()));
            }
        }
    }
}
