//! What the next backup of a cluster is: its type, what it builds on, its label. An increment that was asked for becomes a
//! full only for a reason that was proved by what was read.

use crate::catalog::{BackupFacts, BackupType, Label, Mode};
use crate::error::{Error, Result};
use crate::info::Set;
use crate::info::choose::{chain, one_cluster};
use std::fmt::Write;
use std::time::Duration;
use time::OffsetDateTime;

/// A restore lays down every link.
const LONGEST_CHAIN: usize = 60;
/// A full that began a little later than tonight's is not to put the next one off by a day.
const GRACE: Duration = Duration::from_secs(3_600);

pub struct Wanted {
    /// Without one: a full if the newest that was read from the server is old enough, else an increment.
    pub backup_type: Option<BackupType>,
    /// Of an increment: [`Mode::Blocks`] or [`Mode::Files`].
    pub mode: Mode,
    /// Without one: never, but for a reason.
    pub full_every: Option<Duration>,
}

#[derive(Debug)]
pub struct Next {
    backup_type: BackupType,
    mode: Mode,
    /// Why it is a full though an increment was asked for.
    reason: Option<String>,
    /// What it builds on, oldest first.
    chain: Vec<Label>,
    label: Label,
    /// What its label is if it becomes a full after all.
    full_label: Label,
    /// The newest complete backup: the key must open it.
    newest: Option<Label>,
}

/// `sets`: all that are listed of one cluster and system identifier. Fails if there is a label that is not
/// earlier than `now`.
pub fn next(sets: &[Set], wanted: &Wanted, now: OffsetDateTime) -> Result<Next> {
    one_cluster(sets)?;
    let full_label = full_label(sets, now)?;
    let (chain, reason) = match base(sets, wanted, now) {
        Base::Chain(chain) => (chain, None),
        Base::Full(reason) => (Vec::new(), reason),
    };
    let backup_type = match (chain.len(), wanted.backup_type) {
        (0, _) => BackupType::Full,
        (_, Some(BackupType::Diff)) => BackupType::Diff,
        _ => BackupType::Incr,
    };
    let label = match chain.last() {
        Some(parent) => Label::increment(&parent.label, backup_type, now)?,
        None => full_label.clone(),
    };
    let newest = sets.iter().rev().find(|set| set.record().is_some());
    Ok(Next {
        backup_type,
        mode: if chain.is_empty() { Mode::Full } else { wanted.mode },
        reason,
        chain: chain.iter().map(|set| set.label.clone()).collect(),
        label,
        full_label,
        newest: newest.map(|set| set.label.clone()),
    })
}

/// The label of a full that begins now. Fails if there is a label that is not earlier.
pub fn full_label(sets: &[Set], now: OffsetDateTime) -> Result<Label> {
    match not_earlier(sets, now) {
        None => Label::full(now),
        Some(latest) => Err(Error::failed(format!(
            "the repository has backup {latest}, which is not older than this machine's clock"
        ))
        .hint("correct the clock: a new label must be later than all existing labels")),
    }
}

/// The latest label, if it is not earlier than `now`, whatever became of its set: a new one must follow it.
pub fn not_earlier(sets: &[Set], now: OffsetDateTime) -> Option<&Label> {
    let latest = sets.iter().map(|set| &set.label).max_by(|a, b| a.time_part().cmp(b.time_part()));
    latest.filter(|latest| latest.time().is_some_and(|begun| begun.unix_timestamp() >= now.unix_timestamp()))
}

enum Base<'a> {
    /// Oldest first.
    Chain(Vec<&'a Set>),
    /// A full; why, if neither that was asked for nor it is due.
    Full(Option<String>),
}

fn base<'a>(sets: &'a [Set], wanted: &Wanted, now: OffsetDateTime) -> Base<'a> {
    let instead = |reason: String| Base::Full(Some(reason));
    let complete = || sets.iter().rev().filter_map(|set| Some((set, &set.record()?.backup)));
    let full = complete().find(|(set, _)| set.label.backup_type() == BackupType::Full);
    // An increment of another chain may be newer: it ran while this full was made.
    let of_chain = |full: &Set| complete().find(|(set, _)| set.label.full_part() == full.label.as_str());
    let newest = full.and_then(|(full, _)| of_chain(full));
    let (Some((full, _)), Some((newest, backup))) = (full, newest) else {
        return match wanted.backup_type {
            Some(BackupType::Full) => Base::Full(None),
            _ => instead("there is no full backup yet".to_owned()),
        };
    };
    let parent = match wanted.backup_type {
        Some(BackupType::Full) => return Base::Full(None),
        None if is_due(complete().map(|(_, backup)| backup), wanted.full_every, now) => {
            return Base::Full(None);
        }
        Some(BackupType::Diff) => full,
        // A chain of one kind opens with one stock tool.
        _ if backup.mode.is_some_and(|mode| mode != wanted.mode) => full,
        _ => newest,
    };
    match chain(sets, parent) {
        Ok(chain) if chain.len() > LONGEST_CHAIN => instead(format!(
            "the chain has {} backups; pgv-consolidate would merge them into one",
            chain.len()
        )),
        Ok(chain) if chain.iter().any(|set| set.is_bad()) => {
            instead("the last verification or drill found its chain bad".to_owned())
        }
        Ok(chain) => Base::Chain(chain),
        Err(error) => instead(error.message().to_owned()),
    }
}

/// Whether the newest full that was read from the server is old enough for another. Of a synthetic full the first
/// backup in it tells that.
fn is_due<'a>(
    backups: impl Iterator<Item = &'a BackupFacts>,
    every: Option<Duration>,
    now: OffsetDateTime,
) -> bool {
    let fulls = backups.filter(|backup| backup.label.backup_type() == BackupType::Full);
    let read = fulls.filter_map(|backup| backup.merged_from.first().unwrap_or(&backup.label).time()).max();
    every.zip(read).is_some_and(|(every, read)| now - read + GRACE >= every)
}

impl Next {
    /// "key value" lines. `chain` names each backup that it builds on, oldest first.
    pub fn lines(&self) -> String {
        let mut text = format!("type {}\n", self.backup_type.name());
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a String does not fail.
            let _infallible = writeln!(text, "{key} {value}").is_ok();
        };
        line("mode", &self.mode.name());
        if let Some(reason) = &self.reason {
            line("reason", reason);
        }
        if let Some(parent) = self.chain.last() {
            line("parent", parent);
        }
        if !self.chain.is_empty() {
            line("chain", &self.chain.iter().map(Label::to_string).collect::<Vec<_>>().join(" "));
        }
        line("label", &self.label);
        line("full_label", &self.full_label);
        if let Some(newest) = &self.newest {
            line("newest", newest);
        }
        text
    }
}
