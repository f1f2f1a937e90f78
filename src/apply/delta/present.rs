//! Which blocks of a file the directory has, by the hashes of the manifest.

use crate::error::{Error, IoContext, Result};
use crate::io::read_full;
use crate::manifest::{self, HASH_BYTES};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes read at a time: a multiple of every block.
const BUFFER: usize = 1 << 20;

/// Of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// For each block.
    blocks: Vec<bool>,
    /// Bytes of a block.
    block: u64,
}

impl Present {
    /// Whether the block that has the byte at an offset is there.
    pub fn has(&self, at: u64) -> bool {
        let index = usize::try_from(at / self.block.max(1)).ok();
        index.and_then(|index| self.blocks.get(index)).copied().unwrap_or(false)
    }

    /// Bytes of a block.
    pub fn block(&self) -> u64 {
        self.block
    }
}

pub struct Directory {
    root: PathBuf,
    key: [u8; 32],
    block: u64,
    buffer: Vec<u8>,
}

impl Directory {
    /// `key` and `block`: of the chain's manifests.
    pub fn new(root: PathBuf, key: [u8; 32], block: u64) -> Result<Self> {
        if block == 0 || !(BUFFER as u64).is_multiple_of(block) {
            return Err(Error::damaged("manifest: impossible size of a block"));
        }
        Ok(Directory { root, key, block, buffer: vec![0; BUFFER] })
    }

    /// The mode of what is a directory there, and no link to one.
    pub fn mode_of(&self, path: &[u8]) -> Option<u32> {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::symlink_metadata(self.root.join(OsStr::from_bytes(path))).ok()?;
        found.is_dir().then(|| found.mode() & 0o777)
    }

    /// `size` and `hashes`: what the file must be.
    pub fn present(&mut self, path: &[u8], size: u64, hashes: &[u8]) -> Result<Present> {
        let count = hashes.len() / HASH_BYTES;
        let file = open(&self.root, path)?;
        let damaged =
            || Error::damaged(format!("manifest: {}: a wrong number of hashes", path.escape_ascii()));
        if u64::try_from(count) == Ok(size.div_ceil(self.block)) {
            let mut blocks = vec![false; count];
            if let Some((mut file, absolute)) = file {
                self.compare(&mut file, &absolute, size, hashes, &mut blocks)?;
            }
            return Ok(Present { blocks, block: self.block });
        }
        if count != 1 {
            return Err(damaged());
        }
        let same = match file {
            Some((mut file, absolute)) => self.is_same(&mut file, &absolute, size, hashes)?,
            None => false,
        };
        Ok(Present { blocks: vec![same], block: size.max(1) })
    }

    fn compare(
        &mut self,
        file: &mut File,
        path: &Path,
        size: u64,
        hashes: &[u8],
        blocks: &mut [bool],
    ) -> Result<()> {
        let block = self.block as usize;
        let mut wanted = hashes.chunks_exact(HASH_BYTES).zip(blocks);
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            let got = read_full(file, &mut self.buffer[..length]).during_path("read", path)?;
            // What lies beyond the file's end is not there.
            let there = &self.buffer[..got];
            for (index, (hash, slot)) in wanted.by_ref().take(length.div_ceil(block)).enumerate() {
                let piece = there.get(index * block..length.min((index + 1) * block));
                *slot = piece.is_some_and(|piece| manifest::hash(&self.key, piece) == *hash);
            }
            if got < length {
                return Ok(());
            }
            left -= length as u64;
        }
        Ok(())
    }

    /// A file that has one hash for all of it.
    fn is_same(&mut self, file: &mut File, path: &Path, size: u64, hash: &[u8]) -> Result<bool> {
        if file.metadata().during_path("stat", path)?.len() != size {
            return Ok(false);
        }
        let mut hasher = manifest::FileHasher::new(&self.key, None);
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            let got = read_full(file, &mut self.buffer[..length]).during_path("read", path)?;
            if got < length {
                return Ok(false);
            }
            hasher.update(&self.buffer[..length]);
            left -= length as u64;
        }
        Ok(hasher.finish() == manifest::encode_hashes(hash))
    }
}

/// Whether a directory above it is a link, and neither a tablespace's nor that of pg_wal: a directory takes its place.
fn leads_elsewhere(root: &Path, path: &[u8]) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
    let mut others = ends.filter(|above| {
        let space = above.strip_prefix(b"pg_tblspc/").is_some_and(|rest| !rest.contains(&b'/'));
        !space && *above != b"pg_wal"
    });
    others.any(|above| root.join(OsStr::from_bytes(above)).is_symlink())
}

/// A plain file that may be read; none where there is something else, or nothing.
pub fn open(root: &Path, path: &[u8]) -> Result<Option<(File, PathBuf)>> {
    use rustix::fs::OFlags;
    if leads_elsewhere(root, path) {
        return Ok(None);
    }
    let absolute = root.join(OsStr::from_bytes(path));
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&absolute);
    let other = [rustix::io::Errno::LOOP, rustix::io::Errno::NXIO].map(|errno| errno.raw_os_error());
    let file = match file {
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::PermissionDenied]
                .contains(&error.kind())
                || error.raw_os_error().is_some_and(|number| other.contains(&number)) =>
        {
            return Ok(None);
        }
        file => file.during_path("open", &absolute)?,
    };
    match file.metadata().during_path("stat", &absolute)?.is_file() {
        true => Ok(Some((file, absolute))),
        false => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn only_what_has_its_hash_is_present() {
        let root = tempfile::tempdir().unwrap();
        let block = |fill: u8, length: usize| vec![fill; length];
        let hashes = |blocks: &[Vec<u8>]| -> Vec<u8> {
            blocks.iter().flat_map(|block| manifest::hash(&KEY, block)).collect()
        };
        let mut directory = Directory::new(root.path().to_owned(), KEY, 8192).unwrap();
        let wanted = [block(1, 8192), block(2, 8192), block(3, 8192), block(4, 100)];
        let size = 3 * 8192 + 100;
        let mut present = |content: &[u8], hashes: &[u8]| {
            std::fs::write(root.path().join("f"), content).unwrap();
            directory.present(b"f", size, hashes).unwrap().blocks
        };
        let all = wanted.concat();
        assert_eq!(present(&all, &hashes(&wanted)), [true; 4]);
        let mut changed = all.clone();
        changed[8192 * 2 + 5] ^= 1;
        assert_eq!(present(&changed, &hashes(&wanted)), [true, true, false, true]);
        assert_eq!(present(&all[..8192 + 100], &hashes(&wanted)), [true, false, false, false]);
        assert_eq!(present(&[&all[..], b"more"].concat(), &hashes(&wanted)), [true; 4]);
        assert_eq!(present(b"", &hashes(&wanted)), [false; 4]);
        let whole = manifest::hash(&KEY, &all);
        assert_eq!(present(&all, &whole), [true]);
        assert_eq!(present(&changed, &whole), [false]);
        assert_eq!(present(&all[1..], &whole), [false]);
        let mut none = |path: &[u8]| directory.present(path, 8192, &hashes(&wanted[..1])).unwrap().blocks;
        std::fs::create_dir(root.path().join("d")).unwrap();
        std::os::unix::fs::symlink("f", root.path().join("l")).unwrap();
        for path in [&b"d"[..], b"l", b"absent", b"f/x"] {
            assert_eq!(none(path), [false], "{}", path.escape_ascii());
        }
        assert!(directory.present(b"f", size, &hashes(&wanted[..2])).is_err());
        assert!(Directory::new(root.path().to_owned(), KEY, 3000).is_err());
    }
}
