//! Makes `record.json` of what pgv-snap told and what pgv-s3 stored.

use crate::catalog::{Facts, ObjectEntry, RECORD_FORMAT, Record, layout};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

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
    let objects = input.objects.into_iter().map(|(name, json)| object(name, &json)).collect::<Result<_>>()?;
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

fn object(name: String, json: &[u8]) -> Result<ObjectEntry> {
    let put: Put = serde_json::from_slice(json)
        .map_err(|e| Error::damaged(format!("what put printed for {name}: {e}")))?;
    match put.url.ends_with(&format!("/{name}")) {
        true => Ok(ObjectEntry { name, bytes: put.bytes, sha256: put.sha256 }),
        false => Err(Error::usage(format!("{name} was stored as {}", put.url))),
    }
}
