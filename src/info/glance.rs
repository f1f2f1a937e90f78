//! A look at a repository that costs one request for each thousand backups: which directories of backups there are, and
//! what earlier runs read of each. It shows no backup that was lost, and no verdict or mark that is new. So whoever
//! decides by it may let things stay, and must list everything before anything goes.

use crate::catalog::{Label, Record, layout};
use crate::error::Result;
use crate::info::Set;
use crate::info::cache::RecordCache;
use crate::info::listed::{Listed, Objects};
use crate::info::sets::{Query, Tree};
use crate::store::Store;
use std::collections::BTreeMap;

/// Of one cluster and system identifier, which the query names. `stored`: the record of a backup that was just stored,
/// as no earlier run has read it. Nothing where anything is unknown, was found bad or is pinned: then more than the
/// names of directories decides.
pub fn glance(store: &Store, query: &Query, stored: &Record) -> Result<Option<Vec<Set>>> {
    let (Some(cluster), Some(system_identifier)) = (&query.cluster, query.system_identifier) else {
        return Ok(None);
    };
    let tree = Tree { store, query, cluster, system_identifier };
    let Some(cache) = tree.cache(&tree.directory()) else { return Ok(None) };
    let mut known = known(&cache, stored);
    let mut sets = Vec::new();
    for label in tree.labels()? {
        let Some(objects) = known.remove(&label) else { return Ok(None) };
        match tree.known(&cache, &label, &objects) {
            Some(set) if set.record().is_some() && is_unmarked(&set) => sets.push(set),
            _ => return Ok(None),
        }
    }
    sets.sort_by(|a, b| a.age().cmp(&b.age()));
    Ok(Some(sets))
}

fn is_unmarked(set: &Set) -> bool {
    !set.is_bad() && set.unread().is_none() && set.marks.pin.is_none()
}

/// The objects of each backup whose record is known: those that were read, and those that the record names.
fn known(cache: &RecordCache, stored: &Record) -> BTreeMap<Label, Objects> {
    let mut known: BTreeMap<Label, Objects> = BTreeMap::new();
    if let Ok(content) = serde_json::to_vec(stored) {
        let listed = Listed { bytes: content.len() as u64, etag: Some("stored".to_owned()) };
        // In memory only: it is not saved.
        cache.put(&format!("{}/{}", stored.backup.label, layout::RECORD), &listed, content);
    }
    for (name, listed) in cache.all() {
        let Some((label, name)) = name.split_once('/') else { continue };
        if let Ok(label) = label.parse() {
            known.entry(label).or_default().insert(name.to_owned(), listed);
        }
    }
    known.retain(|label, objects| {
        let record = objects.get(layout::RECORD).and_then(|listed| cache.get(&record_of(label), listed));
        let Some(record) = record.and_then(|content| Record::parse(&content).ok()) else { return false };
        objects.extend(
            record
                .objects
                .into_iter()
                .map(|object| (object.name, Listed { bytes: object.bytes, etag: None })),
        );
        true
    });
    known
}

fn record_of(label: &Label) -> String {
    format!("{label}/{}", layout::RECORD)
}
