//! The WAL that a backup needs, in the archive.

use crate::catalog::{Facts, layout};
use crate::error::{Error, Kind, Result};
use crate::info::Repository;
use crate::store::{Span, Store, Url};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

/// How often the archive is listed while something is missing.
const LOOKED_FOR_EVERY: Duration = Duration::from_millis(500);
/// Names of one page (S3).
const PAGE: usize = 1000;

/// Waits until the archive has every segment that a backup needs. [`Kind::NotFound`]: one has not arrived until `until`.
/// It lists the segments from the first that is missing to the last that is needed, and nothing else.
pub fn await_wal(repository: &Repository, facts: &Facts, until: Instant) -> Result<()> {
    let (query, backup) = (&repository.query, &facts.backup);
    let cluster = query
        .cluster
        .as_deref()
        .ok_or_else(|| Error::usage("no cluster is given, and PGV_CLUSTER is not set"))?;
    let segments = backup.segments().ok_or_else(|| {
        Error::damaged(format!("the facts of {} do not say which WAL it needs", backup.label))
    })?;
    let mut missing: BTreeSet<String> = segments.into_iter().collect();
    while let Some(first) = missing.first().cloned() {
        let directory = layout::wal_directory(cluster, backup.system_identifier);
        let directory = query.repository.join(&format!("{directory}{}/", &first[..8]));
        let listed = strike_out(&repository.store, &directory, &first, &mut missing);
        if listed.is_ok() && missing.first() != Some(&first) {
            continue;
        }
        let may_pass = listed.as_ref().err().is_none_or(|error| error.kind == Kind::Temporary);
        if may_pass && Instant::now() < until {
            thread::sleep(LOOKED_FOR_EVERY);
            continue;
        }
        listed.map_err(|error| {
            error.context(format_args!("look for WAL segment {first}, which the backup needs"))
        })?;
        return Err(Error::not_found(format!(
            "WAL segment {first}, which the backup needs, has not arrived in the archive"
        )));
    }
    Ok(())
}

/// Removes from `missing` what lies in the directory of a timeline, from segment `first` on.
fn strike_out(store: &Store, directory: &Url, first: &str, missing: &mut BTreeSet<String>) -> Result<()> {
    let Some(last) = missing.last().cloned() else { return Ok(()) };
    // With some more, such as what belongs to a segment that has a part beside it.
    let page = u16::try_from((missing.len() + 4).min(PAGE)).ok();
    // The names of what belongs to a segment are longer than its own.
    let span = Span { after: first, page, ..Span::default() };
    let listed = store.scan(directory, &span, &mut |entry| {
        let url = entry.url.to_string();
        let name = layout::wal_name(&url).unwrap_or_default();
        missing.remove(name);
        // What belongs to the last one may come before it.
        let is_behind = missing.is_empty() || name.get(..last.len()).is_some_and(|place| *place > *last);
        Ok(if is_behind { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    listed.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::StoreOptions;

    #[test]
    fn what_belongs_to_a_segment_hides_none() {
        let scratch = tempfile::tempdir().unwrap();
        let url = Url::parse(&format!("file://{}/", scratch.path().display())).unwrap();
        let store = Store::open(&url, &StoreOptions::default()).unwrap();
        let name = |number: u32| format!("00000001000000000000000{number}");
        let mut missing: BTreeSet<String> = (2..=4).map(name).collect();
        let mut strike = |files: &[String]| {
            for file in files {
                std::fs::write(scratch.path().join(format!("{file}.pgv")), "").unwrap();
            }
            let first = missing.first().cloned().unwrap();
            strike_out(&store, &url, &first, &mut missing).unwrap();
            missing.iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(strike(&[name(1), name(3), name(5), name(4) + ".partial"]), [name(2), name(4)]);
        assert_eq!(strike(&[name(2), name(4) + ".00000028.backup"]), [name(4)]);
        assert!(strike(&[name(4)]).is_empty());
    }
}
