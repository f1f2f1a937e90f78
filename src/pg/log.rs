//! What a server writes where a recovery fails, in English (lc_messages = C) as the minimal configuration of a drill has it.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read as _};

/// Bytes of a line that are looked at.
const LINE_LIMIT: u64 = 64 << 10;

/// Lines as they were written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Some file system is full.
    pub disk_full: Option<String>,
    /// The last WAL file that restore_command could not fetch for a reason that is not about the file: it exits with 200.
    /// Not where pgv-wal-get found a hole in the archive, which is about the archive.
    pub unfetched: Option<String>,
    /// What stopped recovery because a tablespace's directory is missing.
    pub tablespace: Option<String>,
    /// The last line that is fatal, or if none is the last line.
    pub fatal: Option<String>,
}

impl Seen {
    /// What the machine lacks, and what to do about it.
    pub fn lacking(&self) -> Option<(&str, &'static str)> {
        let tablespace = || {
            let what = self.tablespace.as_deref()?;
            let advice =
                "the WAL creates a tablespace: create that directory, empty, owned by the server's user";
            Some((what, advice))
        };
        let disk = self.disk_full.as_deref().map(|what| (what, "restore into a directory on a larger disk"));
        disk.or_else(tablespace)
    }
}

pub fn look(text: &str) -> Seen {
    let mut seen = Seen::default();
    let mut hole = false;
    let mut last = None;
    let mut last_fatal = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        last = Some(line);
        if line.contains("No space left on device") {
            seen.disk_full.get_or_insert_with(|| line.to_owned());
        }
        if line.contains("a hole in the archive") {
            hole = true;
        }
        if let Some(name) = unfetched(line) {
            seen.unfetched = Some(name.to_owned());
        }
        if line.contains("FATAL") || line.contains("PANIC") {
            last_fatal = Some(line);
        }
        if line.contains("HINT:  Create this directory for the tablespace") {
            seen.tablespace = last_fatal.map(str::to_owned);
        }
    }
    if hole {
        seen.unfetched = None;
    }
    seen.fatal = last_fatal.or(last).map(str::to_owned);
    seen
}

/// The relations of which a server with ignore_invalid_pages lacked pages that the WAL changes. Its words are in no
/// catalog of messages (report_invalid_page, xlogutils.c), so they are English whatever lc_messages is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct InvalidPages {
    /// Paths below the data directory.
    pub relations: BTreeSet<String>,
}

impl InvalidPages {
    /// Memory grows with the number of relations.
    pub fn read(mut log: impl BufRead) -> io::Result<Self> {
        let mut found = InvalidPages::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut log).take(LINE_LIMIT).read_until(b'\n', &mut line)? == 0 {
                return Ok(found);
            }
            if let Some(path) = invalid_relation(&String::from_utf8_lossy(&line))
                && !found.relations.contains(path)
            {
                found.relations.insert(path.to_owned());
            }
        }
    }
}

/// Of `page 7 of relation base/5/2619 is uninitialized` or `… does not exist`.
fn invalid_relation(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once(" of relation ")?;
    let (words, number) = before.rsplit_once(' ')?;
    let (path, why) = rest.trim_end().split_once(' ')?;
    let is_page = words.ends_with("page") && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_page && matches!(why, "is uninitialized" | "does not exist")).then_some(path)
}

fn unfetched(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("could not restore file \"")?;
    let (name, rest) = rest.split_once("\" from archive: ")?;
    rest.starts_with("child process exited with exit code 200").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNFETCHED: &str = "FATAL:  could not restore file \"00000001000000000000000A\" from archive: child process exited with exit code 200\n";

    #[test]
    fn a_file_that_could_not_be_fetched_is_named_unless_there_is_a_hole() {
        assert_eq!(look(UNFETCHED).unfetched.as_deref(), Some("00000001000000000000000A"));
        let hole = format!("pgv-wal-get: error: x: a hole in the archive\n{UNFETCHED}");
        assert_eq!(look(&hole).unfetched, None);
        assert_eq!(look(&UNFETCHED.replace("200", "1")).unfetched, None);
    }

    #[test]
    fn relations_without_their_pages() {
        let text = "2026 [7] WARNING:  page 0 of relation base/16385/2619 is uninitialized\n\
            [7] CONTEXT:  WAL redo at 0/5 for Heap2/VISIBLE: cutoff xid 7\n\
            [7] WARNING:  page 12 of relation pg_tblspc/16400/PG_15_1/16385/7_vm does not exist\n\
            [7] WARNING:  01000: page 3 of relation base/16385/2619 is uninitialized\n\
            [7] WARNING:  WAL contains references to invalid pages\n\
            [7] LOG:  statement: select 'page 3 of relation x is odd', 'page x of relation y does not exist'";
        let found = InvalidPages::read(text.as_bytes()).unwrap();
        let expected = ["base/16385/2619", "pg_tblspc/16400/PG_15_1/16385/7_vm"].map(str::to_owned);
        assert_eq!(found.relations, expected.into());
    }

    #[test]
    fn the_last_fatal_line_says_why() {
        let text = "LOG:  a\nFATAL:  b\nHINT:  Create this directory for the tablespace before restarting the server.\nLOG:  c\n\n";
        let seen = look(text);
        assert_eq!(seen.fatal.as_deref(), Some("FATAL:  b"));
        assert_eq!(seen.tablespace.as_deref(), Some("FATAL:  b"));
        assert_eq!(look("LOG:  a\nLOG:  b\n\n").fatal.as_deref(), Some("LOG:  b"));
        assert_eq!(look(""), Seen::default());
        assert!(look("PANIC:  could not write: No space left on device\n").disk_full.is_some());
    }
}
