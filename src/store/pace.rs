//! `--rate`: no more bytes a second than asked for, on average from the start.

use std::time::{Duration, Instant};

pub struct Pace {
    /// Bytes a second.
    rate: Option<u64>,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    pub fn new(rate: Option<u64>) -> Self {
        Pace { rate, begun: Instant::now(), bytes: 0 }
    }

    /// Waits until `bytes` more may have passed.
    pub fn wait(&mut self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        self.bytes += bytes as u64;
        let due = Duration::from_secs_f64(self.bytes as f64 / rate as f64);
        std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
    }
}
