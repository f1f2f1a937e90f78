//! Removes whole directories of which one object says that the rest is complete. That object goes first, so that an
//! interruption at any moment leaves no directory that looks complete; and another one last, as long as anything else
//! is there.

use crate::error::{Error, Result};
use crate::store::removal::Failures;
use crate::store::{Scheme, Span, Store, Url};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

/// The names that go first and last, below each directory.
pub struct Order<'a> {
    pub first: &'a str,
    pub last: Option<&'a str>,
}

/// The objects of each directory.
type Listed = BTreeMap<Url, Vec<Url>>;

/// Removes `directories`, whose URLs end with a slash: of each in turn the first object, durably; then of all of them
/// the rest. Where a first object cannot be removed, its directory and those after it stay as they are: what comes later
/// in the order may be what an earlier one needs. Calls `each` for those of which nothing is left.
pub fn remove_in_order(
    store: &Store,
    directories: &[Url],
    order: &Order<'_>,
    each: &mut dyn FnMut(&Url) -> Result<()>,
) -> Result<()> {
    if let Some(object) = directories.iter().find(|url| !url.is_directory()) {
        return Err(Error::usage(format!("rm {object}: the URL of a directory must end with /")));
    }
    let scheme = directories.first().map(Url::scheme);
    if let Some(other) = directories.iter().find(|url| Some(url.scheme()) != scheme) {
        return Err(Error::usage(format!("rm {other}: the URLs must be all s3:// or all file://")));
    }
    let mut failures = Failures::default();
    let mut listed = list(store, directories)?;
    let mut cleared = Vec::new();
    for directory in directories {
        let first = directory.join(order.first);
        let mut objects = listed.remove(directory).unwrap_or_default();
        // Whether it was listed or not: the listing may be older than it.
        let failed = if objects.is_empty() {
            Vec::new()
        } else {
            store.remove_all(std::slice::from_ref(&first), true)?
        };
        objects.retain(|object| *object != first);
        if let Some((_, error)) = failed.into_iter().next() {
            failures.add(error);
            break;
        }
        listed.insert(directory.clone(), objects);
        cleared.push(directory.clone());
    }
    let mut removing = Removing { store, order, failures, left: cleared.iter().cloned().collect() };
    removing.remove_all_but_last(&listed)?;
    if scheme == Some(Scheme::File) {
        cleared.iter().try_for_each(|directory| removing.remove_unfinished(directory))?;
    }
    // And what came meanwhile, such as a verdict.
    let left: Vec<Url> =
        cleared.iter().filter(|directory| removing.left.contains(directory)).cloned().collect();
    let listed = list(store, &left)?;
    removing.remove_all_but_last(&listed)?;
    removing.remove_last(&listed)?;
    cleared.iter().filter(|directory| removing.left.contains(directory)).try_for_each(each)?;
    removing.failures.into_result(directories.len())
}

struct Removing<'a> {
    store: &'a Store,
    order: &'a Order<'a>,
    failures: Failures,
    /// Directories of which everything could be removed so far.
    left: BTreeSet<Url>,
}

impl Removing<'_> {
    fn remove_all_but_last(&mut self, listed: &Listed) -> Result<()> {
        let last = self.order.last;
        self.remove(listed, |directory, object| last.is_none_or(|last| *object != directory.join(last)))
    }

    fn remove_last(&mut self, listed: &Listed) -> Result<()> {
        self.remove(listed, |_, _| true)
    }

    /// What is `wanted` of the directories that are left.
    fn remove(&mut self, listed: &Listed, wanted: impl Fn(&Url, &Url) -> bool) -> Result<()> {
        let of_left = listed.iter().filter(|(directory, _)| self.left.contains(directory));
        let objects =
            of_left.flat_map(|(directory, objects)| objects.iter().map(move |object| (directory, object)));
        let urls: Vec<Url> = objects
            .filter(|(directory, object)| wanted(directory, object))
            .map(|(_, object)| object.clone())
            .collect();
        for (url, error) in self.store.remove_all(&urls, true)? {
            self.left.retain(|directory| !url.is_below(directory));
            self.failures.add(error);
        }
        Ok(())
    }

    /// In a directory: what a killed writer had not given its name yet, and directories that are empty.
    fn remove_unfinished(&mut self, directory: &Url) -> Result<()> {
        let Removing { store, failures, left, .. } = self;
        store.leftovers(directory, Duration::ZERO, &mut |leftover| {
            if let Err(error) = store.remove_leftover(&leftover) {
                left.remove(directory);
                failures.add(error);
            }
            Ok(())
        })
    }
}

/// Those of a bucket that lie in one directory are listed together, from the first of them to the last.
fn list(store: &Store, directories: &[Url]) -> Result<Listed> {
    let mut listed = Listed::new();
    match (store, directories) {
        (Store::S3(_), [first, _, ..]) if directories.iter().all(|url| url.parent() == first.parent()) => {
            list_together(store, &first.parent(), directories, &mut listed)?;
        }
        _ => {
            for directory in directories {
                let objects: &mut Vec<Url> = listed.entry(directory.clone()).or_default();
                store.list(directory, true, &mut |entry| {
                    objects.push(entry.url);
                    Ok(())
                })?;
            }
        }
    }
    Ok(listed)
}

fn list_together(store: &Store, parent: &Url, directories: &[Url], listed: &mut Listed) -> Result<()> {
    let wanted: BTreeSet<&Url> = directories.iter().collect();
    let (Some(least), Some(greatest)) = (wanted.first(), wanted.last()) else { return Ok(()) };
    let name = least.to_string();
    let after = name.strip_prefix(&parent.to_string()).unwrap_or_default().to_owned();
    let span = Span { recursive: true, after: &after, ..Span::default() };
    let listing = store.scan(parent, &span, &mut |entry| {
        if entry.url > **greatest && !entry.url.is_below(greatest) {
            // Names come in order: the rest is none of these.
            return Ok(ControlFlow::Break(()));
        }
        if let Some(directory) = wanted.iter().find(|directory| entry.url.is_below(directory)) {
            listed.entry((*directory).clone()).or_default().push(entry.url);
        }
        Ok(ControlFlow::Continue(()))
    });
    listing.map(drop)
}
