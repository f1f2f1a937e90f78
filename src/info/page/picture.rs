//! The time line of one cluster: its chains of backups, what can be restored when, and what was looked at. Places are in
//! percent of the width, so that one picture fits every screen; heights are in pixels.

use crate::catalog::{VerdictKind, time_of};
use crate::info::page::axis::Axis;
use crate::info::page::html::Html;
use crate::info::page::lanes::{Placed, chain_of, place};
use crate::info::page::reach::{Kind, Stretch, seen};
use crate::info::show::size;
use crate::info::words::{count, moment};
use crate::info::{Set, State};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// Pixels.
const LANE: usize = 26;
const HEADING: usize = 22;
const AXIS: usize = 20;
/// A row of each kind of check: they are often made at one time.
const CHECK_ROW: usize = 17;
/// Timelines that are drawn; the table has all.
const MOST_TIMELINES: usize = 8;
/// Two marks of one lane are so many percent apart, or in two lanes.
const APART: f64 = 2.0;

pub(super) struct Picture<'a> {
    pub(super) sets: &'a [Set],
    /// Which of them a restore can count on.
    pub(super) good: &'a [bool],
    pub(super) lanes: &'a BTreeMap<u32, Vec<Stretch>>,
    pub(super) now: OffsetDateTime,
}

/// A verdict in the picture.
struct Check {
    at: OffsetDateTime,
    row: usize,
    glyph: &'static str,
    class: &'static str,
    title: String,
}

/// A share of 100.
fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

impl Picture<'_> {
    pub(super) fn draw(&self, html: &mut Html, axis: &Axis, label: &str) {
        let placed: Vec<_> = place(self.sets, axis.length() * (APART / 100.0))
            .into_iter()
            .filter(|placed| axis.contains(placed.at))
            .collect();
        let rows = placed.iter().map(|placed| placed.lane + 1).max().unwrap_or(0);
        let timelines = seen(self.lanes, axis, MOST_TIMELINES);
        let verdicts = self.verdicts(axis);
        let backups_at = AXIS + HEADING;
        let windows_at = backups_at + rows * LANE;
        let checks_at = windows_at + timelines.len() * (HEADING + LANE);
        let height = checks_at + if verdicts.is_empty() { 0 } else { HEADING + 3 * CHECK_ROW };
        html.open(
            "svg",
            &[("role", "img"), ("aria-label", label), ("class", "line"), ("height", &height.to_string())],
        );
        draw_axis(html, axis, height);
        heading(html, AXIS, "Backups");
        self.draw_chains(html, axis, &placed, backups_at);
        for placed in &placed {
            self.draw_set(html, axis, placed, backups_at + placed.lane * LANE + LANE / 2);
        }
        for (row, (timeline, stretches)) in timelines.iter().enumerate() {
            let top = windows_at + row * (HEADING + LANE);
            heading(html, top, &format!("Can be restored, timeline {timeline}"));
            stretches.iter().for_each(|stretch| draw_stretch(html, axis, stretch, top + HEADING + LANE / 2));
        }
        if !verdicts.is_empty() {
            heading(html, checks_at, "Checked: verify, drill, WAL");
            for Check { at, row, glyph, class, title } in verdicts {
                let y = checks_at + HEADING + row * CHECK_ROW + CHECK_ROW / 2;
                use_glyph(html, glyph, class, axis.percent(at), y, &title);
            }
        }
        html.close("svg");
    }

    /// A line through what is built on each other.
    fn draw_chains(&self, html: &mut Html, axis: &Axis, placed: &[Placed<'_>], top: usize) {
        let mut chains: BTreeMap<&str, (f64, f64, usize)> = BTreeMap::new();
        for one in placed {
            let at = axis.percent(one.at);
            let chain = chains.entry(chain_of(&one.set.label)).or_insert((at, at, one.lane));
            *chain = (chain.0.min(at), chain.1.max(at), one.lane);
        }
        for (from, to, lane) in chains.into_values().filter(|(from, to, _)| from < to) {
            let y = (top + lane * LANE + LANE / 2).to_string();
            html.open(
                "line",
                &[("class", "chain"), ("x1", &percent(from)), ("x2", &percent(to)), ("y1", &y), ("y2", &y)],
            );
            html.close("line");
        }
    }

    fn draw_set(&self, html: &mut Html, axis: &Axis, placed: &Placed<'_>, y: usize) {
        let (set, x) = (placed.set, axis.percent(placed.at));
        let kind = set.type_name();
        let is_good = self.sets.iter().zip(self.good).any(|(other, good)| std::ptr::eq(other, set) && *good);
        let (glyph, class, state) = match &set.state {
            State::Incomplete(_) => ("#open", "none", ", not complete"),
            State::Damaged { .. } => ("#cross", "bad", ", damaged"),
            State::Unreadable(_) => ("#unknown", "unknown", ", cannot be read"),
            State::Complete(_) if !is_good => ("#cross", "bad", ", a restore cannot count on it"),
            State::Complete(_) => match kind {
                "full" => ("#full", "full", ""),
                "synthetic" => ("#synthetic", "synthetic", ""),
                "diff" => ("#diff", "incr", ""),
                _ => ("#incr", "incr", ""),
            },
        };
        let pinned = set.marks.pinned(self.now);
        let title = format!(
            "{} ({kind}){state}, {}, {}{}",
            set.label,
            moment(placed.at),
            size(set.stored_bytes),
            pinned.as_ref().map_or_else(String::new, |why| format!(", {why}"))
        );
        use_glyph(html, glyph, class, x, y, &title);
        if pinned.is_some() {
            use_glyph(html, "#pin", "pin", x, y - 9, &title);
        }
    }

    /// The newest of each kind of each backup: when, how it is drawn, and what is said of it.
    fn verdicts(&self, axis: &Axis) -> Vec<Check> {
        let all = self.sets.iter().flat_map(|set| set.verdicts.iter().map(move |verdict| (set, verdict)));
        let seen = all.filter_map(|(set, verdict)| {
            let at = time_of(&verdict.started_at).filter(|at| axis.contains(*at))?;
            let (row, glyph) = match verdict.kind {
                VerdictKind::Verify => (0, "#verify"),
                VerdictKind::Drill => (1, "#drill"),
                VerdictKind::Wal => (2, "#wal"),
            };
            let glyph = if verdict.ok { glyph } else { "#cross" };
            let (class, result) = match verdict.ok {
                true => ("good", "good".to_owned()),
                false => ("bad", format!("BAD, {}", count(verdict.findings.len(), "finding"))),
            };
            let what = match verdict.kind {
                VerdictKind::Wal => "all WAL".to_owned(),
                _ => set.label.to_string(),
            };
            let title = format!("{} of {what}, {}: {result}", verdict.kind.name(), moment(at));
            Some(Check { at, row, glyph, class, title })
        });
        let mut seen: Vec<_> = seen.collect();
        // What is bad lies on top.
        seen.sort_by_key(|check| (check.class == "bad", check.at));
        seen
    }
}

fn heading(html: &mut Html, top: usize, words: &str) {
    html.element("text", &[("class", "heading"), ("x", "0"), ("y", &(top + HEADING - 7).to_string())], words);
}

fn draw_axis(html: &mut Html, axis: &Axis, height: usize) {
    let ticks = axis.ticks();
    for (index, tick) in ticks.iter().enumerate() {
        let class = if index % 2 == 0 { "tick" } else { "tick odd" };
        let x = percent(tick.percent);
        let anchor = match tick.percent {
            at if at < 4.0 => "start",
            at if at > 96.0 => "end",
            _ => "middle",
        };
        html.open(
            "line",
            &[("class", class), ("x1", &x), ("x2", &x), ("y1", "16"), ("y2", &height.to_string())],
        );
        html.close("line");
        html.element(
            "text",
            &[("class", class), ("x", &x), ("y", "11"), ("text-anchor", anchor)],
            &tick.words,
        );
    }
}

fn draw_stretch(html: &mut Html, axis: &Axis, stretch: &Stretch, y: usize) {
    let Some((x, width)) = axis.span(stretch.from, stretch.to) else { return };
    let class = match stretch.kind {
        Kind::Point => return use_glyph(html, "#point", "window", x, y, &stretch.words),
        Kind::Window => "window",
        Kind::Gap => "gap",
    };
    // A moment is seen, too.
    let (x, width) = (percent(x.min(99.5)), percent(width.max(0.5)));
    let (top, height) = ((y - 6).to_string(), "12");
    html.shape(
        "rect",
        &[("class", class), ("x", &x), ("y", &top), ("width", &width), ("height", height), ("rx", "2")],
        &stretch.words,
    );
}

fn use_glyph(html: &mut Html, glyph: &'static str, class: &'static str, x: f64, y: usize, title: &str) {
    html.shape("use", &[("href", glyph), ("class", class), ("x", &percent(x)), ("y", &y.to_string())], title);
}
