//! Which zstd level the next record gets. With a fixed level that is no question. With `auto` it follows what the
//! stream waits for: while the output is the limit, records are made smaller with the time that is left; while
//! compressing is the limit, they are made faster; and while the input is the limit nothing changes.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// zstd's, of a whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Fixed(i32),
    Auto,
}

/// zstd's own levels that are of use here.
const LEVELS: RangeInclusive<i32> = 1..=19;
/// Those between which `auto` chooses. Measured in records of 4 MiB of six kinds (pages of pgbench, jsonb, text, WAL,
/// programs, random bytes) against level 3: level 2 takes 0.4 to 1.1 of the time for 13 % less to 3 % more; levels 6 and 7
/// take 2 to 6 times as long, for 0 to 10 % less. Levels 4 and 5 make some kinds 4 % larger, and 9 makes pages of pgbench
/// larger; level 1 makes WAL 4 % larger.
const STEPS: [i32; 4] = [2, 3, 6, 7];
/// Where `auto` begins, and stays in a stream that is short: level 3.
const USUAL: usize = 1;
/// Records that are looked at together: one alone may have met a pause of the machine.
const WINDOW: u32 = 8;
/// Windows in which the output has to be the limit before the next step up, at most: the steps are large, and a backup is
/// not to be slow for long because one was tried.
const LONGEST_PATIENCE: u32 = 16;
/// Shares of the time. The output is the limit if it was written to for so long; compressing, if less long than that.
const OUTPUT_IS_LIMIT: f64 = 0.95;
const COMPRESSING_IS_LIMIT: f64 = 0.85;
/// The input is the limit if the reader waited for less of the time than this to hand over what it had read.
const INPUT_IS_LIMIT: f64 = 0.25;

impl Level {
    /// For the first record.
    pub fn first(self) -> i32 {
        match self {
            Level::Fixed(level) => level,
            Level::Auto => STEPS[USUAL],
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Level::Auto),
            (_, Ok(level)) if LEVELS.contains(&level) => Ok(Level::Fixed(level)),
            _ => Err("must be a number from 1 to 19, or auto".to_owned()),
        }
    }
}

/// What happened from the end of one record to the end of the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    pub elapsed: Duration,
    /// In which the output took the record.
    pub writing: Duration,
    /// In which the reader had something, and nobody took it.
    pub handing: Duration,
}

/// What a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Input,
    Compressing,
    Output,
    /// Compressing and the output are both busy.
    Both,
}

impl Waits {
    fn add(&mut self, other: &Waits) {
        self.elapsed += other.elapsed;
        self.writing += other.writing;
        self.handing += other.handing;
    }

    fn limit(&self) -> Limit {
        let share = |time: Duration| time.as_secs_f64() / self.elapsed.as_secs_f64().max(1e-9);
        if share(self.handing) < INPUT_IS_LIMIT {
            return Limit::Input;
        }
        match share(self.writing) {
            writing if writing >= OUTPUT_IS_LIMIT => Limit::Output,
            writing if writing <= COMPRESSING_IS_LIMIT => Limit::Compressing,
            _ => Limit::Both,
        }
    }
}

/// Finds the level of `auto`. It is told of waits, and asks no clock itself.
pub struct Controller {
    step: usize,
    seen: Waits,
    records: u32,
    /// Windows, one after the other, in which the output was the limit.
    blocked: u32,
    patience: u32,
    /// The last step went up, and nobody knows yet whether that was right.
    tries: bool,
}

impl Default for Controller {
    fn default() -> Self {
        Controller { step: USUAL, seen: Waits::default(), records: 0, blocked: 0, patience: 1, tries: false }
    }
}

impl Controller {
    /// After each record: the level of those that come.
    pub fn next(&mut self, record: &Waits) -> i32 {
        self.seen.add(record);
        self.records += 1;
        if self.records == WINDOW {
            self.judge(self.seen.limit());
            (self.seen, self.records) = (Waits::default(), 0);
        }
        STEPS[self.step]
    }

    fn judge(&mut self, limit: Limit) {
        self.blocked = if limit == Limit::Output { self.blocked + 1 } else { 0 };
        if std::mem::take(&mut self.tries) {
            self.patience = match limit {
                Limit::Compressing => (self.patience * 2).min(LONGEST_PATIENCE),
                _ => 1,
            };
        }
        match limit {
            Limit::Output if self.blocked >= self.patience && self.step + 1 < STEPS.len() => {
                (self.step, self.blocked, self.tries) = (self.step + 1, 0, true);
            }
            Limit::Compressing => self.step = self.step.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds that a thread takes for a record at each level.
    fn compressing(level: i32) -> u64 {
        match level {
            2 => 18,
            3 => 26,
            6 => 90,
            7 => 110,
            other => panic!("level {other}"),
        }
    }

    /// A stream at whose end somebody takes a record in so many milliseconds, and at whose beginning one comes in so many.
    /// All run side by side, so a record takes as long as the slowest of them. Levels, and milliseconds in all.
    fn run(jobs: u64, input: u64, output: impl Fn(u32) -> u64, records: u32) -> (Vec<i32>, u64) {
        let mut controller = Controller::default();
        let (mut level, mut total) = (Level::Auto.first(), 0);
        let one = |record| {
            let output = output(record);
            let elapsed = (compressing(level) / jobs).max(input).max(output);
            total += elapsed;
            let millis = Duration::from_millis;
            let (writing, handing) = (millis(output), millis(elapsed - input));
            level = controller.next(&Waits { elapsed: millis(elapsed), writing, handing });
            level
        };
        let levels = (0..records).map(one).collect();
        (levels, total)
    }

    #[test]
    fn a_fast_output_gets_the_fastest_level_and_a_slow_one_the_smallest() {
        let (fast, took) = run(2, 1, |_| 2, 100);
        assert_eq!((fast[6], fast[7], fast[99]), (3, 2, 2));
        let usual = 100 * compressing(3) / 2;
        assert!(took * 4 <= usual * 3, "{took} ms instead of {usual}");
        let (slow, took) = run(2, 1, |_| 500, 100);
        assert_eq!((slow[6], slow[7], slow[99], took), (3, 6, 7, 100 * 500));
        assert!(slow.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    /// Where an output is faster than the next level and slower than this one, that is tried ever more seldom.
    #[test]
    fn no_output_waits_for_long() {
        for output in 1..120 {
            let (levels, took) = run(2, 1, |_| output, 2_000);
            let least = 2_000 * output.max(compressing(2) / 2);
            assert!(
                took * 100 <= least * 125,
                "{output} ms: {took} instead of {least}, {:?}",
                &levels[1_900..]
            );
        }
    }

    #[test]
    fn a_slow_input_changes_nothing() {
        for output in [2, 190] {
            assert!(run(2, 200, |_| output, 100).0.iter().all(|level| *level == 3));
        }
    }

    #[test]
    fn it_follows_an_output_that_changes() {
        let output = |record| if (200..500).contains(&record) { 300 } else { 2 };
        let (levels, _) = run(2, 1, output, 900);
        assert_eq!((levels[199], levels[499], levels[899]), (2, 7, 2));
    }

    #[test]
    fn what_can_be_given() {
        assert_eq!("auto".parse(), Ok(Level::Auto));
        assert_eq!("19".parse(), Ok(Level::Fixed(19)));
        for wrong in ["0", "20", "-1", "", "Auto", "3 "] {
            assert!(wrong.parse::<Level>().is_err(), "{wrong}");
        }
    }
}
