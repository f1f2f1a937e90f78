//! Which wrapped data keys may go. Nothing sealed tells which key sealed it, except a record, and the name of a second
//! object. So a key stays as long as anything stays that it may have sealed: a host seals with a key for
//! [`LONGEST_USE`] at most, and what a backup needs was sealed after that backup began. What cannot be known keeps the key.

use crate::catalog::key_object::{self, Description, KeyObject, LONGEST_USE};
use crate::catalog::layout;
use crate::error::{Error, Kind, Result};
use crate::info::sets::{LONGEST_BACKUP, Set, State, systems};
use crate::info::wal::listing::Place;
use crate::info::wal::pages::Lane;
use crate::info::wal::runs::{directory, sized};
use crate::pg::{timeline, wal};
use crate::store::{Store, Url};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// A description has some hundred bytes.
const MAX_DESCRIPTION_BYTES: u64 = 64 << 10;

/// When a key may have sealed: not before the first, and not after the last.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    from: OffsetDateTime,
    to: OffsetDateTime,
}

impl Use {
    /// By the clock of the store and that of the host, of which one may be wrong: `stored` is the oldest time of its
    /// objects, `made` what its description says.
    pub fn of(stored: OffsetDateTime, made: OffsetDateTime) -> Self {
        let longest = LONGEST_USE.saturating_add(LONGEST_BACKUP);
        let longest = time::Duration::try_from(longest).unwrap_or(time::Duration::MAX);
        Use { from: stored, to: stored.max(made).saturating_add(longest) }
    }
}

/// What stays of one system identifier besides WAL.
#[derive(Debug)]
pub struct Needs<'a> {
    names: BTreeSet<&'a str>,
    /// What they need was sealed later.
    since: OffsetDateTime,
}

impl<'a> Needs<'a> {
    /// Of the sets that stay. `None`: what they need cannot be known, or there are none.
    pub fn of(sets: &'a [Set], now: OffsetDateTime) -> Option<Self> {
        let is_unknown = |set: &Set| match &set.state {
            State::Damaged { record: None, .. } | State::Unreadable(_) => true,
            State::Incomplete(_) => set.may_be_running(now),
            State::Complete(_) | State::Damaged { record: Some(_), .. } => false,
        };
        if sets.iter().any(is_unknown) {
            return None;
        }
        let records = || sets.iter().filter_map(Set::committed);
        // A synthetic full needs WAL of when its content was backed up.
        let began: Option<Vec<OffsetDateTime>> =
            records().map(|record| record.backup.content_label().time()).collect();
        let names = records().filter_map(|record| record.key_name.as_deref()).collect();
        Some(Needs { names, since: began?.into_iter().min()? })
    }

    /// Whether none of the backups needs a key of this name, which was in use then.
    pub fn allows(&self, name: &str, used: Use) -> bool {
        !self.names.contains(name) && used.to < self.since
    }
}

/// Whether a WAL file that is stored may be one that the key sealed. Histories stay for ever, and a copy stores them later
/// than their original.
pub fn may_have_sealed(name: &str, used: Use, file: &str, stored: Option<OffsetDateTime>) -> bool {
    if file
        .strip_prefix(layout::without_key_name(file))
        .is_some_and(|key| key.strip_prefix('.') == Some(name))
    {
        return true;
    }
    let is_history = timeline::timeline_of_history(file).is_some();
    stored.is_none_or(|stored| stored >= used.from && (is_history || stored <= used.to))
}

/// The URLs of the objects of keys that nothing needs which stays, of each key its description last: without that, a key
/// whose removal was interrupted would stay. `sets`: those that stay.
pub fn unneeded_keys(
    store: &Store,
    repository: &Url,
    sets: &[Set],
    now: OffsetDateTime,
) -> Result<Vec<String>> {
    let (mut wrapped, mut described) = (Vec::new(), Vec::new());
    for sets in systems(sets) {
        let Some(needs) = Needs::of(sets, now) else { continue };
        for key in unneeded_of(store, repository, sets, &needs)? {
            wrapped.extend(key.wrapped);
            described.push(key.description);
        }
    }
    wrapped.append(&mut described);
    Ok(wrapped)
}

/// The objects of one key.
struct Stored {
    name: String,
    used: Use,
    wrapped: Vec<String>,
    description: String,
}

fn unneeded_of(store: &Store, repository: &Url, sets: &[Set], needs: &Needs<'_>) -> Result<Vec<Stored>> {
    let keys = repository.join(&format!(
        "{}/{}/{}",
        sets[0].cluster,
        sets[0].system_identifier,
        key_object::DIRECTORY
    ));
    let mut keys = candidates(store, &keys, needs)?;
    if keys.is_empty() {
        return Ok(keys);
    }
    let place = Place {
        store,
        directory: &directory(repository, &sets[0]),
        segment_bytes: sized(sets).map_or(wal::DEFAULT_SEGMENT_BYTES, |(_, bytes)| bytes),
    };
    let timelines = place.timelines()?;
    // Histories first: they are few, and they keep a key for ever.
    let kinds: [fn(u32) -> Lane; 2] =
        [Lane::outline, |timeline| Lane { timeline, from: None, to: None, expected: None }];
    for kind in kinds {
        let lanes: Vec<Lane> = timelines.iter().copied().map(kind).collect();
        place.list_lanes(&lanes, &mut |found| {
            keys.retain(|key| !may_have_sealed(&key.name, key.used, found.name, found.entry.modified));
            Ok(())
        })?;
        if keys.is_empty() {
            break;
        }
    }
    Ok(keys)
}

/// The keys that no backup needs. Only of those that are old enough a description is read.
fn candidates(store: &Store, keys: &Url, needs: &Needs<'_>) -> Result<Vec<Stored>> {
    let root = keys.to_string();
    let mut found: BTreeMap<String, (Option<OffsetDateTime>, Vec<String>, bool)> = BTreeMap::new();
    store.list(keys, false, &mut |entry| {
        let url = entry.url.to_string();
        let file = url.strip_prefix(&root).unwrap_or_default();
        let wrapped = KeyObject::parse(file).map(|object| object.key_name);
        let Some(name) = wrapped.clone().or_else(|| key_object::described(file).map(str::to_owned)) else {
            return Ok(());
        };
        let (stored, urls, is_described) =
            found.entry(name).or_insert_with(|| (entry.modified, Vec::new(), false));
        // A time that is not known makes it unknown of all.
        *stored = stored.zip(entry.modified).map(|(one, other)| one.min(other));
        match wrapped {
            Some(_) => urls.push(url),
            None => *is_described = true,
        }
        Ok(())
    })?;
    let mut chosen = Vec::new();
    for (name, (stored, wrapped, is_described)) in found {
        let Some(stored) = stored.filter(|_| is_described) else { continue };
        if !needs.allows(&name, Use::of(stored, stored)) {
            continue;
        }
        let description = keys.join(&key_object::description_name(&name));
        let Some(made) = read(store, &description)? else { continue };
        let used = Use::of(stored, made);
        if needs.allows(&name, used) {
            chosen.push(Stored { name, used, wrapped, description: description.to_string() });
        }
    }
    Ok(chosen)
}

/// When the key was made. `None`: nobody says.
fn read(store: &Store, description: &Url) -> Result<Option<OffsetDateTime>> {
    match store.read(description, MAX_DESCRIPTION_BYTES) {
        Ok(text) => Ok(Description::parse(&text).and_then(|description| description.made_at())),
        Err(Error { kind: Kind::NotFound | Kind::Damaged, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
