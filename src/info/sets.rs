//! The backup sets of a repository. A backup exists iff its record does and the listing shows every
//! object that the record names, with its size. A set without a record is incomplete; one whose record, or an object that
//! it names, was looked at and is not what it must be is damaged; of one that cannot be read nothing is known.

use crate::catalog::{BackupType, Label, Record, VERDICT_FORMAT, Verdict, VerdictKind, layout, verdict_kind};
use crate::error::{Error, IoContext, Kind, Result};
use crate::info::cache::RecordCache;
use crate::info::facts::{one_line, time_of};
use crate::info::listed::{Listed, Objects, total};
use crate::info::look::{Look, Reader};
use crate::info::marks::Marks;
use crate::store::{Scheme, Span, Store, Url};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use time::OffsetDateTime;

/// Records that are read at once: on S3 each costs a round trip, and on a disk some may have to be waited for.
const READERS_OF_S3: usize = 48;
const READERS_OF_FILES: usize = 8;
/// Bytes of the stack of each: a request of the SDK in it takes some hundred thousand.
const READER_STACK: usize = 2 << 20;
/// Each took all the time that a request may take: after so many the rest is not tried.
const TEMPORARY_ERRORS: usize = 3;
/// An incomplete set that was begun longer ago is not running any more.
pub const LONGEST_BACKUP: Duration = Duration::from_secs(2 * 86_400);

/// Which part of a repository.
#[derive(Clone)]
pub struct Query {
    /// Ends with a slash.
    pub repository: Url,
    pub cluster: Option<String>,
    pub system_identifier: Option<u64>,
    /// Of other backups no record is read.
    pub label: Option<Label>,
    /// What this backup builds on is read, whatever became of the others.
    pub chain_of: Option<Label>,
    /// PGV_STATE_DIR: what was read from S3 before lies there, and need not be read again.
    pub state: Option<PathBuf>,
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
    /// Why a verdict could not be read.
    pub unread_verdict: Option<Error>,
    pub marks: Marks,
}

pub enum State {
    Complete(Box<Record>),
    /// It has no record: being made, interrupted, or being removed. Why.
    Incomplete(String),
    /// It was committed, and is not what its record says, or its record is none.
    Damaged {
        why: String,
        /// Where that can be used, and an object that it names is missing or has another length.
        record: Option<Box<Record>>,
    },
    /// Nobody knows what it is: its record could not be read.
    Unreadable(Error),
}

/// The name of an object that lies where the directory of a set belongs.
const NO_DIRECTORY: &str = "";

impl Set {
    /// Whether both are of one cluster and system identifier.
    pub fn is_beside(&self, other: &Set) -> bool {
        (&self.cluster, self.system_identifier) == (&other.cluster, other.system_identifier)
    }

    pub fn record(&self) -> Option<&Record> {
        match &self.state {
            State::Complete(record) => Some(record),
            _ => None,
        }
    }

    /// The record of a backup that is, or was, complete.
    pub fn committed(&self) -> Option<&Record> {
        match &self.state {
            State::Complete(record) | State::Damaged { record: Some(record), .. } => Some(record),
            _ => None,
        }
    }

    /// Compares as the age of the content does: a synthetic full follows the last backup in it, and what is built on it
    /// comes later. So the newest is the last, and a parent comes before its children.
    pub fn age(&self) -> (&str, &str) {
        let own = &self.label;
        let content = self.committed().map_or(own, |record| record.backup.content_label());
        (content.time_part(), own.time_part())
    }

    /// `full`, `diff`, `incr`, or `synthetic` where a record says so.
    pub fn type_name(&self) -> &'static str {
        let by_label = || self.label.backup_type().name();
        self.committed().map_or_else(by_label, |record| record.backup.type_name())
    }

    /// Whether it was made of other backups.
    pub fn is_synthetic(&self) -> bool {
        self.committed().is_some_and(|record| record.backup.is_synthetic())
    }

    /// Why nobody knows what it is, or what was found when it was looked at. Marks decide only whether it may go.
    pub fn unread(&self) -> Option<&Error> {
        match &self.state {
            State::Unreadable(error) => Some(error),
            _ => self.unread_verdict.as_ref(),
        }
    }

    /// Whether somebody may be making it just now.
    pub fn may_be_running(&self, now: OffsetDateTime) -> bool {
        matches!(self.state, State::Incomplete(_)) && self.is_young(now)
    }

    /// Begun, and never ended; or what is left of one that was being removed.
    pub fn is_interrupted(&self, now: OffsetDateTime) -> bool {
        matches!(self.state, State::Incomplete(_)) && !self.is_young(now)
    }

    fn is_young(&self, now: OffsetDateTime) -> bool {
        self.label.time().is_none_or(|begun| now - begun < LONGEST_BACKUP)
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

/// The same, and in no link of its chain was a bad page found when that was made: what is not changed since is still bad.
pub fn clean(sets: &[Set]) -> Vec<bool> {
    let mut clean: BTreeMap<&Label, bool> = BTreeMap::new();
    for (set, good) in sets.iter().zip(good(sets)) {
        let backup = set.record().map(|record| &record.backup);
        let parent = backup.and_then(|backup| backup.parent.as_ref());
        let has_clean_parent = parent.is_none_or(|parent| clean.get(parent).copied().unwrap_or(false));
        let has_bad_pages = backup.is_some_and(|backup| backup.findings.bad_pages > 0);
        clean.insert(&set.label, good && has_clean_parent && !has_bad_pages);
    }
    sets.iter().map(|set| clean[&set.label]).collect()
}

/// As [`survey`], for whatever decides what is kept, copied, removed or built on: it fails if any record or verdict
/// could not be read.
pub fn collect(store: &Store, query: &Query) -> Result<Vec<Set>> {
    let sets = survey(store, query)?;
    refuse_unread(&sets)?;
    Ok(sets)
}

/// Fails with the first error of the worst kind: what will not pass before what may.
pub fn refuse_unread(sets: &[Set]) -> Result<()> {
    let unread = || sets.iter().filter_map(|set| Some((set, set.unread()?)));
    let lasting = unread().find(|(_, error)| error.kind != Kind::Temporary);
    match lasting.or_else(|| unread().next()) {
        Some((set, error)) => Err(error.clone().context(format_args!("backup {}", set.label))),
        None => Ok(()),
    }
}

/// All sets that fit, by cluster, system identifier and age of their content; what could not be read is among them. Memory: one record
/// for each backup, some two thousand bytes.
pub fn survey(store: &Store, query: &Query) -> Result<Vec<Set>> {
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
        for system_identifier in system_identifiers(store, query, &cluster)? {
            let tree = Tree { store, query, cluster: &cluster, system_identifier };
            let wanted = |label: &Label| query.label.as_ref().is_none_or(|only| only == label);
            let mut found = tree.survey("", wanted, query.label.is_none())?;
            found.sort_by(|a, b| a.age().cmp(&b.age()));
            sets.append(&mut found);
        }
    }
    Ok(sets)
}

/// Of one cluster and system identifier, which the query names: the full of `label`, and all that is built on it. Other
/// backups are listed only if they are later, and not read.
pub fn survey_chain(store: &Store, query: &Query, label: &Label) -> Result<Vec<Set>> {
    let (Some(cluster), Some(system_identifier)) = (&query.cluster, query.system_identifier) else {
        return Err(Error::usage("a chain needs a cluster and --system-id"));
    };
    let tree = Tree { store, query, cluster, system_identifier };
    let mut found = tree.survey(label.full_part(), |other| other.full_part() == label.full_part(), false)?;
    found.sort_by(|a, b| a.age().cmp(&b.age()));
    Ok(found)
}

/// Of one cluster and system identifier, which the query names: the newest chains, as far as they say what the next backup
/// is. Where an earlier run left in PGV_STATE_DIR which backups there were, the listing begins with the last full but one
/// of these; what there is now is read all the same. Nothing where that is not enough, and everything is to be listed.
pub fn survey_newest(store: &Store, query: &Query) -> Result<Option<Vec<Set>>> {
    let (Some(cluster), Some(system_identifier), None) =
        (&query.cluster, query.system_identifier, &query.label)
    else {
        return Ok(None);
    };
    let tree = Tree { store, query, cluster, system_identifier };
    let Some(first) = tree.cache(&tree.directory()).and_then(|cache| last_full_but_one(&cache)) else {
        return Ok(None);
    };
    let mut found = tree.survey(first.as_str(), |_| true, true)?;
    found.sort_by(|a, b| a.age().cmp(&b.age()));
    // What is not listed has an earlier label. So no full of it was read from the server later, or is newer.
    let is_enough = found
        .iter()
        .filter_map(Set::record)
        .any(|record| record.backup.label.backup_type() == BackupType::Full && !record.backup.is_synthetic());
    Ok(is_enough.then_some(found))
}

fn last_full_but_one(cache: &RecordCache) -> Option<Label> {
    let labels = cache.names().into_iter().filter_map(|name| name.split_once('/')?.0.parse::<Label>().ok());
    let fulls: BTreeSet<String> = labels.map(|label| label.full_part().to_owned()).collect();
    fulls.into_iter().rev().nth(1)?.parse().ok()
}

/// Those of a cluster. If one is asked for nothing has to be listed.
pub(super) fn system_identifiers(store: &Store, query: &Query, cluster: &str) -> Result<Vec<u64>> {
    if let Some(wanted) = query.system_identifier {
        return Ok(vec![wanted]);
    }
    let names = directories(store, &query.repository.join(&format!("{cluster}/")))?;
    Ok(names.iter().filter_map(|name| layout::parse_system_id(name)).collect())
}

/// Whether there is a repository at all, rather than a place that somebody mistyped: it has the mark that the first
/// backup leaves, or the tree of a cluster.
pub fn is_repository(store: &Store, repository: &Url) -> Result<bool> {
    match store.stat(&repository.join(layout::MARK)) {
        Ok(_) => return Ok(true),
        Err(error) if error.kind == Kind::NotFound => {}
        Err(error) => return Err(error),
    }
    for cluster in directories(store, repository)?.iter().filter(|name| layout::is_cluster_name(name)) {
        let below = directories(store, &repository.join(&format!("{cluster}/")))?;
        if below.iter().any(|name| layout::parse_system_id(name).is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
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

/// Where the sets of one cluster and system identifier lie.
pub(super) struct Tree<'a> {
    pub store: &'a Store,
    pub query: &'a Query,
    pub cluster: &'a str,
    pub system_identifier: u64,
}

impl Tree<'_> {
    pub fn directory(&self) -> Url {
        let Tree { query, cluster, system_identifier, .. } = self;
        query.repository.join(&format!("{cluster}/{system_identifier}/backup/"))
    }

    pub fn cache(&self, directory: &Url) -> Option<RecordCache> {
        let (address, state) = self.store.address().zip(self.query.state.as_ref())?;
        RecordCache::open(state, format!("{address} {directory}"))
    }

    /// Of which there is a directory.
    pub fn labels(&self) -> Result<Vec<Label>> {
        let names = directories(self.store, &self.directory())?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// What is known of a set by what was read before, if that is enough.
    pub fn known(&self, cache: &RecordCache, label: &Label, objects: &Objects) -> Option<Set> {
        let directory = self.directory();
        let reader = Reader { store: self.store, directory: &directory, cache: Some(cache) };
        let found = Found::by(&reader, label, self.system_identifier, objects)?;
        Some(self.set(&directory, label, found))
    }

    fn set(&self, directory: &Url, label: &Label, found: Found) -> Set {
        Set {
            cluster: self.cluster.to_owned(),
            system_identifier: self.system_identifier,
            label: label.clone(),
            stored_bytes: found.bytes,
            state: found.state,
            verdicts: found.verdicts,
            unread_verdict: found.unread_verdict,
            marks: found.marks,
            url: directory.join(label.as_str()).to_string(),
        }
    }

    /// The sets that are `wanted`, by label; the listing begins after the name `after`. `is_all`: what is not listed from
    /// there on is not there, so nothing is kept of it in PGV_STATE_DIR either.
    fn survey(&self, after: &str, wanted: impl Fn(&Label) -> bool, is_all: bool) -> Result<Vec<Set>> {
        let Tree { store, .. } = self;
        let directory = self.directory();
        let mut objects: BTreeMap<Label, Objects> = BTreeMap::new();
        let span = Span { recursive: true, after, ..Span::default() };
        let _to_its_end = store.scan(&directory, &span, &mut |entry| {
            let path = below(&entry.url, &directory);
            // What is no label is not ours.
            let (label, name) = path.split_once('/').unwrap_or((&path, NO_DIRECTORY));
            if let Ok(label) = label.parse::<Label>()
                && wanted(&label)
            {
                objects.entry(label).or_default().insert(name.to_owned(), entry.into());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let cache = self.cache(&directory);
        let reader = Reader { store, directory: &directory, cache: cache.as_ref() };
        let listed: Vec<_> = objects.into_iter().collect();
        let temporary = AtomicUsize::new(0);
        let found = at_once(&listed, readers(store), |(label, objects)| {
            let set = self.look(&reader, label, objects, &temporary)?;
            if let (Some(cache), Some(_)) = (&cache, set.unread().or_else(|| set.marks.unread().next())) {
                cache.retain(objects.iter().map(|(name, listed)| (format!("{label}/{name}"), listed)));
            }
            Some(set)
        })?;
        if let Some(cache) = cache.filter(|_| is_all) {
            cache.retain_until(after);
            cache.save();
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Nothing, if it was removed since it was listed. `temporary`: errors so far.
    fn look(
        &self,
        reader: &Reader<'_>,
        label: &Label,
        objects: &Objects,
        temporary: &AtomicUsize,
    ) -> Option<Set> {
        let url = reader.directory.join(&format!("{label}/"));
        let chain_of = self.query.chain_of.as_ref();
        let is_wanted = chain_of.is_some_and(|wanted| wanted.full_part() == label.full_part());
        let found = match !is_wanted && temporary.load(Ordering::Relaxed) >= TEMPORARY_ERRORS {
            true => Found::not_tried(&url, objects),
            false if objects.keys().eq([NO_DIRECTORY]) => Found::no_directory(reader, label, objects)?,
            false => Found::of(reader, label, self.system_identifier, objects)?,
        };
        let set = self.set(reader.directory, label, found);
        let unread = set.unread().or_else(|| set.marks.unread().next());
        if unread.is_some_and(|error| error.kind == Kind::Temporary) {
            temporary.fetch_add(1, Ordering::Relaxed);
        }
        Some(set)
    }
}

fn readers(store: &Store) -> usize {
    match store {
        Store::S3(_) => READERS_OF_S3,
        Store::File(_) => READERS_OF_FILES,
    }
}

/// What `one` makes of each, in order, by so many threads: whoever is done takes the next.
fn at_once<T: Sync, U: Send>(all: &[T], threads: usize, one: impl Fn(&T) -> U + Sync) -> Result<Vec<U>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = all.get(number) else { return done };
            done.push((number, one(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        let begin = |_| {
            let builder = thread::Builder::new().stack_size(READER_STACK);
            builder.spawn_scoped(scope, work).during("start a reader of records")
        };
        let workers = (0..threads.min(all.len())).map(begin).collect::<Result<Vec<_>>>()?;
        let mut done = Vec::with_capacity(all.len());
        for worker in workers {
            done.extend(worker.join().map_err(|_| Error::failed("a reader of records stopped"))?);
        }
        Ok(done)
    })?;
    done.sort_unstable_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, one)| one).collect())
}

/// What is known of one set.
struct Found {
    state: State,
    verdicts: Vec<Verdict>,
    unread_verdict: Option<Error>,
    marks: Marks,
    bytes: u64,
    /// Whether it says that something is damaged: an answer can be garbled, so that is read twice.
    condemns: bool,
}

impl Found {
    /// Nothing, if the set was removed since it was listed. A listing is no picture of one moment, least of all that of a
    /// directory: a record is written last and removed first, so where it does not fit the set is listed once more. So it
    /// is, and read again, before anything in it counts as damaged.
    fn of(reader: &Reader<'_>, label: &Label, system_identifier: u64, listed: &Objects) -> Option<Found> {
        let first = Found::by(reader, label, system_identifier, listed);
        if let Some(settled) = first.filter(|found| !found.condemns) {
            return Some(settled);
        }
        if let Some(cache) = reader.cache {
            cache.forget(&format!("{label}/"));
        }
        let reader = &Reader { cache: None, ..*reader };
        let url = reader.directory.join(&format!("{label}/"));
        let mut objects = Objects::new();
        let listing = reader.store.list(&url, true, &mut |entry| {
            objects.insert(below(&entry.url, &url), entry.into());
            Ok(())
        });
        if let Err(error) = listing {
            return Some(Found::unreadable(error, listed));
        }
        if objects.is_empty() {
            return None;
        }
        Some(Found::by(reader, label, system_identifier, &objects).unwrap_or_else(|| {
            let message = format!("get {url}{}: its content does not match the listing", layout::RECORD);
            Found::unreadable(Error::failed(message), &objects)
        }))
    }

    /// By one listing. Nothing, if that does not fit what was read.
    fn by(reader: &Reader<'_>, label: &Label, system_identifier: u64, objects: &Objects) -> Option<Found> {
        let state = state(reader, label, system_identifier, objects)?;
        let mut condemns = matches!(state, State::Damaged { .. });
        let (mut verdicts, mut unread_verdict) = (Vec::new(), None);
        // Names come in the order of time.
        let newest: BTreeMap<VerdictKind, (&String, &Listed)> =
            objects.iter().filter_map(|(name, listed)| Some((verdict_kind(name)?, (name, listed)))).collect();
        for (kind, (name, listed)) in newest {
            match reader.look(&format!("{label}/{name}"), listed, Verdict::parse) {
                Look::Good(verdict) => verdicts.push(verdict),
                Look::Wrong(why) => {
                    condemns = true;
                    verdicts.push(damaged_verdict(kind, &why));
                }
                Look::Changed => return None,
                Look::Unreadable(error) => unread_verdict = Some(error),
            }
        }
        let marks = Marks::read(reader, label, objects)?;
        condemns |= marks.condemn();
        Some(Found { state, verdicts, unread_verdict, marks, bytes: total(objects), condemns })
    }

    /// Nothing, if the object that lies there was removed since it was listed.
    fn no_directory(reader: &Reader<'_>, label: &Label, objects: &Objects) -> Option<Found> {
        match reader.store.stat(&reader.directory.join(label.as_str())) {
            Ok(_) => Some(Found {
                state: State::Damaged { why: format!("{label} is a file, not a directory"), record: None },
                verdicts: Vec::new(),
                unread_verdict: None,
                marks: Marks::default(),
                bytes: total(objects),
                condemns: true,
            }),
            Err(error) if error.kind == Kind::NotFound => None,
            Err(error) => Some(Found::unreadable(error, objects)),
        }
    }

    fn unreadable(error: Error, objects: &Objects) -> Found {
        Found {
            state: State::Unreadable(error),
            verdicts: Vec::new(),
            unread_verdict: None,
            marks: Marks::default(),
            bytes: total(objects),
            condemns: false,
        }
    }

    fn not_tried(url: &Url, objects: &Objects) -> Found {
        let message = format!("get {url}{}: not tried after other requests had no answer", layout::RECORD);
        Found::unreadable(Error::new(Kind::Temporary, message), objects)
    }
}

/// Nothing, if the listing does not fit what was read.
fn state(reader: &Reader<'_>, label: &Label, system_identifier: u64, objects: &Objects) -> Option<State> {
    let Some(listed) = objects.get(layout::RECORD) else {
        match has_directory(reader.store, &reader.directory.join(&format!("{label}/")), layout::RECORD) {
            Ok(false) => {}
            Ok(true) => {
                let why = format!("{} is a directory", layout::RECORD);
                return Some(State::Damaged { why, record: None });
            }
            Err(error) => return Some(State::Unreadable(error)),
        }
        let why = "no record: the backup is still running, or it was interrupted";
        return Some(State::Incomplete(why.to_owned()));
    };
    Some(match reader.look(&format!("{label}/{}", layout::RECORD), listed, Record::parse) {
        Look::Changed => return None,
        Look::Unreadable(error) => State::Unreadable(error),
        Look::Wrong(why) => State::Damaged { why, record: None },
        Look::Good(record) => match contradiction(&record, label, system_identifier) {
            Some(why) => State::Damaged { why, record: None },
            None => match missing(&record, objects) {
                Some(why) => State::Damaged { why: one_line(&why), record: Some(Box::new(record)) },
                None => State::Complete(Box::new(record)),
            },
        },
    })
}

/// Whether there is a directory of this name on a disk: a listing of objects does not show one that is empty.
fn has_directory(store: &Store, above: &Url, name: &str) -> Result<bool> {
    if above.scheme() != Scheme::File {
        return Ok(false);
    }
    let directory = above.join(&format!("{name}/"));
    let mut found = false;
    let listed = store.list(above, false, &mut |entry| {
        found |= entry.url == directory;
        Ok(())
    });
    match listed {
        // It is being removed.
        Err(error) if error.kind == Kind::Temporary => Ok(false),
        listed => listed.map(|()| found),
    }
}

/// One that was read and is none is no good verdict.
fn damaged_verdict(kind: VerdictKind, why: &str) -> Verdict {
    Verdict {
        format: VERDICT_FORMAT.to_owned(),
        kind,
        started_at: String::new(),
        seconds: 0,
        restore_seconds: None,
        bytes: 0,
        ok: false,
        findings: vec![format!("the verdict is damaged: {why}")],
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
    // PostgreSQL counts from 1, and a timeline always has room for its successor.
    if matches!(backup.timeline, 0 | u32::MAX) {
        return Some(format!("its record says timeline {}", backup.timeline));
    }
    let bad_time = [&backup.started_at, &backup.stopped_at].into_iter().find(|time| time_of(time).is_none());
    if let Some(time) = bad_time {
        return Some(format!("its record has the invalid time \"{}\"", one_line(time)));
    }
    backup.contradiction().map(|why| format!("its record contradicts itself: {}", one_line(&why)))
}

/// What the record names and the listing does not show.
fn missing(record: &Record, objects: &Objects) -> Option<String> {
    record.objects.iter().find_map(|object| match objects.get(&object.name) {
        None => Some(format!("{} is missing", object.name)),
        Some(listed) if listed.bytes != object.bytes => {
            Some(format!("{} has {} bytes instead of {}", object.name, listed.bytes, object.bytes))
        }
        Some(_) => None,
    })
}
