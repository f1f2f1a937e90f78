//! Makes `record.json` of what pgv-snap told and what pgv-s3 stored.

use crate::catalog::{Facts, ObjectEntry, RECORD_FORMAT, Record, layout};
use crate::error::{Error, Kind, Result};
use crate::info::look::LIMIT;
use crate::info::{Repository, await_wal};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// Refuses a backup whose record would be one of nothing: each backup that it builds on must be there, and the WAL that it
/// needs, where that is not in it, by `until` at the latest ([`Kind::NotFound`] if it is not).
pub fn require_rest(repository: &Repository, facts: &Facts, until: Instant) -> Result<()> {
    let (query, backup) = (&repository.query, &facts.backup);
    if !backup.wal_included {
        await_wal(repository, facts, until).map_err(|error| match error.kind {
            Kind::NotFound => error.hint("PGV_WAL=include puts the WAL into the backup"),
            _ => error,
        })?;
    }
    let cluster = query.cluster.as_deref().unwrap_or_default();
    let mut parent = backup.parent.clone();
    while let Some(label) = parent {
        let set = format!("{cluster}/{}/{}", backup.system_identifier, layout::backup_directory(&label));
        let url = query.repository.join(&format!("{set}/{}", layout::RECORD));
        let record = repository.store.read(&url, LIMIT).map_err(|error| match error.kind {
            Kind::NotFound => Error::failed(format!("backup {label}, on which this one is built, is gone"))
                .hint("make a full backup"),
            _ => error.context(format_args!("read the record of backup {label}, on which this one is built")),
        })?;
        let earlier = Record::parse(&record)?.backup.parent;
        // A record that contradicts itself must not lead round in circles.
        parent = earlier.filter(|earlier| earlier.time_part() < label.time_part());
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
