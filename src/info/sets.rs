//! The backup sets of a repository. A backup exists iff its record does and the listing shows every
//! object that the record names, with its size; everything else is an incomplete set.

use crate::catalog::{Label, Record, layout};
use crate::error::{Error, Result};
use crate::store::{Store, Url};
use std::collections::BTreeMap;

/// Bytes of a record; a real one has some thousand.
const RECORD_LIMIT: u64 = 4 << 20;

/// Which part of a repository.
pub struct Query {
    /// Ends with a slash.
    pub repository: Url,
    pub cluster: Option<String>,
    pub system_identifier: Option<u64>,
}

pub struct Set {
    pub cluster: String,
    pub system_identifier: u64,
    pub label: Label,
    /// Without a slash at its end.
    pub url: String,
    /// Bytes of everything in it.
    pub stored_bytes: u64,
    pub state: State,
}

pub enum State {
    Complete(Box<Record>),
    /// Why it is not.
    Incomplete(String),
    /// The record is there and cannot be used; why.
    Damaged(String),
}

impl Set {
    pub fn record(&self) -> Option<&Record> {
        match &self.state {
            State::Complete(record) => Some(record),
            _ => None,
        }
    }
}

/// All sets that fit, by cluster, system identifier and time. Memory: one record for each backup.
pub fn collect(store: &Store, query: &Query) -> Result<Vec<Set>> {
    let mut sets = Vec::new();
    let clusters = match &query.cluster {
        Some(cluster) if !layout::is_cluster_name(cluster) => {
            return Err(Error::usage(format!("\"{}\" is not a cluster's name", cluster.escape_default())));
        }
        Some(cluster) => vec![cluster.clone()],
        None => directories(store, &query.repository)?,
    };
    for cluster in clusters {
        let directory = query.repository.join(&format!("{cluster}/"));
        for name in directories(store, &directory)? {
            let Some(system_identifier) = layout::parse_system_id(&name) else { continue };
            if query.system_identifier.is_none_or(|wanted| wanted == system_identifier) {
                let mut found = collect_one(store, &directory, &cluster, system_identifier)?;
                found.sort_by(|a, b| a.label.time_part().cmp(b.label.time_part()));
                sets.append(&mut found);
            }
        }
    }
    Ok(sets)
}

fn directories(store: &Store, directory: &Url) -> Result<Vec<String>> {
    let mut names = Vec::new();
    store.list(directory, false, &mut |entry| {
        if entry.is_directory() {
            names.push(below(&entry.url, directory).trim_end_matches('/').to_owned());
        }
        Ok(())
    })?;
    Ok(names)
}

fn below(url: &Url, directory: &Url) -> String {
    let text = url.to_string();
    text.strip_prefix(&directory.to_string()).unwrap_or(&text).to_owned()
}

fn collect_one(store: &Store, cluster_url: &Url, cluster: &str, system_identifier: u64) -> Result<Vec<Set>> {
    let directory = cluster_url.join(&format!("{system_identifier}/backup/"));
    let mut objects: BTreeMap<Label, BTreeMap<String, u64>> = BTreeMap::new();
    store.list(&directory, true, &mut |entry| {
        let path = below(&entry.url, &directory);
        // What is no label is not ours.
        let parts = path.split_once('/').and_then(|(label, name)| Some((label.parse::<Label>().ok()?, name)));
        if let Some((label, name)) = parts {
            objects.entry(label).or_default().insert(name.to_owned(), entry.bytes);
        }
        Ok(())
    })?;
    let set = |(label, objects): (Label, BTreeMap<String, u64>)| {
        let url = directory.join(label.as_str());
        let state = state(store, &url, &label, system_identifier, &objects)?;
        Ok(Set {
            cluster: cluster.to_owned(),
            system_identifier,
            url: url.to_string(),
            stored_bytes: objects.values().sum(),
            label,
            state,
        })
    };
    objects.into_iter().map(set).collect()
}

fn state(
    store: &Store,
    url: &Url,
    label: &Label,
    system_identifier: u64,
    objects: &BTreeMap<String, u64>,
) -> Result<State> {
    if !objects.contains_key(layout::RECORD) {
        let why = "no record: the backup is still running, or it was interrupted";
        return Ok(State::Incomplete(why.to_owned()));
    }
    let json = match store.read(&url.join(layout::RECORD), RECORD_LIMIT) {
        // Removed since the listing: being expired.
        Err(error) if error.kind == crate::error::Kind::NotFound => {
            return Ok(State::Incomplete("its record was just removed".to_owned()));
        }
        json => json?,
    };
    let record = match Record::parse(&json) {
        Ok(record) => record,
        Err(error) => return Ok(State::Damaged(error.message().to_owned())),
    };
    if record.backup.label != *label || record.backup.system_identifier != system_identifier {
        return Ok(State::Damaged("its record belongs to another backup".to_owned()));
    }
    for object in &record.objects {
        match objects.get(&object.name) {
            None => return Ok(State::Incomplete(format!("{} is missing", object.name))),
            Some(bytes) if *bytes != object.bytes => {
                return Ok(State::Incomplete(format!(
                    "{} has {bytes} bytes instead of {}",
                    object.name, object.bytes
                )));
            }
            Some(_) => {}
        }
    }
    Ok(State::Complete(Box::new(record)))
}
