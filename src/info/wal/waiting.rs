//! What waits in a data directory to be archived, and how long its disk has room for more. PostgreSQL keeps every segment
//! until it is archived, and stops when the disk is full. It asks neither server nor repository: both may be down.

use crate::cli::lines::Lines;
use crate::error::{Error, IoContext, Result};
use crate::info::show::size;
use crate::info::words::{count, length};
use crate::pg::control::Control;
use crate::pg::wal;
use std::fs;
use std::io;
use std::path::Path;
use time::{Duration, OffsetDateTime};

/// The present rate is that of so long.
const RATE_WINDOW: Duration = Duration::HOUR;
/// From less nothing follows.
const LEAST_RATE_WINDOW: Duration = Duration::MINUTE;
/// A file that waits longer waits because archiving fails, or cannot keep up.
const LATE: Duration = Duration::minutes(10);
/// An outage of the archive at night should not stop the server before somebody is at work.
const NIGHT: Duration = Duration::hours(8);
/// With room for fewer segments nobody is in time.
const LEAST_SEGMENTS: u64 = 4;

/// What waits in a data directory to be archived.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub(super) system_identifier: u64,
    pub(super) segment_bytes: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Since when the oldest of them waits.
    pub(super) oldest: Option<OffsetDateTime>,
    /// Of the file system of pg_wal: all, and what is left for the server.
    pub(super) disk_bytes: u64,
    pub(super) free_bytes: u64,
    /// Segments that the server has made ahead, and fills before it needs more of the disk.
    pub(super) ahead_bytes: u64,
    /// New WAL, if that is known.
    pub(super) bytes_per_second: Option<f64>,
}

/// What the server itself knows of its archiving: `archive_status/*.ready`, and `*.done` until a checkpoint. Both have the
/// time at which the segment was full.
pub fn waiting(data_directory: &Path, now: OffsetDateTime) -> Result<Waiting> {
    let control = Control::read(data_directory)?;
    let segment_bytes = control.wal_segment_bytes();
    if !wal::is_segment_size(segment_bytes) {
        return Err(Error::damaged(format!("pg_control says that a WAL segment has {segment_bytes} bytes")));
    }
    let directory = data_directory.join("pg_wal");
    let status = directory.join("archive_status");
    let disk = rustix::fs::statvfs(&directory)
        .map_err(io::Error::from)
        .during_path("find the free space of", &directory)?;
    let mut waiting = Waiting {
        system_identifier: control.system_identifier(),
        segment_bytes,
        files: 0,
        bytes: 0,
        oldest: None,
        disk_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
        free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        ahead_bytes: 0,
        bytes_per_second: None,
    };
    let (mut full_at, mut newest) = (Vec::new(), None);
    for entry in fs::read_dir(&status).during_path("list", &status)? {
        let path = entry.during_path("list", &status)?.path();
        let (Some(name), Some(kind)) = (path.file_stem().and_then(|name| name.to_str()), path.extension())
        else {
            continue;
        };
        // One that is gone by now was archived meanwhile.
        let Some(metadata) = look(&path)? else { continue };
        let modified = OffsetDateTime::from(metadata.modified().during_path("stat", &path)?);
        if let Some((_, number)) = wal::segment_number(name, segment_bytes) {
            full_at.push(modified);
            newest = newest.max(Some(number));
        }
        if kind == "ready" {
            waiting.files += 1;
            waiting.bytes += look(&directory.join(name))?.map_or(0, |metadata| metadata.len());
            waiting.oldest = Some(waiting.oldest.map_or(modified, |oldest| oldest.min(modified)));
        }
    }
    if let Some(newest) = newest {
        waiting.ahead_bytes = ahead(&directory, newest, segment_bytes)?;
    }
    waiting.bytes_per_second = rate(&full_at, segment_bytes, now);
    Ok(waiting)
}

/// `None`: it is gone.
fn look(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.during_path("stat", path).map(Some),
    }
}

/// Of segments after the one that follows `newest`, which is being written.
fn ahead(directory: &Path, newest: u64, segment_bytes: u64) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory).during_path("list", directory)? {
        let name = entry.during_path("list", directory)?.file_name();
        let number = name.to_str().and_then(|name| wal::segment_number(name, segment_bytes));
        if number.is_some_and(|(_, number)| number > newest.saturating_add(1)) {
            bytes += segment_bytes;
        }
    }
    Ok(bytes)
}

/// Bytes a second, by the times at which segments were full.
fn rate(full_at: &[OffsetDateTime], segment_bytes: u64, now: OffsetDateTime) -> Option<f64> {
    let begin = now - RATE_WINDOW;
    let inside = || full_at.iter().filter(|time| begin < **time && **time <= now);
    // Without one from before, the first of them is where the time begins.
    let (segments, span) = match full_at.iter().any(|time| *time <= begin) {
        true => (inside().count(), RATE_WINDOW),
        false => (inside().count().checked_sub(1)?, now - *inside().min()?),
    };
    let is_long = span >= LEAST_RATE_WINDOW;
    is_long.then(|| segments as f64 * segment_bytes as f64 / span.as_seconds_f64())
}

impl Waiting {
    /// Until the disk is full, if nothing is archived and nothing else writes; not known, or never, at a rate of zero.
    pub(super) fn full_after(&self) -> Option<Duration> {
        let rate = self.bytes_per_second.filter(|rate| *rate > 0.0)?;
        let seconds = self.room_bytes() as f64 / rate;
        // A century is as good as never.
        (seconds < 3.2e9).then(|| Duration::seconds_f64(seconds.floor()))
    }

    fn room_bytes(&self) -> u64 {
        self.free_bytes.saturating_add(self.ahead_bytes)
    }

    /// For pgv-check: one `ok`, `note` or `bad` with `advice`, and the numbers.
    pub fn lines(&self, now: OffsetDateTime) -> Lines {
        let late = self.oldest.map(|oldest| now - oldest).filter(|waits| *waits >= LATE);
        let waits = match (self.files, self.oldest) {
            (0, _) | (_, None) => "nothing waits to be archived".to_owned(),
            (files, Some(oldest)) => format!(
                "{} ({}) waiting to be archived, the oldest for {}",
                count(usize::try_from(files).unwrap_or(usize::MAX), "file"),
                size(self.bytes),
                length(now - oldest)
            ),
        };
        let room = format!("{} of {} free", size(self.free_bytes), size(self.disk_bytes));
        let rate =
            self.bytes_per_second.map(|rate| format!("{} of WAL an hour", size((rate * 3_600.0) as u64)));
        let until = match (self.full_after(), rate, late) {
            (Some(after), Some(rate), Some(_)) => format!("full in about {} at {rate}", length(after)),
            (Some(after), Some(rate), None) => {
                format!("at {rate}, an outage of the archive fills it in about {}", length(after))
            }
            (_, Some(rate), _) => format!("{rate} at present"),
            _ => "the present rate of WAL is not known yet".to_owned(),
        };
        let what = format!("pg_wal: {waits}; {room}; {until}");
        let is_full = self.room_bytes() < LEAST_SEGMENTS * self.segment_bytes;
        let mut lines = Lines::new();
        if late.is_some() || is_full {
            lines.add("bad", what).add(
                "advice",
                "the server stops when the disk is full; delete nothing there: man pgv-runbooks, THE ARCHIVE IS DOWN AND PG_WAL FILLS",
            );
        } else if self.full_after().is_some_and(|after| after < NIGHT) {
            lines
                .add("note", what)
                .add("advice", "PostgreSQL keeps all WAL while the archive is down: give pg_wal more room");
        } else {
            lines.add("ok", what);
        }
        lines.add("waiting_files", self.files).add("waiting_bytes", self.bytes);
        lines
            .add("disk_bytes", self.disk_bytes)
            .add("free_bytes", self.free_bytes)
            .add("ahead_bytes", self.ahead_bytes);
        lines.add_some("bytes_per_second", self.bytes_per_second.map(|rate| rate as u64));
        lines.add_some("full_after_seconds", self.full_after().map(Duration::whole_seconds));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_795_000_000 + second).unwrap()
    }

    fn of(files: u64, oldest: Option<i64>, free: u64, rate: Option<f64>) -> Waiting {
        Waiting {
            system_identifier: 7,
            segment_bytes: 16 * MIB,
            files,
            bytes: files * 16 * MIB,
            oldest: oldest.map(at),
            disk_bytes: 40_960 * MIB,
            free_bytes: free * MIB,
            ahead_bytes: 0,
            bytes_per_second: rate,
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_hour() {
        let rate = |times: &[i64]| {
            rate(&times.iter().map(|time| at(*time)).collect::<Vec<_>>(), 16 * MIB, at(7_200))
        };
        // One a minute.
        let minutes: Vec<i64> = (0..120).map(|minute| minute * 60 + 60).collect();
        assert_eq!(rate(&minutes), Some(60.0 * 16.0 * MIB as f64 / 3_600.0));
        // What is known begins in that hour: three segments in 30 minutes after the first.
        assert_eq!(rate(&[5_400, 6_000, 6_600, 7_200]), Some(3.0 * 16.0 * MIB as f64 / 1_800.0));
        assert_eq!(rate(&[10]), Some(0.0), "no WAL in the last hour");
        assert_eq!((rate(&[]), rate(&[7_190, 7_195])), (None, None));
        // The clock was set back.
        assert_eq!(rate(&[10, 9_000]), Some(0.0));
    }

    #[test]
    fn the_time_until_the_disk_is_full() {
        let after = |free, rate| of(0, None, free, rate).full_after();
        assert_eq!(after(3_600, Some(MIB as f64)), Some(Duration::HOUR));
        assert_eq!(
            (after(0, Some(1.0)), after(1, None), after(1, Some(0.0))),
            (Some(Duration::ZERO), None, None)
        );
        assert_eq!(after(u64::MAX / MIB, Some(1e-9)), None);
        let ahead = Waiting { ahead_bytes: 3_600 * MIB, ..of(0, None, 3_600, Some(MIB as f64)) };
        assert_eq!(ahead.full_after(), Some(Duration::hours(2)));
    }

    #[test]
    fn what_is_bad_and_what_is_said() {
        let first = |waiting: Waiting| waiting.lines(at(7_200)).as_str().lines().next().unwrap().to_owned();
        assert_eq!(
            first(of(0, None, 20_480, Some(16.0 * MIB as f64 / 60.0))),
            "ok pg_wal: nothing waits to be archived; 20.0 GiB of 40.0 GiB free; at 960.0 MiB of WAL an hour, an outage of the archive fills it in about 21 h 20 min"
        );
        assert!(first(of(0, None, 4_096, Some(16.0 * MIB as f64 / 60.0))).starts_with("note pg_wal: "));
        assert_eq!(
            first(of(120, Some(0), 4_096, Some(16.0 * MIB as f64 / 60.0))),
            "bad pg_wal: 120 files (1.9 GiB) waiting to be archived, the oldest for 2 h; 4.0 GiB of 40.0 GiB free; full in about 4 h 16 min at 960.0 MiB of WAL an hour"
        );
        // It waits no longer than archiving takes.
        assert!(first(of(1, Some(7_190), 20_480, None)).starts_with("ok pg_wal: 1 file (16.0 MiB) waiting"));
        assert!(first(of(0, None, 63, None)).starts_with("bad pg_wal: nothing waits"));
    }
}
