//! Which backups may go. A backup stays if a rule keeps it, or if one that stays is built on it. Each system identifier
//! is looked at by itself, so that an upgraded cluster never makes another one's backups look old, and of each the
//! newest backup, the newest good one, the newest good full and the newest without bad pages always stay. So does what is
//! pinned, and everything on which that is built.
//!
//! A backup is good if its chain is complete and nothing bad was found in any link of it when it was last looked at.
//! A rule counts good ones only. One that is not good stays as long as if it were, and stands for none: a verdict, which
//! may be wrong, makes backups stay and never go.

use crate::catalog::{BackupType, Label};
use crate::error::{Error, Result};
use crate::info::choose::{one_name, stopped_at};
use crate::info::pins::{pinned, refuse_unread};
use crate::info::sets::LONGEST_BACKUP;
use crate::info::{Set, State, clean, good, systems};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use time::OffsetDateTime;

/// A backup that began a little later than yesterday's is not to fall out of its day.
const GRACE: Duration = Duration::from_secs(3_600);

/// Each rule keeps; together they keep what any of them keeps. In none of them is zero a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The newest fulls that were read from the server, each with all that is built on it and all synthetic fulls before
    /// the next; alone, if `diff` is given too.
    pub full: Option<usize>,
    /// The newest fulls or differentials, each with the incrementals that follow it.
    pub diff: Option<usize>,
    /// The newest backups of any type. A synthetic full stands for the last backup in it, too.
    pub last: Option<usize>,
    /// The newest backup of each of the last hours, days, … that have one.
    pub hourly: Option<usize>,
    pub daily: Option<usize>,
    pub weekly: Option<usize>,
    pub monthly: Option<usize>,
    pub yearly: Option<usize>,
    /// Everything that is younger, with [`GRACE`], and what reaches the oldest moment of that time.
    pub within: Option<Duration>,
    /// How far back every moment can be restored. Alone it lets every backup stay.
    pub wal: Option<Duration>,
    /// The backups with which that time begins, by system identifier: `beginnings` finds them in the archive.
    pub beginnings: BTreeSet<(u64, Label)>,
}

/// What is to become of one set.
pub struct Fate<'a> {
    pub set: &'a Set,
    /// Why it stays; empty: it may go.
    pub reasons: Vec<String>,
    good: bool,
    /// Without bad pages, too.
    clean: bool,
}

impl Fate<'_> {
    fn is_complete(&self) -> bool {
        self.set.record().is_some()
    }

    /// Whether it needs no other backup.
    fn is_full(&self) -> bool {
        self.set.label.backup_type() == BackupType::Full
    }

    /// Whether it was read from the server, and needs no other backup.
    fn is_read_full(&self) -> bool {
        self.is_full() && !self.set.is_synthetic()
    }

    fn keep(&mut self, reason: &str) {
        let counts = if self.good { "" } else { ", not counted because it is not good" };
        self.reasons.push(format!("{reason}{counts}"));
    }
}

/// The fates of all sets, oldest first in each system identifier.
pub fn prune<'a>(sets: &'a [Set], rules: &Rules, now: OffsetDateTime) -> Result<Vec<Fate<'a>>> {
    one_name(sets)?;
    refuse_unread(sets)?;
    rules.check()?;
    Ok(systems(sets).flat_map(|sets| prune_system(sets, rules, now)).collect())
}

fn prune_system<'a>(sets: &'a [Set], rules: &Rules, now: OffsetDateTime) -> Vec<Fate<'a>> {
    let fate = |((set, good), clean)| Fate { set, reasons: Vec::new(), good, clean };
    let mut fates: Vec<_> = sets.iter().zip(good(sets)).zip(clean(sets)).map(fate).collect();
    keep_newest(&mut fates);
    if let Some(count) = rules.full {
        keep_fulls(&mut fates, count, rules.diff.is_some());
    }
    if let Some(count) = rules.diff {
        keep_differentials(&mut fates, count);
    }
    if let Some(count) = rules.last {
        keep_last(&mut fates, count);
    }
    for (count, name, period) in rules.periods() {
        keep_periods(&mut fates, count, name, period);
    }
    if let Some(within) = rules.within {
        keep_within(&mut fates, within, now);
    }
    keep_for_wal(&mut fates, rules);
    keep_for_running(&mut fates, now);
    keep_pinned(&mut fates, sets, now);
    keep_parents(&mut fates);
    keep_incomplete(&mut fates, now);
    fates
}

/// What goes if these backups are to go: they, what is built on them, and what was interrupted. Oldest first in each
/// system identifier. Refuses what would leave nothing good.
pub fn prune_labels<'a>(sets: &'a [Set], labels: &[Label], now: OffsetDateTime) -> Result<Vec<Fate<'a>>> {
    one_name(sets)?;
    refuse_unread(sets)?;
    let named: BTreeSet<&Label> = labels.iter().collect();
    for label in &named {
        match sets.iter().filter(|set| set.label == **label).count() {
            0 => return Err(Error::not_found(format!("there is no backup {label}"))),
            1 => {}
            _ => {
                return Err(Error::usage(format!("backup {label} exists under several system identifiers"))
                    .hint("choose one with --system-id"));
            }
        }
    }
    let expired: Vec<Vec<&Set>> =
        systems(sets).map(|sets| expire(sets, &named, now)).collect::<Result<_>>()?;
    let fate = |set| Fate { set, reasons: Vec::new(), good: false, clean: false };
    Ok(expired.into_iter().flatten().map(fate).collect())
}

/// Of one system identifier.
fn expire<'a>(sets: &'a [Set], named: &BTreeSet<&Label>, now: OffsetDateTime) -> Result<Vec<&'a Set>> {
    let mut expired: BTreeSet<&str> = BTreeSet::new();
    // Oldest first: a parent's fate is known before its children's.
    for set in sets {
        let parent = set.committed().and_then(|record| record.backup.parent.as_ref());
        // What has no record tells its full only.
        let builds_on_expired = match parent {
            Some(parent) => expired.contains(parent.as_str()),
            None => expired.contains(set.label.full_part()),
        };
        if named.contains(&set.label) || builds_on_expired || set.is_interrupted(now) {
            expired.insert(set.label.as_str());
        }
    }
    let chosen = |set: &&Set| expired.contains(set.label.as_str());
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
            "backup {} began less than {days} days ago and may be running: it may build on a backup \
             that would be deleted",
            running.label
        ))
        .hint("wait until it ends; if it was interrupted, the next pgv-backup deletes it"));
    }
    refuse_pinned(sets, &expired, now)?;
    refuse_last(sets, &expired)?;
    Ok(sets.iter().filter(chosen).collect())
}

fn refuse_pinned(sets: &[Set], expired: &BTreeSet<&str>, now: OffsetDateTime) -> Result<()> {
    let goes = |label: &Label| expired.contains(label.as_str());
    for pinned in pinned(sets, now) {
        let (set, why) = (pinned.set, pinned.why);
        let what = match pinned.bases.iter().find(|base| goes(base)) {
            _ if goes(&set.label) => format!("{}: {why}", set.label),
            Some(base) => format!("{base}, on which {} may be built: {why}", set.label),
            None => continue,
        };
        return Err(Error::failed(format!("this would delete {what}")).hint(format!(
            "nothing was deleted; to unpin it: pgv-pin {} {} --remove",
            set.cluster, set.label
        )));
    }
    Ok(())
}

fn refuse_last(sets: &[Set], expired: &BTreeSet<&str>) -> Result<()> {
    let complete: Vec<&Set> = sets.iter().filter(|set| set.record().is_some()).collect();
    let goes = |set: &Set| expired.contains(set.label.as_str());
    if !complete.is_empty() && complete.iter().all(|set| goes(set)) {
        let (cluster, system) = (&complete[0].cluster, complete[0].system_identifier);
        return Err(Error::failed(format!("this would delete every complete backup of {cluster} {system}"))
            .hint("nothing was deleted; take a new backup first, or delete them with pgv-s3 rm"));
    }
    let clean: Vec<&Set> =
        sets.iter().zip(clean(sets)).filter_map(|(set, clean)| clean.then_some(set)).collect();
    if let Some(newest) = clean.last().filter(|_| clean.iter().all(|set| goes(set))) {
        return Err(Error::failed(format!(
            "this would delete {}, the last backup of {} {} without bad pages",
            newest.label, newest.cluster, newest.system_identifier
        ))
        .hint("nothing was deleted; take a new full backup first, or delete this one with pgv-s3 rm"));
    }
    let is_full = |set: &Set| set.label.backup_type() == BackupType::Full;
    let good_full = sets.iter().zip(good(sets)).rfind(|(set, good)| *good && is_full(set));
    let newest = match good_full {
        Some((set, _)) => Some((set, "newest good full backup")),
        None => complete.iter().rfind(|set| is_full(set)).map(|set| (*set, "newest full backup")),
    };
    match newest {
        Some((set, what)) if goes(set) => Err(Error::failed(format!(
            "this would delete {}, the {what} of {} {}",
            set.label, set.cluster, set.system_identifier
        ))
        .hint("nothing was deleted; take a new full backup first, or delete this one with pgv-s3 rm")),
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
        if self.wal == Some(Duration::ZERO) {
            return Err(Error::usage("no WAL at all cannot be kept: --keep-wal, or PGV_KEEP_WAL, is zero")
                .hint("leave it out, and pgv keeps all WAL since the oldest backup"));
        }
        if numbers.contains(&Some(0)) {
            return Err(Error::usage("a rule cannot keep zero backups: pgv always keeps the newest")
                .hint("leave the rule out, or keep 1"));
        }
        match self.removes_backups() || self.wal.is_some() {
            true => Ok(()),
            false => Err(Error::usage("no rule says what to keep")
                .hint("give --keep-full N, or set PGV_KEEP_FULL in the configuration")),
        }
    }

    fn removes_backups(&self) -> bool {
        let numbers = [
            self.full,
            self.diff,
            self.last,
            self.hourly,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ];
        numbers.iter().any(Option::is_some) || self.within.is_some()
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

/// The first of these until so many good ones stay. Whether there were so many.
fn keep_good<'f, 'a: 'f>(
    candidates: impl Iterator<Item = &'f mut Fate<'a>>,
    count: usize,
    reason: &str,
) -> bool {
    let mut left = count;
    for fate in candidates {
        if left == 0 {
            break;
        }
        fate.keep(reason);
        left -= usize::from(fate.good);
    }
    left == 0
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
    if let Some(newest) = newest_first(fates).find(|fate| fate.clean) {
        newest.keep("newest without bad pages");
    }
}

/// A good synthetic full is the same moment as the last backup in it: together they are one.
fn keep_last(fates: &mut [Fate<'_>], count: usize) {
    let synthetic = fates.iter().filter(|fate| fate.good).filter_map(|fate| fate.set.record());
    let merged: BTreeSet<String> =
        synthetic.filter_map(|record| record.backup.merged_from.last()).map(Label::to_string).collect();
    let newest = newest_first(fates).filter(|fate| !merged.contains(fate.set.label.as_str()));
    keep_good(newest, count, "last");
}

/// A synthetic full does not count, or daily ones would push out the others within days. It follows the full before it,
/// as increments do: whoever keeps a full keeps what can be restored until the next one.
fn keep_fulls(fates: &mut [Fate<'_>], count: usize, alone: bool) {
    const FULL: &str = "full";
    let is_bounded = keep_good(newest_first(fates).filter(|fate| fate.is_read_full()), count, FULL);
    if alone {
        return;
    }
    let has_reason = |fate: &&Fate<'_>| fate.reasons.iter().any(|reason| reason.starts_with(FULL));
    let oldest = if is_bounded { fates.iter().position(|fate| has_reason(&fate)) } else { None };
    let following = fates.iter_mut().skip(oldest.unwrap_or(0));
    following.filter(|fate| fate.is_complete() && fate.set.is_synthetic()).for_each(|fate| fate.keep(FULL));
    let kept: BTreeSet<String> =
        fates.iter().filter(has_reason).map(|fate| fate.set.label.to_string()).collect();
    let built_on = newest_first(fates).filter(|fate| !fate.is_full());
    for fate in built_on.filter(|fate| kept.contains(fate.set.label.full_part())) {
        fate.keep(FULL);
    }
}

/// A head is a full that was read from the server, or a differential. The incrementals between it and the next one follow
/// it, and so do synthetic fulls.
fn keep_differentials(fates: &mut [Fate<'_>], count: usize) {
    const DIFF: &str = "diff";
    let is_head =
        |fate: &Fate<'_>| fate.set.label.backup_type() != BackupType::Incr && !fate.set.is_synthetic();
    let is_bounded = keep_good(newest_first(fates).filter(|fate| is_head(fate)), count, DIFF);
    let mut head_stays = !is_bounded;
    // Oldest first, so that a parent's head is known before its children ask for it.
    let mut kept: BTreeMap<String, bool> = BTreeMap::new();
    for fate in fates.iter_mut().filter(|fate| fate.is_complete()) {
        let parent = fate.set.record().and_then(|record| record.backup.parent.as_ref());
        let stays = match is_head(fate) {
            true => {
                head_stays = fate.reasons.iter().any(|reason| reason.starts_with(DIFF));
                head_stays
            }
            false if fate.set.is_synthetic() => head_stays,
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

/// From which every moment of the time can be reached for which WAL is kept.
fn keep_for_wal(fates: &mut [Fate<'_>], rules: &Rules) {
    for fate in newest_first(fates) {
        if rules.beginnings.contains(&(fate.set.system_identifier, fate.set.label.clone())) {
            fate.keep("start of the WAL window");
        }
        if !rules.removes_backups() {
            fate.keep("no rule for backups");
        }
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
            .for_each(|fate| fate.reasons.push(format!("{running} may be running")));
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

/// What is pinned, and all of its chain, also through links that are damaged.
fn keep_pinned(fates: &mut [Fate<'_>], sets: &[Set], now: OffsetDateTime) {
    for pinned in pinned(sets, now) {
        for fate in fates.iter_mut() {
            if fate.set.label == pinned.set.label {
                fate.reasons.push(pinned.why.clone());
            } else if pinned.bases.contains(&fate.set.label) {
                fate.reasons.push(format!("pinned {} is built on it", pinned.set.label));
            }
        }
    }
}

/// What is no backup goes if it was interrupted; what may be running stays; and whether what is damaged is of use is for a
/// person to say. Nothing of it stays whose full goes.
fn keep_incomplete(fates: &mut [Fate<'_>], now: OffsetDateTime) {
    let goes = |fate: &&Fate<'_>| fate.is_complete() && fate.is_full() && fate.reasons.is_empty();
    let expired: BTreeSet<String> =
        fates.iter().filter(goes).map(|fate| fate.set.label.to_string()).collect();
    for fate in fates.iter_mut().filter(|fate| !fate.is_complete() && !fate.set.is_interrupted(now)) {
        let reason = match &fate.set.state {
            State::Damaged { record: None, .. } => "its record is damaged",
            State::Damaged { .. } => "its record does not fit its objects",
            State::Unreadable(_) => "its record cannot be read",
            State::Incomplete(_) | State::Complete(_) => "may be running",
        };
        if !expired.contains(fate.set.label.full_part()) {
            fate.reasons.push(reason.to_owned());
        }
    }
}

#[cfg(test)]
mod key_tests;
#[cfg(test)]
mod synthetic_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod window_tests;
