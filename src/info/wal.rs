//! What the archived WAL is good for: from when to when a cluster can be restored along each timeline, and
//! which segments are missing in between. It reads names and times only, no key is needed: the segments of
//! `wal/` come in the order of their names and are kept as runs without a hole, so memory follows the number
//! of holes. A timeline's run goes on from the run of an older timeline that ends where it begins. And what may go of
//! it: what is older than all that a backup needs.

use crate::error::{Error, IoContext, Result};
use crate::info::choose::stopped_at;
use crate::info::metrics::{family, sample};
use crate::info::{Format, Set, State, systems};
use crate::pg::control::Control;
use crate::pg::{Lsn, wal};
use crate::store::{Store, Url};
use std::fs;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Sizes that initdb --wal-segsize gives, as powers of two: 1 MiB to 1 GiB.
const SEGMENT_POWERS: std::ops::RangeInclusive<u32> = 20..=30;

/// The WAL of one cluster and system identifier.
pub struct Archive {
    pub cluster: String,
    pub system_identifier: u64,
    segment_bytes: u64,
    windows: Vec<Window>,
    gaps: Vec<Run>,
    /// Of each timeline, and when it was stored.
    newest: Vec<Run>,
}

/// Segments of one timeline, by number, without a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) timeline: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    /// When the last of them was stored: later than everything in it happened.
    pub(super) stored_at: Option<OffsetDateTime>,
}

impl Run {
    /// A segment goes on from the last of `runs`, or begins another: they come in the order of their names.
    pub(super) fn add(runs: &mut Vec<Run>, timeline: u32, number: u64, stored_at: Option<OffsetDateTime>) {
        match runs.last_mut() {
            Some(run) if run.timeline == timeline && run.last + 1 == number => {
                run.last = number;
                run.stored_at = stored_at;
            }
            _ => runs.push(Run { timeline, first: number, last: number, stored_at }),
        }
    }
}

/// Every moment from the end of a backup to the end of a run can be restored.
struct Window {
    run: Run,
    from: OffsetDateTime,
    /// The oldest backup that reaches it.
    label: String,
    /// The last segment that this backup needs.
    backup_last: u64,
}

impl Window {
    /// When its last segment was stored. That is told by another clock than the backup's end is, or in whole seconds;
    /// the end of the backup itself can be restored in any case.
    fn to(&self) -> Option<OffsetDateTime> {
        self.run.stored_at.map(|stored_at| stored_at.max(self.from))
    }
}

impl Archive {
    /// Whether WAL is missing that a backup might need to reach what comes after it.
    pub fn has_gaps(&self) -> bool {
        !self.gaps.is_empty()
    }
}

/// Of every cluster that has complete backups: without one, WAL restores nothing.
pub fn archives(store: &Store, repository: &Url, sets: &[Set]) -> Result<Vec<Archive>> {
    let mut found = Vec::new();
    for sets in systems(sets) {
        let Some((first, segment_bytes)) = sets.iter().find_map(|set| Some((set, segment_bytes(set)?)))
        else {
            continue;
        };
        let runs = runs(store, &directory(repository, first), segment_bytes)?;
        let mut needs = needs(sets, segment_bytes);
        let windows = windows(&needs, &runs);
        needs.retain(|need| need.expects_archive);
        found.push(Archive {
            cluster: first.cluster.clone(),
            system_identifier: first.system_identifier,
            segment_bytes,
            gaps: gaps(&needs, &runs, &windows),
            windows,
            newest: runs
                .chunk_by(|a, b| a.timeline == b.timeline)
                .filter_map(<[Run]>::last)
                .cloned()
                .collect(),
        });
    }
    Ok(found)
}

/// Where the WAL of the cluster lies of which this is a backup.
fn directory(repository: &Url, set: &Set) -> Url {
    repository.join(&format!("{}/{}/wal/", set.cluster, set.system_identifier))
}

/// The URLs of what no backup needs any more, and for each cluster of which none may go why.
pub fn unneeded(
    store: &Store,
    repository: &Url,
    sets: &[Set],
    now: OffsetDateTime,
) -> Result<(Vec<String>, Vec<String>)> {
    let (mut urls, mut reasons) = (Vec::new(), Vec::new());
    for sets in systems(sets) {
        match needed_from(sets, now) {
            Ok(None) => {}
            Err(why) => reasons.push(why),
            Ok(Some(least)) => store.list(&directory(repository, &sets[0]), true, &mut |entry| {
                let url = entry.url.to_string();
                if url.rsplit('/').next().and_then(place).is_some_and(|place| *place < *least) {
                    urls.push(url);
                }
                Ok(())
            })?,
        }
    }
    Ok((urls, reasons))
}

/// What follows the timeline in the name of a sealed WAL file; histories have none.
fn place(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".pgv")?;
    name.get(8..24).filter(|_| wal::is_wal_file_name(name))
}

/// The least place that a backup of one system identifier needs, on whatever timeline; or why that cannot be known.
pub(super) fn needed_from(sets: &[Set], now: OffsetDateTime) -> std::result::Result<Option<String>, String> {
    let mut least: Option<&str> = None;
    for set in sets {
        let hold = |why: &str| {
            Err(format!("all WAL of {} {} stays: {} {why}", set.cluster, set.system_identifier, set.label))
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
                match record.backup.wal_first.get(8..) {
                    Some(first) if wal::is_segment_name(&record.backup.wal_first) => {
                        least = Some(least.map_or(first, |least| least.min(first)));
                    }
                    _ => return hold("names no WAL segment that it needs"),
                }
            }
        }
    }
    Ok(least.map(str::to_owned))
}

/// The size with which the last segment that a backup needs holds the end of that backup.
pub(super) fn segment_bytes(set: &Set) -> Option<u64> {
    let backup = &set.record()?.backup;
    let before_stop = Lsn(backup.stop_lsn.0.checked_sub(1)?);
    let mut sizes = SEGMENT_POWERS.map(|power| 1u64 << power);
    sizes.find(|size| wal::segment_name(backup.timeline, before_stop, *size) == backup.wal_last)
}

/// What a backup needs of the WAL.
struct Need {
    timeline: u32,
    first: u64,
    last: u64,
    stopped_at: OffsetDateTime,
    label: String,
    /// From its beginning on; or it was made before there was one, and has what it needs.
    expects_archive: bool,
}

fn needs(sets: &[Set], segment_bytes: u64) -> Vec<Need> {
    let need = |set: &Set| {
        let backup = &set.record()?.backup;
        Some(Need {
            timeline: wal::segment_number(&backup.wal_first, segment_bytes)?.0,
            first: wal::segment_number(&backup.wal_first, segment_bytes)?.1,
            last: wal::segment_number(&backup.wal_last, segment_bytes)?.1,
            stopped_at: stopped_at(set)?,
            label: set.label.to_string(),
            expects_archive: backup.archiving || !backup.wal_included,
        })
    };
    let mut needs: Vec<_> = sets.iter().filter_map(need).collect();
    needs.sort_by_key(|need| need.stopped_at);
    needs
}

fn runs(store: &Store, directory: &Url, segment_bytes: u64) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    store.list(directory, true, &mut |entry| {
        let url = entry.url.to_string();
        let name = url.rsplit('/').next().and_then(|name| name.strip_suffix(".pgv"));
        if let Some((timeline, number)) = name.and_then(|name| wal::segment_number(name, segment_bytes)) {
            Run::add(&mut runs, timeline, number, entry.modified);
        }
        Ok(())
    })?;
    Ok(runs)
}

/// `needs` oldest first, `runs` by timeline: a timeline's ancestors come before it.
fn windows(needs: &[Need], runs: &[Run]) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut timeline = 0;
    for run in runs {
        let begins = run.timeline != timeline;
        timeline = run.timeline;
        let own = needs
            .iter()
            .find(|need| need.timeline == timeline && need.first >= run.first && need.last <= run.last)
            .map(|need| (need.stopped_at, need.label.clone(), need.last));
        // Its first segment is the one in which the older timeline was left, or the one after it; and the backup was
        // complete by then.
        let is_left_by = |older: &&Window| {
            let after = &older.run;
            begins
                && after.timeline < timeline
                && older.backup_last <= run.first
                && run.first <= after.last + 1
        };
        let older = windows.iter().rev().find(is_left_by);
        let older = older.map(|older| (older.from, older.label.clone(), older.backup_last));
        if let Some((from, label, backup_last)) = own.into_iter().chain(older).min_by_key(|(from, ..)| *from)
        {
            windows.push(Window { run: run.clone(), from, label, backup_last });
        }
    }
    windows
}

/// Missing segments before a run, unless they are older than all that backups need.
fn gaps(needs: &[Need], runs: &[Run], windows: &[Window]) -> Vec<Run> {
    let Some(least) = needs.iter().map(|need| need.first).min() else { return Vec::new() };
    let before = |(at, run): (usize, &Run)| {
        let first = match runs[..at].last().filter(|older| older.timeline == run.timeline) {
            Some(older) => older.last + 1,
            None => expected_first(needs, &runs[..at], run, windows)?,
        };
        let gap = Run { timeline: run.timeline, first, last: run.first.checked_sub(1)?, stored_at: None };
        (gap.first <= gap.last && gap.last >= least).then_some(gap)
    };
    runs.iter().enumerate().filter_map(before).collect()
}

/// Where the first run of a timeline should begin, if that is not where it does: at what a backup on it needs, or, if
/// no window reaches it, where an older timeline ends.
fn expected_first(needs: &[Need], older: &[Run], run: &Run, windows: &[Window]) -> Option<u64> {
    let earlier = needs.iter().filter(|need| need.first < run.first);
    let own = earlier.clone().filter(|need| need.timeline == run.timeline).map(|need| need.first).min();
    if own.is_some() || windows.iter().any(|window| window.run == *run) {
        return own;
    }
    let left = older.iter().map(|older| older.last + 1).filter(|next| *next <= run.first).max();
    left.or_else(|| earlier.filter(|need| need.timeline < run.timeline).map(|need| need.first).min())
}

/// What waits in a data directory to be archived.
pub struct Waiting {
    system_identifier: u64,
    files: u64,
    oldest: Option<OffsetDateTime>,
}

/// What the server itself knows of its archiving: `archive_status/*.ready`.
pub fn waiting(data_directory: &Path) -> Result<Waiting> {
    let system_identifier = Control::read(data_directory)?.system_identifier();
    let directory = data_directory.join("pg_wal/archive_status");
    let mut waiting = Waiting { system_identifier, files: 0, oldest: None };
    for entry in fs::read_dir(&directory).during_path("list", &directory)? {
        let path = entry.during_path("list", &directory)?.path();
        if path.extension().is_none_or(|extension| extension != "ready") {
            continue;
        }
        // One that is gone by now was archived meanwhile.
        if let Ok(modified) = fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            let modified = OffsetDateTime::from(modified);
            waiting.files += 1;
            waiting.oldest = Some(waiting.oldest.map_or(modified, |oldest| oldest.min(modified)));
        }
    }
    Ok(waiting)
}

fn seconds(time: OffsetDateTime) -> Option<u64> {
    u64::try_from(time.unix_timestamp()).ok()
}

/// The same for Prometheus: from when until when each timeline can be restored, how many segments are missing, when the
/// newest was stored, and what waits to be. `cluster`: whose data directory `waiting` is of.
pub fn wal_metrics(archives: &[Archive], cluster: Option<&str>, waiting: Option<&Waiting>) -> String {
    let mut text = String::new();
    let labels = |archive: &Archive| {
        format!("cluster=\"{}\",system_identifier=\"{}\"", archive.cluster, archive.system_identifier)
    };
    family(
        &mut text,
        "pgv_wal_missing_segments",
        "Segments missing between archived ones that a backup needs.",
    );
    for archive in archives {
        let missing = archive.gaps.iter().map(|gap| gap.last - gap.first + 1).sum();
        sample(&mut text, "pgv_wal_missing_segments", &labels(archive), missing);
    }
    type Moment = fn(&Window) -> Option<OffsetDateTime>;
    let moments: [(&str, &str, Moment); 2] = [
        ("pgv_wal_window_start_timestamp_seconds", "The first moment that can be restored.", |w| {
            Some(w.from)
        }),
        (
            "pgv_wal_window_end_timestamp_seconds",
            "When the last segment of the window was stored.",
            Window::to,
        ),
    ];
    for (name, help, moment) in moments {
        family(&mut text, name, help);
        for archive in archives {
            // Of several windows of a timeline the last is the one that goes on.
            for windows in archive.windows.chunk_by(|a, b| a.run.timeline == b.run.timeline) {
                let last =
                    windows.last().map(|window| (window.run.timeline, moment(window).and_then(seconds)));
                if let Some((timeline, Some(seconds))) = last {
                    sample(&mut text, name, &format!("{},timeline=\"{timeline}\"", labels(archive)), seconds);
                }
            }
        }
    }
    let name = "pgv_wal_newest_segment_timestamp_seconds";
    family(&mut text, name, "When the newest segment of the timeline was stored.");
    for archive in archives {
        for run in &archive.newest {
            if let Some(seconds) = run.stored_at.and_then(seconds) {
                sample(
                    &mut text,
                    name,
                    &format!("{},timeline=\"{}\"", labels(archive), run.timeline),
                    seconds,
                );
            }
        }
    }
    if let Some(waiting) = waiting {
        let system = waiting.system_identifier;
        let known = archives.iter().find(|archive| archive.system_identifier == system);
        let cluster = known.map(|archive| archive.cluster.as_str()).or(cluster).unwrap_or_default();
        let labels = format!("cluster=\"{cluster}\",system_identifier=\"{system}\"");
        family(&mut text, "pgv_wal_ready_files", "Files of WAL that wait to be archived.");
        sample(&mut text, "pgv_wal_ready_files", &labels, waiting.files);
        let name = "pgv_wal_oldest_ready_timestamp_seconds";
        family(&mut text, name, "Since when the oldest of them waits.");
        if let Some(seconds) = waiting.oldest.and_then(seconds) {
            sample(&mut text, name, &labels, seconds);
        }
    }
    text
}

/// A line for each window and each gap.
pub fn show_wal(archives: &[Archive], format: Format) -> Result<String> {
    let mut text = String::new();
    for archive in archives {
        if format == Format::Table {
            text += &format!("{} {}\n", archive.cluster, archive.system_identifier);
        }
        for window in &archive.windows {
            text += &line(archive, &window.run, Some(window), format)?;
        }
        for gap in &archive.gaps {
            text += &line(archive, gap, None, format)?;
        }
    }
    Ok(if text.is_empty() && format == Format::Table {
        "no backups, so no WAL is of use\n".to_owned()
    } else {
        text
    })
}

fn line(archive: &Archive, run: &Run, window: Option<&Window>, format: Format) -> Result<String> {
    let name = |number: u64| wal::name_of_number(run.timeline, number, archive.segment_bytes);
    let (first, last, segments) = (name(run.first), name(run.last), run.last - run.first + 1);
    let kind = if window.is_some() { "window" } else { "gap" };
    let from = window.map(|window| rfc3339(window.from)).unwrap_or_default();
    let to = window.and_then(Window::to).map(rfc3339).unwrap_or_default();
    let label = window.map(|window| window.label.as_str()).unwrap_or_default();
    Ok(match format {
        Format::Json => {
            let value = serde_json::json!({
                "format": "pgv-wal/1", "kind": kind, "cluster": archive.cluster,
                "system_identifier": archive.system_identifier.to_string(), "timeline": run.timeline,
                "from": window.map(|_| &from), "to": window.and_then(Window::to).map(|_| &to), "label": window.map(|_| label),
                "wal_first": first, "wal_last": last, "segments": segments,
            });
            serde_json::to_string(&value).map_err(|e| Error::failed(format!("encode {first}: {e}")))? + "\n"
        }
        Format::Table if window.is_some() => format!(
            "timeline {}  from {from} (backup {label}) to {to}, when {last} was stored; {segments} segments from {first}\n",
            run.timeline
        ),
        Format::Table => {
            format!("timeline {}  GAP: {segments} segments are missing, {first} to {last}\n", run.timeline)
        }
        _ => format!(
            "{kind}\t{}\t{}\t{}\t{from}\t{to}\t{label}\t{first}\t{last}\t{segments}\n",
            archive.cluster, archive.system_identifier, run.timeline
        ),
    })
}

/// In whole seconds, UTC.
pub(super) fn rfc3339(time: OffsetDateTime) -> String {
    let whole = time.to_offset(time::UtcOffset::UTC).replace_nanosecond(0).unwrap_or(time);
    whole.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    fn run(timeline: u32, first: u64, last: u64) -> Run {
        Run { timeline, first, last, stored_at: Some(at(1000 + i64::try_from(last).unwrap())) }
    }

    fn need(timeline: u32, first: u64, last: u64, stopped: i64) -> Need {
        Need {
            timeline,
            first,
            last,
            stopped_at: at(stopped),
            label: format!("at{stopped}"),
            expects_archive: true,
        }
    }

    fn labels(windows: &[Window]) -> Vec<(u32, u64, &str)> {
        windows.iter().map(|window| (window.run.timeline, window.run.first, window.label.as_str())).collect()
    }

    #[test]
    fn a_run_is_restorable_from_the_oldest_backup_in_it() {
        let needs = [need(1, 4, 5, 50), need(1, 7, 7, 70)];
        assert_eq!(labels(&windows(&needs, &[run(1, 2, 9)])), [(1, 2, "at50")]);
        // A hole between the two backups, one inside of a backup's need, and WAL that no backup reaches.
        assert_eq!(labels(&windows(&needs, &[run(1, 2, 5), run(1, 7, 9)])), [(1, 2, "at50"), (1, 7, "at70")]);
        assert_eq!(labels(&windows(&needs, &[run(1, 2, 4), run(1, 6, 9)])), [(1, 6, "at70")]);
        assert_eq!(labels(&windows(&needs, &[run(1, 8, 9)])), []);
    }

    #[test]
    fn a_timeline_goes_on_where_it_left_an_older_one() {
        let needs = [need(1, 2, 2, 20)];
        for first in [5, 6] {
            let runs = [run(1, 2, 5), run(2, first, 9)];
            assert_eq!(labels(&windows(&needs, &runs)), [(1, 2, "at20"), (2, first, "at20")]);
        }
        // After a hole; and what lies behind a hole in the younger one.
        assert_eq!(labels(&windows(&needs, &[run(1, 2, 5), run(2, 7, 9)])), [(1, 2, "at20")]);
        let runs = [run(1, 2, 5), run(2, 5, 6), run(2, 8, 9)];
        assert_eq!(labels(&windows(&needs, &runs)), [(1, 2, "at20"), (2, 5, "at20")]);
    }

    #[test]
    fn gaps_are_what_lies_between_runs_and_may_be_needed() {
        let runs = [run(1, 2, 4), run(1, 6, 8), run(2, 11, 12)];
        let missing = |needs: &[Need]| {
            gaps(needs, &runs, &windows(needs, &runs))
                .iter()
                .map(|gap| (gap.timeline, gap.first, gap.last))
                .collect::<Vec<_>>()
        };
        assert_eq!(missing(&[need(1, 3, 3, 30)]), [(1, 5, 5), (2, 9, 10)]);
        assert_eq!(missing(&[need(1, 6, 6, 60)]), [(2, 9, 10)]);
        assert_eq!(missing(&[need(2, 11, 11, 60)]), []);
        assert_eq!(missing(&[]), []);
    }

    /// What is missing, and how many windows there are.
    fn missing(needs: &[Need], runs: &[Run]) -> (Vec<(u32, u64, u64)>, usize) {
        let windows = windows(needs, runs);
        let gaps = gaps(needs, runs, &windows);
        (gaps.iter().map(|gap| (gap.timeline, gap.first, gap.last)).collect(), windows.len())
    }

    #[test]
    fn a_timeline_that_no_window_reaches_has_a_gap_before_it() {
        let needs = [need(1, 2, 2, 20)];
        assert_eq!(missing(&needs, &[run(1, 2, 7), run(2, 0xA, 0xC)]), (vec![(2, 8, 9)], 1));
        for first in [7, 8] {
            assert_eq!(missing(&needs, &[run(1, 2, 7), run(2, first, 0xC)]), (vec![], 2));
        }
        // Behind the older one's own hole; with a backup of its own; and older than all need.
        let runs = [run(1, 2, 4), run(1, 6, 7), run(2, 8, 9)];
        assert_eq!(missing(&needs, &runs), (vec![(1, 5, 5), (2, 8, 9)].drain(..1).collect(), 1));
        let own = [need(1, 2, 2, 20), need(2, 0xB, 0xB, 110)];
        assert_eq!(missing(&own, &[run(1, 2, 7), run(2, 0xA, 0xC)]), (vec![], 2));
        assert_eq!(
            missing(&[need(3, 0x20, 0x20, 320)], &[run(1, 2, 7), run(2, 0xA, 0xC), run(3, 0x20, 0x21)]),
            (vec![], 1)
        );
        // Left in the very segment in which the backup ended, or before that.
        assert_eq!(missing(&[need(1, 5, 5, 50)], &[run(1, 5, 5), run(2, 5, 9)]), (vec![], 2));
        assert_eq!(missing(&[need(1, 5, 6, 60)], &[run(1, 5, 8), run(2, 5, 9)]), (vec![], 1));
    }

    #[test]
    fn the_first_segments_of_a_backup_are_missed_when_later_ones_are_there() {
        assert_eq!(missing(&[need(1, 3, 4, 40)], &[run(1, 4, 9)]), (vec![(1, 3, 3)], 0));
        assert_eq!(missing(&[need(1, 3, 4, 40)], &[run(1, 5, 9)]), (vec![(1, 3, 4)], 0));
        assert_eq!(missing(&[need(1, 3, 4, 40)], &[run(2, 5, 9)]), (vec![(2, 3, 4)], 0));
        // Not archived yet.
        assert_eq!(missing(&[need(1, 3, 4, 40)], &[run(1, 1, 2)]), (vec![], 0));
        assert_eq!(missing(&[need(1, 3, 4, 40)], &[run(1, 1, 3)]), (vec![], 0));
    }
}
