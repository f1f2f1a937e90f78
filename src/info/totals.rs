//! How much is stored, how much is new each day, and what an expiry would delete now: of each cluster and system
//! identifier, and of everything that was listed.

use crate::catalog::{layout, rfc3339};
use crate::error::{Error, Result};
use crate::info::choose::stopped_at;
use crate::info::metrics::{family, sample};
use crate::info::prune::{Rules, prune};
use crate::info::sets::{Set, systems};
use crate::info::show::{Format, columns, size};
use crate::store::{Span, Store, Url};
use std::ops::ControlFlow;
use std::time::Duration;
use time::OffsetDateTime;

/// What is new each day is told of so much time before the newest backup.
const GROWTH_WINDOW: Duration = Duration::from_secs(30 * 86_400);
/// From less time nothing follows about a day.
const LEAST_WINDOW: Duration = Duration::from_secs(86_400);

/// Of a cluster's `wal/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalBytes {
    pub files: u64,
    pub bytes: u64,
    /// There may be more: the listing was ended.
    pub is_cut: bool,
}

impl WalBytes {
    /// Of the cluster of which this is a backup; at most `most` files, of which a service lists a thousand a request.
    pub fn list(store: &Store, repository: &Url, set: &Set, most: Option<u64>) -> Result<Self> {
        let mut found = WalBytes { files: 0, bytes: 0, is_cut: false };
        let directory = repository.join(&layout::wal_directory(&set.cluster, set.system_identifier));
        let listed = store.scan(&directory, &Span { recursive: true, ..Span::default() }, &mut |entry| {
            if most == Some(found.files) {
                found.is_cut = true;
                return Ok(ControlFlow::Break(()));
            }
            found.files += 1;
            found.bytes += entry.bytes;
            Ok(ControlFlow::Continue(()))
        });
        listed.map(|_| found)
    }

    fn and(self, other: WalBytes) -> WalBytes {
        WalBytes {
            files: self.files + other.files,
            bytes: self.bytes + other.bytes,
            is_cut: self.is_cut || other.is_cut,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Totals {
    /// Cluster and system identifier; nothing: all of them.
    of: Option<(String, u64)>,
    /// Complete ones.
    backups: u64,
    pinned: u64,
    /// Of all sets, the incomplete ones included.
    backup_bytes: u64,
    /// Nothing: it is not known.
    wal: Option<WalBytes>,
    growth: Option<Growth>,
    /// Or why nothing would be deleted, or is known about it.
    expiry: std::result::Result<Freed, String>,
}

/// Bytes of the backups that were made in this time, a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Growth {
    bytes_per_day: u64,
    from: OffsetDateTime,
    to: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Freed {
    backups: u64,
    bytes: u64,
}

/// The last are of everything. Of the cluster of a set are `rules`, or why they are not known, and `wal`.
pub fn totals(
    sets: &[Set],
    rules: &impl Fn(&Set) -> std::result::Result<Rules, String>,
    mut wal: impl FnMut(&Set) -> Option<WalBytes>,
    now: OffsetDateTime,
) -> Vec<Totals> {
    let is_unread = |set: &Set| set.unread().is_some() || set.marks.unread_pin().is_some();
    let unread = |cluster: &str| sets.iter().any(|set| set.cluster == cluster && is_unread(set));
    let of_one = |sets: &[Set]| {
        let first = sets.first()?;
        let expiry = match rules(first) {
            Err(why) => Err(why),
            Ok(_) if unread(&first.cluster) => Err("something cannot be read".to_owned()),
            Ok(rules) => freed(sets, &rules, now),
        };
        let complete = || sets.iter().filter(|set| set.record().is_some());
        Some(Totals {
            of: Some((first.cluster.clone(), first.system_identifier)),
            backups: complete().count() as u64,
            pinned: complete().filter(|set| set.marks.pinned(now).is_some()).count() as u64,
            backup_bytes: sets.iter().map(|set| set.stored_bytes).sum(),
            wal: wal(first),
            growth: growth(sets),
            expiry,
        })
    };
    let mut all: Vec<Totals> = systems(sets).filter_map(of_one).collect();
    all.push(sum(&all));
    all
}

fn freed(sets: &[Set], rules: &Rules, now: OffsetDateTime) -> std::result::Result<Freed, String> {
    let fates = prune(sets, rules, now).map_err(|error| error.message().to_owned())?;
    let gone = || fates.iter().filter(|fate| fate.reasons.is_empty()).map(|fate| fate.set);
    Ok(Freed {
        backups: gone().filter(|set| set.record().is_some()).count() as u64,
        bytes: gone().map(|set| set.stored_bytes).sum(),
    })
}

/// The first backup of the window is where that begins: its own bytes belong to the time before.
fn growth(sets: &[Set]) -> Option<Growth> {
    let mut made: Vec<(OffsetDateTime, u64)> =
        sets.iter().filter_map(|set| Some((stopped_at(set)?, set.stored_bytes))).collect();
    made.sort_unstable();
    let to = made.last()?.0;
    made.retain(|(stopped, _)| to - *stopped <= GROWTH_WINDOW);
    let from = made.first()?.0;
    if to - from < LEAST_WINDOW {
        return None;
    }
    let bytes: u128 = made.iter().skip(1).map(|(_, bytes)| u128::from(*bytes)).sum();
    let seconds = u128::try_from((to - from).whole_seconds()).ok()?;
    Some(Growth { bytes_per_day: u64::try_from(bytes * 86_400 / seconds).ok()?, from, to })
}

/// What is not known of one is not known of all; but what grows at an unknown rate is new.
fn sum(all: &[Totals]) -> Totals {
    let no_wal = WalBytes { files: 0, bytes: 0, is_cut: false };
    let begin = Totals {
        of: None,
        backups: 0,
        pinned: 0,
        backup_bytes: 0,
        wal: Some(no_wal),
        growth: None,
        expiry: Ok(Freed { backups: 0, bytes: 0 }),
    };
    all.iter().fold(begin, |sum, one| Totals {
        of: None,
        backups: sum.backups + one.backups,
        pinned: sum.pinned + one.pinned,
        backup_bytes: sum.backup_bytes + one.backup_bytes,
        wal: sum.wal.zip(one.wal).map(|(a, b)| a.and(b)),
        growth: match (sum.growth, one.growth) {
            (Some(a), Some(b)) => Some(Growth {
                bytes_per_day: a.bytes_per_day.saturating_add(b.bytes_per_day),
                from: a.from.min(b.from),
                to: a.to.max(b.to),
            }),
            (a, b) => a.or(b),
        },
        expiry: match (sum.expiry, &one.expiry) {
            (Ok(a), Ok(b)) => Ok(Freed { backups: a.backups + b.backups, bytes: a.bytes + b.bytes }),
            (Err(why), _) => Err(why),
            (_, Err(why)) => Err(why.clone()),
        },
    })
}

pub fn show_totals(totals: &[Totals], format: Format) -> Result<String> {
    match format {
        Format::Table => Ok(table(totals)),
        Format::Json => totals.iter().map(json).collect(),
        _ => Ok(totals.iter().map(tsv).collect()),
    }
}

/// Those of everything only where they are not the only ones.
fn table(totals: &[Totals]) -> String {
    let header = ["TOTALS", "BACKUPS", "STORED", "WAL", "NEW EACH DAY", "EXPIRY NOW DELETES"];
    let shown = if totals.len() == 2 { &totals[..1] } else { totals };
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(shown.iter().map(|one| {
        vec![
            one.of.as_ref().map_or("all".to_owned(), |(cluster, system)| format!("{cluster} {system}")),
            match one.pinned {
                0 => one.backups.to_string(),
                pinned => format!("{} ({pinned} pinned)", one.backups),
            },
            size(one.backup_bytes),
            match one.wal {
                None => "unknown".to_owned(),
                Some(wal) => format!("{}{}", if wal.is_cut { "over " } else { "" }, size(wal.bytes)),
            },
            one.growth.map_or("unknown".to_owned(), |growth| {
                let days = (growth.to - growth.from).whole_days();
                format!("{} (over {days} d)", size(growth.bytes_per_day))
            }),
            match &one.expiry {
                Ok(freed) => format!("backups: {}, {}", freed.backups, size(freed.bytes)),
                Err(why) => format!("unknown: {why}"),
            },
        ]
    }));
    columns(&rows)
}

fn tsv(one: &Totals) -> String {
    let some = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    let time = |value: Option<OffsetDateTime>| value.map_or_else(String::new, rfc3339);
    let freed = one.expiry.as_ref().ok();
    let fields = [
        if one.of.is_some() { "cluster" } else { "all" }.to_owned(),
        one.of.as_ref().map_or_else(String::new, |(cluster, _)| cluster.clone()),
        some(one.of.as_ref().map(|(_, system)| *system)),
        one.backups.to_string(),
        one.pinned.to_string(),
        one.backup_bytes.to_string(),
        some(one.wal.map(|wal| wal.files)),
        some(one.wal.map(|wal| wal.bytes)),
        some(one.growth.map(|growth| growth.bytes_per_day)),
        time(one.growth.map(|growth| growth.from)),
        time(one.growth.map(|growth| growth.to)),
        some(freed.map(|freed| freed.backups)),
        some(freed.map(|freed| freed.bytes)),
    ];
    fields.join("\t") + "\n"
}

fn json(one: &Totals) -> Result<String> {
    let growth = one.growth.map(|growth| {
        serde_json::json!({
            "bytes_per_day": growth.bytes_per_day, "from": rfc3339(growth.from), "to": rfc3339(growth.to),
        })
    });
    let wal = one.wal.map(|wal| serde_json::json!({"files": wal.files, "bytes": wal.bytes}));
    let freed = one.expiry.as_ref().ok();
    let expiry = freed.map(|freed| serde_json::json!({"backups": freed.backups, "bytes": freed.bytes}));
    let value = serde_json::json!({
        "format": "pgv-totals/1", "kind": if one.of.is_some() { "cluster" } else { "all" },
        "cluster": one.of.as_ref().map(|(cluster, _)| cluster),
        "system_identifier": one.of.as_ref().map(|(_, system)| system.to_string()),
        "backups": one.backups, "pinned": one.pinned, "backup_bytes": one.backup_bytes, "wal": wal,
        "growth": growth, "expiry": expiry, "expiry_unknown": one.expiry.as_ref().err(),
    });
    let text = serde_json::to_string(&value).map_err(|e| Error::failed(format!("encode totals: {e}")))?;
    Ok(text + "\n")
}

type Told = (&'static str, &'static str, fn(&Totals) -> Option<u64>);

const METRICS: [Told; 4] = [
    ("pgv_pinned_backups", "Complete backups that are pinned.", |one| Some(one.pinned)),
    ("pgv_new_bytes_per_day", "Bytes of new backups a day, over up to 30 days.", |one| {
        Some(one.growth?.bytes_per_day)
    }),
    ("pgv_expiry_backups", "Backups that an expiry would delete now.", |one| {
        one.expiry.as_ref().ok().map(|freed| freed.backups)
    }),
    ("pgv_expiry_bytes", "Bytes of sets that an expiry would delete now.", |one| {
        one.expiry.as_ref().ok().map(|freed| freed.bytes)
    }),
];

/// For Prometheus; what is not known has no sample.
pub fn totals_metrics(totals: &[Totals]) -> String {
    let mut text = String::new();
    for (name, help, value) in METRICS {
        family(&mut text, name, help);
        for one in totals {
            if let (Some((cluster, system)), Some(value)) = (&one.of, value(one)) {
                let labels = format!("cluster=\"{cluster}\",system_identifier=\"{system}\"");
                sample(&mut text, name, &labels, value);
            }
        }
    }
    text
}
