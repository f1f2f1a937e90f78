//! Timelines and their histories (timeline.c): whether a backup's start lies in a server's past.

use crate::pg::Lsn;

/// The name of a timeline's history file.
pub fn history_name(timeline: u32) -> String {
    format!("{timeline:08X}.history")
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
        let text = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tbefore x\n";
        assert!(is_in_history(text, 1, Lsn(0x2000000)));
        assert!(is_in_history(text, 2, Lsn(0x5000000)));
        assert!(!is_in_history(text, 1, Lsn(0x3000001)));
        assert!(!is_in_history(text, 3, Lsn(0)));
    }
}
