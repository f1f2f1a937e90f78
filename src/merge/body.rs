//! The directories and files of the cluster, in the order of their paths, as the newest backup has them.

use crate::catalog::Selection;
use crate::error::Result;
use crate::merge::file;
use crate::merge::link::Link;
use crate::merge::output::Output;
use std::io::Write;

/// Reads the data of all links, oldest first. `selection`: files of other databases are passed over.
pub fn merge<W: Write>(
    links: &mut [Link],
    selection: Option<&Selection>,
    output: &mut Output<W>,
) -> Result<()> {
    for link in links.iter_mut() {
        link.begin()?;
    }
    while let Some(key) = links.iter().filter_map(Link::key).min().map(<[u8]>::to_vec) {
        if key.ends_with(b"/") {
            directory(links, &key, output)?;
        } else if !selection.is_some_and(|selection| selection.skips_file(&key)) && is_there(links, &key) {
            file::merge(links, &key, output)?;
        }
        for link in links.iter_mut().filter(|link| link.at(&key).is_some()) {
            link.skip_rest()?;
            link.advance()?;
        }
    }
    Ok(())
}

/// Whether the newest backup has the file: its stream does, or it is an increment of files that lists the name, and the
/// backup before it has the file.
fn is_there(links: &mut [Link], key: &[u8]) -> bool {
    for link in links.iter_mut().rev() {
        if link.at(key).is_some() {
            return true;
        }
        if !link.lists(key) {
            return false;
        }
    }
    false
}

/// An increment of files tells of `pg_wal` at its end only; the full has what belongs into it.
fn directory<W: Write>(links: &mut [Link], key: &[u8], output: &mut Output<W>) -> Result<()> {
    for link in links.iter_mut() {
        link.enter(key)?;
    }
    let Some(newest) = links.last() else { return Ok(()) };
    let is_wal = newest.is_increment_of_files() && key.starts_with(b"pg_wal/");
    let found = match is_wal {
        true => links.iter().rev().find_map(|link| link.at(key)),
        false => newest.at(key),
    };
    let path = key.strip_suffix(b"/").unwrap_or(key);
    found.map_or(Ok(()), |data| output.tar.directory(path, data.member.attributes()))
}
