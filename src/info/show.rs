//! The same backups for people (a table) and for programs (labels, URLs, tab-separated values, JSON).

use crate::error::{Error, Result};
use crate::info::choose::stopped_at;
use crate::info::{Set, State};
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
pub fn show(sets: &[Set], format: Format) -> Result<String> {
    match format {
        Format::Table => Ok(table(sets)),
        Format::Label => {
            Ok(lines(sets, |set| Some(set.label.to_string()).filter(|_| set.record().is_some())))
        }
        Format::Url => Ok(lines(sets, |set| Some(set.url.clone()).filter(|_| set.record().is_some()))),
        Format::Tsv => Ok(lines(sets, tsv)),
        Format::Json => {
            let mut text = String::new();
            for set in sets {
                text.push_str(&json(set)?);
                text.push('\n');
            }
            Ok(text)
        }
    }
}

/// Whether the newest complete backup is older than `age`, or there is none.
pub fn is_too_old(sets: &[Set], age: Duration, now: OffsetDateTime) -> bool {
    let newest = sets.iter().filter_map(stopped_at).max();
    newest.is_none_or(|newest| now - newest > age)
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
        backup.backup_type.name().to_owned(),
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
    // A record is not sealed: nothing in it may break the line.
    Some(fields.map(|field| field.replace(['\t', '\n'], " ")).join("\t"))
}

fn json(set: &Set) -> Result<String> {
    let (state, reason) = match &set.state {
        State::Complete(_) => ("complete", None),
        State::Incomplete(why) => ("incomplete", Some(why)),
        State::Damaged(why) => ("damaged", Some(why)),
    };
    let value = serde_json::json!({
        "format": "pgv-info/1", "cluster": set.cluster, "system_identifier": set.system_identifier.to_string(),
        "label": set.label, "url": set.url, "state": state, "reason": reason, "stored_bytes": set.stored_bytes,
        "record": set.record(),
    });
    serde_json::to_string(&value).map_err(|e| Error::failed(format!("encode {}: {e}", set.label)))
}

fn table(sets: &[Set]) -> String {
    let mut rows = vec![
        ["BACKUP", "TYPE", "COMPLETE AT (UTC)", "DATABASE", "STORED", "VERSION", "FINDINGS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut text = String::new();
    let mut last = None;
    for set in sets {
        let this = (set.cluster.clone(), set.system_identifier);
        if last.as_ref() != Some(&this) {
            rows.push(vec![format!("{} {}", this.0, this.1)]);
            last = Some(this);
        }
        rows.push(row(set));
    }
    if last.is_none() {
        return "no backups\n".to_owned();
    }
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            // Writing to a String does not fail.
            let _infallible = write!(line, "{cell:<width$}  ", width = width(column)).is_ok();
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(set: &Set) -> Vec<String> {
    let label = set.label.to_string();
    let kind = set.label.backup_type().name().to_owned();
    let Some(record) = set.record() else {
        let why = match &set.state {
            State::Damaged(why) => format!("damaged: {why}"),
            State::Incomplete(why) => format!("incomplete: {why}"),
            State::Complete(_) => String::new(),
        };
        return vec![label, kind, String::new(), String::new(), size(set.stored_bytes), String::new(), why];
    };
    let backup = &record.backup;
    let findings = match (backup.findings.bad_pages, backup.findings.links) {
        (0, 0) => "none".to_owned(),
        (pages, links) => format!("{pages} bad pages, {links} links left out"),
    };
    let stopped = backup.stopped_at.replace('T', " ").replace('Z', "");
    vec![
        label,
        kind,
        stopped,
        size(backup.database_bytes),
        size(set.stored_bytes),
        backup.pg_version.clone(),
        findings,
    ]
}

/// "1.4 GiB".
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (bytes.max(1).ilog2() / 10) as usize;
    match power {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / (1u64 << (10 * power)) as f64, units[power]),
    }
}
