//! The directories and files of the cluster, in the order of their paths, as the newest backup has them.

use crate::error::Result;
use crate::merge::file;
use crate::merge::link::Link;
use crate::merge::names::Names;
use crate::merge::output::Output;
use std::io::Write;

/// Links must stand at their first member. `links` are oldest first, and not empty.
pub fn merge<W: Write>(links: &mut [Link], output: &mut Output<W>, scratch: &mut [u8]) -> Result<()> {
    let Some(newest) = links.last() else { return Ok(()) };
    let of_files = newest.is_increment_of_files();
    let mut names = Names::default();
    if of_files {
        let list = &newest.top.1;
        names.enter(b"", list.len() as u64, &mut &list[..]).map_err(|error| newest.named(error))?;
    }
    while let Some(key) = links.iter().filter_map(Link::key).min().map(<[u8]>::to_vec) {
        match key.ends_with(b"/") {
            true => directory(links, &key, of_files, &mut names, output)?,
            false => {
                let is_there = links.last().is_some_and(|newest| newest.at(&key).is_some());
                if is_there || of_files && names.has(&key) {
                    file::merge(links, &key, output, scratch)?;
                }
            }
        }
        for link in links.iter_mut().filter(|link| link.at(&key).is_some()) {
            link.skip_rest(scratch)?;
            link.advance(scratch)?;
        }
    }
    Ok(())
}

/// An increment of files tells of `pg_wal` at its end only; the full has what belongs into it.
fn directory<W: Write>(
    links: &mut [Link],
    key: &[u8],
    of_files: bool,
    names: &mut Names,
    output: &mut Output<W>,
) -> Result<()> {
    let is_wal = key.starts_with(b"pg_wal/");
    let path = key.strip_suffix(b"/").unwrap_or(key);
    let Some(newest) = links.last_mut() else { return Ok(()) };
    if let Some(data) = newest.at(key) {
        let (size, attributes) = (data.member.size, data.member.attributes());
        if of_files {
            let listed = names.enter(key, size, &mut newest.tar.content());
            listed.map_err(|error| newest.named(error))?;
        }
        return output.tar.directory(path, attributes);
    }
    let older = links.iter().rev().find_map(|link| link.at(key)).filter(|_| of_files && is_wal);
    older.map_or(Ok(()), |data| output.tar.directory(path, data.member.attributes()))
}
