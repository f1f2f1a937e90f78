//! Some databases of a backup: which they are, by name, and which parts of its streams a restore of them reads.

use crate::catalog::{Database, Databases, Label, MembersReader, Selection, escape, member};
use crate::error::{Error, IoContext, Result};
use crate::info::files::{Chosen, plain_path};
use crate::pg::relation::{database_of, is_oid};
use crate::stream::{Part, part_of};
use crate::tar::{Kind, TarReader};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};

/// Bytes of `pgv/databases`: some hundred for each.
const LIMIT: u64 = 256 << 20;

/// `pgv/databases`, if a part of a stream has it.
pub fn read_databases(part: impl Read) -> Result<Option<Databases>> {
    let mut tar = TarReader::new(part);
    while let Some(member) = tar.next_member()? {
        let mut content = Vec::new();
        tar.content().take(LIMIT).read_to_end(&mut content).during("read the databases of the backup")?;
        if member.kind == Kind::File && member.path == member::DATABASES.as_bytes() {
            return Databases::parse(&content).map(Some);
        }
    }
    Ok(None)
}

/// The databases that a stream has files of, by its list of members.
pub fn databases_of<R: BufRead>(mut members: MembersReader<R>) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    while let Some(member) = members.next_member()? {
        found.extend(std::str::from_utf8(&member.path).ok().and_then(database_of));
    }
    Ok(found)
}

/// What was asked for, by names or OIDs. `databases`: those of the backup, if it names them. `present`: those it has files of,
/// if that is known. Refuses what is not there as usage, with what is.
pub fn select(
    label: &Label,
    names: &[Vec<u8>],
    databases: Option<&Databases>,
    present: Option<&BTreeSet<u32>>,
) -> Result<Selection> {
    let number = |name: &[u8]| {
        std::str::from_utf8(name).ok().filter(|text| is_oid(text)).and_then(|text| text.parse::<u32>().ok())
    };
    let Some(databases) = databases else {
        let numbers = |name: &Vec<u8>| {
            match number(name) {
            Some(oid) if present.is_none_or(|present| present.contains(&oid)) => Ok(oid),
            Some(oid) => Err(Error::usage(format!("backup {label} has no database with OID {oid}"))
                .hint(format!("nothing was written; it has {}", words(present.into_iter().flatten())))),
            None => Err(Error::usage(format!(
                "--database {}: the names of the databases of backup {label} are not known",
                escape(name)
            ))
            .hint("nothing was written; give OIDs, which are the names of the directories in base: 1 is template1")
            .hint("on a server of the cluster: select oid, datname from pg_database")),
        }
        };
        let chosen = names.iter().map(numbers).collect::<Result<BTreeSet<_>>>()?;
        return Ok(Selection::new(label.clone(), chosen.into_iter().collect(), None));
    };
    let all = &databases.databases;
    let find = |name: &Vec<u8>| {
        let by_name = all.iter().find(|database| database.name == *name);
        let found = by_name.or_else(|| all.iter().find(|database| Some(database.oid) == number(name)));
        found.map(|database| database.oid).ok_or_else(|| {
            let known = words(all.iter().map(|database| escape(&database.name)));
            Error::usage(format!("backup {label} has no database {}", escape(name)))
                .hint(format!("nothing was written; it has {known}"))
        })
    };
    let chosen = names.iter().map(find).collect::<Result<BTreeSet<_>>>()?;
    let is_skipped =
        |database: &&Database| !database.is_template && database.oid != 1 && !chosen.contains(&database.oid);
    let skipped = all.iter().filter(is_skipped).cloned().collect();
    Ok(Selection::new(label.clone(), chosen.into_iter().collect(), Some(skipped)))
}

fn words<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

/// What a restore of some databases reads of one stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub chosen: Chosen,
    /// Of the whole stream.
    pub stream_bytes: u64,
    /// Of the files that are read, by tablespace; without an OID, those in the data directory.
    pub bytes: BTreeMap<Option<u32>, u64>,
}

/// `members`: those of the stream, from their beginning. `is_newest`: whether all that follows the data is needed; else
/// only its last member is, which shows that the stream is whole.
pub fn share<R: BufRead>(
    mut members: MembersReader<R>,
    selection: &Selection,
    is_newest: bool,
) -> Result<Share> {
    let mut share = Share::default();
    let mode = members.mode();
    let mut last = None;
    while let Some(member) = members.next_member()? {
        let is_rest = part_of(member.kind, &member.path, mode) == Part::Rest
            && member.path != member::IDENTITY.as_bytes();
        if is_rest && !is_newest {
            last = Some(member.span);
            continue;
        }
        let path = plain_path(&member, mode);
        if member.kind == Kind::File && selection.skips_file(&path) {
            continue;
        }
        if !is_rest {
            *share.bytes.entry(tablespace_of(&path)).or_default() += member.size;
        }
        share.chosen.files += u64::from(member.kind == Kind::File);
        share.chosen.take(&member.span);
    }
    last.iter().chain(&members.end_marker()).for_each(|span| share.chosen.take(span));
    share.stream_bytes = members.end_marker().map_or(0, |end| end.end);
    Ok(share)
}

fn tablespace_of(path: &[u8]) -> Option<u32> {
    let rest = std::str::from_utf8(path).ok()?.strip_prefix("pg_tblspc/")?;
    rest.split('/').next()?.parse().ok()
}

/// The lines of `pgv-info recovery` for this restore. `shares`: of each link, oldest first, nothing of one that is read
/// whole; `stored`: bytes of each object. The bytes are those of all links together, which is no less than what is written.
pub fn way(
    text: &str,
    shares: &[Option<Share>],
    stored: &[u64],
    selection: &Selection,
    names: &[Vec<u8>],
) -> String {
    let mut read = 0;
    for (share, stored) in shares.iter().zip(stored) {
        read += share.as_ref().map_or(*stored, |share| {
            let wanted: u64 = share.chosen.ranges.iter().map(|range| range.end - range.start).sum();
            let part = u128::from(*stored) * u128::from(wanted) / u128::from(share.stream_bytes.max(1));
            u64::try_from(part).unwrap_or(*stored)
        });
    }
    let mut bytes: BTreeMap<Option<u32>, u64> = BTreeMap::new();
    for share in shares.iter().flatten() {
        share.bytes.iter().for_each(|(space, size)| *bytes.entry(*space).or_default() += size);
    }
    // Of a link that is read whole nobody knows before it is read.
    let is_known = shares.iter().all(Option::is_some);
    let total: u64 = bytes.values().sum();
    let mut lines = String::new();
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let space = value.split(' ').next().and_then(|oid| oid.parse::<u32>().ok());
        let line = match key {
            "stored_bytes" => format!("{key} {read}"),
            "database_bytes" | "merged_bytes" if is_known => {
                format!("{key} {}", total.min(value.parse().unwrap_or(total)))
            }
            "tablespace" if is_known => {
                let mut words = value.splitn(3, ' ');
                let (oid, size) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let present = bytes.get(&space).copied().unwrap_or_default();
                let size = present.min(size.parse().unwrap_or(present));
                format!("{key} {oid} {size} {}", words.next().unwrap_or_default())
            }
            _ => line.to_owned(),
        };
        lines.extend([&line, "\n"]);
    }
    for name in names {
        lines.extend(["database ", &escape(name), "\n"]);
    }
    for database in selection.skipped() {
        lines.extend(["skipped ", &escape(&database.name), "\n"]);
    }
    lines
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // a list of ranges may have one
mod tests {
    use super::*;
    use crate::info::files::tests::members_of;

    fn databases() -> Databases {
        let one = |oid, name: &str, is_template| Database {
            oid,
            name: name.as_bytes().to_vec(),
            is_template,
            accepts_connections: true,
            tablespace: 1663,
        };
        let all =
            [(1, "template1", true), (5, "postgres", false), (16384, "shop", false), (16385, "5", false)];
        Databases::new(all.into_iter().map(|(oid, name, template)| one(oid, name, template)).collect())
    }

    fn label() -> Label {
        "20261123-010000F_20261124-010000I".parse().unwrap()
    }

    fn names(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn databases_by_name_and_by_number() {
        let databases = databases();
        let chosen = |texts: &[&str]| select(&label(), &names(texts), Some(&databases), None);
        let selection = chosen(&["shop"]).unwrap();
        assert_eq!(selection.chosen, [16384]);
        let skips = |selection: &Selection| [1, 5, 16384, 16385, 16390].map(|oid| selection.skips(oid));
        assert_eq!(skips(&selection), [false, true, false, true, false]);
        // A name comes before a number.
        assert_eq!(chosen(&["5", "16384", "5"]).unwrap().chosen, [16384, 16385]);
        for wrong in ["01", "+1"] {
            assert!(chosen(&[wrong]).is_err(), "{wrong}");
        }
        let error = chosen(&["shop", "sho"]).unwrap_err();
        assert_eq!(error.kind, crate::error::Kind::Usage);
        assert!(error.to_string().contains("has no database sho"), "{error}");
        let numbered = |texts: &[&str]| select(&label(), &names(texts), None, Some(&[1, 16384].into()));
        assert_eq!(skips(&numbered(&["16384"]).unwrap()), [false, false, false, true, true]);
        for wrong in ["shop", "16385", "-1", "", "016384", "+16384"] {
            assert_eq!(numbered(&[wrong]).unwrap_err().kind, crate::error::Kind::Usage, "{wrong}");
        }
        assert_eq!(select(&label(), &names(&["9"]), None, None).unwrap().chosen, [9]);
    }

    #[test]
    fn what_is_read_of_a_stream() {
        let members = [
            (".", "directory", 512, 0),
            ("pgv/stream.json", "file", 1024, 10),
            ("base", "directory", 2048, 0),
            ("base/16384", "directory", 2560, 0),
            ("base/16384/7", "file", 3072, 512),
            ("base/16385", "directory", 4096, 0),
            ("base/16385/INCREMENTAL.7", "file", 4608, 1024),
            ("base/16385/8", "file", 6144, 512),
            ("global/1", "file", 7168, 512),
            ("pg_wal/1", "file", 8192, 512),
            ("global/pg_control", "file", 9216, 512),
        ];
        let text = members_of(&members, 7680, 10752);
        let members = || MembersReader::open(text.as_bytes(), "members").unwrap();
        assert_eq!(databases_of(members()).unwrap(), [16384, 16385].into());
        let selection = select(&label(), &names(&["shop"]), Some(&databases()), None).unwrap();
        let newest = share(members(), &selection, true).unwrap();
        assert_eq!(newest.chosen.ranges, [0..4096, 6656..10752]);
        assert_eq!((newest.stream_bytes, &newest.bytes), (10752, &[(None, 1034)].into()));
        assert_eq!(
            share(members(), &selection, false).unwrap().chosen.ranges,
            [0..4096, 6656..7680, 8704..10752]
        );
        let plan = way(
            "stored_bytes 3000\ndatabase_bytes 5000\ntablespace 7 400 far off\nlabel L\n",
            &[Some(newest), None],
            &[1000, 2000],
            &selection,
            &names(&["shop"]),
        );
        assert_eq!(
            plan,
            "stored_bytes 2761\ndatabase_bytes 5000\ntablespace 7 400 far off\nlabel L\ndatabase shop\nskipped postgres\nskipped 5\n"
        );
    }
}
