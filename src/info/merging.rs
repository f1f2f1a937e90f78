//! What pgv-consolidate makes one full of: the chain of the newest backup. A chain of which anything is damaged, was found
//! bad or cannot be read is refused: what is made of it would be no better.

use crate::catalog::{Label, Record, layout};
use crate::cli::lines::Lines;
use crate::error::{Error, Result};
use crate::info::next::full_label;
use crate::info::recovery::link_jobs;
use crate::info::{Choice, Set, choose};
use std::collections::BTreeSet;
use time::OffsetDateTime;

/// Backups that become one full.
pub struct Merging<'a> {
    /// Oldest first, each with its record.
    links: Vec<(&'a Set, &'a Record)>,
}

/// The chain of the newest backup of one cluster and system identifier, or of it what comes before and with `up_to`.
pub fn merging<'a>(sets: &'a [Set], up_to: Option<&Label>) -> Result<Merging<'a>> {
    let mut chain = choose(sets, &Choice::Latest)?;
    if let Some(label) = up_to {
        let newest = chain.last().map_or_else(String::new, |set| set.label.to_string());
        let at = chain.iter().position(|set| set.label == *label).ok_or_else(|| {
            let hint = "pgv-consolidate merges only the chain of the newest backup";
            match sets.iter().any(|set| set.label == *label) {
                true => Error::usage(format!("{newest} is the newest backup, and does not build on {label}")),
                false => Error::not_found(format!("there is no backup {label}")),
            }
            .hint(hint)
        })?;
        chain.truncate(at + 1);
    }
    if let Some(bad) = chain.iter().find(|set| set.is_bad()) {
        return Err(Error::damaged(format!(
            "the last verification or drill of backup {} found it bad, so its chain cannot be merged",
            bad.label
        ))
        .hint("take a full backup: pgv-backup --type full")
        .hint("or read it again, if it may be good: pgv-verify --label"));
    }
    let links = chain.into_iter().filter_map(|set| Some((set, set.record()?))).collect();
    Ok(Merging { links })
}

impl Merging<'_> {
    /// The records of what is merged, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.links.iter().map(|(_, record)| *record)
    }

    /// "key value" lines. `backup URL` and `link LABEL` of each that is merged, oldest first; `label` of the full that
    /// they become, begun `now`. Or `nothing` and why. `sets`: all that are listed.
    pub fn lines(&self, sets: &[Set], now: OffsetDateTime) -> Result<Lines> {
        let mut lines = Lines::new();
        let (Some((first, full)), Some((last, newest))) = (self.links.first(), self.links.last()) else {
            return Ok(lines);
        };
        lines.add("system_identifier", last.system_identifier).add("newest", &last.label);
        if self.links.len() == 1 {
            let reason = format!("backup {} is a {} backup already", first.label, words(first));
            lines.add("nothing", reason);
            return Ok(lines);
        }
        lines.add("label", full_label(sets, now)?);
        for (set, _) in &self.links {
            lines.add("backup", &set.url).add("link", &set.label);
        }
        let keys: BTreeSet<&str> = self.records().filter_map(|record| record.key_name.as_deref()).collect();
        for key in keys {
            lines.add("key_name", key);
        }
        let stored = |record: &Record| -> u64 {
            let read = [layout::DATA, layout::MANIFEST];
            record.objects.iter().filter(|object| read.contains(&object.name.as_str())).map(|o| o.bytes).sum()
        };
        let streams = || self.records().map(|record| record.backup.stream_bytes);
        lines.add("link_jobs", link_jobs(self.links.len()));
        lines.add("read_bytes", self.records().map(stored).sum::<u64>());
        lines.add("stream_bytes", streams().sum::<u64>());
        // As large as the cluster is now, and as dense as the full.
        let size = newest.backup.database_bytes;
        lines.add("write_bytes", scaled(stored(full), size, full.backup.stream_bytes));
        lines.add("database_bytes", size);
        let bad_pages = self.records().map(|record| record.backup.findings.bad_pages).sum::<u64>();
        lines.add("bad_pages", bad_pages);
        lines.add("wal_included", newest.backup.wal_included);
        Ok(lines)
    }
}

fn words(set: &Set) -> &'static str {
    if set.is_synthetic() { "synthetic full" } else { "full" }
}

fn scaled(bytes: u64, size: u64, measured: u64) -> u64 {
    let product = u128::from(bytes) * u128::from(size) / u128::from(measured.max(1));
    u64::try_from(product).unwrap_or(u64::MAX)
}
