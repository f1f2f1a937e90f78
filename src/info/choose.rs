//! Which backups a restore needs, oldest first.

use crate::catalog::Label;
use crate::error::{Error, Result};
use crate::info::{Set, State};
use crate::pg::Lsn;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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
    let mut complete = sets.iter().rev().filter(|set| set.record().is_some());
    let chosen = match choice {
        Choice::Latest => complete.next(),
        Choice::Label(label) => complete.find(|set| set.label == *label),
        Choice::Time(time) => complete.find(|set| stopped_at(set).is_some_and(|stopped| stopped < *time)),
        Choice::Lsn(lsn) => {
            complete.find(|set| set.record().is_some_and(|record| record.backup.stop_lsn <= *lsn))
        }
    };
    chain(sets, chosen.ok_or_else(|| none(sets, choice))?)
}

/// A backup and all that it builds on, oldest first.
pub fn chain<'a>(sets: &'a [Set], backup: &'a Set) -> Result<Vec<&'a Set>> {
    let mut link = backup;
    let mut chain = vec![link];
    // A chain has at most as many links as there are sets: a circle of parents ends here too.
    while let Some(parent) = link.record().and_then(|record| record.backup.parent.as_ref()) {
        let found = sets.iter().find(|set| set.label == *parent);
        link = found.filter(|set| set.record().is_some() && chain.len() < sets.len()).ok_or_else(|| {
            let why = found.map_or_else(|| "is not there".to_owned(), reason);
            unusable(found, format!("backup {} needs {parent}, which {why}", link.label))
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

/// A time in a record.
pub fn time_of(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// Refuses `label` unless it is a complete backup in one of these sets.
pub fn require(sets: &[Set], label: &Label) -> Result<()> {
    match sets.iter().any(|set| set.label == *label && set.record().is_some()) {
        true => Ok(()),
        false => Err(none(sets, &Choice::Label(label.clone()))),
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
    Err(Error::usage("there is more than one cluster to choose from")
        .hint(format!("name one, and --system-id if its name is not enough: {}", names.join(", "))))
}

/// Says what there is instead. Absence is not proved where the answer may be in a damaged record.
pub fn none(sets: &[Set], choice: &Choice) -> Error {
    if let Choice::Label(label) = choice
        && let Some(set) = sets.iter().find(|set| set.label == *label)
    {
        return unusable(Some(set), format!("backup {label} {}", reason(set)));
    }
    let what = match choice {
        Choice::Latest => "there is no backup".to_owned(),
        Choice::Label(label) => format!("there is no backup {label}"),
        Choice::Time(time) => format!("no backup was complete before {time}"),
        Choice::Lsn(lsn) => format!("no backup is consistent at {lsn}"),
    };
    let is_label = matches!(choice, Choice::Label(_));
    let damaged = sets.iter().find(|set| !is_label && matches!(set.state, State::Damaged(_)));
    what_there_is(sets, unusable(damaged, what))
}

/// The first and the last backup, for somebody who asked for another.
pub fn what_there_is(sets: &[Set], error: Error) -> Error {
    let complete: Vec<_> = sets.iter().filter_map(|set| set.record()).collect();
    match (complete.first(), complete.last()) {
        (Some(first), Some(last)) => error.hint(format!(
            "there are {}, from {} (complete at {}) to {} (complete at {})",
            complete.len(),
            first.backup.label,
            first.backup.stopped_at,
            last.backup.label,
            last.backup.stopped_at
        )),
        _ => error.hint("there is no complete backup at all"),
    }
}

/// Damaged if `set` is, else not found.
fn unusable(set: Option<&Set>, message: String) -> Error {
    match set {
        Some(Set { state: State::Damaged(_), url, .. }) => {
            Error::damaged(message).hint(format!("look at {url}/record.json"))
        }
        _ => Error::not_found(message),
    }
}

/// "is incomplete: …".
fn reason(set: &Set) -> String {
    match &set.state {
        State::Complete(_) => "is part of a circle of parents".to_owned(),
        State::Incomplete { why, .. } => format!("is incomplete: {why}"),
        State::Damaged(why) => format!("is damaged: {why}"),
    }
}
