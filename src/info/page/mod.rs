//! `pgv-info --html`: one page that needs nothing else, with pictures of all that a list says. Nothing in it runs, and
//! nothing is fetched; the page itself forbids both.

mod attention;
mod axis;
mod bars;
mod html;
mod lanes;
mod picture;
mod reach;
mod table;
#[cfg(test)]
mod tests;

use crate::catalog::{VerdictKind, time_of};
use crate::error::Error;
use crate::info::Set;
use crate::info::choose::stopped_at;
use crate::info::sets::{good, systems};
use crate::info::show::{size, took};
use crate::info::wal::Archive;
use crate::info::words::{ago, count, length, moment};
use attention::attention;
use axis::Axis;
use bars::Bar;
use html::Html;
use picture::Picture;
use time::{Duration, OffsetDateTime};

/// Where the whole is longer, its end has a picture of its own.
const RECENT: Duration = Duration::days(35);

pub struct Page<'a> {
    /// Its URL.
    pub repository: &'a str,
    pub now: OffsetDateTime,
    /// What is wrong with all of it, such as a backup that is too old.
    pub complaints: &'a [String],
}

impl Page<'_> {
    /// `archives`: what the WAL of each cluster with complete backups restores, or why nobody knows.
    pub fn show(&self, sets: &[Set], archives: &[(String, u64, Result<Archive, Error>)]) -> String {
        let mut html = self.begin();
        self.complain(&mut html, self.complaints);
        if sets.is_empty() {
            html.raw("<p>There are no backups.</p>\n");
        }
        let many = systems(sets).count();
        if many > 1 {
            html.raw("<nav aria-label=\"Clusters\"><ul>\n");
            for (number, cluster) in systems(sets).enumerate() {
                html.raw("<li>")
                    .element("a", &[("href", &format!("#c{number}"))], &name(cluster))
                    .raw("</li>");
            }
            html.raw("</ul></nav>\n");
        }
        for (number, cluster) in systems(sets).enumerate() {
            let archive = archives.iter().find(|(name, system, _)| {
                cluster.first().is_some_and(|set| (&set.cluster, set.system_identifier) == (name, *system))
            });
            self.show_cluster(&mut html, number, cluster, archive.map(|(_, _, archive)| archive));
        }
        end(html)
    }

    /// Where nothing could be read at all.
    pub fn unreadable(&self, error: &Error) -> String {
        let mut html = self.begin();
        let mut said = vec![format!("the repository cannot be read: {error}")];
        said.extend(error.hints().iter().map(|hint| format!("hint: {hint}")));
        self.complain(&mut html, &said);
        html.raw("<p>What is stored, and what can be restored, is unknown.</p>\n");
        end(html)
    }

    fn begin(&self) -> Html {
        let mut html = Html::default();
        html.raw(concat!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n",
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
            "<meta name=\"color-scheme\" content=\"light dark\"><meta name=\"referrer\" content=\"no-referrer\">\n<style>\n",
            include_str!("page.css"),
            "</style>\n"
        ));
        html.element("title", &[], &format!("Backups in {}", self.repository)).raw("</head><body>\n");
        html.raw(include_str!("glyphs.svg"));
        html.raw("<header><h1>Backups in ")
            .element("span", &[("class", "url")], self.repository)
            .raw("</h1>\n<p>As of ");
        html.raw("<time>").words(&moment(self.now)).raw("</time>");
        html.words(&format!(", by pgv-info {}. All times are UTC.", env!("CARGO_PKG_VERSION")))
            .raw("</p></header>\n<main>\n");
        html
    }

    fn complain(&self, html: &mut Html, complaints: &[String]) {
        if complaints.is_empty() {
            return;
        }
        html.raw("<ul class=\"attention\">\n");
        for complaint in complaints {
            html.element("li", &[], complaint);
        }
        html.raw("</ul>\n");
    }

    fn show_cluster(
        &self,
        html: &mut Html,
        number: usize,
        sets: &[Set],
        archive: Option<&Result<Archive, Error>>,
    ) {
        let complaints = attention(sets, archive);
        let (class, state) = match complaints.len() {
            0 => ("state good", "nothing to look at".to_owned()),
            1 => ("state bad", "1 thing to look at".to_owned()),
            more => ("state bad", format!("{more} things to look at")),
        };
        html.open("section", &[("id", &format!("c{number}"))]);
        html.raw("<h2>")
            .words(&name(sets))
            .raw(" ")
            .element("span", &[("class", class)], &state)
            .raw("</h2>\n");
        self.complain(html, &complaints);
        let archive = archive.and_then(|archive| archive.as_ref().ok());
        let lanes = archive.map(|archive| reach::stretches(archive, self.now)).unwrap_or_default();
        self.facts(html, sets, &lanes);
        let times = sets.iter().filter_map(lanes::time_of_set).chain(reach::moments(&lanes));
        let whole = Axis::over(times, self.now);
        let picture = Picture { sets, good: &good(sets), lanes: &lanes, now: self.now };
        let is_long = whole.length() > RECENT * 2;
        for (axis, what) in [
            is_long.then(|| (Axis { from: whole.to - RECENT, ..whole }, "The last 35 days")),
            Some((whole, "The time line")),
        ]
        .into_iter()
        .flatten()
        {
            let caption = format!("{what}: {} to {}", moment(axis.from), moment(axis.to));
            html.raw("<figure>").element("figcaption", &[], &caption);
            let label = format!(
                "{caption}. Backups, what can be restored, and checks; the tables below have the same in words."
            );
            picture.draw(html, &axis, &label);
            html.raw("</figure>\n");
        }
        html.raw(include_str!("legend.html"));
        self.charts(html, sets);
        if !lanes.is_empty() {
            table::recovery(html, &lanes);
        }
        table::backups(html, sets, self.now);
        html.close("section");
    }

    fn facts(
        &self,
        html: &mut Html,
        sets: &[Set],
        lanes: &std::collections::BTreeMap<u32, Vec<reach::Stretch>>,
    ) {
        let newest =
            sets.iter().filter_map(|set| Some((stopped_at(set)?, set))).max_by_key(|(stopped, _)| *stopped);
        let complete = sets.iter().filter(|set| set.record().is_some()).count();
        let pinned = sets.iter().filter(|set| set.marks.pinned(self.now).is_some()).count();
        let windows = lanes.iter().next_back().into_iter().flat_map(|(_, stretches)| stretches);
        let last =
            windows.filter(|stretch| stretch.kind == reach::Kind::Window).max_by_key(|stretch| stretch.to);
        html.raw("<dl>\n");
        let mut fact = |term: &'static str, words: &str| {
            html.raw("<div>").element("dt", &[], term).element("dd", &[], words).raw("</div>\n");
        };
        fact(
            "Newest backup",
            &newest.map_or("none".to_owned(), |(stopped, set)| {
                format!("{}: {}", ago(stopped, self.now), set.label)
            }),
        );
        fact(
            "Every moment can be restored",
            &match last {
                Some(window) => format!("{} to {}", moment(window.from), moment(window.to)),
                None => "no: only the ends of backups, if any".to_owned(),
            },
        );
        fact("Last verified", &self.last(sets, VerdictKind::Verify));
        fact("Last drill", &self.last(sets, VerdictKind::Drill));
        let stored = size(sets.iter().map(|set| set.stored_bytes).sum());
        fact("Stored", &format!("{stored} in {}, {pinned} pinned, without WAL", count(complete, "backup")));
        html.raw("</dl>\n");
    }

    fn last(&self, sets: &[Set], kind: VerdictKind) -> String {
        let all = sets.iter().flat_map(|set| set.verdicts.iter().map(move |verdict| (set, verdict)));
        let newest =
            all.filter(|(_, verdict)| verdict.kind == kind).max_by_key(|(_, verdict)| &verdict.started_at);
        let Some((set, verdict)) = newest else { return "never".to_owned() };
        let when =
            time_of(&verdict.started_at).map_or_else(|| verdict.started_at.clone(), |at| ago(at, self.now));
        let seconds = |seconds: u64| length(Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)));
        let result = if verdict.ok { "good" } else { "BAD" };
        let restore = verdict
            .restore_seconds
            .map_or_else(String::new, |restore| format!(", the restore {}", seconds(restore)));
        format!("{when}: {result}, {} took {}{restore}", set.label, seconds(verdict.seconds))
    }

    fn charts(&self, html: &mut Html, sets: &[Set]) {
        let bars = |value: &dyn Fn(&Set) -> Option<u64>| -> Vec<Bar> {
            let bar = |set: &Set| {
                let class = match set.type_name() {
                    "full" => "full",
                    "synthetic" => "synthetic",
                    _ => "incr",
                };
                Some(Bar { class, value: value(set)?, title: format!("{} ({})", set.label, set.type_name()) })
            };
            sets.iter().filter(|set| set.record().is_some()).filter_map(bar).collect()
        };
        let stored = bars(&|set| Some(set.stored_bytes));
        if stored.is_empty() {
            return;
        }
        let database = bars(&|set| Some(set.record()?.backup.database_bytes));
        let durations = bars(&|set| u64::try_from(took(&set.record()?.backup)?.whole_seconds()).ok());
        let seconds = |value: u64| length(Duration::seconds(i64::try_from(value).unwrap_or(i64::MAX)));
        html.raw("<div class=\"charts\">\n");
        for (name, bars, words) in [
            ("Bytes stored", stored, &size as &dyn Fn(u64) -> String),
            ("Bytes of the cluster", database, &size),
            ("Duration", durations, &seconds),
        ] {
            let shown = match bars.len() {
                all if all > bars::MOST_BARS => format!(", the newest {} of {all}", bars::MOST_BARS),
                _ => String::new(),
            };
            html.raw("<figure>").element("figcaption", &[], &format!("{name}, each backup{shown}"));
            bars::draw(html, name, &bars, words);
            html.raw("</figure>\n");
        }
        html.raw("</div>\n");
    }
}

fn name(sets: &[Set]) -> String {
    sets.first().map_or_else(String::new, |set| format!("{} ({})", set.cluster, set.system_identifier))
}

fn end(mut html: Html) -> String {
    html.raw("</main></body></html>\n");
    html.finish()
}
