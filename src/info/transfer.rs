//! What pgv-copy has to copy, and in which order: wrapped data keys first, WAL before the backups that need it, parents before their children, and
//! of each backup its record last. What is interrupted then never looks like a backup.

use crate::catalog::{Label, key_object, layout, mark_kind};
use crate::cli::lines::Lines;
use crate::error::{Error, Kind, Result};
use crate::info::{Choice, Set, State, choose, systems};
use crate::pg::timeline;
use crate::pg::wal;
use crate::store::{Store, Url};
use std::collections::{BTreeMap, BTreeSet};

/// What is wanted of a repository.
pub struct Wanted {
    /// This backup and what it builds on, and the WAL that they need.
    pub label: Option<Label>,
    /// And all WAL from this segment on.
    pub wal_since: Option<String>,
}

/// Bytes of each object by its path below a repository.
pub type Listing = BTreeMap<String, u64>;

/// By lines of `pgv-s3 ls --long`: BYTES TIME URL, of which the time may be empty.
pub fn parse_listing(text: &str, repository: &Url) -> Result<Listing> {
    let root = repository.to_string();
    let one = |line: &str| {
        let (bytes, rest) = line.trim_start().split_once(' ')?;
        let (_, url) = rest.split_once(' ')?;
        Some((url.strip_prefix(&root)?.to_owned(), bytes.parse().ok()?))
    };
    let wrong = |line: &str| {
        Error::failed(format!("the listing of {root} has {}, which is not below it", line.escape_debug()))
    };
    text.lines().map(|line| one(line).ok_or_else(|| wrong(line))).collect()
}

/// `object BYTES PATH` for each, `backup LABEL` before those of a backup, with `needs KEY-NAME` for each data key without
/// which neither it nor what it builds on opens, and `then` where all before must be copied before what follows. At the end `complete N`, how many backups the copy has, and `damaged LABEL` of those that it will not have.
///
/// An object that is `there` with another length is refused with [`Kind::Exists`].
pub fn transfer(
    store: &Store,
    repository: &Url,
    sets: &[Set],
    wanted: &Wanted,
    there: &Listing,
) -> Result<Lines> {
    let chosen: Vec<&Set> = match &wanted.label {
        Some(label) => choose(sets, &Choice::Label(label.clone()))?,
        None => sets.iter().filter(|set| set.record().is_some()).collect(),
    };
    let is_damaged = |set: &&Set| wanted.label.is_none() && matches!(set.state, State::Damaged { .. });
    let damaged: Vec<_> = sets.iter().filter(is_damaged).collect();
    if chosen.is_empty() && damaged.is_empty() {
        return Err(Error::not_found(format!("there are no complete backups in {repository}")));
    }
    let mut plan = Plan { there, repository, lines: Lines::new() };
    for sets in systems(sets) {
        let chosen: Vec<_> = chosen.iter().filter(|set| set.is_beside(&sets[0])).copied().collect();
        if !chosen.is_empty() {
            plan.add_cluster(store, &chosen, wanted)?;
        }
    }
    // What is there stays, whatever its length.
    if !there.contains_key(layout::MARK) {
        match store.stat(&repository.join(layout::MARK)) {
            Ok(entry) => {
                plan.add(layout::MARK, entry.bytes)?;
                plan.lines.add("then", "");
            }
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    plan.lines.add("complete", chosen.len());
    damaged.iter().for_each(|set| {
        plan.lines.add("damaged", &set.label);
    });
    Ok(plan.lines)
}

struct Plan<'a> {
    there: &'a Listing,
    repository: &'a Url,
    lines: Lines,
}

impl Plan<'_> {
    /// `chosen`: of one system identifier, parents before their children.
    fn add_cluster(&mut self, store: &Store, chosen: &[&Set], wanted: &Wanted) -> Result<()> {
        let directory = format!("{}/{}/", chosen[0].cluster, chosen[0].system_identifier);
        let range = WalRange::of(chosen, wanted);
        let objects = list(store, self.repository, &directory)?;
        // What they open is of no use without them.
        let keys = format!("{directory}{}", key_object::DIRECTORY);
        let mut keys = objects.iter().filter(|(path, _)| path.starts_with(&keys)).peekable();
        if keys.peek().is_some() {
            for (path, bytes) in keys {
                self.add(path, *bytes)?;
            }
            self.lines.add("then", "");
        }
        let wal = format!("{directory}wal/");
        for (path, bytes) in objects.iter().filter(|(path, _)| path.starts_with(&wal) && range.holds(path)) {
            self.add(path, *bytes)?;
        }
        self.lines.add("then", "");
        let mut needs: BTreeMap<&Label, BTreeSet<&str>> = BTreeMap::new();
        for set in chosen {
            let record = set.record();
            let parent = record.and_then(|record| record.backup.parent.as_ref());
            let mut names = parent.and_then(|parent| needs.get(parent)).cloned().unwrap_or_default();
            let own = record.and_then(|record| record.key_name.as_deref());
            names.extend(own.filter(|name| key_object::is_data_key_name(name)));
            let below = format!("{directory}{}/", layout::backup_directory(&set.label));
            let record = format!("{below}{}", layout::RECORD);
            // It is complete; but it may have been pinned or annotated since.
            if self.there.contains_key(&record) {
                let is_mark = |path: &str| path.strip_prefix(&below).and_then(mark_kind).is_some();
                for (path, bytes) in objects.range(below.clone()..record).filter(|(path, _)| is_mark(path)) {
                    self.add(path, *bytes)?;
                }
                self.lines.add("then", "");
                needs.insert(&set.label, names);
                continue;
            }
            let bytes = *objects.get(&record).ok_or_else(|| {
                Error::new(Kind::Temporary, format!("{}: it was removed during the run", set.url))
            })?;
            self.lines.add("backup", &set.label);
            for name in &names {
                self.lines.add("needs", name);
            }
            needs.insert(&set.label, names);
            for (path, bytes) in
                objects.iter().filter(|(path, _)| path.starts_with(&below) && **path != record)
            {
                self.add(path, *bytes)?;
            }
            self.lines.add("then", "");
            self.add(&record, bytes)?;
            self.lines.add("then", "");
        }
        Ok(())
    }

    fn add(&mut self, path: &str, bytes: u64) -> Result<()> {
        match self.there.get(path) {
            Some(there) if *there == bytes => {}
            Some(there) => {
                let repository = self.repository;
                return Err(Error::new(
                    Kind::Exists,
                    format!("{path} has {there} bytes at the destination, but {bytes} in {repository}"),
                )
                .hint("nothing was overwritten"));
            }
            None => {
                self.lines.add("object", format_args!("{bytes} {path}"));
            }
        }
        Ok(())
    }
}

fn list(store: &Store, repository: &Url, directory: &str) -> Result<Listing> {
    let root = repository.to_string();
    let mut found = Listing::new();
    store.list(&repository.join(directory), true, &mut |entry| {
        let url = entry.url.to_string();
        let path =
            url.strip_prefix(&root).ok_or_else(|| Error::failed(format!("{url} is not below {root}")))?;
        found.insert(path.to_owned(), entry.bytes);
        Ok(())
    })?;
    Ok(found)
}

/// Places of segments, whatever their timelines; `None` is no bound.
struct WalRange {
    first: Option<String>,
    last: Option<String>,
}

impl WalRange {
    fn of(chosen: &[&Set], wanted: &Wanted) -> Self {
        let place = |name: &String| wal::is_segment_name(name).then(|| name[8..].to_owned());
        let facts = || chosen.iter().filter_map(|set| set.record()).map(|record| &record.backup);
        match (&wanted.wal_since, &wanted.label) {
            (Some(since), _) => WalRange { first: place(since), last: None },
            (None, Some(_)) => WalRange {
                first: facts().filter_map(|backup| place(&backup.wal_first)).min(),
                last: facts().filter_map(|backup| place(&backup.wal_last)).max(),
            },
            (None, None) => WalRange { first: None, last: None },
        }
    }

    /// Histories always; what is no WAL file only where all is wanted.
    fn holds(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix(".pgv").unwrap_or(name);
        if timeline::timeline_of_history(name).is_some() {
            return true;
        }
        match name.get(8..24) {
            Some(place) => {
                self.first.as_deref().is_none_or(|first| place >= first)
                    && self.last.as_deref().is_none_or(|last| place <= last)
            }
            None => self.first.is_none() && self.last.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_line_by_line() {
        let repository = Url::parse("file:///srv/r/").unwrap();
        let text = "     12 2026-11-29T01:00:00Z file:///srv/r/a b\n      0  file:///srv/r/c\n";
        let found = parse_listing(text, &repository).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("a b".to_owned(), 12), ("c".to_owned(), 0)]);
        for wrong in ["12 x file:///srv/other/a\n", "x x file:///srv/r/a\n", "nonsense\n"] {
            assert!(parse_listing(wrong, &repository).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_of_wal_knows_no_timelines() {
        let range = WalRange {
            first: Some("0000000000000004".to_owned()),
            last: Some("0000000000000006".to_owned()),
        };
        let held = |name: &str| range.holds(&format!("c/1/wal/00000001/{name}.pgv"));
        assert!(held("000000010000000000000004") && held("000000020000000000000006.partial"));
        assert!(!held("000000010000000000000003") && !held("000000020000000000000007") && !held("other"));
        assert!(held("00000003.history"));
        assert!(WalRange { first: None, last: None }.holds("c/1/wal/other"));
    }
}
