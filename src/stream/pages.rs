//! Which backup each page of a relation segment comes from.

use crate::pg::incremental::Header;

/// Where a page comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// No backup has it: the file grew over it.
    Zeros,
    /// The file as the full backup has it, or an increment that has the whole of it.
    Base,
    /// The number of an increment, the oldest first.
    Layer(u8),
}

/// Pages next to each other from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub source: Source,
    pub first: u32,
    pub count: u32,
}

const ZEROS: u8 = u8::MAX;
const BASE: u8 = u8::MAX - 1;

/// One byte for each page.
pub struct Pages {
    owners: Vec<u8>,
}

impl Pages {
    /// `count`: pages of the base; one that it has a part of counts.
    pub fn of_base(count: u32) -> Self {
        Pages { owners: vec![BASE; count as usize] }
    }

    /// Lays an increment over it; `layer` counts from 0, below [`crate::manifest::MAX_LINKS`].
    pub fn lay(&mut self, layer: u8, header: &Header) {
        self.owners.resize(header.result_pages() as usize, ZEROS);
        for block in &header.blocks {
            // A header's blocks lie below its result_pages.
            if let Some(owner) = self.owners.get_mut(*block as usize) {
                *owner = layer;
            }
        }
    }

    pub fn count(&self) -> u32 {
        // A segment has fewer than 2^32 pages: the headers' numbers are such.
        self.owners.len() as u32
    }

    /// Where one page comes from.
    pub fn source(&self, page: u32) -> Source {
        source_of(self.owners.get(page as usize))
    }

    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let mut first = 0;
        self.owners.chunk_by(|one, other| one == other).map(move |run| {
            let count = run.len() as u32;
            let source = source_of(run.first());
            let found = Run { source, first, count };
            first += count;
            found
        })
    }
}

fn source_of(owner: Option<&u8>) -> Source {
    match owner {
        Some(&BASE) => Source::Base,
        None | Some(&ZEROS) => Source::Zeros,
        Some(&layer) => Source::Layer(layer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Source::{Base, Layer, Zeros};

    fn runs(base: u32, layers: &[(&[u32], u32)]) -> Vec<(Source, u32, u32)> {
        let mut pages = Pages::of_base(base);
        for (number, (blocks, truncation)) in layers.iter().enumerate() {
            pages.lay(number as u8, &Header { blocks: blocks.to_vec(), truncation: *truncation });
        }
        pages.runs().map(|run| (run.source, run.first, run.count)).collect()
    }

    #[test]
    fn the_newest_backup_that_has_a_page_gives_it() {
        assert_eq!(runs(3, &[(&[], 3)]), [(Base, 0, 3)]);
        assert_eq!(runs(3, &[(&[1], 3), (&[1, 2], 3)]), [(Base, 0, 1), (Layer(1), 1, 2)]);
        assert_eq!(runs(0, &[(&[], 0)]), []);
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        // Cut to one page, and grown again without the others being sent: as setting the length would do.
        assert_eq!(runs(4, &[(&[], 1), (&[3], 4)]), [(Base, 0, 1), (Zeros, 1, 2), (Layer(1), 3, 1)]);
        assert_eq!(runs(4, &[(&[3], 4), (&[], 2)]), [(Base, 0, 2)]);
    }
}
