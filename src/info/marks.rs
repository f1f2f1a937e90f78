//! The newest pin and the newest note of a backup, as they were read.

use crate::catalog::{Label, MarkKind, Note, Pin, mark_kind};
use crate::error::{Error, Result};
use crate::info::listed::Objects;
use crate::info::look::{Look, Reader};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// The newest mark of one kind.
pub struct Mark<T> {
    /// Of its object, below the backup.
    pub name: String,
    pub content: Content<T>,
}

pub enum Content<T> {
    Good(T),
    /// It was read, and is none, or of a later version: why.
    Wrong(String),
    Unread(Error),
}

#[derive(Default)]
pub struct Marks {
    pub pin: Option<Mark<Pin>>,
    pub note: Option<Mark<Note>>,
}

impl Marks {
    /// `objects`: the listing of the backup. Nothing, if that does not fit what was read.
    pub fn read(reader: &Reader<'_>, label: &Label, objects: &Objects) -> Option<Marks> {
        Some(Marks {
            pin: newest(reader, label, objects, MarkKind::Pin, Pin::parse)?,
            note: newest(reader, label, objects, MarkKind::Note, Note::parse)?,
        })
    }

    /// Whether one of them seems to be damaged: an answer can be garbled, so that is read twice.
    pub fn condemn(&self) -> bool {
        self.faults().next().is_some()
    }

    /// The name of each that was read and is none, and why.
    pub fn faults(&self) -> impl Iterator<Item = (&str, &str)> {
        fn fault<T>(mark: &Option<Mark<T>>) -> Option<(&str, &str)> {
            match mark {
                Some(Mark { name, content: Content::Wrong(why) }) => Some((name, why)),
                _ => None,
            }
        }
        fault(&self.pin).into_iter().chain(fault(&self.note))
    }

    pub fn unread_pin(&self) -> Option<&Error> {
        unread(&self.pin)
    }

    pub fn unread(&self) -> impl Iterator<Item = &Error> {
        unread(&self.pin).into_iter().chain(unread(&self.note))
    }

    /// Why the backup has to stay, if it has to. A pin that nobody understands holds.
    pub fn pinned(&self, now: OffsetDateTime) -> Option<String> {
        match &self.pin.as_ref()?.content {
            Content::Good(pin) if !pin.holds(now) => None,
            Content::Good(pin) => Some(match &pin.until {
                Some(until) => format!("pinned until {until}"),
                None => "pinned".to_owned(),
            }),
            Content::Wrong(why) => Some(format!("its pin is damaged: {why}")),
            Content::Unread(error) => Some(format!("its pin cannot be read: {}", error.message())),
        }
    }

    /// The annotations of a record with those of the note over them; nothing if these are not known.
    pub fn annotations(&self, of_record: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
        let mut all = of_record.clone();
        match self.note.as_ref().map(|note| &note.content) {
            None => {}
            Some(Content::Good(note)) => {
                for (key, value) in &note.annotations {
                    match value {
                        Some(value) => drop(all.insert(key.clone(), value.clone())),
                        None => drop(all.remove(key)),
                    }
                }
            }
            Some(Content::Wrong(_) | Content::Unread(_)) => return None,
        }
        Some(all)
    }
}

fn unread<T>(mark: &Option<Mark<T>>) -> Option<&Error> {
    match mark {
        Some(Mark { content: Content::Unread(error), .. }) => Some(error),
        _ => None,
    }
}

fn newest<T>(
    reader: &Reader<'_>,
    label: &Label,
    objects: &Objects,
    kind: MarkKind,
    parse: fn(&[u8]) -> Result<T>,
) -> Option<Option<Mark<T>>> {
    // Names come in the order of time.
    let Some((name, listed)) = objects.iter().rfind(|(name, _)| mark_kind(name) == Some(kind)) else {
        return Some(None);
    };
    let content = match reader.look(&format!("{label}/{name}"), listed, parse) {
        Look::Good(mark) => Content::Good(mark),
        Look::Wrong(why) => Content::Wrong(why),
        Look::Changed => return None,
        Look::Unreadable(error) => Content::Unread(error),
    };
    Some(Some(Mark { name: name.clone(), content }))
}
