//! Which backups are pinned, and on which others they are built: none of these expires.

use crate::catalog::{BackupType, Label};
use crate::error::Result;
use crate::info::{Set, State, systems};
use std::collections::BTreeSet;
use time::OffsetDateTime;

pub struct Pinned<'a> {
    pub set: &'a Set,
    /// "pinned until …".
    pub why: String,
    /// What it is built on; where a record does not say that, what it may be built on.
    pub bases: BTreeSet<&'a Label>,
}

/// `sets`: of one system identifier. What has no record is no backup: a pin, which came too late, does not keep it.
pub fn pinned(sets: &[Set], now: OffsetDateTime) -> Vec<Pinned<'_>> {
    let one = |set| {
        let why = is_backup(set).then(|| set.marks.pinned(now)).flatten()?;
        Some(Pinned { set, why, bases: bases(sets, set) })
    };
    sets.iter().filter_map(one).collect()
}

/// What pins keep: the pinned backups, and those on which they are built.
pub fn kept_by_pins(sets: &[Set], now: OffsetDateTime) -> BTreeSet<(u64, Label)> {
    let of_one =
        |sets| pinned(sets, now).into_iter().flat_map(|one| one.bases.into_iter().chain([&one.set.label]));
    systems(sets)
        .flat_map(|sets| of_one(sets).map(|label| (sets[0].system_identifier, label.clone())))
        .collect()
}

/// Nothing goes while it is not known what is pinned.
pub fn refuse_unread(sets: &[Set]) -> Result<()> {
    match sets.iter().find_map(|set| Some((set, set.marks.unread_pin()?))) {
        Some((set, error)) => Err(error.clone().context(format_args!("the pin of backup {}", set.label))),
        None => Ok(()),
    }
}

fn is_backup(set: &Set) -> bool {
    !matches!(set.state, State::Incomplete(_))
}

fn bases<'a>(sets: &'a [Set], pinned: &'a Set) -> BTreeSet<&'a Label> {
    let mut bases = BTreeSet::new();
    let mut link = pinned;
    while link.label.backup_type() != BackupType::Full {
        let parent = link.committed().and_then(|record| record.backup.parent.as_ref());
        let found = parent.and_then(|parent| sets.iter().find(|set| is_backup(set) && set.label == *parent));
        match found {
            // A circle of parents ends, too.
            Some(parent) if bases.insert(&parent.label) => link = parent,
            _ => {
                let is_older = |set: &&Set| {
                    set.label.full_part() == link.label.full_part()
                        && set.label.time_part() < link.label.time_part()
                };
                bases.extend(sets.iter().filter(|set| is_backup(set)).filter(is_older).map(|set| &set.label));
                break;
            }
        }
    }
    bases
}
