//! One line of pg_waldump (`XLogDumpDisplayRecord` in pg_waldump.c), which is one WAL record. The fields before `desc:`
//! are the same from 13 to 19; what a resource manager says after it is not (rmgrdesc).

use crate::pg::Lsn;

/// `DEFAULTTABLESPACE_OID` and `GLOBALTABLESPACE_OID` (pg_tablespace_d.h).
const DEFAULT_TABLESPACE: u32 = 1663;
const GLOBAL_TABLESPACE: u32 = 1664;

/// A relation's main file. Its number is at first that of the relation, and another after TRUNCATE, VACUUM FULL and the
/// like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct File {
    pub tablespace: u32,
    pub database: u32,
    pub number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The resource manager's name.
    pub manager: &'a str,
    /// 0: of no transaction.
    pub xid: u32,
    pub lsn: Lsn,
    pub description: &'a str,
}

impl<'a> Line<'a> {
    /// `None` for what is no such line, as is most of what a user's text has after an end of line.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (manager, rest) = text.strip_prefix("rmgr: ")?.split_once(" len (rec/tot): ")?;
        let (_, rest) = rest.split_once(", tx: ")?;
        let (xid, rest) = rest.split_once(", lsn: ")?;
        let (lsn, rest) = rest.split_once(", prev ")?;
        let (_, description) = rest.split_once(", desc: ")?;
        Some(Line {
            manager: manager.trim_end(),
            xid: xid.trim_start().parse().ok()?,
            lsn: lsn.parse().ok()?,
            description,
        })
    }

    /// What follows the name of the operation, if it is this one.
    pub fn operation(&self, name: &str) -> Option<&'a str> {
        self.description.strip_prefix(name)?.strip_prefix([' ', ';'])
    }

    /// The main forks' blocks that it changes.
    pub fn blocks(&self) -> impl Iterator<Item = (File, u32)> + use<'a> {
        self.description.split(", blkref #").skip(1).filter_map(block)
    }
}

/// `0: rel 1663/5/16384 blk 0 FPW`. Another fork has its name behind the file's.
fn block(text: &str) -> Option<(File, u32)> {
    let mut words = text.split_once(": rel ")?.1.split_whitespace();
    let mut numbers = words.next()?.split('/').map(str::parse);
    let mut number = || numbers.next()?.ok();
    let file = File { tablespace: number()?, database: number()?, number: number()? };
    match words.next()? {
        "blk" => Some((file, words.next()?.trim_end_matches(',').parse().ok()?)),
        _ => None,
    }
}

/// `relpath`: `base/5/16384`, `global/1262`, `pg_tblspc/16385/PG_15_202209061/5/16390`. `None` for other forks.
pub fn file_of_path(path: &str) -> Option<File> {
    let parts: Vec<&str> = path.split('/').collect();
    let (tablespace, database, number) = match parts[..] {
        ["base", database, number] => (DEFAULT_TABLESPACE, database.parse().ok()?, number),
        ["global", number] => (GLOBAL_TABLESPACE, 0, number),
        ["pg_tblspc", tablespace, _, database, number] => {
            (tablespace.parse().ok()?, database.parse().ok()?, number)
        }
        _ => return None,
    };
    Some(File { tablespace, database, number: number.parse().ok()? })
}

/// The number after a word: `off 5` before 16, `off: 5` since.
pub fn number_after(text: &str, word: &str) -> Option<u32> {
    let at = text.match_indices(word).find(|(at, _)| {
        let is_whole = |neighbour: Option<u8>| neighbour.is_none_or(|byte| b" :;,".contains(&byte));
        let before = at.checked_sub(1).map(|before| text.as_bytes()[before]);
        is_whole(before) && is_whole(text.as_bytes().get(at + word.len()).copied())
    })?;
    let rest = text[at.0 + word.len()..].trim_start_matches([':', ' ']);
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_majors() {
        let old = "rmgr: Heap        len (rec/tot):     59/    59, tx:        729, lsn: 0/01BA20D0, prev 0/01BA2068, \
                   desc: DELETE off 12 flags 0x00 KEYS_UPDATED , blkref #0: rel 1663/5/16384 blk 7 FPW";
        let new = "rmgr: Heap        len (rec/tot):     59/    59, tx:        729, lsn: 0/01BA20D0, prev 0/01BA2068, \
                   desc: DELETE xmax: 729, off: 12, infobits: [KEYS_UPDATED], flags: 0x00, blkref #0: rel \
                   1663/5/16384 blk 7, blkref #1: rel 1663/5/16384 fork vm blk 0";
        for text in [old, new] {
            let line = Line::parse(text).unwrap();
            assert_eq!((line.manager, line.xid, line.lsn), ("Heap", 729, Lsn(0x1BA20D0)));
            assert_eq!(number_after(line.operation("DELETE").unwrap(), "off"), Some(12));
            let file = File { tablespace: 1663, database: 5, number: 16384 };
            assert_eq!(line.blocks().collect::<Vec<_>>(), [(file, 7)]);
            assert_eq!(line.operation("DEL"), None);
        }
        let update = "off 5 xmax 733 flags 0x60 ; new off 15 xmax 0";
        assert_eq!((number_after(update, "off"), number_after(update, "new off")), (Some(5), Some(15)));
        let update = "old_xmax: 733, old_off: 5, old_infobits: [], flags: 0x60, new_xmax: 0, new_off: 15";
        assert_eq!((number_after(update, "old_off"), number_after(update, "new_off")), (Some(5), Some(15)));
        for text in [
            "",
            "rmgr: Heap",
            "line of a name",
            "rmgr: Heap len (rec/tot): 1/1, tx: x, lsn: 0/1, prev 0/1, desc: X",
        ] {
            assert_eq!(Line::parse(text), None);
        }
    }

    #[test]
    fn paths_of_files() {
        let file = |tablespace, database, number| Some(File { tablespace, database, number });
        assert_eq!(file_of_path("base/5/16384"), file(1663, 5, 16384));
        assert_eq!(file_of_path("global/1262"), file(1664, 0, 1262));
        assert_eq!(file_of_path("pg_tblspc/16385/PG_15_202209061/5/16390"), file(16385, 5, 16390));
        for path in ["base/5/16384_fsm", "base/5/16384_init", "pg_wal/1", ""] {
            assert_eq!(file_of_path(path), None);
        }
    }
}
