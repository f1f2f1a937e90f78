//! The listing of an archive, in the order of names. On S3 a page of a thousand names costs a round trip, and a page may
//! begin at any name: so a long archive is listed at several places at once. A timeline has a directory of its own, and
//! the names in it are numbers, so it is known where the pages begin. What the pages show is put together without a gap:
//! each reaches to where the next one begins, or is the last of the listing.
//!
//! Requests: one for an archive of less than a thousand files. Else one, one for the timelines, and one for each 960
//! segments of a timeline; beyond the newest segment that is expected perhaps one in two finds nothing.

use crate::catalog::layout;
use crate::error::{IoContext, Result};
use crate::pg::{timeline, wal};
use crate::store::{Entry, Span, Store, Url};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Requests at once.
const READERS: usize = 16;
/// Names of one page (S3).
const PAGE: usize = 1000;
/// Segments from where one page begins to where the next one does: together with what else lies among them, such as a
/// file for each backup, they are one page.
const BLOCK: u64 = 960;
/// Names that are asked for at once where the first segment is enough.
const OUTLINE: u16 = 4;
/// Pages that were asked for and are not used yet, at most, because one before them has not come. Memory: some 200
/// bytes for each of their names.
const WAITING: usize = 2 * READERS;

/// Where an archive lies.
#[derive(Clone, Copy)]
pub(in crate::info) struct Place<'a> {
    pub store: &'a Store,
    /// A cluster's `wal/`.
    pub directory: &'a Url,
    pub segment_bytes: u64,
}

/// What of a timeline is listed.
#[derive(Clone, Copy, Debug)]
pub(in crate::info) struct Lane {
    pub timeline: u32,
    /// Segments from this number on; with nothing, all, with the history.
    pub from: Option<u64>,
    /// As far as this segment, at least; what comes behind it may be listed as well.
    pub to: Option<u64>,
    /// A segment that is expected there: only how much is asked for at once follows from it.
    pub expected: Option<u64>,
}

/// One file of an archive.
pub(in crate::info) struct Found<'a> {
    pub timeline: u32,
    /// Without the suffix.
    pub name: &'a str,
    pub entry: &'a Entry,
}

impl Lane {
    /// The history, if there is one, and the first segment: names come in this order.
    fn outline(timeline: u32) -> Self {
        Lane { timeline, from: None, to: Some(0), expected: None }
    }

    fn is_outline(&self) -> bool {
        self.to == Some(0)
    }
}

/// What there is of each timeline.
#[derive(Clone, Debug, Default)]
pub(in crate::info) struct Outline {
    /// Those of which there is a segment, or a part of one.
    pub timelines: BTreeSet<u32>,
    pub histories: BTreeSet<u32>,
}

impl Outline {
    fn add(&mut self, found: &Found<'_>, segment_bytes: u64) {
        if segment_of(found.name, segment_bytes).is_some() {
            self.timelines.insert(found.timeline);
        }
        self.histories.extend(timeline::timeline_of_history(found.name));
    }
}

type Each<'a> = dyn FnMut(&Found<'_>) -> Result<()> + 'a;

impl Place<'_> {
    /// All of it. `expected`: of timelines, a segment that should be there.
    pub fn list(&self, expected: &BTreeMap<u32, u64>, each: &mut Each<'_>) -> Result<()> {
        if self.list_short(each)? {
            return Ok(());
        }
        let whole = |timeline: u32| Lane {
            timeline,
            from: None,
            to: None,
            expected: expected.get(&timeline).copied(),
        };
        let lanes: Vec<Lane> = self.timelines()?.into_iter().map(whole).collect();
        self.list_lanes(&lanes, each)
    }

    /// All of it if that costs no more than one request; else nothing, and false.
    pub fn list_short(&self, each: &mut Each<'_>) -> Result<bool> {
        let span = Span { recursive: true, ..Span::default() };
        if !self.store.has_pages() {
            self.store.list(self.directory, true, &mut |entry| self.pass(&entry, each))?;
            return Ok(true);
        }
        let mut page = Vec::with_capacity(PAGE);
        let end = self.store.scan(self.directory, &span, &mut |entry| {
            page.push(entry);
            Ok(if page.len() == PAGE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if end.is_break() {
            return Ok(false);
        }
        page.iter().try_for_each(|entry| self.pass(entry, each))?;
        Ok(true)
    }

    /// What there is of each timeline; and, if all of it was listed for that, which is told by true, all of it.
    pub fn outline(&self, each: &mut Each<'_>) -> Result<(Outline, bool)> {
        let mut outline = Outline::default();
        let is_whole = self.list_short(&mut |found| {
            outline.add(found, self.segment_bytes);
            each(found)
        })?;
        if !is_whole {
            let lanes: Vec<Lane> = self.timelines()?.into_iter().map(Lane::outline).collect();
            self.list_lanes(&lanes, &mut |found| {
                outline.add(found, self.segment_bytes);
                Ok(())
            })?;
        }
        Ok((outline, is_whole))
    }

    /// Those that have a directory.
    pub fn timelines(&self) -> Result<Vec<u32>> {
        let mut timelines = Vec::new();
        self.store.list(self.directory, false, &mut |entry| {
            timelines.extend(
                self.below(&entry.url.to_string()).and_then(|path| timeline_of(path.strip_suffix('/')?)),
            );
            Ok(())
        })?;
        Ok(timelines)
    }

    /// What is wanted of some timelines, one after the other, and of each in the order of names.
    pub fn list_lanes(&self, lanes: &[Lane], each: &mut Each<'_>) -> Result<()> {
        if !self.store.has_pages() {
            return lanes.iter().try_for_each(|lane| self.list_one(lane, each));
        }
        let shared = Shared::new(lanes);
        thread::scope(|scope| {
            let begun = (0..READERS).try_for_each(|_| {
                let work = || self.work(lanes, &shared);
                thread::Builder::new()
                    .spawn_scoped(scope, work)
                    .map(drop)
                    .during("start a reader of WAL names")
            });
            let listed = begun.and_then(|()| self.collect(lanes, &shared, each));
            shared.stop();
            listed
        })
    }

    /// In one go.
    fn list_one(&self, lane: &Lane, each: &mut Each<'_>) -> Result<()> {
        let (directory, after) = self.begin(lane, lane.from);
        let listed = self.store.scan(&directory, &Span { after: &after, ..Span::default() }, &mut |entry| {
            self.pass(&entry, each)?;
            let is_beyond =
                lane.to.is_some_and(|to| self.number_of(&entry).is_some_and(|number| number > to));
            Ok(if is_beyond { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        listed.map(drop)
    }

    fn work(&self, lanes: &[Lane], shared: &Shared) {
        while let Some((lane, from)) = shared.take() {
            shared.put(lane, from, self.page(&lanes[lane], from));
        }
    }

    fn collect(&self, lanes: &[Lane], shared: &Shared, each: &mut Each<'_>) -> Result<()> {
        for lane in 0..lanes.len() {
            // Pages overlap.
            let mut last: Option<Url> = None;
            while let Some(page) = shared.next_of(lane) {
                for entry in page? {
                    if last.as_ref().is_none_or(|last| *last < entry.url) {
                        self.pass(&entry, each)?;
                        last = Some(entry.url);
                    }
                }
            }
        }
        Ok(())
    }

    /// The directory of a timeline, and the name behind which a segment is, with all that belongs to it.
    fn begin(&self, lane: &Lane, from: Option<u64>) -> (Url, String) {
        let name = |from| wal::name_of_number(lane.timeline, from, self.segment_bytes);
        (self.directory.join(&format!("{:08X}/", lane.timeline)), from.map_or_else(String::new, name))
    }

    /// What lies in a timeline's directory, from a segment on: at least [`PAGE`] entries and [`BLOCK`] segments, if there
    /// are so many.
    fn page(&self, lane: &Lane, from: Option<u64>) -> Result<Page> {
        let (directory, after) = self.begin(lane, from);
        let span = Span { after: &after, page: lane.is_outline().then_some(OUTLINE), ..Span::default() };
        let mut page = Page { entries: Vec::new(), next: None };
        let listed = self.store.scan(&directory, &span, &mut |entry| {
            let number = self.number_of(&entry);
            page.entries.push(entry);
            let is_enough = |number: &u64| {
                let is_long = from.is_none_or(|from| *number >= from.saturating_add(BLOCK));
                page.entries.len() >= PAGE && is_long || lane.to.is_some_and(|to| *number > to)
            };
            // Of this one there may be more, so the next page begins with it.
            page.next = number.filter(is_enough);
            Ok(if page.next.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        listed.map(|_| page)
    }

    /// Of a segment, or a part of one.
    fn number_of(&self, entry: &Entry) -> Option<u64> {
        segment_of(layout::wal_name(&entry.url.to_string())?, self.segment_bytes)
    }

    /// What has another place than the one of its name is not of the archive.
    fn pass(&self, entry: &Entry, each: &mut Each<'_>) -> Result<()> {
        let url = entry.url.to_string();
        let Some((timeline, file)) = self.below(&url).and_then(|path| path.split_once('/')) else {
            return Ok(());
        };
        let Some(name) =
            layout::wal_name(file).filter(|name| !file.contains('/') && name.starts_with(timeline))
        else {
            return Ok(());
        };
        let Some(timeline) = timeline_of(timeline) else { return Ok(()) };
        each(&Found { timeline, name, entry })
    }

    fn below<'u>(&self, url: &'u str) -> Option<&'u str> {
        url.strip_prefix(&self.directory.to_string())
    }
}

fn segment_of(name: &str, segment_bytes: u64) -> Option<u64> {
    wal::segment_number(name.strip_suffix(".partial").unwrap_or(name), segment_bytes)
        .map(|(_, number)| number)
}

fn timeline_of(name: &str) -> Option<u32> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    if name.len() != 8 || !name.bytes().all(is_hex) {
        return None;
    }
    u32::from_str_radix(name, 16).ok()
}

/// A part of a timeline's listing.
struct Page {
    entries: Vec<Entry>,
    /// Everything before this segment is among them; nothing: the listing ended.
    next: Option<u64>,
}

/// What the readers and the one who waits for them know.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    strands: Vec<Strand>,
    /// The lane whose pages are used now.
    at: usize,
    over: bool,
}

impl State {
    fn new(lanes: &[Lane]) -> Self {
        State { strands: lanes.iter().map(Strand::new).collect(), at: 0, over: false }
    }

    fn is_done(&self) -> bool {
        self.over || self.strands[self.at..].iter().all(Strand::is_done)
    }

    /// The lane of which a page should be asked for now. What is used next is asked for however many wait for it.
    fn next(&self) -> Option<usize> {
        let waiting: usize = self.strands.iter().map(|strand| strand.pages.len()).sum();
        let may = |lane: &usize| {
            let strand = &self.strands[*lane];
            strand.wants_one() && (waiting < WAITING || *lane == self.at && strand.pages.is_empty())
        };
        (self.at..self.strands.len()).find(may)
    }
}

/// How far one lane is.
struct Strand {
    /// Where the next page begins; nothing: with the directory.
    next: Option<u64>,
    to: u64,
    /// Up to here something is there, or expected.
    known: u64,
    /// Pages that may be asked for beyond that: one more for each that was full.
    ahead: u64,
    begun: bool,
    ended: bool,
    /// Those that were asked for and not used, in their order.
    pages: VecDeque<(Option<u64>, Option<Result<Page>>)>,
}

impl Strand {
    fn new(lane: &Lane) -> Self {
        Strand {
            next: lane.from,
            to: lane.to.unwrap_or(u64::MAX),
            known: lane.expected.unwrap_or(0),
            ahead: 0,
            begun: false,
            ended: false,
            pages: VecDeque::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.ended || self.begun && self.next.is_some_and(|next| next > self.to)
    }

    /// Whether a page should be asked for now. Before the first has come nobody knows where a directory begins.
    fn wants_one(&self) -> bool {
        let reach = self.known.saturating_add(self.ahead.saturating_mul(BLOCK));
        !self.is_done() && (!self.begun || self.next.is_some_and(|next| next <= reach))
    }

    fn take(&mut self) -> Option<u64> {
        let from = self.next;
        self.begun = true;
        self.next = from.map(|from| from.saturating_add(BLOCK));
        self.pages.push_back((from, None));
        from
    }

    fn put(&mut self, from: Option<u64>, page: Result<Page>) {
        if let Ok(page) = &page {
            match page.next {
                None => self.ended = true,
                Some(next) => {
                    if from.is_none_or(|from| from.saturating_add(BLOCK) > self.known) {
                        self.ahead += 1;
                    }
                    self.next = self.next.max(Some(next));
                    self.known = self.known.max(next);
                }
            }
        }
        if let Some(waiting) = self.pages.iter_mut().find(|(begin, page)| *begin == from && page.is_none()) {
            waiting.1 = Some(page);
        }
    }
}

impl Shared {
    fn new(lanes: &[Lane]) -> Self {
        Shared { state: Mutex::new(State::new(lanes)), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// The next page to ask for: its lane, and where it begins. Nothing: all were asked for.
    fn take(&self) -> Option<(usize, Option<u64>)> {
        let mut state = self.lock();
        while !state.is_done() {
            match state.next() {
                Some(lane) => return Some((lane, state.strands[lane].take())),
                None => state = self.wait(state),
            }
        }
        None
    }

    fn put(&self, lane: usize, from: Option<u64>, page: Result<Page>) {
        self.lock().strands[lane].put(from, page);
        self.changed.notify_all();
    }

    /// The next page of a lane, when it has come; nothing: that was its last.
    fn next_of(&self, lane: usize) -> Option<Result<Vec<Entry>>> {
        let mut state = self.lock();
        state.at = lane;
        self.changed.notify_all();
        loop {
            let strand = &mut state.strands[lane];
            match strand.pages.front() {
                None if strand.is_done() => return None,
                Some((_, Some(_))) => {
                    let page = strand.pages.pop_front().and_then(|(_, page)| page);
                    self.changed.notify_all();
                    return page.map(|page| page.map(|page| page.entries));
                }
                _ => {}
            }
            state = self.wait(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB16: u64 = 16 << 20;

    fn entry(number: u64) -> Entry {
        let url = format!("s3://b/{}.pgv", wal::name_of_number(1, number, MIB16));
        Entry { url: Url::parse(&url).unwrap(), bytes: 1, modified: None, etag: None }
    }

    fn lane(from: Option<u64>, to: Option<u64>, expected: Option<u64>) -> Lane {
        Lane { timeline: 1, from, to, expected }
    }

    /// As the service answers: a thousand at most, and the next page only if that is not enough.
    fn page(archive: &[u64], lane: &Lane, from: Option<u64>) -> Page {
        let mut page = Page { entries: Vec::new(), next: None };
        for number in archive.iter().filter(|number| **number >= from.unwrap_or(0)) {
            page.entries.push(entry(*number));
            let is_long = from.is_none_or(|from| *number >= from + BLOCK);
            if page.entries.len() >= PAGE && is_long || lane.to.is_some_and(|to| *number > to) {
                page.next = Some(*number);
                break;
            }
        }
        page
    }

    /// What comes of lanes, with so many readers of which the last that began answers first; and the pages.
    fn listed(archive: &[u64], lanes: &[Lane], readers: usize) -> (Vec<String>, usize) {
        let shared = Shared::new(lanes);
        let (mut running, mut pages, mut names) = (Vec::new(), 0, Vec::new());
        for at in 0..lanes.len() {
            shared.lock().at = at;
            let mut last = None;
            loop {
                while running.len() < readers {
                    let mut state = shared.lock();
                    let Some(next) = state.next() else { break };
                    running.push((next, state.strands[next].take()));
                    pages += 1;
                }
                if let Some((lane, from)) = running.pop() {
                    shared.put(lane, from, Ok(page(archive, &lanes[lane], from)));
                }
                assert!(
                    shared.lock().strands.iter().map(|strand| strand.pages.len()).sum::<usize>()
                        <= WAITING + 1
                );
                while shared.lock().strands[at].pages.front().is_some_and(|(_, page)| page.is_some()) {
                    for entry in shared.next_of(at).unwrap().unwrap() {
                        if last.as_ref().is_none_or(|last| *last < entry.url) {
                            names.push(entry.url.to_string());
                            last = Some(entry.url);
                        }
                    }
                }
                let strand = &shared.lock().strands[at];
                if strand.is_done() && strand.pages.is_empty() {
                    break;
                }
            }
        }
        (names, pages)
    }

    fn names(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
        numbers.into_iter().map(|number| entry(number).url.to_string()).collect()
    }

    #[test]
    fn nothing_is_left_out_however_answers_come() {
        let dense: Vec<u64> = (7..9_007).collect();
        let sparse: Vec<u64> = (0..5_000).map(|index| index * 4_000 + index % 7).collect();
        let holed: Vec<u64> = (1..3_000).chain(1_000_000..1_003_000).collect();
        for archive in [dense, sparse, holed, vec![], vec![3]] {
            for readers in [1, READERS] {
                for expected in [None, archive.last().copied(), Some(2_999)] {
                    for from in [None, Some(1_500)] {
                        let (came, _) = listed(&archive, &[lane(from, None, expected)], readers);
                        let wanted = archive.iter().copied().filter(|number| *number >= from.unwrap_or(0));
                        assert_eq!(came, names(wanted), "{readers} readers, {from:?}, {expected:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn pages_are_as_many_as_the_names_need() {
        let archive: Vec<u64> = (1..=200_000).collect();
        let pages =
            |archive: &[u64], expected, readers| listed(archive, &[lane(Some(1), None, expected)], readers).1;
        assert_eq!(pages(&archive, None, 1), 201);
        let parallel = pages(&archive, Some(199_900), READERS);
        assert!(parallel <= 200_000 / 960 + 3, "{parallel}");
        // Nobody knows where it ends.
        let blind = pages(&archive, None, READERS);
        assert!(blind <= 200_000 / 960 + READERS + 3, "{blind}");
        // The newest backup expects what is there: nothing is asked for beyond it.
        assert_eq!(pages(&[1, 2, 3], Some(3), READERS), 1);
        // Names that are far from each other are found by pages, not by numbers.
        let sparse: Vec<u64> = (0..10_000).map(|index| index * 1_000).collect();
        let pages = pages(&sparse, sparse.last().copied(), READERS);
        assert!(pages <= 10 + 11 * READERS, "{pages}");
    }

    #[test]
    fn several_timelines_and_an_end() {
        let archive: Vec<u64> = (1..=5_000).collect();
        let lanes = [lane(None, Some(2_000), None), lane(Some(4_000), None, Some(4_500))];
        let (came, pages) = listed(&archive, &lanes, READERS);
        assert!(
            came.len() >= 2_000 + 1_001 && came[..2_000] == names(1..=2_000)[..] && pages <= 7,
            "{pages}"
        );
        assert_eq!(came[came.len() - 1_001..], names(4_000..=5_000)[..]);
        assert_eq!(listed(&archive, &[lane(None, Some(0), None)], READERS), (names([1]), 1));
    }
}
