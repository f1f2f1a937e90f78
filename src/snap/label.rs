//! Stops the backup, and puts the server's backup label where it does no harm.

use crate::catalog::{Mode, StreamIdentity, member};
use crate::error::{Error, Result};
use crate::pg::backup_label::{self, BackupLabel};
use crate::snap::session::{Session, Stopped};
use crate::snap::stream::{Lists, Stream};

/// What merges increments on those servers, without pgv.
const UNSTACK: &[u8] = include_bytes!("../../scripts/pgv-unstack");
/// From here on servers know increments in blocks, and refuse to start one.
const SEVENTEEN: u32 = 17;

/// Stops the backup; its label must be that of `identity`.
pub fn stop(session: &mut Session, identity: &StreamIdentity) -> Result<Stopped> {
    let stopped = session.stop()?;
    let label = BackupLabel::parse(&stopped.label)?;
    if (label.start_lsn, label.timeline) != (identity.start_lsn, identity.timeline) {
        return Err(Error::failed("the backup label does not match the start of this backup"));
    }
    session.check_slot()?;
    Ok(stopped)
}

/// Of an increment in blocks the label names its parent, for servers that know increments; from others
/// it is hidden. `major`: of PostgreSQL.
pub fn write(stream: &mut Stream, identity: &StreamIdentity, major: u32, label: &str) -> Result<()> {
    if identity.mode != Mode::Blocks {
        return stream.add(backup_label::PATH, label.as_bytes(), Lists::All);
    }
    if major < SEVENTEEN {
        stream.add_program(member::UNSTACK, UNSTACK, Lists::Sent)?;
        stream.add(member::BACKUP_LABEL, label.as_bytes(), Lists::Sent)?;
    } else {
        let parent = identity.parent_start_lsn.zip(identity.parent_timeline);
        let (lsn, timeline) = parent.ok_or_else(|| Error::failed("an increment without a parent"))?;
        let label = backup_label::incremental(label, lsn, timeline);
        stream.add(backup_label::PATH, label.as_bytes(), Lists::Sent)?;
    }
    stream.add_to_result(backup_label::PATH, label.as_bytes())
}
