//! Timelines and their histories (timeline.c): whether a backup's start lies in a server's past.

use crate::pg::Lsn;

/// The name of a timeline's history file.
pub fn history_name(timeline: u32) -> String {
    format!("{timeline:08X}.history")
}

/// Whose history a file of that name is.
pub fn timeline_of_history(name: &str) -> Option<u32> {
    let timeline = u32::from_str_radix(name.strip_suffix(".history")?, 16).ok()?;
    (history_name(timeline) == name).then_some(timeline)
}

/// A timeline as far as a younger one goes along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    pub timeline: u32,
    pub begin: Lsn,
    /// Where it was left; of the last one there is no end.
    pub end: Lsn,
}

impl Branch {
    /// A timeline of whose past nothing needs to be known.
    pub fn alone(timeline: u32) -> Self {
        Branch { timeline, begin: Lsn(0), end: Lsn(u64::MAX) }
    }
}

/// The way to `timeline`, oldest first, as its history tells it (`readTimeLineHistory`); `None` for what is no history
/// of it.
pub fn branches(history: &str, timeline: u32) -> Option<Vec<Branch>> {
    let mut way = Vec::new();
    let mut begin = Lsn(0);
    let lines = history.lines().map(str::trim_start);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut fields = line.split_whitespace();
        let branch =
            Branch { timeline: fields.next()?.parse().ok()?, begin, end: fields.next()?.parse().ok()? };
        let is_younger = way.last().is_none_or(|older: &Branch| older.timeline < branch.timeline);
        if !is_younger || branch.timeline >= timeline || branch.end < begin {
            return None;
        }
        begin = branch.end;
        way.push(branch);
    }
    way.push(Branch { begin, ..Branch::alone(timeline) });
    Some(way)
}

/// Where `history` (a history file's text: lines of a timeline, where it was left, and why) says that `ancestor` was
/// left for a younger timeline.
pub fn left_at(history: &str, ancestor: u32) -> Option<Lsn> {
    let left_at = |line: &str| {
        let mut fields = line.split_whitespace();
        let timeline: u32 = fields.next()?.parse().ok()?;
        let switch: Lsn = fields.next()?.parse().ok()?;
        (timeline == ancestor).then_some(switch)
    };
    history.lines().find_map(left_at)
}

/// Whether `lsn` on `ancestor` is part of the history that `history` tells.
pub fn is_in_history(history: &str, ancestor: u32, lsn: Lsn) -> bool {
    left_at(history, ancestor).is_some_and(|switch| lsn <= switch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories() {
        assert_eq!(history_name(10), "0000000A.history");
        assert_eq!(timeline_of_history("0000000A.history"), Some(10));
        assert_eq!(timeline_of_history("A.history"), None);
        let text = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tbefore x\n";
        assert!(is_in_history(text, 1, Lsn(0x2000000)));
        assert!(is_in_history(text, 2, Lsn(0x5000000)));
        assert!(!is_in_history(text, 1, Lsn(0x3000001)));
        assert!(!is_in_history(text, 3, Lsn(0)));
    }

    #[test]
    fn a_history_is_a_way() {
        let branch = |timeline, begin, end| Branch { timeline, begin: Lsn(begin), end: Lsn(end) };
        let text = "# a comment\n1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tbefore x\n";
        let way =
            [branch(1, 0, 0x300_0000), branch(2, 0x300_0000, 0x500_0000), branch(4, 0x500_0000, u64::MAX)];
        assert_eq!(branches(text, 4).unwrap(), way);
        assert_eq!(branches("", 1).unwrap(), [Branch::alone(1)]);
        for bad in ["x\t0/1\n", "1\n", "2\t0/5\n1\t0/6\n", "1\t0/5\n2\t0/4\n", "4\t0/5\n"] {
            assert_eq!(branches(bad, 4), None, "{bad}");
        }
    }
}
