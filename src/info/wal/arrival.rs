//! The WAL that a backup needs, in the archive.

use crate::catalog::{Facts, layout};
use crate::error::{Error, Kind, Result};
use crate::info::Repository;
use crate::store::wait_for;
use std::time::Instant;

/// Waits until the archive has every segment that a backup needs. [`Kind::NotFound`]: one has not arrived until `until`.
pub fn await_wal(repository: &Repository, facts: &Facts, until: Instant) -> Result<()> {
    let (query, backup) = (&repository.query, &facts.backup);
    let cluster = query
        .cluster
        .as_deref()
        .ok_or_else(|| Error::usage("no cluster is given, and PGV_CLUSTER is not set"))?;
    let segments = backup.segments().ok_or_else(|| {
        Error::damaged(format!("the facts of {} do not say which WAL it needs", backup.label))
    })?;
    for name in segments {
        let directory = layout::wal_directory(cluster, backup.system_identifier);
        let url = query.repository.join(&format!("{directory}{}/{name}.pgv", &name[..8]));
        wait_for(&repository.store, &url, until).map_err(|error| match error.kind {
            Kind::NotFound => Error::not_found(format!(
                "WAL segment {name}, which the backup needs, has not arrived in the archive"
            )),
            _ => error.context(format_args!("look for WAL segment {name}, which the backup needs")),
        })?;
    }
    Ok(())
}
