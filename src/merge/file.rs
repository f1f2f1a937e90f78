//! One file of the result: whole as one backup has it, with the blocks that newer ones changed in it.

use crate::error::{Error, Result};
use crate::merge::link::Link;
use crate::merge::output::Output;
use crate::pg::incremental::Header;
use crate::stream::{Pages, Source};
use crate::tar::Attributes;
use std::io::Write;

/// Changed blocks, and where their stream stands.
struct Layer {
    /// The number of the link.
    link: usize,
    header: Header,
    /// How many of the blocks were read.
    read: usize,
}

/// Writes the file at `key`, if a link has it. What is left of the members there is for the caller to skip.
pub fn merge<W: Write>(links: &mut [Link], key: &[u8], output: &mut Output<W>) -> Result<()> {
    let (mut layers, base) = find(links, key)?;
    let newest = links.iter().rev().find_map(|link| link.at(key));
    let Some(attributes) = newest.map(|data| data.member.attributes()) else { return Ok(()) };
    match base {
        Some(base) if layers.is_empty() => copy(&mut links[base], key, attributes, output),
        Some(base) => lay(links, base, &mut layers, (key, attributes), output),
        None => Err(Error::damaged(format!(
            "{}: the changed blocks of a file that no older backup of the chain has",
            key.escape_ascii()
        ))),
    }
}

/// The changed blocks of the file, newest first, and the link that has it whole.
fn find(links: &mut [Link], key: &[u8]) -> Result<(Vec<Layer>, Option<usize>)> {
    let mut layers = Vec::new();
    for (number, link) in links.iter_mut().enumerate().rev() {
        let Some(data) = link.at(key) else { continue };
        if !data.is_increment {
            return Ok((layers, Some(number)));
        }
        let size = data.member.size;
        let (page_size, segment_pages) = (link.identity.page_size, link.identity.segment_pages);
        let header = Header::read(&mut link.tar.content(), size, page_size, segment_pages);
        let header = header.map_err(|error| link.named(error.context(key.escape_ascii())))?;
        layers.push(Layer { link: number, header, read: 0 });
    }
    Ok((layers, None))
}

fn copy<W: Write>(link: &mut Link, key: &[u8], attributes: Attributes, output: &mut Output<W>) -> Result<()> {
    let size = link.tar.unread();
    let mut file = output.begin(key, size, attributes)?;
    link.pass(size, &mut |data| output.data(&mut file, data))?;
    output.end_data(file)
}

fn lay<W: Write>(
    links: &mut [Link],
    base: usize,
    layers: &mut [Layer],
    (key, attributes): (&[u8], Attributes),
    output: &mut Output<W>,
) -> Result<()> {
    let page = u64::from(links[base].identity.page_size);
    let base_size = links[base].tar.unread();
    let count = u32::try_from(base_size.div_ceil(page)).unwrap_or(u32::MAX);
    if count > links[base].identity.segment_pages {
        return Err(Error::damaged(format!("{}: too long for a segment", key.escape_ascii())));
    }
    let mut pages = Pages::of_base(count);
    layers.reverse();
    for (number, layer) in layers.iter().enumerate() {
        let number = u8::try_from(number).map_err(|_| Error::usage("too many streams"))?;
        pages.lay(number, &layer.header);
    }
    let mut file = output.begin(key, u64::from(pages.count()) * page, attributes)?;
    for run in pages.runs() {
        let bytes = u64::from(run.count) * page;
        match run.source {
            Source::Zeros => zeros(bytes, &mut |data| output.data(&mut file, data))?,
            Source::Base => {
                let link = &mut links[base];
                let at = u64::from(run.first) * page;
                // What newer backups have changed.
                let passed = base_size - link.tar.unread();
                link.skip(at - passed)?;
                let there = bytes.min(base_size - at);
                link.pass(there, &mut |data| output.data(&mut file, data))?;
                zeros(bytes - there, &mut |data| output.data(&mut file, data))?;
            }
            Source::Layer(number) => {
                let Some(layer) = layers.get_mut(usize::from(number)) else { continue };
                let link = &mut links[layer.link];
                let rest = layer.header.blocks.get(layer.read..).unwrap_or_default();
                let passed = rest.partition_point(|block| *block < run.first);
                link.skip(passed as u64 * page)?;
                link.pass(bytes, &mut |data| output.data(&mut file, data))?;
                layer.read += passed + run.count as usize;
            }
        }
    }
    output.end_data(file)
}

fn zeros(bytes: u64, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    const ZEROS: &[u8] = &[0; 32 << 10];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        each(&ZEROS[..length])?;
        left -= length as u64;
    }
    Ok(())
}
