//! Histories of timelines, and the archive: which of a server's belong there, and which of its own the archive lacks.

use crate::catalog::layout;
use crate::cli::lines::Lines;
use crate::error::{Error, IoContext, Kind, Result};
use crate::info::wal::listing::{Outline, Place};
use crate::info::wal::{complaint, without_history};
use crate::info::{Repository, Set, systems};
use crate::pg::control::Control;
use crate::pg::timeline::{branches, history_name, timeline_of_history};
use crate::pg::wal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// For pgv-backup: `history NAME` for each that lies in the `pg_wal` of the server in `directory`, is of a timeline on its
/// way, and is not in the archive; and that of its own timeline, so that another content of the archive is noticed.
pub fn to_archive(repository: &Repository, directory: &Path) -> Result<Lines> {
    let system_identifier = Control::read(directory)?.system_identifier();
    let on_the_way = on_the_way(directory)?;
    let mut lines = Lines::new();
    for timeline in &on_the_way {
        if Some(timeline) == on_the_way.last() || !is_archived(repository, system_identifier, *timeline)? {
            lines.add("history", history_name(*timeline));
        }
    }
    Ok(lines)
}

/// The timelines to the server's own whose histories lie in its `pg_wal`, oldest first. A server that was just promoted
/// is on a later one than its control file says.
fn on_the_way(directory: &Path) -> Result<Vec<u32>> {
    let mut histories = BTreeMap::new();
    let wal = directory.join("pg_wal");
    for entry in fs::read_dir(&wal).during_path("list", &wal)? {
        let path = entry.during_path("list", &wal)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(timeline) = timeline_of_history(&name) {
            let text = fs::read_to_string(&path).during_path("read", &path)?;
            let way = branches(&text, timeline).ok_or_else(|| {
                Error::damaged(format!("{} is not a history of timeline {timeline}", path.display()))
            })?;
            histories.insert(timeline, way.iter().map(|branch| branch.timeline).collect::<BTreeSet<_>>());
        }
    }
    let own = Control::read(directory)?.timeline();
    let newest = histories.iter().rev().find(|(_, way)| way.contains(&own)).map(|(_, way)| way.clone());
    Ok(newest.unwrap_or_default().into_iter().filter(|timeline| histories.contains_key(timeline)).collect())
}

/// For pgv-check: `bad` and `advice` for each timeline of the archive or of a backup that lacks its history, else `ok`.
pub fn missing(repository: &Repository, sets: &[Set]) -> Result<Lines> {
    let mut lines = Lines::new();
    for sets in systems(sets) {
        lines.append(&missing_in_one(repository, sets)?);
    }
    Ok(lines)
}

/// Of one system identifier.
fn missing_in_one(repository: &Repository, sets: &[Set]) -> Result<Lines> {
    let mut lines = Lines::new();
    let Some(first) = sets.first() else { return Ok(lines) };
    let (cluster, system_identifier) = (&first.cluster, first.system_identifier);
    let Outline { timelines, histories } = outline(repository, cluster, system_identifier)?;
    for timeline in without_history(sets, timelines.into_iter(), &histories) {
        let (what, advice) = complaint(timeline, cluster);
        lines.add("bad", format!("archiving: {what}")).add("advice", advice);
    }
    if lines.as_str().is_empty() && !histories.is_empty() {
        lines.add("ok", "archiving: the archive has the history of each timeline");
    }
    Ok(lines)
}

/// For restores: `history NAME` for each that the archive has.
pub fn archived(repository: &Repository) -> Result<Lines> {
    let query = &repository.query;
    let missing = || Error::usage("a cluster and its system identifier are needed");
    let (cluster, system_identifier) =
        query.cluster.as_deref().zip(query.system_identifier).ok_or_else(missing)?;
    let mut lines = Lines::new();
    for timeline in outline(repository, cluster, system_identifier)?.histories {
        lines.add("history", history_name(timeline));
    }
    Ok(lines)
}

fn outline(repository: &Repository, cluster: &str, system_identifier: u64) -> Result<Outline> {
    let directory = repository.query.repository.join(&layout::wal_directory(cluster, system_identifier));
    // The name of a segment of any size is one of the smallest size, too.
    let segment_bytes = wal::SEGMENT_SIZES.into_iter().min().unwrap_or(wal::DEFAULT_SEGMENT_BYTES);
    let place = Place { store: &repository.store, directory: &directory, segment_bytes };
    place.outline(&mut |_| Ok(())).map(|(outline, _)| outline)
}

/// Only what the service says is absent, is.
fn is_archived(repository: &Repository, system_identifier: u64, timeline: u32) -> Result<bool> {
    let query = &repository.query;
    let cluster = query.cluster.as_deref();
    let cluster = cluster.ok_or_else(|| Error::usage("no cluster is given, and PGV_CLUSTER is not set"))?;
    let name = history_name(timeline);
    let path = format!("{}{}/{name}.pgv", layout::wal_directory(cluster, system_identifier), &name[..8]);
    match repository.store.stat(&query.repository.join(&path)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind == Kind::NotFound => Ok(false),
        Err(error) => Err(error.context(format_args!("look for {name} in the archive"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::control;

    /// A data directory whose last checkpoint was on timeline 1.
    fn directory(histories: &[(&str, &str)]) -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        let path = format!("{}/tests/control/19", env!("CARGO_MANIFEST_DIR"));
        let mut bytes = fs::read(path).unwrap();
        bytes.resize(control::FILE_SIZE, 0);
        fs::create_dir_all(scratch.path().join("global")).unwrap();
        fs::write(scratch.path().join(control::PATH), bytes).unwrap();
        fs::create_dir(scratch.path().join("pg_wal")).unwrap();
        for (name, text) in histories {
            fs::write(scratch.path().join("pg_wal").join(name), text).unwrap();
        }
        scratch
    }

    #[test]
    fn histories_on_the_way_of_a_server_that_was_just_promoted() {
        let three = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tbefore x\n";
        let own = directory(&[("00000002.history", "1\t0/3000000\tx\n"), ("00000003.history", three)]);
        assert_eq!(on_the_way(own.path()).unwrap(), [2, 3]);
        // Another's, and none.
        let other = directory(&[("00000004.history", "2\t0/3000000\tx\n")]);
        assert!(on_the_way(other.path()).unwrap().is_empty());
        assert!(on_the_way(directory(&[]).path()).unwrap().is_empty());
        let error = on_the_way(directory(&[("00000002.history", "x\n")]).path()).unwrap_err();
        assert_eq!(error.kind, Kind::Damaged);
    }
}
