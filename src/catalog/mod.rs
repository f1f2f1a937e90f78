//! What a repository looks like: labels, commit records, the identity of a stream, object names.
//! `pgv-format(5)` describes all of it for people.

pub mod configuration;
mod databases;
mod escape;
pub mod key_object;
mod label;
pub mod layout;
mod mark;
pub mod member;
mod members;
mod record;
mod stream;
mod time;
mod verdict;

pub use configuration::{Configuration, Link, SavedFile};
pub use databases::{Database, Databases, Selection};
pub use escape::{escape, unescape};
pub use label::{BackupType, Label};
pub use mark::{MarkKind, NOTE_FORMAT, Note, PIN_FORMAT, Pin, mark_kind, mark_name};
pub use members::{MembersReader, MembersWriter, Placed};
pub use record::{
    BackupFacts, Blocks, FACTS_FORMAT, Facts, Files, Findings, ObjectEntry, RECORD_FORMAT, Record, SYNTHETIC,
    Tablespace,
};
pub use stream::{Mode, STREAM_FORMAT, StreamIdentity, StreamTablespace};
pub use time::{CLOCK_MARGIN, rfc3339, time_of};
pub use verdict::{VERDICT_FORMAT, Verdict, VerdictKind, verdict_kind, verdict_name};

/// Serialises what JSON readers would round: 64-bit identifiers travel as decimal strings.
pub mod decimal_string {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
