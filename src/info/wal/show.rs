//! What the archived WAL is good for, for people (a table) and for programs (tab-separated values, JSON).

use crate::catalog::rfc3339;
use crate::cli::lines::Lines;
use crate::error::{Error, Result};
use crate::info::show::Format;
use crate::info::wal::archive::Archive;
use crate::info::wal::points::Point;
use crate::info::wal::reach::Window;
use crate::info::wal::runs::Run;
use crate::info::wal::unknown::complaint;
use crate::pg::wal;

/// For pgv-verify: `ok` for each point and window, `bad` for each gap and each missing history.
pub fn wal_lines(archives: &[Archive]) -> Lines {
    let mut lines = Lines::new();
    for archive in archives {
        for point in &archive.points {
            let (timeline, label, at) = (point.run.timeline, &point.label, rfc3339(point.at));
            lines.add(
                "ok",
                format_args!(
                    "timeline {timeline}: backup {label} can be restored to its end, {at}, and no further"
                ),
            );
        }
        for window in &archive.windows {
            let (timeline, from) = (window.run.timeline, rfc3339(window.from));
            let to = window.to().map(rfc3339).unwrap_or_default();
            lines.add(
                "ok",
                format_args!("timeline {timeline}: every moment from {from} to {to} can be restored"),
            );
        }
        for complaint in complaints(archive) {
            lines.add("bad", complaint);
        }
    }
    lines
}

/// What is wrong: each gap, and each missing history.
pub fn complaints(archive: &Archive) -> Vec<String> {
    let gap = |gap: &Run| {
        let name = |number: u64| wal::name_of_number(gap.timeline, number, archive.segment_bytes);
        let (first, last) = (name(gap.first), name(gap.last));
        format!("timeline {}: WAL is missing, {first} to {last}", gap.timeline)
    };
    let history = |timeline: &u32| {
        let (what, advice) = complaint(*timeline, &archive.cluster);
        format!("{what}; {advice}")
    };
    archive.gaps.iter().map(gap).chain(archive.unknown.iter().map(history)).collect()
}

/// A line for each point, each window, each gap and each missing history.
pub fn show_wal(archives: &[Archive], format: Format) -> Result<String> {
    let mut text = String::new();
    for archive in archives {
        if format == Format::Table {
            text += &format!("{} {}\n", archive.cluster, archive.system_identifier);
        }
        for point in &archive.points {
            text += &line(archive, &point.run, &What::Point(point), format)?;
        }
        for window in &archive.windows {
            text += &line(archive, &window.run, &What::Window(window), format)?;
        }
        for gap in &archive.gaps {
            text += &line(archive, gap, &What::Gap, format)?;
        }
        for timeline in &archive.unknown {
            text += &unknown_line(archive, *timeline, format)?;
        }
    }
    Ok(if text.is_empty() && format == Format::Table {
        "no backups, so no WAL is needed\n".to_owned()
    } else {
        text
    })
}

enum What<'a> {
    Point(&'a Point),
    Window(&'a Window),
    Gap,
}

impl What<'_> {
    fn kind(&self) -> &'static str {
        match self {
            What::Point(_) => "point",
            What::Window(_) => "window",
            What::Gap => "gap",
        }
    }

    /// From when to when, and by which backup.
    fn reach(&self) -> (Option<String>, Option<String>, Option<&str>) {
        match self {
            What::Point(point) => (Some(rfc3339(point.at)), Some(rfc3339(point.at)), Some(&point.label)),
            What::Window(window) => {
                (Some(rfc3339(window.from)), window.to().map(rfc3339), Some(&window.label))
            }
            What::Gap => (None, None, None),
        }
    }
}

fn line(archive: &Archive, run: &Run, what: &What<'_>, format: Format) -> Result<String> {
    let name = |number: u64| wal::name_of_number(run.timeline, number, archive.segment_bytes);
    let (first, last, segments) = (name(run.first), name(run.last), run.last - run.first + 1);
    let (kind, (from, to, label)) = (what.kind(), what.reach());
    if format == Format::Json {
        return json(&serde_json::json!({
            "format": "pgv-wal/1", "kind": kind, "cluster": archive.cluster,
            "system_identifier": archive.system_identifier.to_string(), "timeline": run.timeline,
            "from": from, "to": to, "label": label,
            "wal_first": first, "wal_last": last, "segments": segments,
        }));
    }
    let (timeline, label) = (run.timeline, label.unwrap_or_default());
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    Ok(match (format, what) {
        (Format::Table, What::Point(_)) => {
            format!("timeline {timeline}  only the end of backup {label}, {to}\n")
        }
        (Format::Table, What::Window(_)) => format!(
            "timeline {timeline}  from {from} (backup {label}) to {to}, when {last} was stored; {segments} segments from {first}\n"
        ),
        (Format::Table, What::Gap) => {
            format!("timeline {timeline}  GAP: {segments} segments are missing, {first} to {last}\n")
        }
        _ => format!(
            "{kind}\t{}\t{}\t{timeline}\t{from}\t{to}\t{label}\t{first}\t{last}\t{segments}\n",
            archive.cluster, archive.system_identifier
        ),
    })
}

fn json(value: &serde_json::Value) -> Result<String> {
    let text = serde_json::to_string(value);
    Ok(text.map_err(|e| Error::failed(format!("encode a line of WAL: {e}")))? + "\n")
}

/// A history has no segments.
fn unknown_line(archive: &Archive, timeline: u32, format: Format) -> Result<String> {
    let (what, advice) = complaint(timeline, &archive.cluster);
    let (cluster, system) = (&archive.cluster, archive.system_identifier);
    match format {
        Format::Table => Ok(format!("{what}\n  {advice}\n")),
        Format::Json => json(&serde_json::json!({
            "format": "pgv-wal/1", "kind": "history", "cluster": cluster,
            "system_identifier": system.to_string(), "timeline": timeline,
            "from": null, "to": null, "label": null, "wal_first": null, "wal_last": null, "segments": 0,
        })),
        _ => Ok(format!("history\t{cluster}\t{system}\t{timeline}\t\t\t\t\t\t0\n")),
    }
}
