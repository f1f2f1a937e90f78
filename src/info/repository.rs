//! A repository as every verb of pgv-info reads it: its store and which part of it is wanted, and what is said of sets
//! that are damaged or cannot be read.

use crate::catalog::{Label, layout};
use crate::error::{Error, Result};
use crate::info::{Query, Set, State, collect, is_repository, survey};
use crate::report;
use crate::store::Store;

pub struct Repository {
    pub store: Store,
    pub query: Query,
}

impl Repository {
    /// What could not be read is among the sets; see [`survey`]. Refuses a repository that is not there.
    pub fn survey(&self) -> Result<Vec<Set>> {
        let sets = survey(&self.store, &self.query)?;
        self.refuse_missing(&sets)?;
        Ok(sets)
    }

    /// Fails if any record or verdict cannot be read; see [`collect`]. Refuses a repository that is not there.
    pub fn collect(&self) -> Result<Vec<Set>> {
        let sets = collect(&self.store, &self.query)?;
        self.refuse_missing(&sets)?;
        Ok(sets)
    }

    /// For work on one backup and its parents, or on all: there nothing may be unread. Warns of those that are damaged.
    pub fn read(&self, label: Option<&Label>) -> Result<Vec<Set>> {
        let sets = if label.is_some() { self.survey()? } else { self.collect()? };
        warn_of_damaged(&sets);
        Ok(sets)
    }

    /// A mistyped repository must not look like an empty one.
    fn refuse_missing(&self, sets: &[Set]) -> Result<()> {
        let url = &self.query.repository;
        if !sets.is_empty() || is_repository(&self.store, url)? {
            return Ok(());
        }
        let missing = format!("no repository at {url}: it has neither {} nor a cluster", layout::MARK);
        Err(Error::not_found(missing).hint(
            "check PGV_REPO or --repo, and that its disk is mounted; the first pgv-backup creates a \
                   repository",
        ))
    }
}

/// Committed backups whose parent is not there, or was never complete. `sets`: all of their clusters.
pub fn orphans(sets: &[Set]) -> impl Iterator<Item = (&Set, &Label)> {
    sets.iter().filter_map(move |set| {
        let parent = set.record()?.backup.parent.as_ref()?;
        let found = sets.iter().find(|other| other.label == *parent && other.is_beside(set));
        found.is_none_or(|found| matches!(found.state, State::Incomplete(_))).then_some((set, parent))
    })
}

/// And of what cannot be read. Whether anything is damaged.
pub fn warn_of_damaged(sets: &[Set]) -> bool {
    let mut found = false;
    for set in sets {
        match &set.state {
            State::Damaged { why, record: None } => {
                report::warn(format_args!("{}/{}: {why}", set.url, layout::RECORD));
            }
            State::Damaged { why, .. } => report::warn(format_args!("{}/: {why}", set.url)),
            _ => {}
        }
        found |= matches!(set.state, State::Damaged { .. });
        if let Some(error) = set.unread() {
            report::warn(format_args!("{}/ cannot be read: {error}", set.url));
        }
    }
    found
}

/// Of pins and notes that are damaged or cannot be read. Whether anything is damaged.
pub fn warn_of_marks(sets: &[Set]) -> bool {
    let mut found = false;
    for set in sets {
        for (name, why) in set.marks.faults() {
            report::warn(format_args!("{}/{name}: {why}", set.url));
            found = true;
        }
        for error in set.marks.unread() {
            report::warn(format_args!("a pin or a note of {}/ cannot be read: {error}", set.url));
        }
    }
    found
}
