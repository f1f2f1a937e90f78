//! The one setting that ends a recovery.
//!
//! PostgreSQL looks at `recovery_target = 'immediate'` before the record that follows the point of consistency, and gives
//! up if there is none. A standby's backup may end exactly there: then the record that leads to that point is the target.

use crate::error::{IoContext, Result};
use crate::pg::control::Control;
use crate::pg::wal::{self, SegmentHeader};
use crate::pg::{Lsn, backup_label, records};
use crate::recover::plan::{Goal, Plan};
use std::path::Path;

/// Name and value; `None`: to the end of the WAL.
pub type Target = Option<(&'static str, String)>;

pub fn target(root: &Path, plan: &Plan, control: &Control) -> Result<Target> {
    Ok(match (&plan.goal, &plan.end, &plan.time, &plan.lsn) {
        (Goal::Immediate, ..) => Some(match consistency(root, control)? {
            Some(lsn) => ("recovery_target_lsn", lsn.to_string()),
            None => ("recovery_target", "immediate".to_owned()),
        }),
        (Goal::Xid(xid), ..) => Some(("recovery_target_xid", xid.to_string())),
        (Goal::Name(name), ..) => Some(("recovery_target_name", name.clone())),
        (Goal::Told, Some(end), ..) => Some(("recovery_target_lsn", end.clone())),
        (Goal::Told, None, Some(time), _) => Some(("recovery_target_time", time.clone())),
        (Goal::Told, None, None, Some(lsn)) => Some(("recovery_target_lsn", lsn.clone())),
        (Goal::Told, None, None, None) => None,
    })
}

/// Of a standby's backup whose WAL lies in the directory: the last record before consistency.
fn consistency(root: &Path, control: &Control) -> Result<Option<Lsn>> {
    let label = root.join(backup_label::PATH);
    let text = match std::fs::read_to_string(&label) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.during_path("read", &label)?,
    };
    if !text.lines().any(|line| line.trim_end() == "BACKUP FROM: standby") {
        return Ok(None);
    }
    let (end, timeline) = control.min_recovery_point();
    let segment_bytes = control.wal_segment_bytes();
    let Some(last) = end.0.checked_sub(1).map(|byte| byte / segment_bytes) else { return Ok(None) };
    // The record may have begun in the segment before.
    for first in [last, last.saturating_sub(1)] {
        let mut content = Vec::new();
        for number in first..=last {
            let path = root.join("pg_wal").join(wal::name_of_number(timeline, number, segment_bytes));
            match std::fs::read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                bytes => content.extend(bytes.during_path("read", &path)?),
            }
        }
        let Some(start) = content.first_chunk() else { return Ok(None) };
        let header = SegmentHeader::parse(start)?;
        let mut found = None;
        records::scan(&content, &header, &mut |record| {
            if record.start < end {
                found = Some(record.start);
            }
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
