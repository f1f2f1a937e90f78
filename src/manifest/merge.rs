//! The manifests of a chain become that of the full into which its streams are merged: what the newest of them lists, with
//! all hashes of each file. Who has the same manifests and the same label makes the same bytes.

use crate::catalog::{Label, Mode, StreamIdentity};
use crate::error::{Error, Result};
use crate::io::Output;
use crate::manifest::{Chain, FileLine, Head, Kind, Writer, encode_hashes};
use std::path::{Path, PathBuf};

/// A manifest that is complete, and has no name yet; dropped it leaves nothing.
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

/// `since`: oldest first. `newest`: the stream that the newest must be of. Memory: one line of each.
pub fn merge(
    since: &[PathBuf],
    label: &Label,
    newest: Option<&StreamIdentity>,
    path: &Path,
) -> Result<Merged> {
    let mut chain = Chain::open(since)?;
    let head = chain.head();
    let is_of = |stream: &StreamIdentity| {
        (&stream.label, stream.system_identifier, stream.timeline, stream.start_lsn)
            == (&head.label, head.system_identifier, head.timeline, head.start_lsn)
    };
    if let Some(newest) = newest.filter(|newest| !is_of(newest)) {
        let given = &head.label;
        return Err(Error::usage(format!(
            "the newest manifest, of {given}, does not belong to the newest stream, {}",
            newest.label
        )));
    }
    let head = Head {
        label: label.clone(),
        parent: None,
        parent_sha256: None,
        mode: Mode::Full,
        ..chain.head().clone()
    };
    let mut output = Output::create(Some(path))?;
    write(&mut chain, &head, &mut output)?;
    Ok(Merged { output })
}

fn write(chain: &mut Chain, head: &Head, output: &mut Output) -> Result<()> {
    let mut writer = Writer::new(output, head)?;
    while let Some(path) = chain.next_path().map(<[u8]>::to_vec) {
        let Some(base) = chain.find(&path)? else { break };
        let hashes = Some(encode_hashes(&base.hashes()?));
        writer.file(&FileLine { kind: Kind::Whole, blocks: None, hashes, ..base.line().clone() })?;
    }
    writer.finish().map(drop)
}
