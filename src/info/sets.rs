//! The backup sets of a repository. A backup exists iff its record does and the listing shows every
//! object that the record names, with its size; everything else is an incomplete set.

use crate::catalog::{Label, Record, VERDICT_FORMAT, Verdict, VerdictKind, layout, verdict_kind};
use crate::error::{Error, IoContext, Kind, Result};
use crate::info::choose::time_of;
use crate::store::{Store, Url};
use std::collections::BTreeMap;
use std::thread;

/// Bytes of a record; a real one has some thousand.
const RECORD_LIMIT: u64 = 4 << 20;
/// Records that are read at once: on S3 each costs a round trip.
const READERS: usize = 8;

/// Which part of a repository.
pub struct Query {
    /// Ends with a slash.
    pub repository: Url,
    pub cluster: Option<String>,
    pub system_identifier: Option<u64>,
    /// Of other backups no record is read.
    pub label: Option<Label>,
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
    /// The newest of each kind.
    pub verdicts: Vec<Verdict>,
}

pub enum State {
    Complete(Box<Record>),
    Incomplete {
        why: String,
        /// Whether it has a record all the same, which names what is not there.
        has_record: bool,
    },
    /// The record is there and cannot be used; why.
    Damaged(String),
}

/// Bytes of each object of a set, by name.
type Objects = BTreeMap<String, u64>;

impl Set {
    pub fn record(&self) -> Option<&Record> {
        match &self.state {
            State::Complete(record) => Some(record),
            _ => None,
        }
    }

    /// Whether something was wrong with it when it was last verified, or restored as a drill.
    pub fn is_bad(&self) -> bool {
        self.verdicts.iter().any(|verdict| verdict.kind != VerdictKind::Wal && !verdict.ok)
    }
}

/// The sets of each cluster and system identifier.
pub fn systems(sets: &[Set]) -> impl Iterator<Item = &[Set]> {
    sets.chunk_by(|a, b| (&a.cluster, a.system_identifier) == (&b.cluster, b.system_identifier))
}

/// Which of one system identifier's sets a restore can count on: their chain is complete, and nothing bad was found in
/// any link of it when that was last verified, or restored as a drill.
pub fn good(sets: &[Set]) -> Vec<bool> {
    let mut good: BTreeMap<&Label, bool> = BTreeMap::new();
    // Oldest first, so a parent comes before its children.
    for set in sets {
        let parent = set.record().and_then(|record| record.backup.parent.as_ref());
        let has_parent = parent.is_none_or(|parent| good.get(parent).copied().unwrap_or(false));
        good.insert(&set.label, set.record().is_some() && has_parent && !set.is_bad());
    }
    sets.iter().map(|set| good[&set.label]).collect()
}

/// All sets that fit, by cluster, system identifier and time. Memory: one record for each backup, some
/// two thousand bytes.
pub fn collect(store: &Store, query: &Query) -> Result<Vec<Set>> {
    let mut sets = Vec::new();
    let clusters = match &query.cluster {
        Some(cluster) if !layout::is_cluster_name(cluster) => {
            return Err(Error::usage(format!("\"{}\" is not a cluster's name", cluster.escape_default())));
        }
        Some(cluster) => vec![cluster.clone()],
        // Such as lost+found, where nobody may look.
        None => {
            let mut names = directories(store, &query.repository)?;
            names.retain(|name| layout::is_cluster_name(name));
            names
        }
    };
    for cluster in clusters {
        let directory = query.repository.join(&format!("{cluster}/"));
        for name in directories(store, &directory)? {
            let Some(system_identifier) = layout::parse_system_id(&name) else { continue };
            if query.system_identifier.is_none_or(|wanted| wanted == system_identifier) {
                let mut found =
                    collect_one(store, &directory, &cluster, system_identifier, query.label.as_ref())?;
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

fn collect_one(
    store: &Store,
    cluster_url: &Url,
    cluster: &str,
    system_identifier: u64,
    only: Option<&Label>,
) -> Result<Vec<Set>> {
    let directory = cluster_url.join(&format!("{system_identifier}/backup/"));
    let mut objects: BTreeMap<Label, Objects> = BTreeMap::new();
    store.list(&directory, true, &mut |entry| {
        let path = below(&entry.url, &directory);
        // What is no label is not ours.
        if let Some((label, name)) = path.split_once('/')
            && let Ok(label) = label.parse::<Label>()
            && only.is_none_or(|only| *only == label)
        {
            objects.entry(label).or_default().insert(name.to_owned(), entry.bytes);
        }
        Ok(())
    })?;
    let listed: Vec<_> = objects.into_iter().collect();
    let set = |(label, objects): &(Label, Objects)| {
        let url = directory.join(label.as_str());
        Ok(Set {
            cluster: cluster.to_owned(),
            system_identifier,
            label: label.clone(),
            stored_bytes: objects.values().sum(),
            state: state(store, &url, label, system_identifier, objects)?,
            verdicts: verdicts(store, &url, objects)?,
            url: url.to_string(),
        })
    };
    in_shares(&listed, set)
}

/// What `one` makes of each, in order, by [`READERS`] threads.
fn in_shares<T: Sync, U: Send>(all: &[T], one: impl Fn(&T) -> Result<U> + Sync) -> Result<Vec<U>> {
    let one = &one;
    let share = all.len().div_ceil(READERS).max(1);
    thread::scope(|scope| {
        let begin = |part| {
            let work = move || <[T]>::iter(part).map(one).collect::<Result<Vec<U>>>();
            thread::Builder::new().spawn_scoped(scope, work).during("start a reader of records")
        };
        let workers = all.chunks(share).map(begin).collect::<Result<Vec<_>>>()?;
        let mut done = Vec::with_capacity(all.len());
        for worker in workers {
            done.extend(worker.join().map_err(|_| Error::failed("a reader of records stopped"))??);
        }
        Ok(done)
    })
}

fn state(
    store: &Store,
    url: &Url,
    label: &Label,
    system_identifier: u64,
    objects: &Objects,
) -> Result<State> {
    if !objects.contains_key(layout::RECORD) {
        let why = "no record: the backup is still running, or it was interrupted";
        return Ok(State::Incomplete { why: why.to_owned(), has_record: false });
    }
    let json = match store.read(&url.join(layout::RECORD), RECORD_LIMIT) {
        Ok(json) => json,
        // Removed since the listing: being expired.
        Err(error) if error.kind == Kind::NotFound => {
            let why = "its record was just removed".to_owned();
            return Ok(State::Incomplete { why, has_record: false });
        }
        // One record that cannot be read hides no other.
        Err(error) if matches!(error.kind, Kind::Failed | Kind::Damaged) => {
            return Ok(State::Damaged(one_line(error.message())));
        }
        Err(error) => return Err(error),
    };
    Ok(match Record::parse(&json) {
        Err(error) => State::Damaged(one_line(error.message())),
        Ok(record) => match contradiction(&record, label, system_identifier) {
            Some(why) => State::Damaged(why),
            None => match missing(&record, objects) {
                Some(why) => State::Incomplete { why: one_line(&why), has_record: true },
                None => State::Complete(Box::new(record)),
            },
        },
    })
}

/// One that cannot be read is no good verdict.
fn verdicts(store: &Store, url: &Url, objects: &Objects) -> Result<Vec<Verdict>> {
    // Names come in the order of time.
    let newest: BTreeMap<VerdictKind, &String> =
        objects.keys().filter_map(|name| Some((verdict_kind(name)?, name))).collect();
    let read = |(kind, name): (VerdictKind, &String)| {
        let parsed = store.read(&url.join(name), RECORD_LIMIT).and_then(|json| Verdict::parse(&json));
        match parsed {
            Err(error) if matches!(error.kind, Kind::Failed | Kind::Damaged | Kind::NotFound) => {
                Ok(unreadable(kind, &error))
            }
            parsed => parsed,
        }
    };
    newest.into_iter().map(read).collect()
}

fn unreadable(kind: VerdictKind, error: &Error) -> Verdict {
    let why = format!("the verdict cannot be read: {}", one_line(error.message()));
    Verdict {
        format: VERDICT_FORMAT.to_owned(),
        kind,
        started_at: String::new(),
        seconds: 0,
        bytes: 0,
        ok: false,
        findings: vec![why],
    }
}

/// Why this record cannot be the one of this set.
fn contradiction(record: &Record, label: &Label, system_identifier: u64) -> Option<String> {
    let backup = &record.backup;
    if backup.label != *label || backup.system_identifier != system_identifier {
        return Some("its record belongs to another backup".to_owned());
    }
    if backup.backup_type != label.backup_type() {
        return Some(format!("its record says that it is {}", backup.backup_type.name()));
    }
    if !record.objects.iter().any(|object| object.name == layout::DATA) {
        return Some(format!("its record names no {}", layout::DATA));
    }
    [&backup.started_at, &backup.stopped_at]
        .into_iter()
        .find(|time| time_of(time).is_none())
        .map(|time| format!("its record has the time \"{}\"", one_line(time)))
}

/// What the record names and the listing does not show.
fn missing(record: &Record, objects: &Objects) -> Option<String> {
    record.objects.iter().find_map(|object| match objects.get(&object.name) {
        None => Some(format!("{} is missing", object.name)),
        Some(bytes) if *bytes != object.bytes => {
            Some(format!("{} has {bytes} bytes instead of {}", object.name, object.bytes))
        }
        Some(_) => None,
    })
}

/// A record is not sealed: nothing in it may break a line, or command a terminal.
pub fn one_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}
