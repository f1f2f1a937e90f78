//! Whether a backup was built on the very one that lies under its parent's label: by what the sealed stream and the sealed
//! manifest of both say, not by their records.

use crate::catalog::StreamIdentity;
use crate::error::{Error, Result};
use crate::manifest::{Head, Tail};

/// What a backup's sealed objects say that it is.
pub struct Lineage {
    /// Of a parent that is not read itself there is only the manifest.
    stream: Option<StreamIdentity>,
    head: Head,
    tail: Tail,
}

impl Lineage {
    /// `stream`: its pgv/stream.json; `manifest`: the first and the last line of its manifest.
    pub fn parse(stream: Option<&[u8]>, manifest: &str) -> Result<Self> {
        let wrong = |error: serde_json::Error| Error::damaged(format!("manifest: {error}"));
        let lines = || manifest.lines().filter(|line| !line.is_empty());
        Ok(Lineage {
            stream: stream.map(StreamIdentity::parse).transpose()?,
            head: serde_json::from_str(lines().next().unwrap_or_default()).map_err(wrong)?,
            tail: serde_json::from_str(lines().next_back().unwrap_or_default()).map_err(wrong)?,
        })
    }

    /// Why its manifest is not of its stream; nothing if it is.
    pub fn own_contradictions(&self) -> Vec<String> {
        let Some(stream) = &self.stream else { return Vec::new() };
        let same = [
            ("label", self.head.label == stream.label),
            ("system_identifier", self.head.system_identifier == stream.system_identifier),
            ("start_lsn", self.head.start_lsn == stream.start_lsn),
            ("timeline", self.head.timeline == stream.timeline),
        ];
        let wrong = same.iter().filter(|(_, same)| !same);
        wrong.map(|(name, _)| format!("its manifest belongs to another backup: {name} differs")).collect()
    }

    /// Why this backup does not build on `parent`; nothing if it does.
    pub fn contradictions(&self, parent: &Lineage) -> Vec<String> {
        let label = &parent.head.label;
        let Some(stream) = &self.stream else { return Vec::new() };
        let mut found = Vec::new();
        match &stream.parent {
            Some(own) if own == label => {}
            Some(other) => found.push(format!("it was not built on {label}, but on {other}")),
            None => found.push(format!("it was not built on {label}, but is a full backup")),
        }
        let same = [
            ("system_identifier", stream.system_identifier == parent.head.system_identifier),
            ("start_lsn", stream.parent_start_lsn == Some(parent.head.start_lsn)),
            ("timeline", stream.parent_timeline == Some(parent.head.timeline)),
            ("manifest", self.head.parent_sha256.as_deref() == Some(parent.tail.sha256.as_str())),
        ];
        for (name, _) in same.iter().filter(|(_, same)| !same) {
            found.push(format!("{label} is not the backup on which it was built: {name} differs"));
        }
        found
    }
}
