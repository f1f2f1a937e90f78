//! Where each tablespace goes, and the WAL. Decided from the stream's identity before anything is
//! written: a tablespace at its old place could be the living original's.

use crate::apply::look::{self, Content};
use crate::catalog::StreamTablespace;
use crate::error::{Error, IoContext, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// From the command line.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// OID or name, and its directory.
    pub each: Vec<(String, PathBuf)>,
    /// Where the others go, each in a directory named by its OID.
    pub under: Option<PathBuf>,
    /// Where pg_wal goes, if not into the data directory.
    pub wal: Option<PathBuf>,
    /// Whether each must be of a tablespace that the backup has: others of the chain may have it.
    pub strict: bool,
}

/// What a data directory links to.
#[derive(Clone, Debug, Default)]
pub struct Linked {
    pub spaces: BTreeMap<u32, PathBuf>,
    pub wal: Option<PathBuf>,
}

/// How a place was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Given,
    /// The data directory links to it already.
    Linked,
    Under,
    /// It lies in the data directory.
    Inside,
    /// Nobody said it.
    Nowhere,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Given => "given",
            How::Linked => "linked",
            How::Under => "under",
            How::Inside => "inside",
            How::Nowhere => "nowhere",
        })
    }
}

/// A directory outside the data directory, which links to it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Absolute, as it was said; the link's text.
    pub path: PathBuf,
    /// Where that leads.
    pub real: PathBuf,
    pub content: Content,
    /// An interrupted run with the same options was writing it: it is cleared, and not refused.
    pub ours: bool,
    /// The data directory links to it, and is not made anew: what it holds belongs there.
    pub kept: bool,
}

impl Place {
    fn new(path: &Path, kept: bool, ours: bool) -> Result<Self> {
        let path = std::path::absolute(path).during_path("find", path)?;
        let real = look::resolve(&path)?;
        let content = look::content(&real)?;
        Ok(Place { path, real, content, ours, kept })
    }
}

#[derive(Clone, Debug)]
pub struct Space {
    pub oid: u32,
    pub name: String,
    pub how: How,
    pub place: Option<Place>,
    /// Where the data directory links to it, if not where it shall go.
    other: Option<PathBuf>,
}

pub struct Places {
    pub spaces: Vec<Space>,
    pub wal: Option<Place>,
    pub wal_how: How,
    wal_other: Option<PathBuf>,
}

impl Places {
    /// `linked`: where the data directory, which is not made anew, links to. `left`: where an interrupted
    /// run did. Refuses only what cannot be looked at.
    pub fn find(
        spaces: &[StreamTablespace],
        wanted: &Wanted,
        linked: &Linked,
        left: &Linked,
    ) -> Result<Self> {
        let spaces: Result<Vec<_>> =
            spaces.iter().map(|space| find_space(space, wanted, linked, left)).collect();
        let how = match (&wanted.wal, &linked.wal) {
            (Some(_), _) => How::Given,
            (None, Some(_)) => How::Linked,
            (None, None) => How::Inside,
        };
        let path = wanted.wal.as_ref().or(linked.wal.as_ref());
        let kept = |path: &Path| is_same(linked.wal.as_deref(), path);
        let ours = |path: &Path| is_same(left.wal.as_deref(), path);
        let wal = path.map(|path| Place::new(path, kept(path)?, ours(path)?)).transpose()?;
        let wal_other =
            wal.as_ref().and(linked.wal.clone()).filter(|_| !wal.as_ref().is_some_and(|wal| wal.kept));
        Ok(Places { spaces: spaces?, wal, wal_how: how, wal_other })
    }

    /// All outside the data directory.
    pub fn outside(&self) -> impl Iterator<Item = &Place> {
        self.spaces.iter().filter_map(|space| space.place.as_ref()).chain(&self.wal)
    }

    /// By the OID of its tablespace, or none for pg_wal.
    pub fn links(&self) -> BTreeMap<Option<u32>, PathBuf> {
        let spaces = self
            .spaces
            .iter()
            .filter_map(|space| Some((Some(space.oid), space.place.as_ref()?.path.clone())));
        spaces.chain(self.wal.iter().map(|wal| (None, wal.path.clone()))).collect()
    }

    /// Refuses, as usage, places that cannot be what is meant. `root`: resolved.
    pub fn check(&self, spaces: &[StreamTablespace], wanted: &Wanted, root: &Path) -> Result<()> {
        let outside: Vec<_> = spaces.iter().filter(|space| space.location.is_some()).collect();
        for (key, _) in wanted.each.iter().filter(|_| wanted.strict) {
            if !outside.iter().any(|space| is_key_of(key, space)) {
                return Err(
                    Error::usage(format!("the backup has no tablespace {key}")).hint(describe(&outside))
                );
            }
        }
        for space in &self.spaces {
            if space.how == How::Nowhere {
                return Err(Error::usage(format!(
                    "no place was given for tablespace {} ({})",
                    space.oid, space.name
                ))
                .hint(describe(&outside))
                .hint(
                    "give --tablespace OID=DIR for each, or --tablespaces-under DIR; nothing was written",
                ));
            }
            if let (Some(other), Some(place)) = (&space.other, &space.place) {
                return Err(elsewhere(&format!("tablespace {}", space.oid), other, place));
            }
        }
        if let (Some(other), Some(place)) = (&self.wal_other, &self.wal) {
            return Err(elsewhere("pg_wal", other, place));
        }
        let mut seen: Vec<&Path> = Vec::new();
        for Place { path, real, .. } in self.outside() {
            let contains = |other: &Path| real.starts_with(other) || other.starts_with(real);
            if seen.contains(&real.as_path()) {
                return Err(Error::usage(format!("{} was given more than once", path.display()))
                    .hint("nothing was written"));
            }
            if let Some(other) = seen.iter().find(|other| contains(other)) {
                return Err(Error::usage(format!(
                    "{} and {} must not contain each other",
                    path.display(),
                    other.display()
                ))
                .hint("nothing was written"));
            }
            if contains(root) {
                return Err(Error::usage(format!(
                    "directory {} and the data directory must not contain each other",
                    path.display()
                ))
                .hint("nothing was written"));
            }
            seen.push(real);
        }
        Ok(())
    }
}

fn find_space(space: &StreamTablespace, wanted: &Wanted, linked: &Linked, left: &Linked) -> Result<Space> {
    let known = linked.spaces.get(&space.oid);
    let given = wanted.each.iter().find(|(key, _)| is_key_of(key, space)).map(|(_, path)| path.clone());
    let under = wanted.under.as_ref().map(|under| under.join(space.oid.to_string()));
    let (how, path) = match (&space.location, given, known, under) {
        (None, ..) => (How::Inside, None),
        (_, Some(given), ..) => (How::Given, Some(given)),
        (_, _, Some(known), _) => (How::Linked, Some(known.clone())),
        (_, _, _, Some(under)) => (How::Under, Some(under)),
        _ => (How::Nowhere, None),
    };
    let mut other = None;
    let place = match path {
        Some(path) => {
            let kept = is_same(known.map(PathBuf::as_path), &path)?;
            other = known.filter(|_| !kept).cloned();
            let ours = is_same(left.spaces.get(&space.oid).map(PathBuf::as_path), &path)?;
            Some(Place::new(&path, kept, ours)?)
        }
        None => None,
    };
    Ok(Space { oid: space.oid, name: space.name.clone(), how, place, other })
}

fn is_same(known: Option<&Path>, path: &Path) -> Result<bool> {
    match known {
        Some(known) => Ok(look::resolve(known)? == look::resolve(path)?),
        None => Ok(false),
    }
}

fn elsewhere(what: &str, there: &Path, place: &Place) -> Error {
    Error::usage(format!("{what} is in {} already, not in {}", there.display(), place.path.display()))
        .hint("nothing was written")
}

fn is_key_of(key: &str, space: &StreamTablespace) -> bool {
    key == space.oid.to_string() || key == space.name
}

/// What a data directory links to. Of a directory that is no link where pg_wal should be one, that.
pub fn linked(root: &Path) -> Result<Linked> {
    let wal = match std::fs::read_link(root.join("pg_wal")) {
        Ok(place) => Some(root.join(place)),
        Err(_) => None,
    };
    let directory = root.join("pg_tblspc");
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Linked { spaces: BTreeMap::new(), wal });
        }
        entries => entries.during_path("read", &directory)?,
    };
    let mut spaces = BTreeMap::new();
    for entry in entries {
        let entry = entry.during_path("read", &directory)?;
        let oid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let (Some(oid), Ok(place)) = (oid, std::fs::read_link(entry.path())) {
            spaces.insert(oid, directory.join(place));
        }
    }
    Ok(Linked { spaces, wal })
}

fn describe(spaces: &[&StreamTablespace]) -> String {
    if spaces.is_empty() {
        return "the backup has no tablespaces".to_owned();
    }
    let one = |space: &&StreamTablespace| {
        format!("{} ({}), originally at {}", space.oid, space.name, space.location.as_deref().unwrap_or("?"))
    };
    format!("the backup has {}", spaces.iter().map(one).collect::<Vec<_>>().join("; "))
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
        let wanted = |each: &[(&str, &str)], under: Option<&str>, wal: Option<&str>| Wanted {
            each: each.iter().map(|(key, path)| ((*key).to_owned(), PathBuf::from(path))).collect(),
            under: under.map(PathBuf::from),
            wal: wal.map(PathBuf::from),
            strict: true,
        };
        let decide = |wanted: &Wanted| {
            let places = Places::find(&spaces, wanted, &Linked::default(), &Linked::default())?;
            places.check(&spaces, wanted, Path::new("/no-data")).map(|()| places.links())
        };
        let links = decide(&wanted(&[("fast", "/no-x")], Some("/no-t"), Some("/no-w"))).unwrap();
        let expected = [(Some(1), "/no-x"), (Some(2), "/no-t/2"), (None, "/no-w")];
        assert_eq!(links, expected.map(|(oid, path)| (oid, PathBuf::from(path))).into());
        assert!(decide(&wanted(&[("1", "/no-x"), ("big", "/no-y")], None, None)).is_ok());
        for bad in [
            wanted(&[], None, None),
            wanted(&[("fast", "/no-x")], None, None),
            wanted(&[("fast", "/no-x"), ("big", "/no-x")], None, None),
            wanted(&[("fast", "/no-x"), ("big", "/no-x/y")], None, None),
            wanted(&[("fats", "/no-x")], Some("/no-t"), None),
            wanted(&[], Some("/no-data"), None),
            wanted(&[("1", "/")], Some("/no-t"), None),
            wanted(&[("1", "/no-x")], Some("/no-t"), Some("/no-t/2")),
            wanted(&[], Some("/no-t"), Some("/no-data/wal")),
        ] {
            assert!(decide(&bad).is_err(), "{bad:?}");
        }
    }
}
