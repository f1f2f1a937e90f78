//! What somebody should look at, in sentences, for those who do not read pictures.

use crate::catalog::VerdictKind;
use crate::error::Error;
use crate::info::wal::Archive;
use crate::info::words::count;
use crate::info::{Set, State, orphans, wal_complaints};

/// Findings of one verdict that are named; the command shows all.
const MOST_FINDINGS: usize = 3;

/// Of one system identifier. `archive`: what its WAL restores, or why that cannot be known.
pub(super) fn attention(sets: &[Set], archive: Option<&Result<Archive, Error>>) -> Vec<String> {
    let mut all = Vec::new();
    for set in sets {
        let label = &set.label;
        match &set.state {
            State::Damaged { why, .. } => all.push(format!("backup {label} is damaged: {why}")),
            State::Unreadable(error) => all.push(format!("backup {label} cannot be read: {error}")),
            State::Complete(_) | State::Incomplete(_) => {}
        }
        if let Some(error) = &set.unread_verdict {
            all.push(format!("a verdict of backup {label} cannot be read: {error}"));
        }
        for verdict in set.verdicts.iter().filter(|verdict| !verdict.ok) {
            let what = match verdict.kind {
                VerdictKind::Wal => "the WAL".to_owned(),
                _ => format!("backup {label}"),
            };
            let named = verdict.findings.iter().take(MOST_FINDINGS).cloned().collect::<Vec<_>>().join("; ");
            let more = match verdict.findings.len().saturating_sub(MOST_FINDINGS) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            all.push(format!("{} of {what} on {}: {named}{more}", verdict.kind.name(), verdict.started_at));
        }
        let pages = set.record().map_or(0, |record| record.backup.findings.bad_pages);
        if pages > 0 {
            let pages = count(usize::try_from(pages).unwrap_or(usize::MAX), "page");
            all.push(format!(
                "backup {label} has {pages} with a wrong checksum: the server's disk is suspect"
            ));
        }
        all.extend(
            set.marks.faults().map(|(name, why)| format!("{name} of backup {label} is damaged: {why}")),
        );
        all.extend(
            set.marks
                .unread()
                .map(|error| format!("a pin or a note of backup {label} cannot be read: {error}")),
        );
    }
    for (set, parent) in orphans(sets) {
        all.push(format!("backup {} builds on {parent}, which does not exist or is not complete", set.label));
    }
    match archive {
        Some(Ok(archive)) => all.extend(wal_complaints(archive)),
        Some(Err(error)) => {
            all.push(format!("the WAL cannot be listed, so it is unknown what can be restored: {error}"))
        }
        None => {}
    }
    all
}
