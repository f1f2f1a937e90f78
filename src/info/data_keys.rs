//! Which wrapped data keys a repository has, in the order in which they are to be opened. Who stores objects there may
//! store thousands that are none: so few are tried, and small ones only. Of one key the first stored are always among
//! them: what is stored later hides nothing.

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
/// Wrappings of one key that are tried first: those with the greatest numbers.
const NEWEST_WRAPPINGS: usize = 8;
/// Wrappings of one key that are tried at most: after the newest those that were stored first.
const MOST_WRAPPINGS: usize = 16;
/// The same of a key that is needed.
const MOST_WRAPPINGS_OF_NEEDED: usize = 1000;

/// What is asked for.
pub struct Wanted {
    /// Names of keys that come first, whatever their age.
    pub needed: Vec<String>,
    /// No other keys.
    pub only_needed: bool,
    /// So many keys of each system identifier.
    pub limit: usize,
    /// All wrappings of each key, however many there are.
    pub all_wrappings: bool,
}

/// The wrappings of one key, by number, with the time when each was stored.
#[derive(Default)]
struct Wrapped {
    wrappings: BTreeMap<u32, Option<OffsetDateTime>>,
}

/// `object SYSTEM-IDENTIFIER KEY-NAME FILE` in the order of the tries: needed keys first, then those of backups, then the
/// newest; of each its newest wrappings first, then those that were stored first. After them `untried SYSTEM-IDENTIFIER
/// KEY-NAME N` if it has N more, and `next`, an object with the name for another wrapping. Then `large SYSTEM-IDENTIFIER FILE`
/// for what is too large to be a key, `left_out N` if there are more keys than the limit, and `missing KEY-NAME` for a
/// needed key of which there is no object.
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
            let next = wrapped.wrappings.keys().next_back().map_or(1, |newest| newest.saturating_add(1));
            let (tried, untried) = wrapped.in_order(wanted.most_wrappings(&key_name));
            for wrapping in tried {
                let file = KeyObject { key_name: key_name.clone(), wrapping }.file_name();
                lines.add("object", format_args!("{system} {key_name} {file}"));
            }
            if untried > 0 {
                lines.add("untried", format_args!("{system} {key_name} {untried}"));
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

impl Wanted {
    fn most_wrappings(&self, key_name: &str) -> usize {
        match self.needed.iter().any(|needed| needed == key_name) {
            _ if self.all_wrappings => usize::MAX,
            true => MOST_WRAPPINGS_OF_NEEDED,
            false => MOST_WRAPPINGS,
        }
    }
}

impl Wrapped {
    fn add(&mut self, wrapping: u32, modified: Option<OffsetDateTime>) {
        self.wrappings.insert(wrapping, modified);
    }

    /// When the newest was stored.
    fn modified(&self) -> Option<OffsetDateTime> {
        self.wrappings.values().copied().max().flatten()
    }

    /// The numbers of those to try, and how many are left out. Whoever may only add objects cannot add one that is older.
    fn in_order(self, most: usize) -> (Vec<u32>, usize) {
        let mut all: Vec<_> = self.wrappings.into_iter().rev().collect();
        let newest = NEWEST_WRAPPINGS.min(all.len());
        all[newest..].sort_by_key(|(wrapping, modified)| (*modified, *wrapping));
        let untried = all.len().saturating_sub(most);
        all.truncate(most);
        (all.into_iter().map(|(wrapping, _)| wrapping).collect(), untried)
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
        (place(name).unwrap_or(usize::MAX), rank(name), Reverse(wrapped.modified()), name.clone())
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
            wrappings: BTreeMap::from([(1, OffsetDateTime::from_unix_timestamp(second).ok())]),
        };
        keys.iter().map(|(name, second)| ((*name).to_owned(), of(*second))).collect()
    }

    fn order(keys: &[(&str, i64)], needed: &[&str], only_needed: bool, limit: usize) -> (Vec<String>, usize) {
        let needed = needed.iter().map(|name| (*name).to_owned()).collect();
        let (chosen, others) = in_order(
            found(keys),
            &Wanted { all_wrappings: false, needed, only_needed, limit },
            &["c".to_owned()],
        );
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

    #[test]
    fn what_is_stored_later_hides_no_wrapping_whatever_its_number() {
        let mut wrapped = Wrapped::default();
        let stored = |second: i64| OffsetDateTime::from_unix_timestamp(second).ok();
        wrapped.add(20, stored(1));
        for wrapping in (1..20).chain(21..3000) {
            wrapped.add(wrapping, stored(2 + i64::from(wrapping)));
        }
        let (tried, untried) = wrapped.in_order(MOST_WRAPPINGS);
        assert_eq!(tried[..10], [2999, 2998, 2997, 2996, 2995, 2994, 2993, 2992, 20, 1]);
        assert_eq!((tried.len(), untried), (16, 2983));
        let (mut few, wanted) = (
            Wrapped::default(),
            Wanted { needed: Vec::new(), only_needed: false, limit: 1, all_wrappings: true },
        );
        (1..=9).for_each(|wrapping| few.add(wrapping, None));
        assert_eq!(few.in_order(wanted.most_wrappings("a")), (vec![9, 8, 7, 6, 5, 4, 3, 2, 1], 0));
    }
}
