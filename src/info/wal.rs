//! What the archived WAL is good for: from when to when a cluster can be restored along each timeline, and
//! which segments are missing in between. It reads names and times only, no key is needed: the segments of
//! `wal/` come in the order of their names and are kept as runs without a hole, so memory follows the number
//! of holes. A timeline's run goes on from the run of an older timeline that ends where it begins.

use crate::error::{Error, Result};
use crate::info::choose::stopped_at;
use crate::info::metrics::{family, sample};
use crate::info::{Format, Set};
use crate::pg::{Lsn, wal};
use crate::store::{Store, Url};
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
}

/// Segments of one timeline, by number, without a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    timeline: u32,
    first: u64,
    last: u64,
    /// When the last of them was stored: later than everything in it happened.
    stored_at: Option<OffsetDateTime>,
}

/// Every moment from the end of a backup to the end of a run can be restored.
struct Window {
    run: Run,
    from: OffsetDateTime,
    /// The oldest backup that reaches it.
    label: String,
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
    for sets in sets.chunk_by(|a, b| (&a.cluster, a.system_identifier) == (&b.cluster, b.system_identifier)) {
        let Some((first, segment_bytes)) = sets.iter().find_map(|set| Some((set, segment_bytes(set)?)))
        else {
            continue;
        };
        let directory = repository.join(&format!("{}/{}/wal/", first.cluster, first.system_identifier));
        let runs = runs(store, &directory, segment_bytes)?;
        found.push(Archive {
            cluster: first.cluster.clone(),
            system_identifier: first.system_identifier,
            segment_bytes,
            windows: windows(&needs(sets, segment_bytes), &runs),
            gaps: gaps(&needs(sets, segment_bytes), &runs),
        });
    }
    Ok(found)
}

/// The size with which the last segment that a backup needs holds the end of that backup.
fn segment_bytes(set: &Set) -> Option<u64> {
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
            match runs.last_mut() {
                Some(run) if run.timeline == timeline && run.last + 1 == number => {
                    run.last = number;
                    run.stored_at = entry.modified;
                }
                _ => runs.push(Run { timeline, first: number, last: number, stored_at: entry.modified }),
            }
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
            .map(|need| (need.stopped_at, need.label.clone()));
        // Its first segment is the one in which the older timeline was left, or the one after it.
        let is_left_by = |older: &&Window| {
            let is_of = &older.run;
            begins && is_of.timeline < timeline && is_of.first < run.first && run.first <= is_of.last + 1
        };
        let older = windows.iter().rev().find(is_left_by).map(|older| (older.from, older.label.clone()));
        if let Some((from, label)) = own.into_iter().chain(older).min_by_key(|(from, _)| *from) {
            windows.push(Window { run: run.clone(), from, label });
        }
    }
    windows
}

/// Missing segments between two runs of a timeline, unless they are older than all that backups need.
fn gaps(needs: &[Need], runs: &[Run]) -> Vec<Run> {
    let Some(least) = needs.iter().map(|need| need.first).min() else { return Vec::new() };
    let between = |pair: &[Run]| {
        let (before, after) = (&pair[0], &pair[1]);
        let gap = Run {
            timeline: before.timeline,
            first: before.last + 1,
            last: after.first.checked_sub(1)?,
            stored_at: None,
        };
        (before.timeline == after.timeline && gap.last >= least).then_some(gap)
    };
    runs.windows(2).filter_map(between).collect()
}

/// The same for Prometheus: until when each timeline can be restored, and how many segments are missing.
pub fn wal_metrics(archives: &[Archive]) -> String {
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
        ("pgv_wal_window_end_timestamp_seconds", "When the last segment of the window was stored.", |w| {
            w.run.stored_at
        }),
    ];
    for (name, help, moment) in moments {
        family(&mut text, name, help);
        for archive in archives {
            // Of several windows of a timeline the last is the one that goes on.
            for (at, window) in archive.windows.iter().enumerate() {
                let next = archive.windows.get(at + 1);
                if next.is_some_and(|next| next.run.timeline == window.run.timeline) {
                    continue;
                }
                let seconds = moment(window).and_then(|time| u64::try_from(time.unix_timestamp()).ok());
                if let Some(seconds) = seconds {
                    let labels = format!("{},timeline=\"{}\"", labels(archive), window.run.timeline);
                    sample(&mut text, name, &labels, seconds);
                }
            }
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
    let to = run.stored_at.map(rfc3339).unwrap_or_default();
    let label = window.map(|window| window.label.as_str()).unwrap_or_default();
    Ok(match format {
        Format::Json => {
            let value = serde_json::json!({
                "format": "pgv-wal/1", "kind": kind, "cluster": archive.cluster,
                "system_identifier": archive.system_identifier.to_string(), "timeline": run.timeline,
                "from": window.map(|_| &from), "to": run.stored_at.map(|_| &to), "label": window.map(|_| label),
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
fn rfc3339(time: OffsetDateTime) -> String {
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
        Need { timeline, first, last, stopped_at: at(stopped), label: format!("at{stopped}") }
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
            gaps(needs, &runs).iter().map(|gap| (gap.timeline, gap.first, gap.last)).collect::<Vec<_>>()
        };
        assert_eq!(missing(&[need(1, 3, 3, 30)]), [(1, 5, 5)]);
        assert_eq!(missing(&[need(1, 6, 6, 60)]), []);
        assert_eq!(missing(&[]), []);
    }
}
