//! What pgv-verify is to read: which backups and which WAL files, all or some by chance, and what is known to be wrong
//! before anything is read.

use crate::catalog::key_object::is_data_key_name;
use crate::catalog::{Label, layout};
use crate::cli::lines::Lines;
use crate::error::{Error, Result};
use crate::info::{Set, State, systems};
use crate::store::{Store, Url};

/// `damaged LABEL` and `incomplete LABEL`, of which nothing is read; then a line `backup SYSTEM-IDENTIFIER LABEL PARENT
/// STREAM-BYTES STORED-BYTES DATA-SHA256 MANIFEST-SHA256` for each that is; "-" is what there is not. Before it
/// `orphan LABEL PARENT` where the backup that it builds on is not there, or not complete, and `key LABEL NAME` where a data
/// key sealed it.
///
/// `sample`: percent of the complete ones, at least one; for each of the others a line `unchosen` with the same words.
pub fn backup_checks(sets: &[&Set], sample: Option<u8>) -> Result<Lines> {
    let mut lines = Lines::new();
    for set in sets {
        match set.state {
            State::Damaged { .. } => lines.add("damaged", &set.label),
            State::Incomplete(_) => lines.add("incomplete", &set.label),
            State::Complete(_) | State::Unreadable(_) => &mut lines,
        };
    }
    let complete: Vec<_> = sets.iter().filter(|set| set.record().is_some()).collect();
    let chosen = some(&complete, sample)?;
    for set in &complete {
        let Some(record) = set.record() else { continue };
        let is_there = |label: &Label| {
            complete
                .iter()
                .any(|other| other.label == *label && other.system_identifier == set.system_identifier)
        };
        let parent = record.backup.parent.as_ref();
        if let Some(missing) = parent.filter(|parent| !is_there(parent)) {
            lines.add("orphan", format_args!("{} {missing}", set.label));
        }
        if let Some(name) = record.key_name.as_deref().filter(|name| is_data_key_name(name)) {
            lines.add("key", format_args!("{} {name}", set.label));
        }
        let parent = parent.filter(|parent| is_there(parent)).map_or("-".to_owned(), Label::to_string);
        let digest = |name: &str| {
            let object = record.objects.iter().find(|object| object.name == name);
            // What is no digest is not that of the object either; it must not end the word.
            object.map_or("-".to_owned(), |object| {
                match object.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                    true if !object.sha256.is_empty() => object.sha256.clone(),
                    _ => "none".to_owned(),
                }
            })
        };
        let is_chosen = chosen.iter().any(|other| std::ptr::eq(**other, *set));
        lines.add(
            if is_chosen { "backup" } else { "unchosen" },
            format_args!(
                "{} {} {parent} {} {} {} {}",
                set.system_identifier,
                set.label,
                record.backup.stream_bytes,
                set.stored_bytes,
                digest(layout::DATA),
                digest(layout::MANIFEST)
            ),
        );
    }
    Ok(lines)
}

/// For each system identifier that has WAL `wal SYSTEM-IDENTIFIER NEWEST`, which is the backup beside which the verdict
/// belongs, or "-"; `history PATH` for every history file; and `file PATH` for each that is to be read. A path is below the
/// cluster's directory, and is the context with which the object was sealed.
pub fn wal_checks(store: &Store, repository: &Url, sets: &[Set], sample: Option<u8>) -> Result<Lines> {
    let mut lines = Lines::new();
    for sets in systems(sets) {
        let Some(first) = sets.first() else { continue };
        let cluster = repository.join(&format!("{}/", first.cluster)).to_string();
        let directory = layout::wal_directory(&first.cluster, first.system_identifier);
        let mut paths = Vec::new();
        store.list(&repository.join(&directory), true, &mut |entry| {
            let url = entry.url.to_string();
            let path = url.strip_prefix(&cluster).ok_or_else(|| outside(&url, &cluster))?;
            // Of a history; it is compared when another host has that history, too.
            if !path.ends_with(layout::DIGEST) {
                paths.push(path.to_owned());
            }
            Ok(())
        })?;
        if paths.is_empty() {
            continue;
        }
        let newest = sets.iter().rev().find(|set| set.record().is_some());
        let newest = newest.map_or("-".to_owned(), |set| set.label.to_string());
        lines.add("wal", format_args!("{} {newest}", first.system_identifier));
        for path in paths.iter().filter(|path| path.ends_with(".history.pgv")) {
            lines.add("history", path);
        }
        for path in some(&paths, sample)? {
            lines.add("file", path);
        }
    }
    Ok(lines)
}

fn outside(url: &str, directory: &str) -> Error {
    Error::failed(format!("the listing of {directory} has {url}, which is not below it"))
}

/// So many percent of them by chance, at least one, in their order.
fn some<T>(all: &[T], percent: Option<u8>) -> Result<Vec<&T>> {
    let Some(percent) = percent else { return Ok(all.iter().collect()) };
    let wanted = (all.len() * usize::from(percent)).div_ceil(100);
    let mut places: Vec<usize> = (0..all.len()).collect();
    for at in 0..wanted {
        let random = getrandom::u32().map_err(|e| Error::failed(format!("read random bytes: {e}")))?;
        places.swap(at, at + random as usize % (all.len() - at));
    }
    places.truncate(wanted);
    places.sort_unstable();
    Ok(places.into_iter().map(|place| &all[place]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_so_many_and_each_once() {
        let all: Vec<u32> = (0..250).collect();
        assert_eq!(some(&all, None).unwrap().len(), 250);
        for (percent, count) in [(1, 3), (50, 125), (100, 250)] {
            let chosen = some(&all, Some(percent)).unwrap();
            assert_eq!(chosen.len(), count, "{percent}");
            assert!(chosen.is_sorted_by(|a, b| a < b), "{chosen:?}");
        }
        assert_eq!(some(&[7], Some(1)).unwrap(), [&7]);
        assert!(some::<u32>(&[], Some(1)).unwrap().is_empty());
        // Not always the same: 250 files, and 3 of them.
        let first = some(&all, Some(1)).unwrap();
        assert!((0..20).any(|_| some(&all, Some(1)).unwrap() != first));
    }
}
