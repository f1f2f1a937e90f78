//! Which wrapped data keys a repository has, in the order in which they are to be opened. Who stores objects there may
//! store thousands that are none: so few are tried, and small ones only.

use crate::catalog::key_object::{self, KeyObject};
use crate::cli::lines::Lines;
use crate::error::{Error, Result};
use crate::info::sets::system_identifiers;
use crate::info::{Repository, Set, survey};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// A key for 32 recipients with RSA of 4096 bits has some 30 KiB.
const MAX_OBJECT_BYTES: u64 = 256 << 10;
/// Wrappings of one key that are tried: the newest.
const MOST_WRAPPINGS: usize = 8;

/// What is asked for.
pub struct Wanted {
    /// Names of keys that come first, whatever their age.
    pub needed: Vec<String>,
    /// No other keys.
    pub only_needed: bool,
    /// So many keys of each system identifier.
    pub limit: usize,
}

/// The wrappings of one key, with the time when the newest was stored.
#[derive(Default)]
struct Wrapped {
    modified: Option<OffsetDateTime>,
    wrappings: BTreeSet<u32>,
}

/// `object SYSTEM-IDENTIFIER KEY-NAME FILE` in the order of the tries: needed keys first, then those of backups, then the
/// newest; of each its
/// newest wrapping first, and then `next`, the same with the name for another wrapping. Then `large SYSTEM-IDENTIFIER FILE` for what is too large to be a key, `left_out N` if there are
/// more keys than the limit, and `missing KEY-NAME` for a needed key of which there is no object.
pub fn data_keys(repository: &Repository, wanted: &Wanted) -> Result<Lines> {
    let (store, query) = (&repository.store, &repository.query);
    let cluster = query.cluster.as_deref();
    let cluster = cluster.ok_or_else(|| Error::usage("no cluster is given, and PGV_CLUSTER is not set"))?;
    let recorded = recorded(&survey(store, query)?);
    let (mut lines, mut complaints, mut left_out) = (Lines::new(), Lines::new(), 0);
    let mut missing: BTreeSet<&str> = wanted.needed.iter().map(String::as_str).collect();
    for system in system_identifiers(store, query, cluster)? {
        let directory = query.repository.join(&format!("{cluster}/{system}/{}", key_object::DIRECTORY));
        let root = directory.to_string();
        let mut found: BTreeMap<String, Wrapped> = BTreeMap::new();
        store.list(&directory, false, &mut |entry| {
            let url = entry.url.to_string();
            let file = url.strip_prefix(&root).unwrap_or_default();
            match KeyObject::parse(file) {
                Some(_) if entry.bytes > MAX_OBJECT_BYTES => {
                    complaints.add("large", format_args!("{system} {file}"));
                }
                Some(object) => {
                    found.entry(object.key_name).or_default().add(object.wrapping, entry.modified)
                }
                None => {}
            }
            Ok(())
        })?;
        missing.retain(|name| !found.contains_key(*name));
        let (chosen, others) = in_order(found, wanted, &recorded);
        left_out += others;
        for (key_name, wrapped) in chosen {
            let next = wrapped.wrappings.last().map_or(1, |newest| newest.saturating_add(1));
            for wrapping in wrapped.wrappings.into_iter().rev().take(MOST_WRAPPINGS) {
                let file = KeyObject { key_name: key_name.clone(), wrapping }.file_name();
                lines.add("object", format_args!("{system} {key_name} {file}"));
            }
            let file = KeyObject { key_name: key_name.clone(), wrapping: next }.file_name();
            lines.add("next", format_args!("{system} {key_name} {file}"));
        }
    }
    lines.append(&complaints).add_some("left_out", Some(left_out).filter(|others| *others > 0));
    for name in missing {
        lines.add("missing", name);
    }
    Ok(lines)
}

impl Wrapped {
    fn add(&mut self, wrapping: u32, modified: Option<OffsetDateTime>) {
        self.wrappings.insert(wrapping);
        self.modified = self.modified.max(modified);
    }
}

/// The keys of complete backups, the newest first. Of a record that cannot be read nothing is known.
fn recorded(sets: &[Set]) -> Vec<String> {
    let names = sets.iter().rev().filter_map(|set| set.record()?.key_name.clone());
    let mut found: Vec<String> = Vec::new();
    for name in names.filter(|name| key_object::is_data_key_name(name)) {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// And how many are left out.
fn in_order(
    found: BTreeMap<String, Wrapped>,
    wanted: &Wanted,
    recorded: &[String],
) -> (Vec<(String, Wrapped)>, usize) {
    let place = |name: &str| wanted.needed.iter().position(|needed| needed == name);
    let rank = |name: &str| recorded.iter().position(|recorded| recorded == name).unwrap_or(usize::MAX);
    let mut keys: Vec<_> = found.into_iter().collect();
    if wanted.only_needed {
        keys.retain(|(name, _)| place(name).is_some());
    }
    keys.sort_by_cached_key(|(name, wrapped)| {
        (place(name).unwrap_or(usize::MAX), rank(name), Reverse(wrapped.modified), name.clone())
    });
    let others = keys.len().saturating_sub(wanted.limit.max(wanted.needed.len()));
    keys.truncate(keys.len() - others);
    (keys, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(keys: &[(&str, i64)]) -> BTreeMap<String, Wrapped> {
        let of = |second: i64| Wrapped {
            modified: OffsetDateTime::from_unix_timestamp(second).ok(),
            wrappings: BTreeSet::from([1]),
        };
        keys.iter().map(|(name, second)| ((*name).to_owned(), of(*second))).collect()
    }

    fn order(keys: &[(&str, i64)], needed: &[&str], only_needed: bool, limit: usize) -> (Vec<String>, usize) {
        let needed = needed.iter().map(|name| (*name).to_owned()).collect();
        let (chosen, others) =
            in_order(found(keys), &Wanted { needed, only_needed, limit }, &["c".to_owned()]);
        (chosen.into_iter().map(|(name, _)| name).collect(), others)
    }

    #[test]
    fn what_is_needed_comes_first_then_the_keys_of_backups_then_the_newest() {
        let keys = [("a", 1), ("b", 3), ("c", 2), ("d", 4)];
        assert_eq!(order(&keys, &[], false, 9).0, ["c", "d", "b", "a"]);
        assert_eq!(order(&keys, &["a", "x"], false, 9).0, ["a", "c", "d", "b"]);
        assert_eq!(order(&keys, &["c", "a"], true, 9).0, ["c", "a"]);
        assert_eq!(order(&keys, &["a"], false, 2), (vec!["a".to_owned(), "c".to_owned()], 2));
        // What is needed is never left out.
        assert_eq!(order(&keys, &["a", "c", "b"], false, 1).0, ["a", "c", "b"]);
    }
}
