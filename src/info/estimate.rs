//! How long a restore takes: as the last drill took, or a guess.

use crate::catalog::{Verdict, VerdictKind};
use crate::cli::lines::Lines;
use crate::info::facts::time_of;
use crate::info::sets::Set;
use crate::info::show::size;
use crate::info::values::Values;

/// Bytes a second that a repository and a disk may do, where nobody has measured it.
const READ_RATE: u64 = 100_000_000;
const WRITE_RATE: u64 = 200_000_000;

/// The lines of the newest drill that was good, of one cluster's sets. One that found something may have ended early.
pub fn last_drill(sets: &[Set]) -> Lines {
    let drills = sets.iter().flat_map(|set| &set.verdicts);
    let drills = drills.filter(|drill| drill.kind == VerdictKind::Drill && drill.ok && drill.bytes > 0);
    let newest =
        drills.filter_map(|drill| Some((time_of(&drill.started_at)?, drill))).max_by_key(|(at, _)| *at);
    newest.map(|(_, drill)| lines(drill)).unwrap_or_default()
}

fn lines(drill: &Verdict) -> Lines {
    let mut lines = Lines::new();
    lines
        .add("drill_at", &drill.started_at)
        .add("drill_bytes", drill.bytes)
        .add("drill_seconds", drill.seconds);
    lines.add_some("drill_restore_seconds", drill.restore_seconds).clone()
}

/// Where the seconds come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// How long a drill's restore took.
    Drill,
    /// How long a drill took with its recovery and checks: a restore takes less.
    WholeDrill,
    /// The rate at which is read.
    Rate,
    Guess,
}

impl Basis {
    pub fn name(self) -> &'static str {
        match self {
            Basis::Drill => "drill",
            Basis::WholeDrill => "drill_with_checks",
            Basis::Rate => "rate",
            Basis::Guess => "guess",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Estimate {
    pub seconds: u64,
    pub basis: Basis,
    /// When the drill was.
    pub drill_at: Option<String>,
    pub rate: Option<u64>,
}

impl Estimate {
    /// Without recovery. `rate`: bytes a second of the repository, at most.
    pub fn of(way: &Values, rate: Option<u64>) -> Self {
        let (stored, restored) = (way.number("stored_bytes"), way.number("database_bytes"));
        let by_drill = |seconds: u64| scaled(seconds.max(1), restored, way.number("drill_bytes"));
        let has = |key| way.get(key).is_some();
        let (seconds, basis) = match (has("drill_restore_seconds"), has("drill_seconds")) {
            (true, _) => (by_drill(way.number("drill_restore_seconds")), Basis::Drill),
            (_, true) => (by_drill(way.number("drill_seconds")), Basis::WholeDrill),
            _ => (stored / READ_RATE + restored / WRITE_RATE + 1, Basis::Guess),
        };
        let drill_at = way.get("drill_at").filter(|_| basis != Basis::Guess).map(str::to_owned);
        let slowest = rate.map_or(0, |rate| stored.div_ceil(rate));
        match slowest > seconds {
            true => Estimate { seconds: slowest, basis: Basis::Rate, drill_at: None, rate },
            false => Estimate { seconds, basis, drill_at, rate },
        }
    }

    /// For people.
    pub fn words(&self) -> String {
        let takes = duration(self.seconds);
        let day = self.drill_at.as_deref().and_then(|at| at.get(..10)).unwrap_or_default();
        match self.basis {
            Basis::Drill => format!("about {takes} for the backup, as in the drill of {day}"),
            Basis::WholeDrill => {
                format!(
                    "at most {takes} for the backup: the drill of {day} took as long with its recovery and checks"
                )
            }
            Basis::Rate => {
                format!("about {takes} for the backup, read at {}/s", size(self.rate.unwrap_or_default()))
            }
            Basis::Guess => format!(
                "about {takes} for the backup, guessed from 100 MB/s to read and 200 MB/s to write, because no \
                 drill has measured it"
            ),
        }
    }
}

/// "3 min 1 s".
fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// Never less than a second.
fn scaled(seconds: u64, bytes: u64, measured: u64) -> u64 {
    let product = u128::from(seconds) * u128::from(bytes) / u128::from(measured.max(1));
    u64::try_from(product).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: &str = "stored_bytes 18000000000\ndatabase_bytes 40000000000\n";

    fn estimate(drill: &str, rate: Option<u64>) -> Estimate {
        Estimate::of(&Values::parse(&format!("{SIZES}{drill}")).unwrap(), rate)
    }

    #[test]
    fn without_a_drill_it_is_a_guess_and_says_so() {
        let guess = estimate("", None);
        assert_eq!((guess.seconds, guess.basis), (381, Basis::Guess));
        assert!(guess.words().contains("about 6 min 21 s for the backup, guessed from 100 MB/s"));
    }

    #[test]
    fn a_drill_is_measured_by_what_it_restored() {
        let drill = "drill_at 2026-11-20T01:02:03Z\ndrill_bytes 20000000000\ndrill_seconds 900\n";
        let whole = estimate(drill, None);
        assert_eq!((whole.seconds, whole.basis), (1800, Basis::WholeDrill));
        assert!(whole.words().starts_with("at most 30 min 0 s for the backup: the drill of 2026-11-20 took"));
        let restore = estimate(&format!("{drill}drill_restore_seconds 100\n"), None);
        assert_eq!((restore.seconds, restore.basis), (200, Basis::Drill));
        assert_eq!(restore.words(), "about 3 min 20 s for the backup, as in the drill of 2026-11-20");
        // One of less than a second.
        let fast = estimate(&format!("{drill}drill_restore_seconds 0\n"), None);
        assert_eq!((fast.seconds, fast.basis), (2, Basis::Drill));
    }

    #[test]
    fn a_rate_that_is_slower_decides() {
        let slow = estimate("", Some(10 << 20));
        assert_eq!((slow.seconds, slow.basis), (1717, Basis::Rate));
        assert_eq!(slow.words(), "about 28 min 37 s for the backup, read at 10.0 MiB/s");
        assert_eq!(estimate("", Some(1 << 30)).basis, Basis::Guess);
    }
}
