//! What an increment is laid over: the files that its parent left, and the manifest that lists them.

use crate::apply::merge::Merge;
use crate::apply::parent::Cursor;
use crate::apply::target::Target;
use crate::error::{Error, Result};
use crate::pg::backup_manifest::{self, Entry};
use crate::pg::incremental::Header;
use crate::stream::is_data;
use std::io::Read;
use std::path::Path;

pub struct Base {
    manifest: Cursor,
    merge: Merge,
}

impl Base {
    /// `root`: the data directory.
    pub fn open(root: &Path) -> Result<Self> {
        Ok(Base { manifest: Cursor::open(&root.join(backup_manifest::PATH))?, merge: Merge::new() })
    }

    /// Lays blocks over the file at `path`. Returns what it is now. `name`: of the
    /// member, for errors.
    pub fn lay(
        &mut self,
        target: &Target,
        (path, name): (&[u8], &str),
        header: &Header,
        page_size: u32,
        blocks: &mut impl Read,
    ) -> Result<Entry> {
        let found = self.manifest.find(path)?;
        let before = found
            .ok_or_else(|| Error::damaged(format!("{name}: the parent backup does not have this file")))?;
        let is_unchanged =
            header.blocks.is_empty() && before.size == u64::from(header.truncation) * u64::from(page_size);
        match is_unchanged {
            true => Ok(before),
            false => {
                let made = self.merge.blocks(&target.present_file(path)?, &before, header, page_size, blocks);
                made.map_err(|error| error.context(name))
            }
        }
    }

    /// Whether a file that an increment of files does not send is what the new manifest says.
    pub fn has(&mut self, listed: &Entry) -> Result<bool> {
        Ok(is_data(&listed.path) && self.manifest.find(&listed.path)?.as_ref() == Some(listed))
    }
}
