//! Chains of backups beside each other: a chain has its own lane as long as it goes on, and the next one may follow in the
//! same lane.

use crate::catalog::{Label, time_of};
use crate::info::Set;
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

/// More lanes would be a wall. What does not fit shares the last one.
pub(super) const MOST_LANES: usize = 10;

/// A set in the picture: complete or not, it has a time.
pub(super) struct Placed<'a> {
    pub(super) set: &'a Set,
    pub(super) at: OffsetDateTime,
    pub(super) lane: usize,
}

/// The end of a backup; of what is not complete, when it was begun.
pub(super) fn time_of_set(set: &Set) -> Option<OffsetDateTime> {
    let stopped = set.committed().and_then(|record| time_of(&record.backup.stopped_at));
    stopped.or_else(|| set.label.time())
}

/// Of one system identifier's sets. `apart`: what two chains in one lane must be apart.
pub(super) fn place(sets: &[Set], apart: Duration) -> Vec<Placed<'_>> {
    let mut chains: BTreeMap<&str, (OffsetDateTime, OffsetDateTime)> = BTreeMap::new();
    let timed = || sets.iter().filter_map(|set| Some((set, time_of_set(set)?)));
    for (set, at) in timed() {
        let chain = chains.entry(chain_of(&set.label)).or_insert((at, at));
        *chain = (chain.0.min(at), chain.1.max(at));
    }
    let mut order: Vec<_> = chains.iter().map(|(chain, (from, to))| (*from, *to, *chain)).collect();
    order.sort_unstable();
    let mut ends: Vec<OffsetDateTime> = Vec::new();
    let mut lanes: BTreeMap<&str, usize> = BTreeMap::new();
    for (from, to, chain) in order {
        let free = ends.iter().position(|end| *end + apart <= from);
        let lane = free.unwrap_or_else(|| {
            if ends.len() < MOST_LANES {
                ends.push(from);
            }
            ends.len() - 1
        });
        ends[lane] = ends[lane].max(to);
        lanes.insert(chain, lane);
    }
    timed().map(|(set, at)| Placed { set, at, lane: lanes[chain_of(&set.label)] }).collect()
}

pub(super) fn chain_of(label: &Label) -> &str {
    label.full_part()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::State;
    use crate::info::marks::Marks;

    pub(in crate::info::page) fn set(label: &str) -> Set {
        Set {
            cluster: "15-main".to_owned(),
            system_identifier: 7,
            label: label.parse().unwrap(),
            url: String::new(),
            stored_bytes: 1,
            state: State::Incomplete("no record".to_owned()),
            verdicts: Vec::new(),
            unread_verdict: None,
            marks: Marks::default(),
        }
    }

    fn lanes(labels: &[&str]) -> Vec<usize> {
        let sets: Vec<Set> = labels.iter().map(|label| set(label)).collect();
        place(&sets, Duration::HOUR).iter().map(|placed| placed.lane).collect()
    }

    #[test]
    fn chains_that_follow_each_other_share_a_lane() {
        assert_eq!(
            lanes(&["20261101-010000F", "20261101-010000F_20261102-010000I", "20261103-010000F"]),
            [0, 0, 0]
        );
        // Less than an hour apart, and one that goes on after the next has begun.
        assert_eq!(lanes(&["20261101-010000F", "20261101-013000F", "20261101-020000F"]), [0, 1, 0]);
        assert_eq!(
            lanes(&["20261101-010000F", "20261103-010000F", "20261101-010000F_20261104-010000I"]),
            [0, 1, 0]
        );
        assert_eq!(lanes(&[]), [0; 0]);
    }

    #[test]
    fn what_does_not_fit_shares_the_last_lane() {
        let labels: Vec<String> = (10..30).map(|minute| format!("20261101-01{minute}00F")).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let lanes = lanes(&labels);
        assert_eq!(lanes[..MOST_LANES], (0..MOST_LANES).collect::<Vec<_>>());
        assert!(lanes[MOST_LANES..].iter().all(|lane| *lane == MOST_LANES - 1));
    }
}
