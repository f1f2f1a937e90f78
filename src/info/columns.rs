//! Backup sets for scripts: one line each, columns by blanks, in which nothing that somebody wrote can be taken for
//! something else. They are the names and numbers that this crate checked, and "-" for what there is not.

use crate::catalog::{Label, ObjectEntry};
use crate::error::{Error, Result};
use crate::info::choose::{none, refuse};
use crate::info::facts::one_line;
use crate::info::{Choice, Set, State};
use crate::pg::wal;

/// The backup of this label and what it builds on as far as that is there, oldest first. Refuses what cannot be read, and
/// a label that is not there.
pub fn with_parents<'a>(sets: &'a [Set], label: &Label) -> Result<Vec<&'a Set>> {
    let find = |label: &Label| sets.iter().find(|set| set.label == *label);
    let mut link = find(label).ok_or_else(|| none(sets, &Choice::Label(label.clone())))?;
    let mut links = vec![link];
    // A circle of parents ends, too.
    while let Some(parent) = link.committed().and_then(|record| record.backup.parent.as_ref())
        && let Some(found) = find(parent).filter(|_| links.len() < sets.len())
    {
        links.push(found);
        link = found;
    }
    links.iter().try_for_each(|set| refuse(set))?;
    links.reverse();
    Ok(links)
}

/// STATE SYSTEM-IDENTIFIER LABEL PARENT MODE STREAM-BYTES STORED-BYTES WAL-FIRST WAL-LAST CLUSTER URL
pub fn set_line(set: &Set) -> String {
    let backup = set.committed().map(|record| &record.backup);
    let state = match &set.state {
        State::Complete(_) => "complete",
        State::Incomplete(_) => "incomplete",
        State::Damaged { .. } => "damaged",
        State::Unreadable(_) => "unreadable",
    };
    let segment = |name: Option<&String>| {
        name.filter(|name| wal::is_segment_name(name)).map_or_else(|| "-".to_owned(), Clone::clone)
    };
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        state.to_owned(),
        set.system_identifier.to_string(),
        set.label.to_string(),
        text(backup.and_then(|backup| backup.parent.as_ref()).map(ToString::to_string)),
        text(backup.and_then(|backup| backup.mode).map(|mode| mode.name().to_owned())),
        text(backup.map(|backup| backup.stream_bytes.to_string())),
        set.stored_bytes.to_string(),
        segment(backup.map(|backup| &backup.wal_first)),
        segment(backup.map(|backup| &backup.wal_last)),
        set.cluster.clone(),
        one_line(&set.url),
    ]
    .join(" ")
        + "\n"
}

/// "object" LABEL SHA256 BYTES NAME of each object that its record names.
pub fn object_lines(set: &Set) -> Result<String> {
    let Some(record) = set.committed() else { return Ok(String::new()) };
    let line = |object: &ObjectEntry| {
        let is_hex = object.sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
        match is_hex && !object.sha256.is_empty() && !object.name.contains(char::is_control) {
            true => Ok(format!("object {} {} {} {}\n", set.label, object.sha256, object.bytes, object.name)),
            false => Err(Error::damaged(format!(
                "the record of {} does not name its objects properly: {}",
                set.label,
                one_line(&object.name)
            ))),
        }
    };
    record.objects.iter().map(line).collect()
}
