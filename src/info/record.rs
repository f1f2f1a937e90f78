//! Makes `record.json` of what pgv-snap told and what pgv-s3 stored.

use crate::catalog::{BackupFacts, Facts, Label, ObjectEntry, RECORD_FORMAT, Record, layout};
use crate::error::{Error, Kind, Result};
use crate::info::{Query, Repository, State, await_wal, survey_chain};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// Refuses a backup whose record would be one of nothing: each backup that it builds on must be there, and the WAL that it
/// needs, where that is not in it, by `until` at the latest ([`Kind::NotFound`] if it is not).
pub fn require_rest(repository: &Repository, facts: &Facts, until: Instant) -> Result<()> {
    let backup = &facts.backup;
    if !backup.wal_included {
        await_wal(repository, facts, until).map_err(|error| match error.kind {
            Kind::NotFound => error.hint("PGV_WAL=include puts the WAL into the backup"),
            _ => error,
        })?;
    }
    match &backup.parent {
        Some(parent) => require_parents(repository, backup, parent),
        None => Ok(()),
    }
}

/// By one listing, made now that everything of this backup but its record is stored.
fn require_parents(repository: &Repository, backup: &BackupFacts, parent: &Label) -> Result<()> {
    let query = Query { system_identifier: Some(backup.system_identifier), ..repository.query.clone() };
    let sets = survey_chain(&repository.store, &query, parent)?;
    let mut next = Some(parent);
    while let Some(label) = next {
        let refused = |why: &str| {
            Err(Error::failed(format!("backup {label}, on which this one is built, {why}"))
                .hint("make a full backup"))
        };
        let record = match sets.iter().find(|set| set.label == *label).map(|set| &set.state) {
            Some(State::Complete(record)) => record,
            Some(State::Damaged { why, .. }) => return refused(&format!("is damaged: {why}")),
            Some(State::Unreadable(error)) => {
                let what = format_args!("read the record of backup {label}, on which this one is built");
                return Err(error.clone().context(what));
            }
            Some(State::Incomplete(_)) | None => return refused("is gone"),
        };
        // A record that contradicts itself must not lead round in circles.
        next = record.backup.parent.as_ref().filter(|earlier| earlier.time_part() < label.time_part());
    }
    Ok(())
}

/// Everything that a record is made of.
pub struct RecordInput {
    pub cluster: String,
    /// What `pgv-snap --facts` wrote.
    pub facts: Vec<u8>,
    /// Name and the line that `pgv-s3 put --json` printed.
    pub objects: Vec<(String, Vec<u8>)>,
    pub key_name: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Put {
    url: String,
    bytes: u64,
    sha256: String,
}

/// One line of JSON.
pub fn record(input: RecordInput) -> Result<String> {
    if !layout::is_cluster_name(&input.cluster) {
        return Err(Error::usage(format!("\"{}\" is not a cluster's name", input.cluster.escape_default())));
    }
    let facts = Facts::parse(&input.facts)?;
    let backup = &facts.backup;
    let set = format!(
        "/{}/{}/{}/",
        input.cluster,
        backup.system_identifier,
        layout::backup_directory(&backup.label)
    );
    let object = |(name, json): (String, Vec<u8>)| object(&set, name, &json);
    let objects: Vec<ObjectEntry> = input.objects.into_iter().map(object).collect::<Result<_>>()?;
    if !objects.iter().any(|object| object.name == layout::DATA) {
        return Err(Error::usage(format!("a backup without {} contains nothing", layout::DATA))
            .hint(format!("give --object {}=FILE", layout::DATA)));
    }
    let record = Record {
        format: RECORD_FORMAT.to_owned(),
        backup: facts.backup,
        cluster: input.cluster,
        objects,
        key_name: input.key_name,
        annotations: input.annotations,
    };
    serde_json::to_string(&record).map_err(|e| Error::failed(format!("encode the record: {e}")))
}

/// The object must be where a reader of the record will look for it.
fn object(set: &str, name: String, json: &[u8]) -> Result<ObjectEntry> {
    let put: Put = serde_json::from_slice(json)
        .map_err(|e| Error::damaged(format!("what put printed for {name}: {e}")))?;
    match put.url.ends_with(&format!("{set}{name}")) {
        true => Ok(ObjectEntry { name, bytes: put.bytes, sha256: put.sha256 }),
        false => Err(Error::usage(format!("{name} was stored as {}", put.url.escape_default()))
            .hint(format!("this backup's place is REPO{set}{name}"))),
    }
}
