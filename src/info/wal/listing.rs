//! The listing of an archive, in the order of names. On S3 a page of a thousand names costs a round trip, and a page may
//! begin at any name: so a long archive is listed at several places at once. A timeline has a directory of its own, and
//! the names in it are numbers, so it is known where the pages begin. What the pages show is put together without a gap:
//! each reaches to where the next one begins, or is the last of the listing.
//!
//! Requests: one for an archive of less than a thousand files. Else one, one for the timelines, and one for each 960
//! segments of a timeline; beyond the newest segment that is expected perhaps one in two finds nothing.

use crate::catalog::layout;
use crate::error::{IoContext, Result};
use crate::info::wal::pages::{BLOCK, Lane, PAGE, Page, READERS, Shared};
use crate::pg::{timeline, wal};
use crate::store::{Entry, Span, Store, Url};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::thread;

/// Names that are asked for at once where the first segment is enough.
const OUTLINE: u16 = 4;

/// Where an archive lies.
#[derive(Clone, Copy)]
pub(in crate::info) struct Place<'a> {
    pub store: &'a Store,
    /// A cluster's `wal/`.
    pub directory: &'a Url,
    pub segment_bytes: u64,
}

/// One file of an archive.
pub(in crate::info) struct Found<'a> {
    pub timeline: u32,
    /// Without the suffix.
    pub name: &'a str,
    pub entry: &'a Entry,
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
