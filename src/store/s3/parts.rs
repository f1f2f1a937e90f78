//! How a stream of unknown length is cut into parts. S3 takes 10,000 of them, so their size grows:
//! small parts keep memory small, and a long stream still ends within its parts.

use crate::error::{Error, Result};

/// S3's limits: all parts but the last have at least 5 MiB, none more than 5 GiB.
pub const PART_MIN: u64 = 5 << 20;
pub const PART_MAX: u64 = 5 << 30;
pub const PARTS_MAX: u32 = 10_000;
/// 10,000 parts of 5 GiB.
const OBJECT_MAX: u64 = PARTS_MAX as u64 * PART_MAX;
/// The first parts where nothing is asked for: small, so that many are on their way at once in little memory. What a
/// connection moves on a long or lossy line is limited, and so are requests: they are worth their money at this size.
const PART_DEFAULT: u64 = 8 << 20;
/// What is no longer than this is one request, not parts: a WAL segment is.
const ONE_REQUEST: u64 = 16 << 20;
/// Where parts must be equal and the length is not known: 610 GiB.
const PART_EQUAL: u64 = 64 << 20;
/// Sizes within the parts that there are, each twice the one before: 8 MiB grow to 4 GiB, which makes 7.8 TiB.
const STEPS: u64 = 10;

#[derive(Clone, Debug)]
pub struct Parts {
    first: u64,
    /// Of the parts on their way at once, for each of the caller's jobs.
    bytes_per_job: u64,
    /// Parts of the first size, before sizes begin to double.
    equal: u64,
    max: u64,
    /// The size was asked for.
    is_fixed: bool,
}

impl Parts {
    /// `part_size`: all parts have this size. `expected`: the stream's length, roughly; four fifths of
    /// the parts are made to hold it, so that a wrong guess is no failure. `all_equal`: the service refuses others.
    pub fn plan(
        part_size: Option<u64>,
        expected: Option<u64>,
        max_parts: Option<u32>,
        all_equal: bool,
    ) -> Result<Self> {
        let max = u64::from(max_parts.unwrap_or(PARTS_MAX)).max(1);
        let is_fixed = part_size.is_some();
        // Of few parts each is larger.
        let least = PART_DEFAULT.max((ONE_REQUEST / max).next_multiple_of(1 << 20));
        let parts = match (part_size, expected) {
            (Some(first), _) => Parts { first, bytes_per_job: first, equal: max, max, is_fixed },
            (None, Some(expected)) if expected <= OBJECT_MAX => {
                let equal = (max * 4 / 5).max(1);
                let needed = expected.div_ceil(equal).next_multiple_of(1 << 20);
                let equal = if all_equal { max } else { equal };
                Parts {
                    first: needed.clamp(least, PART_MAX),
                    bytes_per_job: PART_DEFAULT,
                    equal,
                    max,
                    is_fixed,
                }
            }
            (None, Some(expected)) => {
                return Err(Error::usage(format!("{expected} bytes are more than an S3 object can have")));
            }
            (None, None) if all_equal => {
                Parts { first: PART_EQUAL, bytes_per_job: PART_DEFAULT, equal: max, max, is_fixed }
            }
            (None, None) => Parts { first: least, bytes_per_job: PART_DEFAULT, equal: 0, max, is_fixed },
        };
        if !(PART_MIN..=PART_MAX).contains(&parts.first) {
            return Err(Error::usage(format!(
                "a part of {} bytes is not between 5 MiB and 5 GiB",
                parts.first
            )));
        }
        let holds = parts.capacity();
        match expected {
            Some(expected) if expected > holds => Err(Error::usage(format!(
                "{expected} bytes do not fit into {max} parts of {} bytes",
                parts.first
            ))
            .hint("leave --part-size out, or make it larger")),
            _ => Ok(parts),
        }
    }

    /// Parts that are held until there is more: without more they are one request. All have the first size.
    pub fn held(&self) -> u64 {
        if self.is_fixed {
            return 1;
        }
        let is_first_size = |number: &u64| self.size(*number) == Some(self.first);
        (2..=ONE_REQUEST.div_ceil(self.first)).take_while(is_first_size).last().unwrap_or(1)
    }

    /// Bytes of part `number`, counted from 1; none beyond the last.
    pub fn size(&self, number: u64) -> Option<u64> {
        let index = number.checked_sub(1).filter(|index| *index < self.max)?;
        let growing = self.max - self.equal;
        let doublings = (index.saturating_sub(self.equal) * STEPS).checked_div(growing).unwrap_or(0);
        Some((self.first << doublings).min(PART_MAX))
    }

    /// Parts of `size` on their way at once, at most: as many as `jobs` parts of 8 MiB, or of the size asked for,
    /// have bytes; one at least. How many there are follows from the line: the longer a part takes, the more.
    pub fn at_once(&self, jobs: usize, size: u64) -> usize {
        let budget = self.bytes_per_job.saturating_mul(jobs as u64);
        usize::try_from((budget / size.max(1)).max(1)).unwrap_or(1)
    }

    pub fn capacity(&self) -> u64 {
        (1..=self.max).filter_map(|number| self.size(number)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_and_hold_terabytes() {
        let parts = Parts::plan(None, None, None, false).unwrap();
        assert_eq!((parts.size(1), parts.held()), (Some(8 << 20), 2));
        assert_eq!(parts.size(1000), Some(8 << 20));
        assert_eq!(parts.size(1001), Some(16 << 20));
        assert_eq!(parts.size(10_000), Some(4 << 30));
        assert_eq!(parts.size(10_001), None);
        assert!(parts.capacity() > 7 << 40, "what S3 held in one object for its first 19 years is 5 TiB");
        assert_eq!(
            (parts.at_once(16, 8 << 20), parts.at_once(16, 32 << 20), parts.at_once(16, 1 << 30)),
            (16, 4, 1)
        );
    }

    #[test]
    fn what_is_asked_for_is_kept_or_refused() {
        let fixed = Parts::plan(Some(6 << 20), None, Some(1000), false).unwrap();
        assert_eq!((fixed.held(), fixed.at_once(16, 6 << 20)), (1, 16));
        let fixed = Parts::plan(Some(8 << 20), None, Some(1000), false).unwrap();
        assert_eq!((fixed.size(1), fixed.size(1000), fixed.size(1001)), (Some(8 << 20), Some(8 << 20), None));
        assert!(
            Parts::plan(Some(8 << 20), Some(8001 << 20), Some(1000), false).is_err(),
            "too long for its parts"
        );
        assert!(Parts::plan(Some(1 << 20), None, None, false).is_err(), "too small a part");
        assert!(Parts::plan(Some(6 << 30), None, None, false).is_err(), "too large a part");
        let expected = Parts::plan(None, Some(5 << 40), None, false).unwrap();
        assert!(expected.size(8000) == expected.size(1) && expected.size(10_000) > expected.size(1));
        assert_eq!(
            expected.at_once(16, expected.size(1).unwrap()),
            1,
            "large parts are not held sixteen at a time"
        );
        assert_eq!(expected.held(), 1);
        assert!(8000 * expected.size(1).unwrap() >= 5 << 40);
        // 10,000 parts of 5 GiB are what S3 takes at most today.
        let longest = Parts::plan(None, Some(48 << 40), None, true).unwrap();
        assert!(longest.size(1) == longest.size(10_000) && longest.capacity() >= 48 << 40);
        let equal = Parts::plan(None, None, None, true).unwrap();
        assert!(equal.size(1) == equal.size(10_000) && equal.capacity() > 600 << 30);
        for max in 1..20 {
            for expected in [None, Some(1)] {
                let few = Parts::plan(None, expected, Some(max), false).unwrap();
                assert!(few.capacity() >= 16 << 20, "{few:?}");
            }
        }
    }
}
