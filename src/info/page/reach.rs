//! What the archive can restore, as stretches of time on one lane for each timeline.

use crate::info::page::axis::Axis;
use crate::info::wal::Archive;
use crate::info::words::{count, moment};
use crate::pg::wal;
use std::collections::BTreeMap;
use time::OffsetDateTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Every moment of it can be restored.
    Window,
    /// A backup of which only the end can be restored.
    Point,
    /// Nothing of it can be restored: segments are missing.
    Gap,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) kind: Kind,
    pub(super) from: OffsetDateTime,
    pub(super) to: OffsetDateTime,
    pub(super) words: String,
    /// The same where the times stand beside it.
    pub(super) short: String,
}

/// By timeline.
pub(super) fn stretches(archive: &Archive, now: OffsetDateTime) -> BTreeMap<u32, Vec<Stretch>> {
    let mut lanes: BTreeMap<u32, Vec<Stretch>> = BTreeMap::new();
    for window in &archive.windows {
        let (from, to) = (window.from, window.to().unwrap_or(window.from));
        let words = format!("every moment from {} (backup {}) to {}", moment(from), window.label, moment(to));
        let stretch = Stretch {
            kind: Kind::Window,
            from,
            to,
            words,
            short: format!("every moment, from the end of backup {} on", window.label),
        };
        lanes.entry(window.run.timeline).or_default().push(stretch);
    }
    for point in &archive.points {
        let words = format!("only the end of backup {}, {}", point.label, moment(point.at));
        let stretch = Stretch {
            kind: Kind::Point,
            from: point.at,
            to: point.at,
            words,
            short: format!("only the end of backup {}", point.label),
        };
        lanes.entry(point.run.timeline).or_default().push(stretch);
    }
    for gap in &archive.gaps {
        // A gap has names, and its neighbours have times.
        let before = archive
            .windows
            .iter()
            .filter(|window| window.run.timeline <= gap.timeline && window.run.last < gap.first);
        let after = archive
            .windows
            .iter()
            .filter(|window| window.run.timeline == gap.timeline && window.run.first > gap.last);
        let to = after.map(|window| window.from).min().unwrap_or(now);
        let points = || archive.points.iter();
        let ends = points().filter(|point| point.run.timeline <= gap.timeline && point.run.last < gap.first);
        let begin = before.filter_map(|window| window.to()).chain(ends.map(|point| point.at)).max();
        let oldest = archive.windows.iter().map(|window| window.from).chain(points().map(|point| point.at));
        let from = begin.or_else(|| oldest.min()).unwrap_or(to).min(to);
        let name = |number| wal::name_of_number(gap.timeline, number, archive.segment_bytes);
        let segments = usize::try_from(gap.last - gap.first + 1).unwrap_or(usize::MAX);
        let words =
            format!("{} missing, {} to {}", count(segments, "segment"), name(gap.first), name(gap.last));
        lanes.entry(gap.timeline).or_default().push(Stretch {
            kind: Kind::Gap,
            from,
            to,
            short: words.clone(),
            words,
        });
    }
    lanes
}

/// The moments that a picture of these has to show.
pub(super) fn moments(
    lanes: &BTreeMap<u32, Vec<Stretch>>,
) -> impl Iterator<Item = OffsetDateTime> + Clone + '_ {
    lanes.values().flatten().flat_map(|stretch| [stretch.from, stretch.to])
}

/// Only what can be seen, of the newest timelines.
pub(super) fn seen<'a>(
    lanes: &'a BTreeMap<u32, Vec<Stretch>>,
    axis: &Axis,
    most: usize,
) -> Vec<(u32, Vec<&'a Stretch>)> {
    let of_one = |(timeline, stretches): (&u32, &'a Vec<Stretch>)| {
        let seen: Vec<_> =
            stretches.iter().filter(|stretch| axis.span(stretch.from, stretch.to).is_some()).collect();
        (!seen.is_empty()).then_some((*timeline, seen))
    };
    let mut seen: Vec<_> = lanes.iter().filter_map(of_one).collect();
    seen.drain(..seen.len().saturating_sub(most));
    seen
}
