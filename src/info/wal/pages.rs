//! Which page of an archive's listing is asked for next, while several are on their way: the readers take pages here
//! and put them, and whoever uses them gets them in the order of names. It knows numbers, not names or services.

use crate::error::Result;
use crate::store::Entry;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Requests at once.
pub const READERS: usize = 16;
/// Names of one page (S3).
pub const PAGE: usize = 1000;
/// Segments from where one page begins to where the next one does: together with what else lies among them, such as a
/// file for each backup, they are one page.
pub const BLOCK: u64 = 960;
/// Pages that were asked for and are not used yet, at most, because one before them has not come. Memory: some 200
/// bytes for each of their names.
const WAITING: usize = 2 * READERS;

/// What of a timeline is listed.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    pub timeline: u32,
    /// Segments from this number on; with nothing, all, with the history.
    pub from: Option<u64>,
    /// As far as this segment, at least; what comes behind it may be listed as well.
    pub to: Option<u64>,
    /// A segment that is expected there: only how much is asked for at once follows from it.
    pub expected: Option<u64>,
}

impl Lane {
    /// The history, if there is one, and the first segment: names come in this order.
    pub fn outline(timeline: u32) -> Self {
        Lane { timeline, from: None, to: Some(0), expected: None }
    }

    pub fn is_outline(&self) -> bool {
        self.to == Some(0)
    }
}

/// A part of a timeline's listing.
pub struct Page {
    pub entries: Vec<Entry>,
    /// Everything before this segment is among them; nothing: the listing ended.
    pub next: Option<u64>,
}

/// What the readers and the one who waits for them know.
pub struct Shared {
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
    pub fn new(lanes: &[Lane]) -> Self {
        Shared { state: Mutex::new(State::new(lanes)), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stop(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// The next page to ask for: its lane, and where it begins. Nothing: all were asked for.
    pub fn take(&self) -> Option<(usize, Option<u64>)> {
        let mut state = self.lock();
        while !state.is_done() {
            match state.next() {
                Some(lane) => return Some((lane, state.strands[lane].take())),
                None => state = self.wait(state),
            }
        }
        None
    }

    pub fn put(&self, lane: usize, from: Option<u64>, page: Result<Page>) {
        self.lock().strands[lane].put(from, page);
        self.changed.notify_all();
    }

    /// The next page of a lane, when it has come; nothing: that was its last.
    pub fn next_of(&self, lane: usize) -> Option<Result<Vec<Entry>>> {
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
    use crate::pg::wal;
    use crate::store::Url;

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
