//! What the archived WAL is good for, as Prometheus reads it.

use crate::info::metrics::{family, sample};
use crate::info::wal::archive::Archive;
use crate::info::wal::reach::Window;
use crate::info::wal::waiting::Waiting;
use time::OffsetDateTime;

fn seconds(time: OffsetDateTime) -> Option<u64> {
    u64::try_from(time.unix_timestamp()).ok()
}

/// The same for Prometheus: from when until when each timeline can be restored, how many segments are missing, when the
/// newest was stored, what waits to be, and how long the disk has room for that. `cluster`: whose data directory `waiting` is of.
pub fn wal_metrics(archives: &[Archive], cluster: Option<&str>, waiting: Option<&Waiting>) -> String {
    let mut text = String::new();
    let labels = |archive: &Archive| {
        format!("cluster=\"{}\",system_identifier=\"{}\"", archive.cluster, archive.system_identifier)
    };
    family(
        &mut text,
        "pgv_wal_missing_segments",
        "Segments missing in the archive that a backup or the window needs.",
    );
    for archive in archives {
        let missing = archive.gaps.iter().map(|gap| gap.last - gap.first + 1).sum();
        sample(&mut text, "pgv_wal_missing_segments", &labels(archive), missing);
    }
    let name = "pgv_wal_missing_histories";
    family(&mut text, name, "Timelines whose history is not in the archive.");
    for archive in archives {
        sample(&mut text, name, &labels(archive), archive.unknown.len() as u64);
    }
    let name = "pgv_wal_points";
    family(&mut text, name, "Backups that can be restored to their own end and no further.");
    for archive in archives {
        sample(&mut text, name, &labels(archive), archive.points.len() as u64);
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
        let rate = waiting.bytes_per_second.map(|rate| rate as u64);
        let after = waiting.full_after().and_then(|after| u64::try_from(after.whole_seconds()).ok());
        for (name, help, value) in [
            ("pgv_wal_ready_files", "Files of WAL that wait to be archived.", Some(waiting.files)),
            ("pgv_wal_ready_bytes", "Bytes of WAL that wait to be archived.", Some(waiting.bytes)),
            ("pgv_wal_disk_bytes", "Size of the file system of pg_wal.", Some(waiting.disk_bytes)),
            ("pgv_wal_disk_free_bytes", "What is free of it for the server.", Some(waiting.free_bytes)),
            ("pgv_wal_bytes_per_second", "New WAL a second, over up to an hour.", rate),
            (
                "pgv_wal_full_after_seconds",
                "Seconds until it is full at that rate if nothing is archived.",
                after,
            ),
        ] {
            family(&mut text, name, help);
            if let Some(value) = value {
                sample(&mut text, name, &labels, value);
            }
        }
        let name = "pgv_wal_oldest_ready_timestamp_seconds";
        family(&mut text, name, "Since when the oldest of them waits.");
        if let Some(seconds) = waiting.oldest.and_then(seconds) {
            sample(&mut text, name, &labels, seconds);
        }
    }
    text
}
