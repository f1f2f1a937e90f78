//! Which backups a restore needs, oldest first. What is asked for is restored or refused: where the backup that would have
//! been chosen is damaged, or might be one that cannot be read, an older one is not taken instead, only named.

use crate::catalog::{BackupFacts, Label};
use crate::error::{Error, Result};
use crate::info::facts::time_of;
use crate::info::{Set, State};
use crate::pg::Lsn;
use time::OffsetDateTime;

/// What to restore to.
pub enum Choice {
    Latest,
    Label(Label),
    /// The newest backup that was complete before this moment.
    Time(OffsetDateTime),
    /// The newest backup that is consistent at this address.
    Lsn(Lsn),
}

/// The chain to restore. Refuses when the sets belong to more than one cluster.
pub fn choose<'a>(sets: &'a [Set], choice: &Choice) -> Result<Vec<&'a Set>> {
    one_cluster(sets)?;
    if let Choice::Label(label) = choice {
        return chain(sets, named(sets, label)?);
    }
    let fits = |backup: &BackupFacts| match choice {
        Choice::Time(time) => time_of(&backup.stopped_at).is_some_and(|stopped| stopped < *time),
        Choice::Lsn(lsn) => backup.stop_lsn <= *lsn,
        Choice::Latest | Choice::Label(_) => true,
    };
    let chosen = newest(sets, choice.limit(), fits)?;
    chain(sets, chosen.ok_or_else(|| none(sets, choice))?)
}

impl Choice {
    /// What began at this moment or later is none of it.
    fn limit(&self) -> Option<OffsetDateTime> {
        match self {
            Choice::Time(time) => Some(*time),
            _ => None,
        }
    }
}

/// The newest backup that `fits`, if one does; its chain is whole. Whatever chooses a backup by anything but its label
/// goes through here. If the newest that fits was damaged, or one that cannot be read might be it, that is the end: the
/// error names the next one that could be restored. What began at `limit` or later does not fit.
pub fn newest<'a>(
    sets: &'a [Set],
    limit: Option<OffsetDateTime>,
    mut fits: impl FnMut(&'a BackupFacts) -> bool,
) -> Result<Option<&'a Set>> {
    let may_fit = |set: &Set| limit.is_none_or(|limit| set.label.time().is_none_or(|begun| begun < limit));
    for (at, set) in sets.iter().enumerate().rev() {
        let is_it = match (&set.state, set.committed()) {
            (State::Incomplete(_), _) => false,
            (_, Some(record)) => fits(&record.backup),
            (_, None) => may_fit(set),
        };
        if !is_it {
            continue;
        }
        if let Err(error) = usable(sets, set) {
            let other = sets[..at].iter().rev().find(|older| {
                older.record().is_some_and(|record| fits(&record.backup)) && chain(sets, older).is_ok()
            });
            return Err(name_other(error, other));
        }
        return Ok(Some(set));
    }
    Ok(None)
}

/// This backup, whose chain is whole; or why not, and which could be restored instead.
pub fn named<'a>(sets: &'a [Set], label: &Label) -> Result<&'a Set> {
    let Some(at) = sets.iter().position(|set| set.label == *label) else {
        return Err(none(sets, &Choice::Label(label.clone())));
    };
    match usable(sets, &sets[at]) {
        Ok(()) => Ok(&sets[at]),
        Err(error) => {
            let whole = |other: &&Set| other.record().is_some() && chain(sets, other).is_ok();
            let older = sets[..at].iter().rev().find(whole);
            Err(name_other(error, older.or_else(|| sets[at..].iter().find(whole))))
        }
    }
}

fn usable<'a>(sets: &'a [Set], set: &'a Set) -> Result<()> {
    match set.record() {
        Some(_) => chain(sets, set).map(drop),
        None => Err(unusable(Some(set), format!("backup {} {}", set.label, reason(set)))),
    }
}

fn name_other(error: Error, other: Option<&Set>) -> Error {
    match other {
        Some(other) => error.hint(format!("to restore another backup: --label {}", other.label)),
        None => error.hint("no other backup can be restored"),
    }
}

/// A backup and all that it builds on, oldest first.
pub fn chain<'a>(sets: &'a [Set], backup: &'a Set) -> Result<Vec<&'a Set>> {
    let mut link = backup;
    let mut chain = vec![link];
    // A chain has at most as many links as there are sets: a circle of parents ends here too.
    while let Some(parent) = link.record().and_then(|record| record.backup.parent.as_ref()) {
        let found = sets.iter().find(|set| set.label == *parent);
        link = found.filter(|set| set.record().is_some() && chain.len() < sets.len()).ok_or_else(|| {
            let why = found.map_or_else(|| "does not exist".to_owned(), reason);
            broken(found, format!("backup {} needs {parent}, which {why}", link.label))
        })?;
        chain.push(link);
    }
    chain.reverse();
    Ok(chain)
}

/// The end of a complete backup.
pub fn stopped_at(set: &Set) -> Option<OffsetDateTime> {
    time_of(&set.record()?.backup.stopped_at)
}

/// Refuses `label` unless it is a complete backup in one of these sets.
pub fn require(sets: &[Set], label: &Label) -> Result<()> {
    match sets.iter().find(|set| set.label == *label) {
        Some(set) if set.record().is_some() => Ok(()),
        Some(set) => Err(unusable(Some(set), format!("backup {label} {}", reason(set)))),
        None => Err(none(sets, &Choice::Label(label.clone()))),
    }
}

/// Refuses a backup of which nothing is known.
pub fn refuse(set: &Set) -> Result<()> {
    match set.state {
        State::Unreadable(_) => Err(unusable(Some(set), format!("backup {} {}", set.label, reason(set)))),
        _ => Ok(()),
    }
}

/// A choice among strangers would be a guess.
pub fn one_cluster(sets: &[Set]) -> Result<()> {
    one_of(sets, |set| (&set.cluster, set.system_identifier))
}

/// The backups of one name are one cluster's, through all of its system identifiers.
pub fn one_name(sets: &[Set]) -> Result<()> {
    one_of(sets, |set| &set.cluster)
}

fn one_of<'a, T: PartialEq>(sets: &'a [Set], key: impl Fn(&'a Set) -> T) -> Result<()> {
    if sets.windows(2).all(|pair| key(&pair[0]) == key(&pair[1])) {
        return Ok(());
    }
    let mut names: Vec<_> =
        sets.iter().map(|set| format!("{} {}", set.cluster, set.system_identifier)).collect();
    names.dedup();
    Err(Error::usage("there is more than one cluster")
        .hint(format!("name one, and --system-id if its name is not enough: {}", names.join(", "))))
}

/// Says what there is instead.
pub fn none(sets: &[Set], choice: &Choice) -> Error {
    let what = match choice {
        Choice::Latest => "there is no backup".to_owned(),
        Choice::Label(label) => format!("there is no backup {label}"),
        Choice::Time(time) => format!("no backup was complete before {time}"),
        Choice::Lsn(lsn) => format!("no backup is consistent at {lsn}"),
    };
    what_there_is(sets, Error::not_found(what))
}

/// The first and the last backup, for somebody who asked for another.
pub fn what_there_is(sets: &[Set], error: Error) -> Error {
    let complete: Vec<_> = sets.iter().filter_map(|set| set.record()).collect();
    match (complete.first(), complete.last()) {
        (Some(only), Some(_)) if complete.len() == 1 => error.hint(format!(
            "there is one backup: {} (complete at {})",
            only.backup.label, only.backup.stopped_at
        )),
        (Some(first), Some(last)) => error.hint(format!(
            "there are {} backups, from {} (complete at {}) to {} (complete at {})",
            complete.len(),
            first.backup.label,
            first.backup.stopped_at,
            last.backup.label,
            last.backup.stopped_at
        )),
        _ => error.hint("there is no complete backup"),
    }
}

/// A backup that was committed is damaged without what it builds on, unless nobody knows about that.
fn broken(parent: Option<&Set>, message: String) -> Error {
    match parent.filter(|parent| matches!(parent.state, State::Damaged { .. } | State::Unreadable(_))) {
        Some(parent) => unusable(Some(parent), message),
        None => Error::damaged(message),
    }
}

/// By what is known of `set`: damaged, its own error where it cannot be read, else not found.
fn unusable(set: Option<&Set>, message: String) -> Error {
    match set.map(|set| (&set.state, set)) {
        Some((State::Damaged { .. }, set)) => {
            Error::damaged(message).hint(format!("its objects are below {}/", set.url))
        }
        Some((State::Unreadable(error), _)) => {
            let hints = error.hints().iter();
            hints.fold(Error::new(error.kind, message), |error, hint| error.hint(hint.clone()))
        }
        _ => Error::not_found(message),
    }
}

/// "is incomplete: …".
fn reason(set: &Set) -> String {
    match &set.state {
        State::Complete(_) => "is part of a circle: it builds on itself".to_owned(),
        State::Incomplete(why) => format!("is incomplete: {why}"),
        State::Damaged { why, .. } => format!("is damaged: {why}"),
        State::Unreadable(error) => format!("cannot be read: {}", error.message()),
    }
}
