//! Where each tablespace goes. Decided from the stream's identity before anything is written: a
//! tablespace at its old place could be the living original's.

use crate::catalog::StreamTablespace;
use crate::error::{Error, IoContext, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// From the command line.
#[derive(Default)]
pub struct Wanted {
    /// OID or name, and its directory.
    pub each: Vec<(String, PathBuf)>,
    /// Where the others go, each in a directory named by its OID.
    pub under: Option<PathBuf>,
    /// Whether each must be of a tablespace that the backup has: others of the chain may have it.
    pub strict: bool,
}

impl Wanted {
    /// Whether a tablespace that is linked to `place` was put there by a run with the same options.
    pub fn is_meant(&self, oid: u32, place: &Path) -> bool {
        let absolute = |path: PathBuf| std::path::absolute(path).ok();
        let under = self.under.as_ref().and_then(|under| absolute(under.join(oid.to_string())));
        let mut each = self.each.iter().filter_map(|(_, path)| absolute(path.clone()));
        under.as_deref() == Some(place) || each.any(|path| path == place)
    }
}

/// An absolute directory for each tablespace that does not lie in place. `known`: where they are linked
/// to already.
pub fn decide(
    spaces: &[StreamTablespace],
    wanted: &Wanted,
    known: &BTreeMap<u32, PathBuf>,
    root: Option<&Path>,
) -> Result<BTreeMap<u32, PathBuf>> {
    let spaces: Vec<_> = spaces.iter().filter(|space| space.location.is_some()).collect();
    for (key, _) in wanted.each.iter().filter(|_| wanted.strict) {
        if !spaces.iter().any(|space| is_key_of(key, space)) {
            return Err(Error::usage(format!("the backup has no tablespace {key}")).hint(describe(&spaces)));
        }
    }
    let mut places = BTreeMap::new();
    for space in &spaces {
        let each = wanted.each.iter().find(|(key, _)| is_key_of(key, space)).map(|(_, path)| path.clone());
        let place = each
            .or_else(|| known.get(&space.oid).cloned())
            .or_else(|| Some(wanted.under.as_ref()?.join(space.oid.to_string())));
        let Some(place) = place else {
            return Err(Error::usage(format!(
                "no place was given for tablespace {} ({})",
                space.oid, space.name
            ))
            .hint(describe(&spaces))
            .hint("give --tablespace OID=DIR for each, or --tablespaces-under DIR; nothing was written"));
        };
        let place = std::path::absolute(&place).during_path("find", &place)?;
        if let Some(there) = known.get(&space.oid).filter(|there| **there != place) {
            return Err(Error::usage(format!(
                "tablespace {} lies in {} already, not in {}",
                space.oid,
                there.display(),
                place.display()
            ))
            .hint("nothing was written"));
        }
        places.insert(space.oid, place);
    }
    check(&places, root)?;
    Ok(places)
}

fn is_key_of(key: &str, space: &StreamTablespace) -> bool {
    key == space.oid.to_string() || key == space.name
}

fn check(places: &BTreeMap<u32, PathBuf>, root: Option<&Path>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for place in places.values() {
        if !seen.insert(place) {
            return Err(Error::usage(format!("{} was given for two tablespaces", place.display())));
        }
        if root.is_some_and(|root| place.starts_with(root) || root.starts_with(place)) {
            return Err(Error::usage(format!(
                "tablespace directory {} and the data directory must not contain each other",
                place.display()
            )));
        }
    }
    Ok(())
}

/// Where the tablespaces of a data directory are linked to.
pub fn linked(root: &Path) -> Result<BTreeMap<u32, PathBuf>> {
    let directory = root.join("pg_tblspc");
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.during_path("read", &directory)?,
    };
    let mut links = BTreeMap::new();
    for entry in entries {
        let entry = entry.during_path("read", &directory)?;
        let oid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let (Some(oid), Ok(place)) = (oid, std::fs::read_link(entry.path())) {
            links.insert(oid, place);
        }
    }
    Ok(links)
}

fn describe(spaces: &[&StreamTablespace]) -> String {
    if spaces.is_empty() {
        return "it has none".to_owned();
    }
    let one = |space: &&StreamTablespace| {
        format!("{} ({}), once at {}", space.oid, space.name, space.location.as_deref().unwrap_or("?"))
    };
    format!("it has {}", spaces.iter().map(one).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(oid: u32, name: &str, location: Option<&str>) -> StreamTablespace {
        StreamTablespace { oid, name: name.to_owned(), location: location.map(str::to_owned) }
    }

    #[test]
    fn each_needs_a_place_of_its_own() {
        let spaces = [space(1, "fast", Some("/f")), space(2, "big", Some("/b")), space(3, "in", None)];
        let wanted = |each: &[(&str, &str)], under: Option<&str>| Wanted {
            each: each.iter().map(|(key, path)| ((*key).to_owned(), PathBuf::from(path))).collect(),
            under: under.map(PathBuf::from),
            strict: true,
        };
        let decide = |wanted: &Wanted| decide(&spaces, wanted, &BTreeMap::new(), Some(Path::new("/data")));
        let places = decide(&wanted(&[("fast", "/x")], Some("/t"))).unwrap();
        assert_eq!(places, BTreeMap::from([(1, "/x".into()), (2, "/t/2".into())]));
        assert!(decide(&wanted(&[("1", "/x"), ("big", "/y")], None)).is_ok());
        for bad in [
            wanted(&[], None),
            wanted(&[("fast", "/x")], None),
            wanted(&[("fast", "/x"), ("big", "/x")], None),
            wanted(&[("fats", "/x")], Some("/t")),
            wanted(&[], Some("/data")),
            wanted(&[("1", "/")], Some("/t")),
        ] {
            assert!(decide(&bad).is_err(), "{:?} {:?}", bad.each, bad.under);
        }
    }
}
