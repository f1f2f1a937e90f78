//! `--rate`: no more bytes a second than asked for, whatever was not used a while ago.

use std::time::{Duration, Instant};

/// What a pause may be made up for.
const BURST: Duration = Duration::from_secs(1);

pub struct Pace {
    /// Bytes a second.
    rate: Option<u64>,
    /// When all that has passed was due.
    due: Instant,
}

impl Pace {
    pub fn new(rate: Option<u64>) -> Self {
        Pace { rate, due: Instant::now() }
    }

    /// Waits until `bytes` more may have passed.
    pub fn wait(&mut self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.due = self.due.max(earliest) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        std::thread::sleep(self.due.saturating_duration_since(now));
    }
}
