//! Starts a backup: from here on the server keeps what it needs, and the stream's identity is fixed.

use crate::catalog::{BackupType, Databases, Label, Mode, STREAM_FORMAT, StreamIdentity};
use crate::error::{Error, Result};
use crate::pg::Lsn;
use crate::report;
use crate::snap::options::Options;
use crate::snap::session::Session;
use crate::snap::since::Since;
use crate::snap::source::Source;
use crate::snap::tablespaces::{self, ChangeTime, Tablespaces};
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;

/// How often a backup begins, for a checkpoint younger than every tablespace.
const START_TRIES: u32 = 3;
/// Checkpoints tell their time in whole seconds.
const CLOCK_TICK: Duration = Duration::from_millis(1100);

/// A backup that has started.
pub struct Started {
    pub identity: StreamIdentity,
    /// Whether the server archives its WAL.
    pub archiving: bool,
    /// A server that is down does not tell them.
    pub databases: Option<Databases>,
    /// Whether a tablespace may be younger than the checkpoint where the backup begins.
    pub tablespaces_changed: bool,
    /// The state of `pg_tblspc` when `identity` was made.
    pub tablespaces_at: ChangeTime,
}

/// The label of a full backup: as asked for, or of the time now.
pub fn full_label(options: &Options) -> Result<Label> {
    match &options.label {
        Some(label) if label.backup_type() == BackupType::Full => Ok(label.clone()),
        Some(label) => {
            Err(Error::usage(format!("{label} is not the label of a full backup")).hint("--since is missing"))
        }
        None => Label::full(OffsetDateTime::now_utc()),
    }
}

/// Starts the backup; from here on the server keeps what it needs.
pub fn start(
    options: &Options,
    source: &mut Source,
    label: &Label,
    since: Option<&Since>,
) -> Result<Started> {
    let archiving = source.session.as_mut().map_or(Ok(true), Session::archives)?;
    let (start_lsn, timeline, present, tablespaces_changed) = match &mut source.session {
        None => {
            let present = tablespaces::find(&source.root, None)?;
            (source.control.redo(), source.control.timeline(), present, false)
        }
        Some(session) => {
            if options.include_wal {
                session.hold_wal()?;
            }
            let (start_lsn, present, changed) = start_server(session, &source.root, label, options.fast)?;
            (start_lsn, session.timeline()?, present, changed)
        }
    };
    // After the checkpoint: a database that comes later is made by the WAL that recovery replays.
    let databases = source.session.as_mut().map(Session::databases).transpose()?.map(Databases::new);
    source.tree.keep_tablespaces(present.spaces.iter().map(|space| space.oid).collect());
    let parent = since.map(Since::head);
    if parent.is_some_and(|parent| parent.timeline == timeline && parent.start_lsn > start_lsn) {
        return Err(Error::failed("the parent begins after this backup").hint("make a full backup"));
    }
    let identity = StreamIdentity {
        format: STREAM_FORMAT.to_owned(),
        label: label.clone(),
        mode: since.map_or(Mode::Full, |since| since.mode),
        parent: parent.map(|parent| parent.label.clone()),
        parent_start_lsn: parent.map(|parent| parent.start_lsn),
        parent_timeline: parent.map(|parent| parent.timeline),
        system_identifier: source.control.system_identifier(),
        pg_version: source.pg_version.clone(),
        timeline,
        start_lsn,
        page_size: source.control.page_size(),
        segment_pages: source.control.segment_pages(),
        tablespaces: present.spaces,
        merged_from: Vec::new(),
    };
    Ok(Started { identity, archiving, databases, tablespaces_changed, tablespaces_at: present.changed })
}

/// Begins at a checkpoint that is younger than every tablespace: replaying a CREATE TABLESPACE fails if files lie
/// where its link goes. Where there is no such checkpoint (a standby cannot make one) the last value is true.
fn start_server(
    session: &mut Session,
    root: &Path,
    label: &Label,
    fast: bool,
) -> Result<(Lsn, Tablespaces, bool)> {
    let mut tries = 0;
    loop {
        let start = session.start(label.as_str(), fast)?;
        let present = tablespaces::find(root, Some(session))?;
        let (redo, time) = session.checkpoint()?;
        let in_wal = present.newest.is_some_and(|newest| redo != start || newest >= time);
        tries += 1;
        if !in_wal || tries == START_TRIES || session.is_standby() {
            if in_wal {
                report::warn(
                    "a tablespace may have been created after the checkpoint where this backup begins",
                );
            }
            return Ok((start, present, in_wal));
        }
        report::verbose("a tablespace was created while the backup began: starting the backup again");
        session.stop()?;
        std::thread::sleep(CLOCK_TICK);
    }
}
