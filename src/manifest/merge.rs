//! The manifests of a chain become that of the full into which its streams are merged: what the newest of them lists, with
//! all hashes of each file. Who has the same manifests and the same label makes the same bytes.

use crate::catalog::{Label, Mode};
use crate::error::{Error, Result};
use crate::io::Output;
use crate::manifest::{Chain, FileLine, Head, Kind, Writer, encode_hashes};
use std::path::{Path, PathBuf};

/// A manifest that is complete, and has no name yet.
#[must_use]
pub struct Merged {
    output: Output,
}

impl Merged {
    /// Gives it its name.
    pub fn finish(self) -> Result<()> {
        self.output.finish()
    }
}

/// `since`: oldest first. `newest`: which backup the newest must be of. Memory: one line of each.
pub fn merge(since: &[PathBuf], label: &Label, newest: Option<&Label>, path: &Path) -> Result<Merged> {
    let mut chain = Chain::open(since)?;
    let given = &chain.head().label;
    if let Some(newest) = newest.filter(|newest| *newest != given) {
        return Err(Error::usage(format!("the newest manifest is that of {given}, and not of {newest}")));
    }
    let head = Head {
        label: label.clone(),
        parent: None,
        parent_sha256: None,
        mode: Mode::Full,
        ..chain.head().clone()
    };
    let mut writer = Writer::new(Output::create(Some(path))?, &head)?;
    while let Some(path) = chain.next_path().map(<[u8]>::to_vec) {
        let Some(base) = chain.find(&path)? else { break };
        let hashes = Some(encode_hashes(&base.hashes()?));
        writer.file(&FileLine { kind: Kind::Whole, blocks: None, hashes, ..base.line().clone() })?;
    }
    let (output, _sha256) = writer.finish()?;
    Ok(Merged { output })
}
