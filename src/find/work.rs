//! What one transaction, or a subtransaction, has done so far. It counts when it commits.

use crate::find::line::File;
use crate::pg::Lsn;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A row of a catalogue: database, block, offset. A row keeps its place as long as its transaction runs.
type Place = (u32, u32, u32);

/// What was done to a row of pg_class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Made(Place),
    Moved(Place, Place),
    Deleted(Place),
}

#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Rows, by file.
    pub deleted: BTreeMap<File, u64>,
    pub updated: BTreeMap<File, u64>,
    pub created: BTreeSet<File>,
    /// Relations that nobody else could use meanwhile, by database and OID.
    pub locked: BTreeSet<(u32, u32)>,
    /// In the order of the WAL.
    pub classes: Vec<(Lsn, Row)>,
    /// Where files of whole databases were removed.
    pub databases: Vec<u32>,
    /// Of each row of pg_database that was deleted: the record before which its database is still whole, and whether that is sure.
    pub database_rows: Vec<(Lsn, bool)>,
}

impl Work {
    pub fn absorb(&mut self, other: Work) {
        for (file, rows) in other.deleted {
            *self.deleted.entry(file).or_default() += rows;
        }
        for (file, rows) in other.updated {
            *self.updated.entry(file).or_default() += rows;
        }
        self.created.extend(other.created);
        self.locked.extend(other.locked);
        self.classes.extend(other.classes);
        self.databases.extend(other.databases);
        self.database_rows.extend(other.database_rows);
    }

    /// How many relations existed before the transaction, and do not after it.
    pub fn dropped(&self) -> usize {
        let mut rows = self.classes.clone();
        rows.sort_by_key(|(lsn, _)| *lsn);
        let mut own: HashSet<Place> = HashSet::new();
        let mut dropped = 0;
        for (_, row) in rows {
            match row {
                Row::Made(place) => {
                    own.insert(place);
                }
                Row::Moved(from, to) => {
                    if own.remove(&from) {
                        own.insert(to);
                    }
                }
                Row::Deleted(place) => dropped += usize::from(!own.remove(&place)),
            }
        }
        dropped
    }

    /// The relations of which something was dropped or replaced: not those that it made itself, which have the number of
    /// their first file.
    pub fn touched(&self) -> BTreeSet<(u32, u32)> {
        let made =
            |database, oid| self.created.iter().any(|file| (file.database, file.number) == (database, oid));
        self.locked.iter().copied().filter(|(database, oid)| !made(*database, *oid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_transaction_made_itself_is_no_drop() {
        let row = |number| (5, 0, number);
        let of = |classes| Work { classes, ..Work::default() };
        let mut work = of(vec![
            (Lsn(1), Row::Made(row(1))),
            (Lsn(2), Row::Moved(row(1), row(2))),
            (Lsn(3), Row::Deleted(row(2))),
        ]);
        assert_eq!(work.dropped(), 0);
        // Of a subtransaction, whose records lie in between.
        let sub = of(vec![(Lsn(4), Row::Deleted(row(9)))]);
        work.absorb(sub);
        assert_eq!(work.dropped(), 1);
        work.classes.swap(0, 2);
        assert_eq!(work.dropped(), 1);
    }
}
