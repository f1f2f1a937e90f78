//! The names that an increment of files lists for each directory. What is listed there and not sent is as older backups
//! have it; what is not listed is gone.

use crate::error::{Error, Result};
use std::io::Read;

/// Bytes of the longest list: ten million names.
const LIMIT: u64 = 1 << 30;

/// The directories on the way to where the stream stands, outermost first.
#[derive(Default)]
pub struct Names {
    stack: Vec<Directory>,
}

struct Directory {
    /// With its slash.
    path: Vec<u8>,
    /// As GNU tar stores it: `Y` or `D`, the name and a zero, for each.
    list: Vec<u8>,
    /// Where each name begins in it, in the order of the names.
    begins: Vec<u32>,
}

impl Names {
    /// `path`: of the directory, with its slash. `content`: the member's.
    pub fn enter(&mut self, path: &[u8], size: u64, content: &mut impl Read) -> Result<()> {
        let bad = || Error::damaged(format!("{}: not a list of names", path.escape_ascii()));
        if size > LIMIT {
            return Err(bad());
        }
        let mut list = Vec::new();
        content.take(size).read_to_end(&mut list).map_err(|e| Error::io("read stdin", e))?;
        self.leave_for(path);
        let mut begins = Vec::new();
        let mut at = 0;
        while let Some([b'Y' | b'D', rest @ ..]) = list.get(at..) {
            let length = rest.iter().position(|byte| *byte == 0).ok_or_else(bad)?;
            begins.push(u32::try_from(at).map_err(|_| bad())?);
            at += length + 2;
        }
        if list.get(at..) != Some(&[0][..]) {
            return Err(bad());
        }
        begins.sort_unstable_by(|one, other| name_at(&list, *one).cmp(name_at(&list, *other)));
        self.stack.push(Directory { path: path.to_vec(), list, begins });
        Ok(())
    }

    /// Whether the file at `path` is listed, as a file. Paths come in the order of the stream.
    pub fn has(&mut self, path: &[u8]) -> bool {
        self.leave_for(path);
        let (parent, name) =
            path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1));
        self.stack.last().filter(|directory| directory.path == parent).is_some_and(|directory| {
            let list = &directory.list;
            let found = directory.begins.binary_search_by(|begin| name_at(list, *begin).cmp(name));
            let begin = found.ok().and_then(|at| directory.begins.get(at));
            begin.is_some_and(|begin| list.get(*begin as usize) == Some(&b'Y'))
        })
    }

    fn leave_for(&mut self, path: &[u8]) {
        while self.stack.last().is_some_and(|directory| !path.starts_with(&directory.path)) {
            self.stack.pop();
        }
    }
}

fn name_at(list: &[u8], begin: u32) -> &[u8] {
    let rest = list.get(begin as usize + 1..).unwrap_or_default();
    rest.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(names: &mut Names, path: &[u8], list: &[u8]) -> Result<()> {
        names.enter(path, list.len() as u64, &mut &list[..])
    }

    #[test]
    fn only_what_a_directory_lists_is_there() {
        let mut names = Names::default();
        enter(&mut names, b"", b"Dbase\0YPG_VERSION\0\0").unwrap();
        assert!(names.has(b"PG_VERSION"));
        enter(&mut names, b"base/", b"D1\0D5\0\0").unwrap();
        enter(&mut names, b"base/1/", b"Y12\0Y13\0Y1\0\0").unwrap();
        assert!(names.has(b"base/1/1") && names.has(b"base/1/12") && !names.has(b"base/1/14"));
        // A directory now, whatever older backups have there.
        assert!(!names.has(b"base/1"));
        enter(&mut names, b"base/1/", b"Y12\0\0").unwrap();
        // Listed by its parent, and gone before its own names were read.
        assert!(!names.has(b"base/5/1"));
        assert!(names.has(b"PG_VERSION") && !names.has(b"PG_VERSIO"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for list in [&b""[..], b"Y1\0", b"Y1", b"X1\0\0", b"Y1\0\0\0"] {
            assert!(enter(&mut Names::default(), b"base/", list).is_err(), "{list:?}");
        }
    }
}
