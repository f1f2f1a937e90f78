//! One `--rate` for several processes, which read the streams of a chain at the same time: they count what has passed in a
//! file that all of them know.

use crate::error::{IoContext, Result};
use crate::io::read_full;
use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a pause may be made up for, in nanoseconds.
const BURST: u64 = 1_000_000_000;
/// No piece waits longer, in nanoseconds: it keeps arithmetic on odd rates in bounds.
const LONGEST: u64 = 365 * 24 * 3600 * 1_000_000_000;

pub struct SharedPace {
    /// Bytes a second.
    rate: u64,
    /// Eight bytes, little-endian: when all that has passed was due, in nanoseconds of the clock that runs since the start
    /// of this machine (CLOCK_MONOTONIC, which all its processes share).
    file: File,
    path: PathBuf,
}

impl SharedPace {
    /// Makes the file if it is not there.
    pub fn open(rate: u64, path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).during_path("open", path)?;
        Ok(SharedPace { rate, file, path: path.to_owned() })
    }

    /// Waits until `bytes` more may have passed, of all who share the rate.
    pub fn wait(&mut self, bytes: u64) -> Result<()> {
        let early = self.pass(bytes).during_path("write", &self.path)?;
        std::thread::sleep(early);
        Ok(())
    }

    /// Counts `bytes`, and returns how long it is until they are due.
    fn pass(&mut self, bytes: u64) -> io::Result<Duration> {
        flock(&self.file, FlockOperation::LockExclusive)?;
        let counted = self.count(bytes);
        flock(&self.file, FlockOperation::Unlock)?;
        counted
    }

    fn count(&mut self, bytes: u64) -> io::Result<Duration> {
        let mut due = [0; 8];
        self.file.rewind()?;
        // Who comes first finds nothing.
        let _zero_or_eight = read_full(&mut self.file, &mut due)?;
        let now = now();
        let due = next_due(u64::from_le_bytes(due), bytes, self.rate, now);
        self.file.rewind()?;
        self.file.write_all(&due.to_le_bytes())?;
        Ok(Duration::from_nanos(due.saturating_sub(now)))
    }
}

fn next_due(due: u64, bytes: u64, rate: u64, now: u64) -> u64 {
    let worth = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    let worth = u64::try_from(worth).map_or(LONGEST, |worth| worth.min(LONGEST));
    // What another clock wrote, before the machine was started again, is no reason to wait for ever.
    due.clamp(now.saturating_sub(BURST), now.saturating_add(LONGEST)).saturating_add(worth)
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_passed_the_other_waits_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rate");
        let [mut one, mut other] = [1, 1].map(|rate| SharedPace::open(rate, &path).unwrap());
        // At a byte a second, with a second to make up for at the beginning.
        assert!(one.pass(100).unwrap() > Duration::from_secs(90));
        assert!(other.pass(100).unwrap() > Duration::from_secs(190));
        assert!(one.pass(0).unwrap() > Duration::from_secs(190));
    }

    #[test]
    fn odd_numbers_are_survived() {
        assert_eq!(next_due(0, 100, 100, 10 * BURST), 10 * BURST);
        for (due, bytes, rate) in [(u64::MAX, u64::MAX, 0), (0, u64::MAX, 1), (u64::MAX, 0, 1)] {
            assert!(next_due(due, bytes, rate, BURST) <= 3 * LONGEST);
        }
    }
}
