//! The manifests of a chain, oldest first, read side by side: what the newest backup holds of a file,
//! put together from the full and what changed since.
//!
//! Memory: one line of each manifest, which is 2.1 MiB for a relation segment of 1 GiB.

use crate::error::{Error, IoContext, Result};
use crate::io::temporary_file;
use crate::manifest::reader::verify;
use crate::manifest::{FileLine, HASH_BYTES, Head, Kind, Reader};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// The links of a chain that a restore has to lay down one after the other.
pub const MAX_LINKS: usize = 64;

pub struct Chain {
    /// Oldest first.
    older: Vec<Manifest>,
    /// The newest.
    parent: Manifest,
    sha256: String,
    /// How many files of the parent were passed over: they are gone.
    removed: u64,
}

type Manifest = Reader<BufReader<File>>;

/// A file as the newest backup of the chain holds it.
pub struct Base {
    /// What each older manifest says of it, oldest first, and the number of the manifest.
    lines: Vec<(usize, FileLine)>,
    newest: FileLine,
    /// Bytes under one hash.
    block: u64,
}

impl Chain {
    /// Refuses manifests that do not follow one another.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        if paths.len() > MAX_LINKS {
            return Err(Error::usage(format!("{} manifests; a chain has {MAX_LINKS} at most", paths.len())));
        }
        let mut older: Vec<Manifest> = Vec::with_capacity(paths.len());
        let mut sha256 = None;
        for path in paths {
            let (manifest, sum) = open(path)?;
            check_link(older.last().map(Reader::head), manifest.head(), sha256.as_deref())
                .map_err(|why| Error::usage(format!("{}: {why}", path.display())))?;
            older.push(manifest);
            sha256 = Some(sum);
        }
        let last = older.pop().zip(sha256);
        let (parent, sha256) = last.ok_or_else(|| Error::usage("no manifest to build on"))?;
        Ok(Chain { older, parent, sha256, removed: 0 })
    }

    /// The checksum in the parent's last line.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The parent of what is built on this chain.
    pub fn head(&self) -> &Head {
        self.parent.head()
    }

    /// Of all manifests, oldest first.
    pub fn heads(&self) -> impl Iterator<Item = &Head> {
        self.older.iter().chain([&self.parent]).map(Reader::head)
    }

    /// The next file of the parent.
    pub fn next_path(&self) -> Option<&[u8]> {
        self.parent.path()
    }

    /// Paths must be asked for in the manifests' order.
    pub fn find(&mut self, path: &[u8]) -> Result<Option<Base>> {
        let block = u64::from(self.head().hash_pages) * u64::from(self.head().page_size);
        let mut lines = Vec::new();
        for (number, manifest) in self.older.iter_mut().enumerate() {
            skip_to(manifest, path)?;
            if manifest.path() == Some(path) {
                lines.extend(manifest.take()?.map(|line| (number, line)));
            }
        }
        self.removed += skip_to(&mut self.parent, path)?;
        let newest = match self.parent.path() == Some(path) {
            true => self.parent.take()?,
            false => None,
        };
        Ok(newest.map(|newest| Base { lines, newest, block }))
    }

    /// Reads the rest, and returns how many of the parent's files are gone.
    pub fn finish(mut self) -> Result<u64> {
        while self.parent.take()?.is_some() {
            self.removed += 1;
        }
        Ok(self.removed)
    }
}

/// A pipe can be read once only, and its first reading is for the checksum.
fn open(path: &Path) -> Result<(Manifest, String)> {
    let name = path.display().to_string();
    let mut file = File::open(path).during_path("open", path)?;
    if !file.metadata().during_path("stat", path)?.is_file() {
        let mut copy = temporary_file()?;
        std::io::copy(&mut file, &mut copy).during_path("copy", path)?;
        copy.rewind().during_path("read", path)?;
        file = copy.into_file();
    }
    let mut source = BufReader::with_capacity(BUFFER, file);
    let sum = verify(&mut source, &name)?;
    source.rewind().during_path("read", path)?;
    Ok((Reader::open(source, &name)?, sum))
}

/// Returns how many files were passed over.
fn skip_to(manifest: &mut Manifest, path: &[u8]) -> Result<u64> {
    let mut passed = 0;
    while manifest.path().is_some_and(|next| next < path) {
        manifest.take()?;
        passed += 1;
    }
    Ok(passed)
}

fn check_link(
    parent: Option<&Head>,
    child: &Head,
    parent_sha256: Option<&str>,
) -> std::result::Result<(), String> {
    let Some(parent) = parent else {
        return match &child.parent {
            None => Ok(()),
            Some(parent) => Err(format!("the chain begins with {}, which builds on {parent}", child.label)),
        };
    };
    let layout = |head: &Head| (head.page_size, head.segment_pages, head.hash_pages, head.hash_key.clone());
    let fits = child.parent.as_ref() == Some(&parent.label)
        && child.parent_sha256.as_deref() == parent_sha256
        && child.system_identifier == parent.system_identifier
        && layout(child) == layout(parent);
    fits.then_some(()).ok_or_else(|| format!("{} does not build on {}", child.label, parent.label))
}

impl Base {
    /// As the newest manifest has it.
    pub fn line(&self) -> &FileLine {
        &self.newest
    }

    /// As one of the older manifests has it, which are counted from the oldest.
    pub fn older_line(&self, number: usize) -> Option<&FileLine> {
        self.lines.iter().find(|(of, _)| *of == number).map(|(_, line)| line)
    }

    /// All block hashes of the file, or the one of a file that has no blocks.
    pub fn hashes(&self) -> Result<Vec<u8>> {
        let mut known: Option<Vec<u8>> = None;
        for line in self.lines.iter().map(|(_, line)| line).chain([&self.newest]) {
            match line.kind {
                Kind::Whole => known = Some(decode(line)?),
                Kind::Same => {}
                Kind::Blocks => known = Some(self.overlay(known, line)?),
            }
        }
        known.ok_or_else(|| self.bad("the chain's manifests have no hashes"))
    }

    fn overlay(&self, known: Option<Vec<u8>>, line: &FileLine) -> Result<Vec<u8>> {
        let mut all = known.ok_or_else(|| self.bad("changed blocks of an unknown file"))?;
        let count = usize::try_from(line.size.div_ceil(self.block)).map_err(|_| self.bad("too large"))?;
        let before = all.len() / HASH_BYTES;
        all.resize(count * HASH_BYTES, 0);
        let changed = decode(line)?;
        let mut fresh = changed.chunks_exact(HASH_BYTES);
        let mut covered = before;
        for (first, length) in line.blocks.iter().flatten() {
            let (first, length) = (*first as usize, *length as usize);
            if first <= covered {
                covered = covered.max(first.saturating_add(length));
            }
            for block in first..first.saturating_add(length) {
                let slot = all.get_mut(block * HASH_BYTES..(block + 1) * HASH_BYTES);
                let (slot, hash) = slot
                    .zip(fresh.next())
                    .ok_or_else(|| self.bad("the numbers of blocks and hashes differ"))?;
                slot.copy_from_slice(hash);
            }
        }
        match fresh.next().is_none() && covered >= count {
            true => Ok(all),
            false => Err(self.bad("the numbers of blocks and hashes differ")),
        }
    }

    fn bad(&self, why: &str) -> Error {
        let path = self.newest.path_bytes().unwrap_or_default();
        Error::damaged(format!("manifest: {}: {why}", path.escape_ascii()))
    }
}

fn decode(line: &FileLine) -> Result<Vec<u8>> {
    let bad = || Error::damaged("manifest: hashes are not base64");
    let hashes = STANDARD.decode(line.hashes.as_deref().unwrap_or_default()).map_err(|_| bad())?;
    hashes.len().is_multiple_of(HASH_BYTES).then_some(hashes).ok_or_else(bad)
}
