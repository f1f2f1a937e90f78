//! A directory in which only some databases are whole, after its recovery: whether the whole ones are, and which are not.

use crate::catalog::{Selection, member};
use crate::cli::lines::Lines;
use crate::error::{Error, IoContext, Result};
use crate::pg::log::InvalidPages;
use crate::pg::relation::{database_of, is_oid};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const VERSION: &str = "PG_VERSION";
/// Relations that a message names.
const NAMED: usize = 5;

/// Of a directory that `pgv-apply --databases` wrote; of another there is none.
pub fn read(root: &Path) -> Result<Option<Selection>> {
    let path = root.join(member::SELECTION);
    match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        json => Selection::parse(&json.during_path("read", &path)?).map(Some),
    }
}

/// `skipped OID` for each database that is not whole; `copied OID` for one that recovery made by copying such a database.
/// `chosen OID` for what was asked for. Refuses as damaged if the WAL has changes of pages that a whole database lacks.
pub fn skipped(root: &Path, invalid: &InvalidPages) -> Result<Lines> {
    let selection = read(root)?
        .ok_or_else(|| Error::usage(format!("{} has no {}", root.display(), member::SELECTION)))?;
    let found = directories(root)?;
    let is_whole = |relation: &&String| match database_of(relation) {
        None => true,
        Some(oid) if selection.skips(oid) => false,
        // A copy of a skipped database, which may have been dropped since.
        Some(oid) => selection.chosen.contains(&oid) || found.whole.contains(&oid),
    };
    let bad: Vec<_> = invalid.relations.iter().filter(is_whole).collect();
    if !bad.is_empty() {
        let mut named = bad.iter().take(NAMED).map(|path| path.as_str()).collect::<Vec<_>>().join(", ");
        if bad.len() > NAMED {
            named += &format!(" and {} others", bad.len() - NAMED);
        }
        return Err(Error::damaged(format!(
            "the WAL changes pages that these relations of whole databases do not have: {named}"
        )));
    }
    let mut lines = Lines::new();
    for oid in &selection.chosen {
        lines.add("chosen", oid);
    }
    for oid in &found.hollow {
        lines.add(if selection.skips(*oid) { "skipped" } else { "copied" }, oid);
    }
    Ok(lines)
}

/// Databases, by whether their version can be read.
#[derive(Debug, Default)]
struct Found {
    whole: BTreeSet<u32>,
    hollow: BTreeSet<u32>,
}

fn directories(root: &Path) -> Result<Found> {
    let mut found = Found::default();
    let mut places = vec![root.join("base")];
    for space in entries(&root.join("pg_tblspc"))? {
        let versions = entries(&space)?;
        places.extend(versions.into_iter().filter(|path| name(path).starts_with("PG_")));
    }
    for database in places.iter().map(|place| entries(place)).collect::<Result<Vec<_>>>()?.concat() {
        let Some(oid) = Some(name(&database)).filter(|name| is_oid(name)).and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Only in its default tablespace a database has one.
        let path = database.join(VERSION);
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            version => {
                let databases = match version.during_path("look at", &path)?.len() {
                    0 => &mut found.hollow,
                    _ => &mut found.whole,
                };
                databases.insert(oid);
            }
        }
    }
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Of a directory; what is none has none.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) => {
            Ok(Vec::new())
        }
        entries => entries
            .during_path("read", directory)?
            .map(|entry| Ok(entry.during_path("read", directory)?.path()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Database;
    use crate::error::Kind;

    #[test]
    fn only_what_was_left_out_may_lack_pages() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        let database = |oid: u32, place: &str, version: &str| {
            let directory = root.join(place).join(oid.to_string());
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(VERSION), version).unwrap();
        };
        database(1, "base", "15\n");
        database(16384, "base", "15\n");
        database(16385, "pg_tblspc/16400/PG_15_202209061", "");
        database(16390, "base", "");
        fs::create_dir_all(root.join("base/pgsql_tmp")).unwrap();
        fs::create_dir_all(root.join("pg_tblspc/16400/PG_15_202209061/16384")).unwrap();
        fs::create_dir(root.join("pgv")).unwrap();
        let left_out = Database {
            oid: 16385,
            name: b"b".to_vec(),
            is_template: false,
            accepts_connections: true,
            tablespace: 16400,
        };
        let json = Selection::new("20261123-010000F".parse().unwrap(), vec![16384], Some(vec![left_out]));
        assert!(read(root).unwrap().is_none());
        fs::write(root.join(member::SELECTION), json.encode().unwrap()).unwrap();
        let told = |relations: &[&str]| {
            let relations = relations.iter().map(|path| (*path).to_owned()).collect();
            skipped(root, &InvalidPages { relations }).map(|lines| lines.as_str().to_owned())
        };
        // 16391 was dropped again.
        let good = ["base/16390/1", "pg_tblspc/16400/PG_15_202209061/16385/7_vm", "base/16391/1"];
        assert_eq!(told(&good).unwrap(), "chosen 16384\nskipped 16385\ncopied 16390\n");
        for bad in [
            "base/16384/2619",
            "base/1/2619",
            "global/1262",
            "odd",
            "pg_tblspc/16400/PG_15_202209061/16384/7",
        ] {
            let error = told(&[bad]).unwrap_err();
            assert!(error.kind == Kind::Damaged && error.to_string().contains(bad), "{error}");
        }
    }
}
