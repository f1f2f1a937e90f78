//! How recovery comes to a target: along which timelines, from which backup, over which segments. What cannot be reached
//! is refused, with what there is instead. It reads records, names, times and the timelines' histories, which are opened
//! by whoever has the key.

use crate::catalog::key_object::is_data_key_name;
use crate::catalog::{BackupFacts, Label, rfc3339};
use crate::cli::lines::Lines;
use crate::error::{Error, Result};
use crate::info::Set;
use crate::info::choose::{self, Choice};
use crate::info::estimate;
use crate::info::facts::{one_line, time_of};
use crate::info::wal::complaint;
use crate::info::walk::{Archived, Place, Walk, Way};
use crate::pg::timeline::{self, Branch};
use crate::pg::{Lsn, wal};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use time::OffsetDateTime;
use time::macros::format_description;

/// As many segments are looked into for a transaction after a moment, at most.
const NEWEST: usize = 1000;
/// Segments of which is tried whether a key opens them, at most.
const SAMPLE: u64 = 64;
/// Requests and threads that the links of a chain have together; each has one at least.
const JOBS: usize = 8;

/// Of each link, where all of a chain are read at once.
pub fn link_jobs(links: usize) -> usize {
    (JOBS / links.max(1)).max(1)
}

/// Where recovery ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Of all that is archived.
    End,
    /// Of the backup.
    Immediate,
    Time(OffsetDateTime),
    Lsn(Lsn),
    /// At a transaction or a restore point, of which nobody can tell here where it is.
    Unplaced,
}

/// recovery_target_timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Along {
    /// The backup's own.
    Current,
    /// The last for which PostgreSQL, one number after the other, finds a history.
    Latest,
    Timeline(u32),
}

pub struct Request {
    pub target: Target,
    /// Without one: the backup's own if there is a target, else the latest.
    pub along: Option<Along>,
    /// Without one: the newest that can reach the target.
    pub label: Option<Label>,
}

/// Texts of history files, by timeline.
pub type Histories = BTreeMap<u32, String>;

/// A recovery that is possible, as far as names can tell.
pub struct Recovery<'a> {
    target: Target,
    /// Oldest first.
    chain: Vec<&'a Set>,
    backup: &'a BackupFacts,
    along: Along,
    branches: Vec<Branch>,
    walk: Walk,
    segment_bytes: u64,
    has_archive: bool,
    /// A newer backup that is not on the way.
    passed_over: Option<&'a BackupFacts>,
    /// The last segment without which the backup is not consistent.
    needed: u64,
    /// The last timeline after its own.
    latest: u32,
    /// Timelines behind the last one on the way whose numbers only the server must not take: they have no history.
    taken: Vec<u32>,
    /// Lines of the last drill, by which a plan tells how long it takes.
    drill: Lines,
}

impl FromStr for Along {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match (text, text.parse()) {
            ("current", _) => Ok(Along::Current),
            ("latest", _) => Ok(Along::Latest),
            (_, Ok(id @ 1..)) => Ok(Along::Timeline(id)),
            _ => Err("it is a number, latest or current".to_owned()),
        }
    }
}

/// Of one cluster; without a complete backup there is nothing to recover. What is refused because of a hole comes with
/// another backup, if one reaches the target.
pub fn recovery<'a>(
    sets: &'a [Set],
    archived: &mut Archived,
    histories: &Histories,
    request: &Request,
) -> Result<Recovery<'a>> {
    choose::one_cluster(sets)?;
    let recovery = find(sets, archived, histories, request)?;
    match recovery.check() {
        Ok(()) => Ok(recovery),
        Err(error) if recovery.walk.beyond.is_none() => Err(error),
        Err(error) => {
            // Any of them may reach it.
            let firsts = complete(sets)
                .filter_map(|backup| wal::segment_number(&backup.wal_first, archived.segment_bytes));
            let timelines = archived.timelines.clone();
            archived.know(timelines.into_iter(), firsts.map(|(_, first)| first).min().unwrap_or(0))?;
            Err(recovery.name_other(sets, error, |label| {
                let request = Request { label: Some(label.clone()), ..*request };
                find(sets, archived, histories, &request).is_ok_and(|other| other.check().is_ok())
            }))
        }
    }
}

fn find<'a>(
    sets: &'a [Set],
    archived: &mut Archived,
    histories: &Histories,
    request: &Request,
) -> Result<Recovery<'a>> {
    let target = request.target;
    let default = if target == Target::End { Along::Latest } else { Along::Current };
    let along = request.along.unwrap_or(default);
    let unknown = archived.without_history(sets);
    let timelines = Timelines { sets, archived: &*archived, histories, along, unknown };
    let (set, backup) = match &request.label {
        Some(label) => named(sets, label, target, &timelines)?,
        None => newest(sets, target, &timelines)?,
    };
    let branches = timelines.way(backup)?;
    let latest = timelines.latest(backup.timeline);
    let taken = timelines.unknown_after(timelines.goal(backup.timeline));
    let segment_bytes = archived.segment_bytes;
    let place = |name: &str| wal::segment_number(name, segment_bytes);
    let (first, last) = place(&backup.wal_first).zip(place(&backup.wal_last)).ok_or_else(|| {
        Error::damaged(format!(
            "the record of backup {} does not name the WAL segments that it needs",
            backup.label
        ))
    })?;
    let (first, held) = match backup.wal_included {
        true => (last.1, Some(last)),
        false => (first.1, None),
    };
    archived.know(branches.iter().map(|branch| branch.timeline), first)?;
    let walk = Way { branches: &branches, archived }.walk(first, held);
    let later = complete(sets).find(|newer| reaches(newer, target) == Reach::Yes);
    Ok(Recovery {
        target,
        chain: choose::chain(sets, set)?,
        backup,
        along,
        branches,
        walk,
        segment_bytes,
        has_archive: !archived.is_empty(),
        drill: estimate::last_drill(sets),
        passed_over: later.filter(|newer| request.label.is_none() && newer.label != backup.label),
        needed: last.1,
        latest,
        taken,
    })
}

/// Newest first.
fn complete(sets: &[Set]) -> impl Iterator<Item = &BackupFacts> {
    sets.iter().rev().filter_map(|set| Some(&set.record()?.backup))
}

#[derive(PartialEq)]
enum Reach {
    Yes,
    /// The backup ends behind the target.
    Behind,
}

/// At the very moment of its end a backup is not yet before it.
fn reaches(backup: &BackupFacts, target: Target) -> Reach {
    let before = match target {
        Target::Time(time) => time_of(&backup.stopped_at).is_some_and(|stopped| stopped < time),
        Target::Lsn(lsn) => backup.stop_lsn <= lsn,
        _ => true,
    };
    if before { Reach::Yes } else { Reach::Behind }
}

fn named<'a>(
    sets: &'a [Set],
    label: &Label,
    target: Target,
    timelines: &Timelines<'_>,
) -> Result<(&'a Set, &'a BackupFacts)> {
    let set = choose::named(sets, label)?;
    let backup = &set.record().ok_or_else(|| choose::none(sets, &Choice::Label(label.clone())))?.backup;
    if reaches(backup, target) == Reach::Behind {
        let error = Error::not_found(format!(
            "the target is before backup {label} was complete ({}, {})",
            one_line(&backup.stopped_at),
            backup.stop_lsn
        ));
        return Err(choose::what_there_is(sets, error));
    }
    match lies_on(&timelines.way(backup)?, backup) {
        true => Ok((set, backup)),
        false => Err(timelines.strays(backup)),
    }
}

fn newest<'a>(
    sets: &'a [Set],
    target: Target,
    timelines: &Timelines<'_>,
) -> Result<(&'a Set, &'a BackupFacts)> {
    let mut refusal = None;
    let fits = |backup: &'a BackupFacts| {
        if reaches(backup, target) == Reach::Behind {
            return false;
        }
        match timelines.way(backup) {
            Ok(way) if lies_on(&way, backup) => return true,
            Ok(_) => refusal = refusal.take().or_else(|| Some(timelines.strays(backup))),
            Err(error) => refusal = refusal.take().or(Some(error)),
        }
        false
    };
    let (choice, limit) = match target {
        Target::Time(time) => (Choice::Time(time), Some(time)),
        Target::Lsn(lsn) => (Choice::Lsn(lsn), None),
        _ => (Choice::Latest, None),
    };
    let chosen = choose::newest(sets, limit, fits)?;
    let chosen = chosen.and_then(|set| Some((set, &set.record()?.backup)));
    chosen.ok_or_else(|| refusal.unwrap_or_else(|| choose::none(sets, &choice)))
}

/// Whether its end is part of the way (`tliOfPointInHistory`).
fn lies_on(way: &[Branch], backup: &BackupFacts) -> bool {
    way.first().is_some_and(|own| {
        own.timeline == backup.timeline && own.begin <= backup.start_lsn && backup.stop_lsn <= own.end
    })
}

struct Timelines<'a> {
    sets: &'a [Set],
    archived: &'a Archived,
    histories: &'a Histories,
    along: Along,
    /// Those without a history that should have one.
    unknown: BTreeSet<u32>,
}

impl Timelines<'_> {
    fn unknown_after(&self, timeline: u32) -> Vec<u32> {
        self.unknown.iter().copied().filter(|id| *id > timeline).collect()
    }

    /// `findNewestTimeLine`: one after the other, until there is none.
    fn latest(&self, from: u32) -> u32 {
        let mut newest = from;
        let follows = |id: u32| id.checked_add(1).filter(|next| self.archived.histories.contains(next));
        while let Some(next) = follows(newest) {
            newest = next;
        }
        newest
    }

    fn goal(&self, own: u32) -> u32 {
        match self.along {
            Along::Current => own,
            Along::Latest => self.latest(own),
            Along::Timeline(id) => id,
        }
    }

    /// From the backup's timeline on; without its timeline if the way does not lead over it.
    fn way(&self, backup: &BackupFacts) -> Result<Vec<Branch>> {
        let own = backup.timeline;
        let goal = self.goal(own);
        if let (Along::Latest, Some(missing)) = (self.along, self.unknown_after(goal).first()) {
            return Err(self.no_history(*missing));
        }
        if goal == own {
            return Ok(vec![Branch::alone(own)]);
        }
        if self.unknown.contains(&goal) {
            return Err(self.no_history(goal));
        }
        if !self.archived.histories.contains(&goal) {
            let is_known = goal == 1 || complete(self.sets).any(|other| other.timeline == goal);
            return if is_known { Ok(Vec::new()) } else { Err(self.unknown(goal)) };
        }
        // PostgreSQL asks for that of each timeline on the way, and stops where there is WAL of one without it.
        if let Some(missing) = self.unknown.iter().find(|id| own < **id && **id < goal) {
            return Err(self.no_history(*missing));
        }
        let name = timeline::history_name(goal);
        let text = self.histories.get(&goal).ok_or_else(|| {
            Error::usage(format!("{name} is needed to follow timeline {goal}")).hint(
                "open it from the archive with pgv-crypt into a directory DIR, and give --histories DIR",
            )
        })?;
        let mut way = timeline::branches(text, goal)
            .ok_or_else(|| Error::damaged(format!("{name} is not a history of timeline {goal}")))?;
        let before = way.iter().position(|branch| branch.timeline == own).unwrap_or(way.len());
        Ok(way.split_off(before))
    }

    /// It exists, and cannot be followed.
    fn no_history(&self, timeline: u32) -> Error {
        let cluster = self.sets.first().map_or("", |set| set.cluster.as_str());
        let (what, advice) = complaint(timeline, cluster);
        let own = match complete(self.sets).find(|backup| backup.timeline == timeline) {
            Some(backup) => format!("or give --label, such as {}, a backup of that timeline", backup.label),
            None => "it has no backup of its own".to_owned(),
        };
        Error::not_found(what).hint(advice).hint(format!(
            "to restore along the backup's own timeline, without timeline {timeline}: --timeline current; {own}"
        ))
    }

    fn unknown(&self, goal: u32) -> Error {
        let mut known: Vec<_> = complete(self.sets).map(|backup| backup.timeline).collect();
        known.extend(self.archived.histories.iter());
        known.extend(self.archived.timelines.iter());
        known.sort_unstable();
        known.dedup();
        let known: Vec<_> = known.iter().map(ToString::to_string).collect();
        Error::not_found(format!("there is no timeline {goal}: the archive has no history of it"))
            .hint(format!("existing timelines: {}", known.join(", ")))
    }

    /// The newest backup that could reach the target if it lay on the way.
    fn strays(&self, backup: &BackupFacts) -> Error {
        let goal = self.goal(backup.timeline);
        let way = self.way(backup).unwrap_or_default();
        let why = match way.first() {
            Some(own) => format!(
                "it leaves timeline {} at {}, before backup {} ends at {}",
                backup.timeline, own.end, backup.label, backup.stop_lsn
            ),
            None => format!("timeline {} of backup {} is not in its history", backup.timeline, backup.label),
        };
        choose::what_there_is(
            self.sets,
            Error::not_found(format!("timeline {goal} cannot be reached: {why}"))
                .hint("to recover along the backup's own timeline: --timeline current"),
        )
    }
}

impl Recovery<'_> {
    fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(self.hints(Error::not_found(message)));
        let (end, beyond) = (self.name(self.walk.end), self.walk.beyond);
        let hole =
            format!("the archive has a hole at {}, and recovery cannot continue after it", self.hole());
        if !self.backup.wal_included && self.walk.end.1 <= self.needed {
            return Err(Error::not_found(format!(
                "backup {} does not contain its WAL ({1} to {2}), and the archive does not have {end}",
                self.backup.label, self.backup.wal_first, self.backup.wal_last
            ))
            .hint("choose another backup: --label"));
        }
        if !self.has_archive && !matches!(self.target, Target::End | Target::Immediate) {
            return Err(Error::not_found("no WAL is archived").hint(format!(
                "give no target, to restore the backup as it was at its end, {}",
                one_line(&self.backup.stopped_at)
            )));
        }
        match self.target {
            Target::End if beyond.is_some() => refuse(hole),
            // Nobody knows where it is; but in the WAL of the backup itself it is not.
            Target::Unplaced if beyond.is_some() && self.walk.end.1 <= self.needed + 1 => refuse(format!(
                "{hole}: there is no other WAL than that of the backup itself before the hole"
            )),
            Target::Time(time) => match self.known_until() {
                Some(until) if is_later(time, until) && beyond.is_some() => refuse(format!(
                    "{hole}: the target {} is later than the last segment before the hole, stored at {}",
                    rfc3339(time),
                    rfc3339(until)
                )),
                Some(until) if is_later(time, until) => refuse(format!(
                    "the archive ends at about {}, before the target {}",
                    rfc3339(until),
                    rfc3339(time)
                )),
                _ => Ok(()),
            },
            Target::Lsn(lsn) if lsn < self.end_lsn() => Ok(()),
            Target::Lsn(_) if beyond.is_some() => refuse(hole),
            Target::Lsn(lsn) => refuse(format!(
                "the archive ends at {}, and the target {lsn} is not before that",
                self.end_lsn()
            )),
            _ => Ok(()),
        }
    }

    /// The segments that are missing.
    fn hole(&self) -> String {
        let (timeline, first) = self.walk.end;
        let first_name = self.name(self.walk.end);
        match self.walk.beyond {
            // Beyond the place where the timeline was left others may be missing.
            Some((other, next)) if other == timeline && next > first + 1 => {
                format!("{first_name} to {}", self.name((timeline, next - 1)))
            }
            _ => first_name,
        }
    }

    fn hints(&self, error: Error) -> Error {
        let own = self.backup.timeline;
        let goal = self.branches.last().map_or(own, |branch| branch.timeline);
        let error = match (self.walk.beyond, self.walk.last) {
            (Some(_), Some(last)) if Lsn(last.1 * self.segment_bytes) > self.backup.stop_lsn => {
                let safe = Lsn(last.1 * self.segment_bytes);
                error.hint(format!("to recover to the last segment before the hole: --lsn {safe}"))
            }
            _ => error,
        };
        let error = match goal == own && self.latest > own {
            true => error.hint(format!(
                "this is timeline {own} of the backup; to follow later timelines, up to {}: --timeline latest",
                self.latest
            )),
            false => error,
        };
        match self.walk.beyond {
            Some(_) => error.hint(format!(
                "to recover to the end of the backup only, {}: --label {} --immediate",
                one_line(&self.backup.stopped_at),
                self.backup.label
            )),
            None => error.hint("to recover to the end of the archived WAL: give no target"),
        }
    }

    /// Another backup that reaches the target; else the next one that is complete after it.
    fn name_other(&self, sets: &[Set], error: Error, mut reaches_it: impl FnMut(&Label) -> bool) -> Error {
        let others = || complete(sets).filter(|other| other.label != self.backup.label);
        match others().find(|other| reaches_it(&other.label)) {
            Some(other) if self.target == Target::Unplaced => error.hint(format!(
                "more recent WAL can be recovered from backup {}: --label {0}",
                other.label
            )),
            Some(other) => {
                error.hint(format!("backup {} reaches the target: --label {0}", other.label))
            }
            None => match others().filter(|other| reaches(other, self.target) == Reach::Behind).last() {
                Some(next) => error.hint(format!(
                    "the next moment that can be restored is the end of backup {}, {}: --label {0} --immediate",
                    next.label,
                    one_line(&next.stopped_at)
                )),
                None => error,
            },
        }
    }

    /// Everything in the archive happened before this.
    fn known_until(&self) -> Option<OffsetDateTime> {
        match self.walk.last.is_some() || self.walk.is_partial {
            true => self.walk.stored_at,
            false => time_of(&self.backup.stopped_at),
        }
    }

    fn end_lsn(&self) -> Lsn {
        Lsn((self.walk.end.1 + u64::from(self.walk.is_partial)) * self.segment_bytes)
    }

    fn name(&self, (timeline, number): Place) -> String {
        wal::name_of_number(timeline, number, self.segment_bytes)
    }

    /// recovery_target_timeline. The backup's own by its number would need a history, which the first has not.
    fn setting(&self) -> String {
        match self.along {
            Along::Latest => "latest".to_owned(),
            Along::Timeline(id) if id != self.backup.timeline => id.to_string(),
            _ => "current".to_owned(),
        }
    }

    /// Of the archived segments on the way.
    fn newest_first(&self) -> impl Iterator<Item = Place> {
        let stretches = self.walk.stretches.iter().rev();
        stretches
            .flat_map(|&(timeline, first, last)| (first..=last).rev().map(move |number| (timeline, number)))
    }

    /// Of the segments without which recovery cannot end, evenly spread, the first and the last among them. Where a moment
    /// or a transaction lies nobody can tell here.
    fn sample(&self) -> Vec<Place> {
        let until = match self.target {
            Target::End => u64::MAX,
            Target::Lsn(lsn) => lsn.0 / self.segment_bytes,
            _ if self.backup.wal_included => return Vec::new(),
            _ => self.needed,
        };
        let stretches: Vec<(u32, u64, u64)> = self
            .walk
            .stretches
            .iter()
            .map(|&(timeline, first, last)| (timeline, first, last.min(until)))
            .filter(|(_, first, last)| first <= last)
            .collect();
        let count: u64 = stretches.iter().map(|(_, first, last)| last - first + 1).sum();
        let of = |mut index: u64| {
            stretches.iter().find_map(|&(timeline, first, last)| {
                let length = last - first + 1;
                match index.checked_sub(length) {
                    Some(rest) => {
                        index = rest;
                        None
                    }
                    None => Some((timeline, first + index)),
                }
            })
        };
        let tried = count.min(SAMPLE);
        (0..tried).filter_map(|number| of(number * (count - 1) / (tried - 1).max(1))).collect()
    }

    /// "key value" lines. A key comes again for each backup of the chain, oldest first, each tablespace and timeline.
    pub fn lines(&self) -> String {
        let backup = self.backup;
        let mut lines = Lines::new();
        let mut line = |key, value: String| {
            lines.add(key, value);
        };
        for link in &self.chain {
            line("backup", link.url.clone());
        }
        let key_names = self.chain.iter().filter_map(|link| link.record()?.key_name.as_deref());
        for key_name in key_names.filter(|name| is_data_key_name(name)).collect::<BTreeSet<_>>() {
            line("key_name", key_name.to_owned());
        }
        line("link_jobs", link_jobs(self.chain.len()).to_string());
        let wal_bytes = backup.stop_lsn.0.saturating_sub(backup.start_lsn.0).max(self.segment_bytes);
        line("merged_bytes", backup.database_bytes.saturating_add(wal_bytes).to_string());
        line("label", backup.label.to_string());
        line("system_identifier", backup.system_identifier.to_string());
        line("pg_version", backup.pg_version.clone());
        line("stopped_at", backup.stopped_at.clone());
        // Of every link: a page that did not change since is still bad.
        let bad_pages = self.chain.iter().filter_map(|link| Some(link.record()?.backup.findings.bad_pages));
        line("bad_pages", bad_pages.sum::<u64>().to_string());
        line("database_bytes", backup.database_bytes.to_string());
        line("stored_bytes", self.chain.iter().map(|link| link.stored_bytes).sum::<u64>().to_string());
        for tablespace in &backup.tablespaces {
            line("tablespace", format!("{} {} {}", tablespace.oid, tablespace.bytes, tablespace.name));
        }
        line("tablespaces_changed", backup.tablespaces_changed.to_string());
        for branch in &self.branches {
            let is_last = branch.end == Lsn(u64::MAX);
            let end = if is_last { String::new() } else { format!(" {}", branch.end) };
            line("timeline", format!("{}{end}", branch.timeline));
        }
        line("wal_included", backup.wal_included.to_string());
        line("backup_wal_last", backup.wal_last.clone());
        line("archive", if self.has_archive { "yes" } else { "no" }.to_owned());
        line("wal_segment_bytes", self.segment_bytes.to_string());
        line("wal_segments", self.walk.segments.to_string());
        if let (Some(first), Some(last)) = (self.walk.first, self.walk.last) {
            line("wal_first", self.name(first));
            line("wal_last", self.name(last));
        }
        if self.walk.is_partial {
            line("wal_partial", self.name(self.walk.end));
        }
        if let Some(stored_at) = self.walk.stored_at {
            line("wal_stored_at", rfc3339(stored_at));
        }
        if let Some(beyond) = self.walk.beyond {
            line("wal_missing", self.name(self.walk.end));
            line("wal_beyond", self.name(beyond));
        }
        if !self.taken.is_empty() {
            let taken: Vec<_> = self.taken.iter().map(u32::to_string).collect();
            line("timelines_taken", taken.join(","));
        }
        if let Some(newer) = self.passed_over {
            line("passed_over", format!("{} {}", newer.label, newer.timeline));
        }
        if matches!(self.target, Target::Time(_)) {
            for place in self.newest_first().take(NEWEST) {
                line("wal_newest", self.name(place));
            }
        }
        for place in self.sample() {
            line("wal_sample", self.name(place));
        }
        if self.walk.is_partial && self.target == Target::End {
            line("wal_sample", format!("{}.partial", self.name(self.walk.end)));
        }
        if !backup.configuration.is_empty() {
            line("configuration", backup.configuration.join(" "));
        }
        line("recovery_target_timeline", self.setting());
        match self.target {
            Target::Time(time) => line("recovery_target_time", timestamp(time)),
            Target::Lsn(lsn) => line("recovery_target_lsn", lsn.to_string()),
            _ => {}
        }
        lines.append(&self.drill).as_str().to_owned()
    }
}

/// In whole seconds, as some services tell when an object was stored.
fn is_later(time: OffsetDateTime, than: OffsetDateTime) -> bool {
    time.unix_timestamp() > than.unix_timestamp()
}

/// As PostgreSQL reads it whatever its TimeZone is.
fn timestamp(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6]+00");
    time.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_one_zone() {
        let time = OffsetDateTime::from_unix_timestamp_nanos(1_795_000_000_123_456_789).unwrap();
        let elsewhere = time.to_offset(time::UtcOffset::from_hms(5, 30, 0).unwrap());
        assert_eq!(timestamp(elsewhere), "2026-11-18 11:06:40.123456+00");
    }
}
