//! The same facts in Prometheus' text format, for the textfile collector of node_exporter.

use crate::catalog::{SYNTHETIC, Verdict, VerdictKind};
use crate::info::choose::stopped_at;
use crate::info::facts::time_of;
use crate::info::show::took;
use crate::info::{Set, State, good, systems};
use crate::store::Url;
use std::fmt::Write;

const TYPES: [&str; 4] = ["full", "diff", "incr", SYNTHETIC];

/// The sets of one cluster and system identifier.
struct Group<'a> {
    /// `cluster="15-main",system_identifier="…"`. Neither can hold what would need a backslash.
    labels: String,
    sets: &'a [Set],
}

/// Every sample has cluster and system identifier. A `cluster` that was asked for and has nothing
/// stored says so with a zero, so that an alert need not wait for a series that never comes.
pub fn metrics(sets: &[Set], cluster: Option<&str>) -> String {
    let mut groups: Vec<Group<'_>> = systems(sets).filter_map(group).collect();
    if let (Some(cluster), []) = (cluster, groups.as_slice()) {
        groups.push(Group { labels: format!("cluster=\"{cluster}\",system_identifier=\"\""), sets });
    }
    let mut text = String::new();
    of_groups(&mut text, &groups);
    of_newest(&mut text, &groups);
    of_verdicts(&mut text, &groups);
    text
}

/// Whether there is anything else to print: without it every other metric would just be absent. With the `cluster` that
/// was asked for: a host with several exports a file of each, and no sample may be there twice.
pub fn readable(repository: &Url, cluster: Option<&str>, is_readable: bool) -> String {
    let mut text = String::new();
    let name = "pgv_repository_readable";
    family(&mut text, name, "Whether the repository could be read.");
    let url = repository.to_string();
    let url = url.trim_end_matches('/').replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let cluster = cluster.map_or_else(String::new, |cluster| format!("cluster=\"{cluster}\","));
    sample(&mut text, name, &format!("{cluster}repository=\"{url}\""), u64::from(is_readable));
    text
}

fn group(sets: &[Set]) -> Option<Group<'_>> {
    let first = sets.first()?;
    let labels = format!("cluster=\"{}\",system_identifier=\"{}\"", first.cluster, first.system_identifier);
    Some(Group { labels, sets })
}

/// Whether backups of it are expected. After an initdb or an upgrade under the same name all backups of the new system
/// identifier are newer than those of the old one. Where two clusters share a name by mistake, neither is the old one.
fn is_current(group: &Group<'_>, groups: &[Group<'_>]) -> bool {
    let times = |group: &Group<'_>| group.sets.iter().filter_map(stopped_at).collect::<Vec<_>>();
    let Some(newest) = times(group).into_iter().max() else { return true };
    let is_beside = |other: &&Group<'_>| {
        other.sets.first().zip(group.sets.first()).is_some_and(|(one, other)| one.cluster == other.cluster)
    };
    let mut others = groups.iter().filter(is_beside);
    !others.any(|other| times(other).into_iter().min().is_some_and(|oldest| oldest > newest))
}

fn of_groups(text: &mut String, groups: &[Group<'_>]) {
    let name = "pgv_current_system";
    family(text, name, "Whether backups of this system identifier are expected: 0 if another one followed.");
    for group in groups {
        sample(text, name, &group.labels, u64::from(is_current(group, groups)));
    }
    let count =
        |group: &Group<'_>, of: fn(&Set) -> bool| group.sets.iter().filter(|set| of(set)).count() as u64;
    family(text, "pgv_incomplete_sets", "Sets that are no backups: running, interrupted or expiring.");
    for group in groups {
        let value = count(group, |set| matches!(set.state, State::Incomplete(_)));
        sample(text, "pgv_incomplete_sets", &group.labels, value);
    }
    let name = "pgv_damaged_records";
    family(text, name, "Backups whose record, or an object that it names, is damaged or missing.");
    for group in groups {
        sample(text, name, &group.labels, count(group, |set| matches!(set.state, State::Damaged { .. })));
    }
    let name = "pgv_unreadable_records";
    family(text, name, "Backups of which a record, a verdict or a pin could not be read.");
    for group in groups {
        let is_unread = |set: &Set| set.unread().is_some() || set.marks.unread_pin().is_some();
        sample(text, name, &group.labels, count(group, is_unread));
    }
    let name = "pgv_bad_backups";
    family(
        text,
        name,
        "Complete backups that a restore cannot count on: a verdict is bad, or a parent is not there.",
    );
    for group in groups {
        let sets = group.sets.iter().zip(good(group.sets));
        let bad = sets.filter(|(set, good)| set.record().is_some() && !good).count();
        sample(text, name, &group.labels, bad as u64);
    }
    family(text, "pgv_stored_bytes", "Bytes of all sets.");
    for group in groups {
        sample(text, "pgv_stored_bytes", &group.labels, group.sets.iter().map(|set| set.stored_bytes).sum());
    }
    family(text, "pgv_backups", "Complete backups.");
    for group in groups {
        for kind in TYPES {
            let is_one = |set: &&Set| set.record().is_some() && set.type_name() == kind;
            let value = group.sets.iter().filter(is_one).count() as u64;
            sample(text, "pgv_backups", &with_type(group, kind), value);
        }
    }
}

/// What is told of the newest complete backup of each type.
type Newest = (&'static str, &'static str, fn(&Set) -> Option<u64>);

const NEWEST: [Newest; 5] = [
    ("pgv_newest_backup_timestamp_seconds", "When the newest backup was complete.", |set| {
        u64::try_from(stopped_at(set)?.unix_timestamp()).ok()
    }),
    ("pgv_newest_backup_duration_seconds", "How long the newest backup took.", |set| {
        u64::try_from(took(&set.record()?.backup)?.whole_seconds()).ok()
    }),
    ("pgv_newest_backup_database_bytes", "Bytes of the cluster in the newest backup.", |set| {
        Some(set.record()?.backup.database_bytes)
    }),
    ("pgv_newest_backup_stored_bytes", "Bytes that the newest backup takes.", |set| Some(set.stored_bytes)),
    ("pgv_newest_backup_bad_pages", "Pages with a wrong checksum in the newest backup.", |set| {
        Some(set.record()?.backup.findings.bad_pages)
    }),
];

fn of_newest(text: &mut String, groups: &[Group<'_>]) {
    for (name, help, value) in NEWEST {
        family(text, name, help);
        for group in groups {
            for kind in TYPES {
                let is_one = |set: &&Set| set.record().is_some() && set.type_name() == kind;
                if let Some(value) = group.sets.iter().rev().find(is_one).and_then(value) {
                    sample(text, name, &with_type(group, kind), value);
                }
            }
        }
    }
}

/// What is told of the newest verdicts of one kind, one of each backup.
type Told = (&'static str, &'static str, fn(&[&Verdict]) -> Option<u64>);

const VERDICTS: [Told; 3] = [
    (
        "pgv_last_check_timestamp_seconds",
        "When a backup was last verified or restored as a drill, or all of the WAL was read.",
        |verdicts| u64::try_from(time_of(&newest(verdicts)?.started_at)?.unix_timestamp()).ok(),
    ),
    (
        "pgv_last_check_ok",
        "Whether nothing was wrong with any of them when it was last looked at.",
        |verdicts| verdicts.iter().map(|verdict| u64::from(verdict.ok)).min(),
    ),
    ("pgv_last_check_duration_seconds", "How long the newest of these took.", |verdicts| {
        Some(newest(verdicts)?.seconds)
    }),
];

fn newest<'a>(verdicts: &[&'a Verdict]) -> Option<&'a Verdict> {
    verdicts.iter().copied().max_by_key(|verdict| &verdict.started_at)
}

fn of_verdicts(text: &mut String, groups: &[Group<'_>]) {
    for (name, help, value) in VERDICTS {
        family(text, name, help);
        for group in groups {
            for kind in [VerdictKind::Verify, VerdictKind::Drill, VerdictKind::Wal] {
                let all = group.sets.iter().flat_map(|set| &set.verdicts);
                let mut verdicts: Vec<&Verdict> = all.filter(|verdict| verdict.kind == kind).collect();
                // The WAL is one thing, beside whatever backup its verdict lies.
                if kind == VerdictKind::Wal {
                    verdicts = newest(&verdicts).into_iter().collect();
                }
                if let Some(value) = value(&verdicts) {
                    sample(text, name, &format!("{},kind=\"{}\"", group.labels, kind.name()), value);
                }
            }
        }
    }
}

fn with_type(group: &Group<'_>, kind: &str) -> String {
    format!("{},type=\"{kind}\"", group.labels)
}

pub fn family(text: &mut String, name: &str, help: &str) {
    // Writing to a String does not fail.
    let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n").is_ok();
}

pub fn sample(text: &mut String, name: &str, labels: &str, value: u64) {
    let _infallible = writeln!(text, "{name}{{{labels}}} {value}").is_ok();
}
