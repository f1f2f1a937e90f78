//! The same as tables, for people who do not see the pictures, and with everything in them.

use crate::catalog::{Verdict, time_of};
use crate::info::marks::Content;
use crate::info::page::html::Html;
use crate::info::page::reach::{Kind, Stretch};
use crate::info::show::{findings, size, took};
use crate::info::words::{length, moment};
use crate::info::{Set, State};
use std::collections::BTreeMap;
use time::OffsetDateTime;

fn begin(html: &mut Html, caption: &str, columns: &[&str]) {
    html.open("div", &[("class", "scroll"), ("role", "region"), ("tabindex", "0"), ("aria-label", caption)]);
    html.open("table", &[]).element("caption", &[], caption).raw("<thead><tr>");
    columns.iter().for_each(|column| {
        html.element("th", &[("scope", "col")], column);
    });
    html.raw("</tr></thead><tbody>\n");
}

fn end(html: &mut Html) {
    html.raw("</tbody></table></div>\n");
}

const COLUMNS: [&str; 9] =
    ["Backup", "Type", "Complete at", "Took", "Database", "Stored", "PostgreSQL", "Checked", "Notes"];

/// Newest first.
pub(super) fn backups(html: &mut Html, sets: &[Set], now: OffsetDateTime) {
    begin(html, "Backups, newest first", &COLUMNS);
    for set in sets.iter().rev() {
        html.raw("<tr>").element("th", &[("scope", "row")], set.label.as_str());
        html.element("td", &[], set.type_name());
        let (class, state) = match &set.state {
            State::Complete(_) => {
                whole(html, set, now);
                html.raw("</tr>\n");
                continue;
            }
            State::Incomplete(why) => ("", format!("not complete: {why}")),
            State::Damaged { why, .. } => ("bad", format!("damaged: {why}")),
            State::Unreadable(error) => ("bad", format!("cannot be read: {error}")),
        };
        html.element("td", &[("colspan", "3"), ("class", class)], &state);
        html.element("td", &[("class", "number")], &size(set.stored_bytes));
        html.element("td", &[("colspan", "3")], &notes(set, now).join("; ")).raw("</tr>\n");
    }
    end(html);
}

fn whole(html: &mut Html, set: &Set, now: OffsetDateTime) {
    let Some(backup) = set.record().map(|record| &record.backup) else { return };
    let stopped = time_of(&backup.stopped_at).map_or_else(|| backup.stopped_at.clone(), moment);
    html.element("td", &[("class", "when")], &stopped);
    html.element("td", &[("class", "number")], &took(backup).map_or_else(String::new, length));
    html.element("td", &[("class", "number")], &size(backup.database_bytes));
    html.element("td", &[("class", "number")], &size(set.stored_bytes));
    // Without the name of its package.
    html.element("td", &[], backup.pg_version.split(' ').next().unwrap_or_default());
    let is_bad = set.is_bad() || set.unread_verdict.is_some();
    let checked = match &set.unread_verdict {
        Some(_) => "cannot be read".to_owned(),
        None => checked(&set.verdicts),
    };
    html.element("td", &[("class", if is_bad { "what bad" } else { "what" })], &checked);
    html.element("td", &[("class", "what")], &notes(set, now).join("; "));
}

fn checked(verdicts: &[Verdict]) -> String {
    let one = |verdict: &Verdict| {
        let day = verdict.started_at.get(..10).unwrap_or_default();
        format!("{} {} {day}", verdict.kind.name(), if verdict.ok { "good" } else { "BAD" })
    };
    match verdicts {
        [] => "never".to_owned(),
        verdicts => verdicts.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

/// Findings of the backup itself, its pin, and its annotations.
fn notes(set: &Set, now: OffsetDateTime) -> Vec<String> {
    let found = set.record().map(|record| findings(&record.backup)).filter(|found| found != "none");
    let mut notes: Vec<String> = found.into_iter().collect();
    if let Some(why) = set.marks.pinned(now) {
        let note = match set.marks.pin.as_ref().map(|mark| &mark.content) {
            Some(Content::Good(pin)) => pin.note.as_deref(),
            _ => None,
        };
        notes.push(note.map_or(why.clone(), |note| format!("{why}: {note}")));
    }
    let of_record = set.committed().map(|record| &record.annotations);
    let annotations = of_record.and_then(|of_record| set.marks.annotations(of_record));
    notes.extend(annotations.unwrap_or_default().into_iter().map(|(key, value)| format!("{key}={value}")));
    notes
}

/// What can be restored, newest timeline first.
pub(super) fn recovery(html: &mut Html, lanes: &BTreeMap<u32, Vec<Stretch>>) {
    begin(html, "What can be restored, newest timeline first", &["Timeline", "From", "To", "What"]);
    for (timeline, stretches) in lanes.iter().rev() {
        let mut ordered: Vec<_> = stretches.iter().collect();
        ordered.sort_by_key(|stretch| std::cmp::Reverse((stretch.to, stretch.from)));
        for stretch in ordered {
            let (class, what) = match stretch.kind {
                Kind::Window => ("what", stretch.short.clone()),
                Kind::Point => ("what", stretch.short.clone()),
                Kind::Gap => ("what bad", format!("GAP: {}", stretch.short)),
            };
            html.raw("<tr>").element("th", &[("scope", "row")], &timeline.to_string());
            html.element("td", &[("class", "when")], &moment(stretch.from));
            html.element("td", &[("class", "when")], &moment(stretch.to));
            html.element("td", &[("class", class)], &what).raw("</tr>\n");
        }
    }
    end(html);
}
