//! `--rate`: no more bytes a second than asked for, whatever was not used a while ago.

use std::time::{Duration, Instant};

/// What a pause may be made up for.
const BURST: Duration = Duration::from_secs(1);
/// No piece waits longer; it keeps arithmetic on odd rates in bounds.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

pub struct Pace {
    /// Bytes a second; none: as fast as they come.
    rate: Option<u64>,
    /// When all that has passed was due.
    due: Instant,
}

impl Pace {
    pub fn new(rate: Option<u64>) -> Self {
        Pace { rate, due: Instant::now() }
    }

    /// Waits until `bytes` more may have passed.
    pub fn wait(&mut self, bytes: u64) {
        self.pass(bytes);
        std::thread::sleep(self.early());
    }

    /// Counts `bytes` that pass now.
    pub fn pass(&mut self, bytes: u64) {
        self.pass_at(bytes, Instant::now());
    }

    /// How long it is until what has passed is due.
    pub fn early(&self) -> Duration {
        self.early_at(Instant::now())
    }

    fn pass_at(&mut self, bytes: u64, now: Instant) {
        let Some(rate) = self.rate else { return };
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let worth = Duration::try_from_secs_f64(bytes as f64 / rate as f64).unwrap_or(LONGEST).min(LONGEST);
        self.due = self.due.max(earliest) + worth;
    }

    fn early_at(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn bytes_are_due_at_their_rate() {
        let begun = Instant::now();
        let mut pace = Pace { rate: Some(100), due: begun };
        for second in 0..10 {
            pace.pass_at(100, begun + seconds(second));
            assert_eq!(pace.early_at(begun + seconds(second)), seconds(1));
        }
        pace.pass_at(1000, begun + seconds(10));
        assert_eq!(pace.early_at(begun + seconds(10)), seconds(10));
    }

    /// An hour in which nothing passed is no leave to pass an hour's worth at once.
    #[test]
    fn a_pause_is_made_up_for_by_a_second_at_most() {
        let begun = Instant::now();
        let mut pace = Pace { rate: Some(100), due: begun };
        pace.pass_at(100, begun);
        let later = begun + seconds(3600);
        pace.pass_at(100, later);
        assert_eq!(pace.early_at(later), Duration::ZERO);
        pace.pass_at(100, later);
        assert_eq!(pace.early_at(later), seconds(1));
        pace.pass_at(100, later);
        assert_eq!(pace.early_at(later), seconds(2));
    }

    #[test]
    fn without_a_rate_nothing_waits_and_odd_ones_are_survived() {
        let mut pace = Pace::new(None);
        pace.pass(u64::MAX);
        assert!(pace.early() < seconds(1));
        for rate in [0, 1] {
            let mut pace = Pace::new(Some(rate));
            pace.pass(u64::MAX);
            assert!(pace.early() > seconds(1000));
        }
    }
}
