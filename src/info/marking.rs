//! Makes the marks that pgv-pin and pgv-annotate store beside a backup.

use crate::catalog::{Label, MarkKind, Note, Pin, layout, mark_name};
use crate::cli::lines::Lines;
use crate::error::{Error, Result};
use crate::info::look::LIMIT;
use crate::info::marks::Content;
use crate::info::{Set, choose};
use serde::Serialize;
use time::OffsetDateTime;

/// `name`, below a backup that is being made, and `content` of a pin.
pub fn new_pin(pin: &Pin, now: OffsetDateTime) -> Result<Lines> {
    lines(MarkKind::Pin, pin, None, now)
}

/// The same for a backup that is there, with the `url` of the pin, and that of the `record`.
pub fn pin(sets: &[Set], label: &Label, pin: &Pin, now: OffsetDateTime) -> Result<Lines> {
    let set = complete(sets, label)?;
    let newest = set.marks.pin.as_ref().map(|mark| mark.name.as_str());
    lines(MarkKind::Pin, pin, Some((set, newest)), now)
}

/// The same for a note: the newest one with these changes. Without a value an annotation goes.
pub fn annotate(
    sets: &[Set],
    label: &Label,
    changes: Vec<(String, Option<String>)>,
    now: OffsetDateTime,
) -> Result<Lines> {
    let set = complete(sets, label)?;
    let newest = set.marks.note.as_ref();
    let mut annotations = match newest.map(|newest| (&newest.content, &newest.name)) {
        None => Default::default(),
        Some((Content::Good(note), _)) => note.annotations.clone(),
        Some((Content::Unread(error), _)) => return Err(error.clone()),
        Some((Content::Wrong(why), name)) => {
            return Err(Error::damaged(format!("{}/{name}: {why}", set.url)).hint(
                "nothing was stored; if no newer pgv wrote it, delete it with pgv-s3 rm, and annotate again",
            ));
        }
    };
    let of_record = set.record().map(|record| &record.annotations);
    for (key, value) in changes {
        match value {
            None if of_record.is_none_or(|of_record| !of_record.contains_key(&key)) => {
                annotations.remove(&key);
            }
            value => drop(annotations.insert(key, value)),
        }
    }
    let newest = newest.map(|mark| mark.name.as_str());
    lines(MarkKind::Note, &Note::new(annotations), Some((set, newest)), now)
}

fn complete<'a>(sets: &'a [Set], label: &Label) -> Result<&'a Set> {
    let mut found = sets.iter().filter(|set| set.label == *label);
    match (found.next(), found.next()) {
        (Some(set), None) => choose::require(sets, label).map(|()| set),
        (Some(_), Some(_)) => {
            Err(Error::usage(format!("backup {label} exists under several system identifiers"))
                .hint("choose one with --system-id"))
        }
        (None, _) => {
            Err(Error::not_found(format!("there is no backup {label}")).hint("pgv-info lists the backups"))
        }
    }
}

/// `there`: the backup, and the name of its newest mark of this kind.
fn lines(
    kind: MarkKind,
    mark: &impl Serialize,
    there: Option<(&Set, Option<&str>)>,
    now: OffsetDateTime,
) -> Result<Lines> {
    let content =
        serde_json::to_string(mark).map_err(|e| Error::failed(format!("encode the {}: {e}", kind.name())))?;
    // A newline follows.
    if content.len() as u64 >= LIMIT {
        return Err(Error::usage(format!("a {} of {} bytes is too long", kind.name(), content.len())));
    }
    let name = mark_name(kind, now, there.and_then(|(_, newest)| newest))?;
    let mut lines = Lines::new();
    if let Some((set, _)) = there {
        lines.add("url", format_args!("{}/{name}", set.url));
        lines.add("record", format_args!("{}/{}", set.url, layout::RECORD));
    }
    lines.add("name", name).add("content", content);
    Ok(lines)
}
