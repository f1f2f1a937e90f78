//! Where each tablespace goes. Decided from the stream's identity before anything is written: a
//! tablespace at its old place could be the living original's.

use crate::catalog::StreamTablespace;
use crate::error::{Error, IoContext, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// From the command line.
#[derive(Default)]
pub struct Wanted {
    /// OID or name, and its directory.
    pub each: Vec<(String, PathBuf)>,
    /// Where the others go, each in a directory named by its OID.
    pub under: Option<PathBuf>,
}

/// An absolute directory for each tablespace that does not lie in place.
pub fn decide(
    spaces: &[StreamTablespace],
    wanted: &Wanted,
    root: Option<&Path>,
) -> Result<BTreeMap<u32, PathBuf>> {
    let spaces: Vec<_> = spaces.iter().filter(|space| space.location.is_some()).collect();
    for (key, _) in &wanted.each {
        if !spaces.iter().any(|space| is_key_of(key, space)) {
            return Err(Error::usage(format!("the backup has no tablespace {key}")).hint(describe(&spaces)));
        }
    }
    let mut places = BTreeMap::new();
    for space in &spaces {
        let each = wanted.each.iter().find(|(key, _)| is_key_of(key, space)).map(|(_, path)| path.clone());
        let place = each.or_else(|| Some(wanted.under.as_ref()?.join(space.oid.to_string())));
        let Some(place) = place else {
            return Err(Error::usage(format!(
                "no place was given for tablespace {} ({})",
                space.oid, space.name
            ))
            .hint(describe(&spaces))
            .hint("give --tablespace OID=DIR for each, or --tablespaces-under DIR; nothing was written"));
        };
        places.insert(space.oid, std::path::absolute(&place).during_path("find", &place)?);
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
        };
        let decide = |wanted: &Wanted| decide(&spaces, wanted, Some(Path::new("/data")));
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
