//! What may go of the archived WAL: what is older than all that a backup needs; and with PGV_KEEP_WAL what is older than
//! its window, and no backup needs itself.

use crate::catalog::layout;
use crate::error::Result;
use crate::info::sets::{Set, State, good, systems};
use crate::info::wal::listing::{Found, Place};
use crate::info::wal::pages::Lane;
use crate::info::wal::runs::{Extents, Listed, directory, sized};
use crate::info::wal::window::{KeepWal, needed, place};
use crate::pg::wal;
use crate::store::{Store, Url};
use time::OffsetDateTime;

/// The URLs of what no backup needs any more, and for each cluster of which none may go why.
pub fn unneeded(
    store: &Store,
    repository: &Url,
    sets: &[Set],
    keep: Option<&KeepWal>,
    now: OffsetDateTime,
) -> Result<(Vec<String>, Vec<String>)> {
    let (mut urls, mut reasons) = (Vec::new(), Vec::new());
    for sets in systems(sets) {
        let mut kept = match Kept::since_oldest(sets, now) {
            Ok(None) => continue,
            Ok(Some(kept)) => kept,
            Err(why) => {
                reasons.push(why);
                continue;
            }
        };
        let size = sized(sets).map(|(_, segment_bytes)| segment_bytes);
        if let (Some(keep), Some(segment_bytes)) = (keep, size) {
            let extents = Listed::read(store, repository, sets, segment_bytes)?.extents;
            kept = kept.within(sets, segment_bytes, &extents, keep);
        }
        let segment_bytes = size.unwrap_or(wal::DEFAULT_SEGMENT_BYTES);
        let place = Place { store, directory: &directory(repository, &sets[0]), segment_bytes };
        // No further than to where all stays.
        let to = size.and_then(|size| wal::segment_number(&format!("{:08X}{}", 1, kept.end()), size));
        let to = to.map(|(_, number)| number);
        let mut each = |found: &Found<'_>| {
            if !kept.holds(found.name, found.entry.modified) {
                urls.push(found.entry.url.to_string());
            }
            Ok(())
        };
        if !place.list_short(&mut each)? {
            let lane = |timeline| Lane { timeline, from: None, to, expected: None };
            let lanes: Vec<Lane> = place.timelines()?.into_iter().map(lane).collect();
            place.list_lanes(&lanes, &mut each)?;
        }
    }
    Ok((urls, reasons))
}

/// What follows the timeline in the name of a WAL file; histories have none.
fn file_place(name: &str) -> Option<&str> {
    let name = layout::without_key_name(name);
    name.get(8..24).filter(|_| wal::is_wal_file_name(name))
}

/// Which WAL files stay, by their places on whatever timeline.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// What is before this, nobody needs.
    oldest: String,
    /// What each backup needs itself, first and last.
    ranges: Vec<(String, String)>,
    window: Option<Window>,
}

/// Before it only what backups need themselves stays.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    from: String,
    /// What was stored later may hold one of its moments, whatever a record says: those are not sealed.
    since: OffsetDateTime,
}

impl Kept {
    /// From the least place on that a backup of one system identifier needs; or why that cannot be known.
    pub fn since_oldest(sets: &[Set], now: OffsetDateTime) -> std::result::Result<Option<Self>, String> {
        let mut ranges: Vec<(String, String)> = Vec::new();
        for set in sets {
            let hold = |why: &str| {
                Err(format!(
                    "all WAL of {} {} is kept: backup {} {why}",
                    set.cluster, set.system_identifier, set.label
                ))
            };
            match &set.state {
                State::Damaged { record: None, .. } => {
                    return hold("has a damaged record, which may need any of it");
                }
                State::Unreadable(_) => return hold("cannot be read"),
                State::Incomplete(_) if set.may_be_running(now) => return hold("may be running"),
                State::Incomplete(_) => {}
                // Whatever became of its other objects, a person may yet make it good.
                State::Complete(record) | State::Damaged { record: Some(record), .. } => {
                    let backup = &record.backup;
                    if !wal::is_segment_name(&backup.wal_first) || !wal::is_segment_name(&backup.wal_last) {
                        return hold("does not name the WAL segments that it needs");
                    }
                    ranges.push((backup.wal_first[8..].to_owned(), backup.wal_last[8..].to_owned()));
                }
            }
        }
        let from = ranges.iter().map(|(first, _)| first.clone()).min();
        Ok(from.map(|oldest| Kept { oldest, ranges, window: None }))
    }

    /// The same with what lies before a window reduced to what each backup needs itself, if a backup begins the window.
    pub fn within(self, sets: &[Set], segment_bytes: u64, extents: &Extents, keep: &KeepWal) -> Self {
        let placed = place(sets, &good(sets), segment_bytes);
        let from = placed.and_then(|placed| needed(&placed, extents, keep).from);
        let from = from.map(|number| wal::name_of_number(1, number, segment_bytes).split_off(8));
        Kept { window: from.map(|from| Window { from, since: keep.stored_since() }), ..self }
    }

    /// From this place on all stays.
    fn end(&self) -> &str {
        self.window.as_ref().map_or(&self.oldest, |window| (&window.from).max(&self.oldest))
    }

    /// Whether a WAL file stays that was stored then. What is none stays, too.
    pub fn holds(&self, name: &str, stored_at: Option<OffsetDateTime>) -> bool {
        let Some(place) = file_place(name) else { return true };
        if *place < *self.oldest {
            return false;
        }
        self.window.as_ref().is_none_or(|window| {
            *place >= *window.from
                || stored_at.is_none_or(|stored_at| stored_at >= window.since)
                || self.ranges.iter().any(|(first, last)| **first <= *place && *place <= **last)
        })
    }
}
