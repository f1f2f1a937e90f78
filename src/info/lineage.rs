//! Whether a backup was built on the very one that lies under its parent's label: by what the sealed stream and the sealed
//! manifest of both say, not by their records.

use crate::catalog::StreamIdentity;
use crate::error::{Error, Result};
use crate::manifest::{Head, Tail};

/// What a backup's sealed objects say that it is.
pub struct Lineage {
    stream: StreamIdentity,
    head: Head,
    tail: Tail,
}

impl Lineage {
    /// `stream`: its pgv/stream.json; `manifest`: the first and the last line of its manifest.
    pub fn parse(stream: &[u8], manifest: &str) -> Result<Self> {
        let wrong = |error: serde_json::Error| Error::damaged(format!("manifest: {error}"));
        let lines = || manifest.lines().filter(|line| !line.is_empty());
        Ok(Lineage {
            stream: StreamIdentity::parse(stream)?,
            head: serde_json::from_str(lines().next().unwrap_or_default()).map_err(wrong)?,
            tail: serde_json::from_str(lines().next_back().unwrap_or_default()).map_err(wrong)?,
        })
    }

    /// Why this backup does not build on `parent`; nothing if it does.
    pub fn contradictions(&self, parent: &Lineage) -> Vec<String> {
        let label = &parent.stream.label;
        let mut found = Vec::new();
        match &self.stream.parent {
            Some(own) if own == label => {}
            Some(other) => found.push(format!("it was not built on {label}, but on {other}")),
            None => found.push(format!("it was not built on {label}, but on nothing")),
        }
        let same = [
            ("system_identifier", self.stream.system_identifier == parent.stream.system_identifier),
            ("start_lsn", self.stream.parent_start_lsn == Some(parent.stream.start_lsn)),
            ("timeline", self.stream.parent_timeline == Some(parent.stream.timeline)),
            ("manifest", self.head.parent_sha256.as_deref() == Some(parent.tail.sha256.as_str())),
        ];
        for (name, _) in same.iter().filter(|(_, same)| !same) {
            found.push(format!("{label} is not the backup on which it was built: another {name}"));
        }
        found
    }
}
