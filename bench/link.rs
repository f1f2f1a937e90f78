//! A long line between two network interfaces, for `make bench-cloud`: IP packets that come out of the one go into the
//! other half a round trip later, and no faster than the line's rate. It needs no module of the kernel (many kernels
//! have no netem), and what runs over it is TCP of the kernel, with its handshakes and its slow start.
//!
//! ```text
//! link FILE MBIT
//! ```
//!
//! Standard input and output are the two interfaces (`tun.py` makes them). FILE holds the round trip in milliseconds and,
//! if packets are to be lost, how many of a hundred; it is read again and again. MBIT is the rate in each direction, in
//! 1,000,000 bits a second.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a program for developers

use rustix::io::{Errno, read, write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// What waits at the beginning of a line before it goes out, at most; more is dropped, as routers do.
const QUEUE: Duration = Duration::from_millis(50);
/// An IP packet is no longer.
const PACKET: usize = 65_536;

/// When it arrives, and its bytes.
type Packet = (Instant, Vec<u8>);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, rate] = arguments.as_slice() else { panic!("usage: link FILE MBIT") };
    let bits_per_second = rate.parse::<f64>().expect("MBIT is no number") * 1e6;
    let line = Line::default();
    line.set(read_line(file).expect("FILE holds no number"));
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let ends = [(stdin.as_fd(), stdout.as_fd()), (stdout.as_fd(), stdin.as_fd())];
    std::thread::scope(|scope| {
        for (from, to) in ends {
            let (sender, receiver) = channel();
            let line = &line;
            scope.spawn(move || take(from, bits_per_second, line, &sender));
            scope.spawn(move || give(to, &receiver));
        }
        loop {
            std::thread::sleep(Duration::from_millis(50));
            // It may be being written.
            if let Some(now) = read_line(file) {
                line.set(now);
            }
        }
    });
}

/// What the line is like now.
#[derive(Default)]
struct Line {
    /// Half a round trip, in microseconds.
    half: AtomicU64,
    /// Of a million packets, those that are lost.
    lost: AtomicU64,
}

impl Line {
    fn set(&self, (round_trip, lost): (f64, f64)) {
        self.half.store((round_trip * 500.0) as u64, Ordering::Relaxed);
        self.lost.store((lost * 10_000.0) as u64, Ordering::Relaxed);
    }
}

/// Milliseconds, and percent.
fn read_line(file: &str) -> Option<(f64, f64)> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
    Some((numbers.next()??, numbers.next().unwrap_or(Some(0.0))?))
}

/// As good as chance, and the same in every run (Knuth's linear congruential generator).
struct Dice(u64);

impl Dice {
    fn of_a_million(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % 1_000_000
    }
}

fn take(from: BorrowedFd<'_>, bits_per_second: f64, line: &Line, to: &Sender<Packet>) {
    // When the last bit of what came before is on the line.
    let mut free = Instant::now();
    let mut buffer = vec![0; PACKET];
    let mut dice = Dice(1);
    loop {
        let length = match read(from, &mut buffer) {
            Ok(length) => length,
            // The interface is down.
            Err(Errno::IO | Errno::AGAIN | Errno::INTR) => {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            Err(error) => panic!("read a packet: {error}"),
        };
        let now = Instant::now();
        free = free.max(now);
        if free - now > QUEUE {
            continue;
        }
        free += Duration::from_secs_f64(length as f64 * 8.0 / bits_per_second);
        // It was on the line, and never arrives.
        if dice.of_a_million() < line.lost.load(Ordering::Relaxed) {
            continue;
        }
        let arrival = free + Duration::from_micros(line.half.load(Ordering::Relaxed));
        if to.send((arrival, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

fn give(to: BorrowedFd<'_>, from: &Receiver<Packet>) {
    for (arrival, packet) in from {
        std::thread::sleep(arrival.saturating_duration_since(Instant::now()));
        // An interface that is down, or full, loses it.
        let _lost = write(to, &packet).is_err();
    }
}
