//! Which backups a restore needs, oldest first.

use crate::catalog::Label;
use crate::error::{Error, Result};
use crate::info::Set;
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
    let mut link = chosen.ok_or_else(|| none(sets))?;
    let mut chain = vec![link];
    // A chain has at most as many links as there are sets: a circle of parents ends here too.
    while let Some(parent) = link.record().and_then(|record| record.backup.parent.as_ref()) {
        let found = sets.iter().find(|set| set.label == *parent && set.record().is_some());
        link = found.filter(|_| chain.len() < sets.len()).ok_or_else(|| {
            Error::not_found(format!("backup {} needs {parent}, which is not there", link.label))
        })?;
        chain.push(link);
    }
    chain.reverse();
    Ok(chain)
}

/// The end of a complete backup.
pub fn stopped_at(set: &Set) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(&set.record()?.backup.stopped_at, &Rfc3339).ok()
}

/// A choice among strangers would be a guess.
pub fn one_cluster(sets: &[Set]) -> Result<()> {
    let mut names: Vec<_> = sets.iter().map(|set| (set.cluster.as_str(), set.system_identifier)).collect();
    names.dedup();
    match names.len() {
        0 | 1 => Ok(()),
        _ => {
            let list: Vec<_> = names.iter().map(|(cluster, id)| format!("{cluster} {id}")).collect();
            Err(Error::usage("there is more than one cluster to choose from")
                .hint(format!("name one, and --system-id if its name is not enough: {}", list.join(", "))))
        }
    }
}

fn none(sets: &[Set]) -> Error {
    let error = Error::not_found("there is no such backup");
    let complete: Vec<_> = sets.iter().filter(|set| set.record().is_some()).collect();
    match (complete.first(), complete.last()) {
        (Some(first), Some(last)) => {
            let end =
                |set: &Set| set.record().map_or_else(String::new, |record| record.backup.stopped_at.clone());
            error.hint(format!(
                "there are {}, from {} (complete at {}) to {} (complete at {})",
                complete.len(),
                first.label,
                end(first),
                last.label,
                end(last)
            ))
        }
        _ => error.hint("there is no complete backup at all"),
    }
}
