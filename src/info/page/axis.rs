//! Where a moment lies on a picture, in percent of its width, whatever that is; and which moments are named below it.

use crate::info::words::month;
use time::{Date, Duration, Month, OffsetDateTime, Time, UtcOffset};

/// More do not fit beside each other. A narrow picture leaves out every other one.
const MOST_TICKS: usize = 8;
/// So that a single backup is not all of the picture.
const LEAST: Duration = Duration::DAY;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) from: OffsetDateTime,
    pub(super) to: OffsetDateTime,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) percent: f64,
    pub(super) words: String,
}

impl Axis {
    /// From the first of these moments until now, or to the last of them where a clock is ahead.
    pub(super) fn over(moments: impl Iterator<Item = OffsetDateTime> + Clone, now: OffsetDateTime) -> Axis {
        let to = moments.clone().max().map_or(now, |last| last.max(now));
        let from = moments.min().unwrap_or(to).min(to - LEAST);
        Axis { from: from.to_offset(UtcOffset::UTC), to: to.to_offset(UtcOffset::UTC) }
    }

    pub(super) fn length(&self) -> Duration {
        self.to - self.from
    }

    pub(super) fn contains(&self, time: OffsetDateTime) -> bool {
        self.from <= time && time <= self.to
    }

    /// 0 to 100; what lies outside is at the edge.
    pub(super) fn percent(&self, time: OffsetDateTime) -> f64 {
        let share = (time - self.from).as_seconds_f64() / self.length().as_seconds_f64().max(1.0);
        share.clamp(0.0, 1.0) * 100.0
    }

    /// What of a stretch can be seen: where it begins, and how wide it is.
    pub(super) fn span(&self, from: OffsetDateTime, to: OffsetDateTime) -> Option<(f64, f64)> {
        let is_seen = from <= to && from <= self.to && to >= self.from;
        is_seen.then(|| (self.percent(from), self.percent(to) - self.percent(from)))
    }

    /// Whole hours, days, months or years, as few as needed.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let steps = [1, 3, 6, 12].map(Duration::hours).into_iter().chain([1, 2, 7, 14].map(Duration::days));
        for step in steps {
            if self.length() / step < MOST_TICKS as f64 {
                return self.by_length(step);
            }
        }
        for step in [1, 3, 6] {
            let ticks = self.by_months(step);
            if ticks.len() <= MOST_TICKS {
                return ticks;
            }
        }
        let years = self.to.year() - self.from.year() + 1;
        let most = i32::try_from(MOST_TICKS).unwrap_or(1);
        self.by_months(12 * u32::try_from((years + most - 1) / most).unwrap_or(1).max(1))
    }

    /// Weeks begin on Mondays.
    fn by_length(&self, step: Duration) -> Vec<Tick> {
        let seconds = step.whole_seconds();
        // 1970-01-05 was a Monday.
        let monday = 4 * 86_400;
        let first = (self.from.unix_timestamp() - monday).div_euclid(seconds) * seconds + monday;
        let times = (0..2 * MOST_TICKS as i64)
            .filter_map(|n| OffsetDateTime::from_unix_timestamp(first + n * seconds).ok());
        let name = |time: OffsetDateTime| match (step < Duration::DAY, time.time() == Time::MIDNIGHT) {
            (true, false) => format!("{:02}:{:02}", time.hour(), time.minute()),
            _ => format!("{} {}", month(time), time.day()),
        };
        self.shown(times, name)
    }

    fn by_months(&self, step: u32) -> Vec<Tick> {
        let first = i64::from(self.from.year()) * 12 / i64::from(step) * i64::from(step);
        let last = i64::from(self.to.year()) * 12 + 12;
        let months = (first..=last).step_by(usize::try_from(step).unwrap_or(1).max(1));
        let times = months.filter_map(|number| {
            let month = Month::try_from(u8::try_from(number.rem_euclid(12) + 1).ok()?).ok()?;
            let day = Date::from_calendar_date(i32::try_from(number.div_euclid(12)).ok()?, month, 1).ok()?;
            Some(day.midnight().assume_utc())
        });
        let name = |time: OffsetDateTime| match step % 12 {
            0 => time.year().to_string(),
            _ => format!("{} {}", month(time), time.year()),
        };
        self.shown(times, name)
    }

    fn shown(
        &self,
        times: impl Iterator<Item = OffsetDateTime>,
        name: impl Fn(OffsetDateTime) -> String,
    ) -> Vec<Tick> {
        let seen = times.filter(|time| self.contains(*time));
        seen.map(|time| Tick { percent: self.percent(time), words: name(time) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> OffsetDateTime {
        crate::catalog::time_of(text).unwrap()
    }

    fn axis(from: &str, to: &str) -> Axis {
        Axis { from: at(from), to: at(to) }
    }

    fn words(from: &str, to: &str) -> Vec<String> {
        axis(from, to).ticks().into_iter().map(|tick| tick.words).collect()
    }

    #[test]
    fn moments_lie_in_proportion_and_never_outside() {
        let axis = axis("2026-11-01T00:00:00Z", "2026-11-11T00:00:00Z");
        assert_eq!(axis.percent(at("2026-11-06T00:00:00Z")), 50.0);
        assert_eq!(
            (axis.percent(at("2025-11-06T00:00:00Z")), axis.percent(at("2027-11-06T00:00:00Z"))),
            (0.0, 100.0)
        );
        assert_eq!(axis.span(at("2026-10-01T00:00:00Z"), at("2026-11-02T00:00:00Z")), Some((0.0, 10.0)));
        assert_eq!(axis.span(at("2026-10-01T00:00:00Z"), at("2026-10-02T00:00:00Z")), None);
        assert_eq!(axis.span(at("2026-11-03T00:00:00Z"), at("2026-11-02T00:00:00Z")), None, "backwards");
    }

    #[test]
    fn an_axis_ends_now_and_is_a_day_at_least() {
        let now = at("2026-11-11T00:00:00Z");
        assert_eq!(Axis::over([].into_iter(), now), axis("2026-11-10T00:00:00Z", "2026-11-11T00:00:00Z"));
        assert_eq!(Axis::over([now].into_iter(), now).length(), Duration::DAY);
        let (old, ahead) = (at("2026-10-11T00:00:00Z"), at("2026-11-12T00:00:00Z"));
        assert_eq!(Axis::over([ahead, old].into_iter(), now), Axis { from: old, to: ahead });
    }

    #[test]
    fn ticks_are_whole_units_and_few() {
        assert_eq!(
            words("2026-11-10T12:30:00Z", "2026-11-11T12:30:00Z"),
            ["18:00", "Nov 11", "06:00", "12:00"]
        );
        assert_eq!(words("2026-11-08T00:00:00Z", "2026-11-11T00:00:00Z").len(), 7);
        assert_eq!(words("2026-11-04T01:00:00Z", "2026-11-11T00:00:00Z")[0], "Nov 5");
        // Mondays.
        assert_eq!(
            words("2026-10-27T00:00:00Z", "2026-11-30T01:00:00Z"),
            ["Nov 2", "Nov 9", "Nov 16", "Nov 23", "Nov 30"]
        );
        assert_eq!(
            words("2026-01-15T00:00:00Z", "2026-06-15T00:00:00Z"),
            ["Feb 2026", "Mar 2026", "Apr 2026", "May 2026", "Jun 2026"]
        );
        assert_eq!(
            words("2024-02-15T00:00:00Z", "2026-11-15T00:00:00Z"),
            ["Jul 2024", "Jan 2025", "Jul 2025", "Jan 2026", "Jul 2026"]
        );
        assert_eq!(
            words("2000-02-15T00:00:00Z", "2026-11-15T00:00:00Z"),
            ["2004", "2008", "2012", "2016", "2020", "2024"]
        );
        for hours in [24, 40, 100, 900, 5_000, 50_000, 500_000] {
            let axis = Axis {
                from: at("2026-11-11T00:00:00Z") - Duration::hours(hours),
                to: at("2026-11-11T00:00:00Z"),
            };
            let ticks = axis.ticks();
            assert!((2..=MOST_TICKS + 1).contains(&ticks.len()), "{hours} h: {ticks:?}");
            assert!(ticks.windows(2).all(|pair| pair[0].percent < pair[1].percent));
        }
    }
}
