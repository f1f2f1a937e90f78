//! Where a recovery is to end and by which WAL, as `pgv-info recovery` tells it in lines.

use crate::catalog::unescape;
use crate::error::{Error, Result};
use crate::pg::guc;
use std::str::FromStr;

/// What the server does at its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Promote,
    Pause,
    Shutdown,
}

/// What was asked for, beyond what the lines tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The time or LSN of the lines, else the end of the WAL.
    Told,
    /// The end of the backup.
    Immediate,
    Xid(u64),
    Name(String),
}

/// What a replica follows, as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    pub conninfo: String,
    pub slot: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub goal: Goal,
    pub action: Action,
    pub label: String,
    /// recovery_target_timeline.
    pub timeline: String,
    pub time: Option<String>,
    pub lsn: Option<String>,
    /// Recovery stops just before its target, not behind it.
    pub exclusive: bool,
    /// Where the archive ends, because no transaction in it is of a later time.
    pub end: Option<String>,
    pub has_archive: bool,
    pub wal_included: bool,
    /// Numbers of timelines that exist without a history, as `1,2`.
    pub timelines_taken: Option<String>,
    /// The last segment that the backup needs.
    pub backup_last: String,
    /// Recovery does not end: the copy is a replica.
    pub primary: Option<Primary>,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Promote => "promote",
            Action::Pause => "pause",
            Action::Shutdown => "shutdown",
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let all = [Action::Promote, Action::Pause, Action::Shutdown];
        let found = all.into_iter().find(|action| action.name() == text);
        found.ok_or_else(|| "must be promote, pause or shutdown".to_owned())
    }
}

impl Plan {
    /// `text`: the lines. Refuses lines that lack what every recovery has.
    pub fn parse(text: &str, goal: Goal, action: Action) -> Result<Self> {
        let find = |key: &str| {
            let line = text.lines().rev().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            line.map(str::to_owned)
        };
        let need = |key: &str| {
            find(key).ok_or_else(|| Error::usage(format!("the plan of the recovery has no {key}")))
        };
        let primary = find("primary_conninfo").map(|written| {
            let conninfo = unescape(&written).and_then(|bytes| String::from_utf8(bytes).ok());
            let refused = || Error::usage("the plan of the recovery has a primary_conninfo that is no text");
            Ok(Primary { conninfo: conninfo.ok_or_else(refused)?, slot: find("primary_slot_name") })
        });
        Ok(Plan {
            primary: primary.transpose()?,
            goal,
            action,
            label: need("label")?,
            timeline: need("recovery_target_timeline")?,
            time: find("recovery_target_time"),
            lsn: find("recovery_target_lsn"),
            exclusive: find("recovery_target_inclusive").is_some_and(|inclusive| inclusive == "off"),
            end: find("recovery_target_end"),
            has_archive: need("archive")? == "yes",
            timelines_taken: find("timelines_taken"),
            wal_included: guc::is_on(&need("wal_included")?),
            backup_last: need("backup_wal_last")?,
        })
    }
}
