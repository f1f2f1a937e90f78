//! Which archived segments may hold what happened between two moments: as many as necessary, never too few.

use crate::catalog::CLOCK_MARGIN;
use crate::cli::lines::Lines;
use crate::error::{Error, Result};
use crate::info::choose::{one_cluster, stopped_at};
use crate::info::facts::time_of;
use crate::info::recovery::Histories;
use crate::info::sets::Set;
use crate::info::wal::listing::{Found, Place};
use crate::info::wal::pages::Lane;
use crate::info::wal::runs::{directory, expected, segment_bytes};
use crate::pg::{Lsn, timeline, wal};
use crate::store::{Store, Url};
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

fn margin() -> Duration {
    Duration::try_from(CLOCK_MARGIN).unwrap_or(Duration::MAX)
}

/// Segments of one timeline without a hole.
struct Stretch {
    timeline: u32,
    /// Where the timeline begins, if its history is known.
    begin: Option<Lsn>,
    names: Vec<String>,
    /// The last of them is there only as what a server that was replaced had of it.
    is_partial: bool,
    /// Segments before it are missing.
    after_hole: bool,
}

/// Of the one cluster that `sets` are of. A segment is archived after everything in it happened, so what was stored long
/// before `from` is left out; where a copy made all of them young, the backups tell.
pub fn segments_between(
    store: &Store,
    repository: &Url,
    sets: &[Set],
    histories: &Histories,
    (from, to): (OffsetDateTime, OffsetDateTime),
) -> Result<Lines> {
    one_cluster(sets)?;
    let Some((newest, bytes)) = sets.iter().rev().find_map(|set| Some((set, segment_bytes(set)?))) else {
        return Err(Error::not_found("there is no complete backup, so nothing could be restored"));
    };
    let bounds = bounds(sets, bytes, from, to);
    let mut stretches: Vec<Stretch> = Vec::new();
    // Of each timeline the number of the last segment that was listed.
    let mut listed: BTreeMap<u32, u64> = BTreeMap::new();
    let mut each = |found: &Found<'_>| {
        let (entry, is_partial) = (found.entry, found.name.ends_with(".partial"));
        let name = found.name.strip_suffix(".partial").unwrap_or(found.name);
        let Some((timeline, number)) = wal::segment_number(name, bytes) else { return Ok(()) };
        let (least, most) = bounds.get(&timeline).copied().unwrap_or((0, u64::MAX));
        if number < least {
            return Ok(());
        }
        let last = listed.insert(timeline, number);
        let open = stretches.last_mut().filter(|stretch| stretch.timeline == timeline);
        // Several are stored at once, so a younger one may be stored before.
        let is_old =
            open.is_none() && entry.modified.is_some_and(|stored| stored.saturating_add(margin()) < from);
        if is_old || number > most {
            return Ok(());
        }
        match open {
            // Listed before the whole one.
            Some(stretch) if last == Some(number) => stretch.is_partial &= is_partial,
            Some(stretch) if last == number.checked_sub(1) && !stretch.is_partial => {
                stretch.names.push(name.to_owned());
                stretch.is_partial = is_partial;
            }
            open => {
                let after_hole = match last {
                    Some(last) => open.is_some() || last + 1 < number,
                    None => number > least && least > 0,
                };
                let history = histories.get(&timeline).and_then(|text| timeline::branches(text, timeline));
                let begin = history.and_then(|way| way.last().map(|branch| branch.begin));
                let names = vec![name.to_owned()];
                stretches.push(Stretch { timeline, begin, names, is_partial, after_hole });
            }
        }
        Ok(())
    };
    let place = Place { store, directory: &directory(repository, newest), segment_bytes: bytes };
    let (outline, is_whole) = place.outline(&mut each)?;
    if !is_whole {
        let expected = expected(sets, bytes);
        let lane = |timeline: &u32| {
            let (least, most) = bounds.get(timeline).copied().unwrap_or((0, u64::MAX));
            let to = Some(most).filter(|most| *most < u64::MAX);
            Lane { timeline: *timeline, from: Some(least), to, expected: expected.get(timeline).copied() }
        };
        let lanes: Vec<Lane> = outline.timelines.iter().map(lane).collect();
        place.list_lanes(&lanes, &mut each)?;
    }
    let mut lines = Lines::new();
    lines.add("system_identifier", newest.system_identifier);
    lines.add_some("pg_version", newest.record().map(|record| &record.backup.pg_version));
    lines.add("timelines", outline.timelines.len());
    for stretch in &stretches {
        let holes = stretch.after_hole;
        if stretch.begin.is_none() && stretch.timeline > 1 {
            lines.add("without_history", stretch.timeline);
        }
        lines.add(
            "stretch",
            format!(
                "{} {} {}",
                stretch.timeline,
                stretch.begin.unwrap_or(Lsn(0)),
                if holes { "hole" } else { "whole" }
            ),
        );
        for (index, name) in stretch.names.iter().enumerate() {
            let is_last = index + 1 == stretch.names.len();
            let suffix = if is_last && stretch.is_partial { ".partial" } else { "" };
            lines.add("segment", format!("{name}{suffix}"));
        }
    }
    Ok(lines)
}

/// By timeline: the first segment of the newest backup that ended long enough before, and of the oldest that began long
/// enough after.
fn bounds(sets: &[Set], bytes: u64, from: OffsetDateTime, to: OffsetDateTime) -> BTreeMap<u32, (u64, u64)> {
    let mut bounds: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for set in sets {
        let Some(record) = set.record() else { continue };
        let Some((timeline, first)) = wal::segment_number(&record.backup.wal_first, bytes) else { continue };
        let (least, most) = bounds.entry(timeline).or_insert((0, u64::MAX));
        if stopped_at(set).is_some_and(|stopped| stopped.saturating_add(margin()) < from) {
            *least = first.max(*least);
        }
        if time_of(&record.backup.started_at).is_some_and(|started| started > to.saturating_add(margin())) {
            *most = first.min(*most);
        }
    }
    bounds
}
