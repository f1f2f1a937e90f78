//! The same backups for people (a table) and for programs (labels, URLs, tab-separated values, JSON).

use crate::catalog::{BackupFacts, Verdict, escape};
use crate::error::{Error, Result};
use crate::info::choose::stopped_at;
use crate::info::facts::{one_line, time_of};
use crate::info::marks::Content;
use crate::info::{Fate, Set, State, systems};
use std::fmt::Write;
use std::time::Duration;
use time::OffsetDateTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Table,
    Label,
    Url,
    Tsv,
    Json,
}

/// All of it as text. Labels, URLs and tab-separated lines are of complete backups only.
pub fn show(sets: &[Set], format: Format, now: OffsetDateTime) -> Result<String> {
    match format {
        Format::Table => Ok(table(sets, now)),
        Format::Label => {
            Ok(lines(sets, |set| Some(set.label.to_string()).filter(|_| set.record().is_some())))
        }
        Format::Url => Ok(lines(sets, |set| Some(set.url.clone()).filter(|_| set.record().is_some()))),
        Format::Tsv => Ok(lines(sets, tsv)),
        Format::Json => {
            let mut text = String::new();
            for set in sets {
                text.push_str(&json(set, now)?);
                text.push('\n');
            }
            Ok(text)
        }
    }
}

/// What is wrong with the age of the backups that are `wanted`: a line for each cluster whose newest
/// complete one is older than `age`, or that has none.
pub fn too_old(
    sets: &[Set],
    age: Duration,
    now: OffsetDateTime,
    wanted: impl Fn(&Set) -> bool,
) -> Vec<String> {
    let complaint = |cluster: &[Set]| {
        let complete = cluster.iter().filter(|set| wanted(set));
        let newest =
            complete.filter_map(|set| Some((stopped_at(set)?, set))).max_by_key(|(stopped, _)| *stopped);
        match (newest, cluster.first()) {
            (None, first) => Some(format!("{}: there is no backup", first.map_or("", |set| &set.cluster))),
            (Some((stopped, set)), _) if now - stopped > age => Some(format!(
                "{}: the newest backup, {}, is {} old",
                set.cluster,
                set.label,
                duration(now - stopped)
            )),
            _ => None,
        }
    };
    match sets {
        [] => vec!["there is no backup".to_owned()],
        _ => sets.chunk_by(|a, b| a.cluster == b.cluster).filter_map(complaint).collect(),
    }
}

fn lines(sets: &[Set], line: impl Fn(&Set) -> Option<String>) -> String {
    sets.iter().filter_map(line).fold(String::new(), |text, line| text + &line + "\n")
}

fn tsv(set: &Set) -> Option<String> {
    let record = set.record()?;
    let backup = &record.backup;
    let fields = [
        set.cluster.clone(),
        set.system_identifier.to_string(),
        set.label.to_string(),
        backup.type_name().to_owned(),
        backup.started_at.clone(),
        backup.stopped_at.clone(),
        backup.database_bytes.to_string(),
        set.stored_bytes.to_string(),
        backup.pg_version.clone(),
        backup.start_lsn.to_string(),
        backup.stop_lsn.to_string(),
        backup.timeline.to_string(),
        backup.wal_first.clone(),
        backup.wal_last.clone(),
        backup.parent.as_ref().map_or_else(String::new, ToString::to_string),
        set.url.clone(),
    ];
    Some(fields.map(|field| one_line(&field)).join("\t"))
}

fn json(set: &Set, now: OffsetDateTime) -> Result<String> {
    let (state, reason) = match &set.state {
        State::Complete(_) => ("complete", None),
        State::Incomplete(why) => ("incomplete", Some(why.clone())),
        State::Damaged { why, .. } => ("damaged", Some(why.clone())),
        State::Unreadable(error) => ("unreadable", Some(one_line(error.message()))),
    };
    let pin = match set.marks.pin.as_ref().map(|mark| &mark.content) {
        Some(Content::Good(pin)) => Some(pin),
        _ => None,
    };
    let annotations = set.committed().and_then(|record| set.marks.annotations(&record.annotations));
    let merged_from = set.committed().map_or(&[][..], |record| &record.backup.merged_from);
    let value = serde_json::json!({
        "format": "pgv-info/1", "cluster": set.cluster, "system_identifier": set.system_identifier.to_string(),
        "label": set.label, "type": set.type_name(), "url": set.url, "state": state, "reason": reason,
        "stored_bytes": set.stored_bytes, "merged_from": merged_from,
        "record": set.record(), "verdicts": set.verdicts,
        "pinned": set.marks.pinned(now).is_some(), "pin": pin, "annotations": annotations,
    });
    serde_json::to_string(&value).map_err(|e| Error::failed(format!("encode {}: {e}", set.label)))
}

/// Labels and URLs are of what may go; a table and JSON tell of the others why they stay.
pub fn show_fates(fates: &[Fate<'_>], format: Format) -> Result<String> {
    let line = |fate: &Fate<'_>| {
        let (set, may_go) = (fate.set, fate.reasons.is_empty());
        Ok(match format {
            Format::Json => {
                let value = serde_json::json!({
                    "format": "pgv-prune/1", "cluster": set.cluster,
                    "system_identifier": set.system_identifier.to_string(), "label": set.label, "url": set.url,
                    "may_go": may_go, "reasons": fate.reasons,
                });
                let text = serde_json::to_string(&value);
                text.map_err(|e| Error::failed(format!("encode {}: {e}", set.label)))? + "\n"
            }
            Format::Table if may_go => format!("{}  may go\n", set.label),
            Format::Table => format!("{}  stays: {}\n", set.label, fate.reasons.join(", ")),
            _ if !may_go => String::new(),
            Format::Url => format!("{}\n", set.url),
            _ => format!("{}\n", set.label),
        })
    };
    fates.iter().map(line).collect()
}

const HEADER: [&str; 11] = [
    "BACKUP",
    "TYPE",
    "COMPLETE AT (UTC)",
    "TOOK",
    "DATABASE",
    "STORED",
    "RATIO",
    "VERSION",
    "FINDINGS",
    "CHECKED",
    "WAL",
];

/// Only where something is pinned, before the last.
const PINNED: &str = "PINNED";

fn table(sets: &[Set], now: OffsetDateTime) -> String {
    if sets.is_empty() {
        return "no backups\n".to_owned();
    }
    let shows_pins = sets.iter().any(|set| set.marks.pinned(now).is_some());
    let mut header = HEADER.to_vec();
    if shows_pins {
        header.insert(header.len() - 1, PINNED);
    }
    let mut rows = vec![header.iter().map(|name| (*name).to_owned()).collect()];
    for cluster in systems(sets) {
        rows.extend(cluster.first().map(|set| vec![format!("{} {}", set.cluster, set.system_identifier)]));
        rows.extend(cluster.iter().map(|set| row(set, shows_pins.then_some(now))));
    }
    columns(&rows)
}

/// What a person decided about these backups, a line each: their pins and annotations.
pub fn show_marks(sets: &[Set], now: OffsetDateTime) -> String {
    let mut lines = Vec::new();
    for set in sets {
        if let Some(why) = set.marks.pinned(now) {
            let note = match set.marks.pin.as_ref().map(|mark| &mark.content) {
                Some(Content::Good(pin)) => pin.note.as_deref(),
                _ => None,
            };
            lines.push(note.map_or(why.clone(), |note| format!("{why}: {note}")));
        }
        let of_record = set.committed().map(|record| &record.annotations);
        let annotations = of_record.and_then(|of_record| set.marks.annotations(of_record));
        for (key, value) in annotations.unwrap_or_default() {
            lines.push(format!("annotation {key}={value}"));
        }
    }
    lines.iter().map(|line| escape(line.as_bytes()) + "\n").collect()
}

/// Text in columns. A row that is not whole ends with a sentence, which must not widen a column.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column).filter(|_| column + 1 < row.len()));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..rows.iter().map(Vec::len).max().unwrap_or(0)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line = cells.fold(String::new(), |mut line, (cell, width)| {
            // Writing to a String does not fail.
            let _infallible = write!(line, "{cell:<width$}  ").is_ok();
            line
        });
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `pins`: whether there is a column of pins, as of this time.
fn row(set: &Set, pins: Option<OffsetDateTime>) -> Vec<String> {
    let label = set.label.to_string();
    let kind = set.type_name().to_owned();
    let stored = size(set.stored_bytes);
    let backup = match &set.state {
        State::Complete(record) => &record.backup,
        State::Incomplete(why) => return vec![label, kind, format!("incomplete, {stored}: {why}")],
        State::Damaged { why, .. } => return vec![label, kind, format!("damaged, {stored}: {why}")],
        State::Unreadable(error) => {
            let why = one_line(error.message());
            return vec![label, kind, format!("unreadable, {stored}: {why}")];
        }
    };
    let mut cells = vec![
        label,
        kind,
        backup.stopped_at.replace('T', " ").replace('Z', ""),
        took(backup).map_or_else(String::new, duration),
        size(backup.database_bytes),
        stored,
        format!("{:.1}", backup.database_bytes as f64 / set.stored_bytes.max(1) as f64),
        backup.pg_version.clone(),
        findings(backup),
        match &set.unread_verdict {
            Some(_) => "unreadable".to_owned(),
            None => checked(&set.verdicts),
        },
    ];
    cells.extend(pins.map(|now| pinned(set, now)));
    cells.push(wal(backup));
    cells.iter().map(|cell| one_line(cell)).collect()
}

/// "until 2027-01-31", "yes".
fn pinned(set: &Set, now: OffsetDateTime) -> String {
    let content = set.marks.pin.as_ref().map(|mark| &mark.content);
    match (set.marks.pinned(now), content) {
        (None, _) | (_, None) => String::new(),
        (_, Some(Content::Wrong(_))) => "damaged".to_owned(),
        (_, Some(Content::Unread(_))) => "unreadable".to_owned(),
        (_, Some(Content::Good(pin))) => match &pin.until {
            Some(until) => format!("until {}", until.get(..10).unwrap_or_default()),
            None => "yes".to_owned(),
        },
    }
}

/// From its start to its end.
pub fn took(backup: &BackupFacts) -> Option<time::Duration> {
    Some(time_of(&backup.stopped_at)? - time_of(&backup.started_at)?)
}

pub(super) fn findings(backup: &BackupFacts) -> String {
    let found = backup.findings;
    let kinds = [
        (found.bad_pages, "bad pages"),
        (found.links, "links left out"),
        (found.unread, "configuration files unread"),
    ];
    let named: Vec<_> =
        kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if named.is_empty() { "none".to_owned() } else { named.join(", ") }
}

/// "verify 2026-11-23, drill BAD 2026-11-24".
fn checked(verdicts: &[Verdict]) -> String {
    let one = |verdict: &Verdict| {
        let day = verdict.started_at.get(..10).unwrap_or_default();
        format!("{}{} {day}", verdict.kind.name(), if verdict.ok { "" } else { " BAD" })
    };
    match verdicts {
        [] => "never".to_owned(),
        verdicts => verdicts.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

/// The segments that the backup needs; their first eight digits are the timeline.
fn wal(backup: &BackupFacts) -> String {
    match backup.wal_first == backup.wal_last {
        true => backup.wal_first.clone(),
        false => format!("{} to {}", backup.wal_first, backup.wal_last),
    }
}

/// "1h07min".
fn duration(length: time::Duration) -> String {
    let seconds = length.whole_seconds().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}min{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes:02}min"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// "1.4 GiB".
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (bytes.max(1).ilog2() / 10) as usize;
    match power {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / (1u64 << (10 * power)) as f64, units[power]),
    }
}
