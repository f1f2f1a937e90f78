//! `pgv/stream.json`: who a backup stream is. It is the second member of every stream, fixed before
//! the first data byte, so that a restore can refuse the wrong one before it writes anything.

use crate::catalog::member::IDENTITY;
use crate::catalog::{Label, decimal_string};
use crate::error::{Error, Result};
use crate::pg::Lsn;
use serde::{Deserialize, Serialize};

pub const STREAM_FORMAT: &str = "pgv-stream/1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Full,
    Blocks,
    Files,
}

impl Mode {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Full => "full",
            Mode::Blocks => "blocks",
            Mode::Files => "files",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamIdentity {
    pub format: String,
    pub label: Label,
    pub mode: Mode,
    pub parent: Option<Label>,
    pub parent_start_lsn: Option<Lsn>,
    pub parent_timeline: Option<u32>,
    #[serde(with = "decimal_string")]
    pub system_identifier: u64,
    /// The server's full version, "15.18".
    pub pg_version: String,
    pub timeline: u32,
    pub start_lsn: Lsn,
    /// Bytes, BLCKSZ.
    pub page_size: u32,
    /// Pages in a relation segment, RELSEG_SIZE.
    pub segment_pages: u32,
    /// Those that exist when the backup starts, so that a restore can ask for their places before it
    /// writes anything.
    #[serde(default)]
    pub tablespaces: Vec<StreamTablespace>,
    /// Of a merged full: the backups in it, oldest first. Its state is that of the last of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged_from: Vec<Label>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamTablespace {
    pub oid: u32,
    /// A server that is down cannot tell it; then it is the OID.
    pub name: String,
    /// Where it lay; null if in place, as a directory in pg_tblspc.
    pub location: Option<String>,
}

impl StreamIdentity {
    /// Whether what the stream leaves is the state of that backup: its own, or of a merged full the last in it.
    pub fn is_state_of(&self, label: &Label) -> bool {
        self.label == *label || self.merged_from.last() == Some(label)
    }

    /// Whether this increment can be laid over what `parent` leaves.
    pub fn builds_on(&self, parent: &StreamIdentity) -> bool {
        let layout =
            |stream: &StreamIdentity| (stream.system_identifier, stream.page_size, stream.segment_pages);
        self.parent.as_ref().is_some_and(|label| parent.is_state_of(label))
            && self.parent_start_lsn == Some(parent.start_lsn)
            && self.parent_timeline == Some(parent.timeline)
            && layout(self) == layout(parent)
    }

    /// With its newline, as it stands in a stream.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut json =
            serde_json::to_vec(self).map_err(|e| Error::failed(format!("encode stream.json: {e}")))?;
        json.push(b'\n');
        Ok(json)
    }

    /// Refuses another format, and what is no JSON of this shape, as damaged.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let identity: StreamIdentity =
            serde_json::from_slice(json).map_err(|e| Error::damaged(format!("{IDENTITY}: {e}")))?;
        match identity.format == STREAM_FORMAT {
            true => Ok(identity),
            false => {
                Err(Error::damaged(format!("{IDENTITY} has the unknown format \"{}\"", identity.format))
                    .hint("a newer pgv may have written it"))
            }
        }
    }
}
