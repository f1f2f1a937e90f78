//! Without a verb: the backups that there are.

use crate::keep;
use crate::page;
use crate::place::Place;
use clap::ValueEnum;
use pgv::catalog::{BackupType, Label, SYNTHETIC};
use pgv::cli;
use pgv::error::{Error, Result, Status};
use pgv::info::{self, Repository, Set, State, WalBytes};
use pgv::report;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;
use time::OffsetDateTime;

#[derive(clap::Args)]
pub struct List {
    /// The cluster, such as 15-main; default: the only one configured, or all of a repository
    cluster: Option<String>,
    /// Only this backup
    #[arg(long)]
    label: Option<Label>,
    /// Only backups of this type
    #[arg(long = "type", value_name = "TYPE")]
    backup_type: Option<Type>,
    /// Only backups that no pin keeps
    #[arg(long)]
    unpinned: bool,
    /// The format of the list [default: table on a terminal, else tsv]
    #[arg(long, value_enum, group = "form")]
    format: Option<Format>,
    /// As --format json
    #[arg(long, group = "form")]
    json: bool,
    /// As --format html
    #[arg(long, group = "form")]
    html: bool,
    /// Print times, sizes, durations and findings as metrics for Prometheus
    #[arg(long, group = "form")]
    metrics: bool,
    /// Print only totals: what is stored, what is new each day, what expires
    #[arg(long, conflicts_with_all = ["label", "backup_type", "unpinned", "metrics", "max_age"])]
    totals: bool,
    /// Exit with 7 if the newest backup is older, or if there is none
    #[arg(long, conflicts_with = "metrics", value_name = "DURATION", value_parser = cli::parse_duration)]
    max_age: Option<Duration>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Type {
    Full,
    Diff,
    Incr,
    Synthetic,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Label,
    Url,
    Tsv,
    Json,
    Html,
}

/// Files of WAL of each cluster that the totals under a table count, so that the table comes soon: ten requests.
const MOST_WAL_FILES: u64 = 10_000;

/// Everything there is to show is shown, and what cannot be read ends it with its own status; with metrics it is in them.
pub fn run(mut list: List, place: Place) -> Result<Status> {
    let is_page = list.html || matches!(list.format, Some(Format::Html));
    if is_page && (list.label.is_some() || list.backup_type.is_some() || list.unpinned || list.totals) {
        return Err(Error::usage("a page shows all backups")
            .hint("leave out --label, --type, --unpinned and --totals"));
    }
    let repository = place.open_label(list.cluster.take(), list.label.clone())?;
    // Metrics say with a zero that there is no repository.
    let sets = match list.metrics {
        true => match info::survey(&repository.store, &repository.query) {
            Ok(sets) => sets,
            Err(error) => {
                let query = &repository.query;
                cli::print(&info::readable(&query.repository, query.cluster.as_deref(), false))?;
                return Err(error);
            }
        },
        false if is_page => match repository.survey() {
            Ok(sets) => sets,
            Err(error) => return page::unreadable(&repository, error),
        },
        false => repository.survey()?,
    };
    let mut is_damaged = info::warn_of_damaged(&sets);
    is_damaged |= info::warn_of_marks(&sets);
    // With one label nothing else was listed.
    if list.label.is_none() {
        for (set, parent) in info::orphans(&sets) {
            report::warn(format_args!(
                "{}/: it builds on {parent}, which does not exist or is not complete",
                set.url
            ));
            is_damaged = true;
        }
    }
    if list.unpinned {
        info::refuse_unread_pins(&sets)?;
    }
    let unread_mark = sets.iter().find_map(|set| set.marks.unread().next()).cloned();
    let unread = info::refuse_unread(&sets).and(unread_mark.map_or(Ok(()), Err));
    let (status, unlisted) = print(sets, &list, &repository)?;
    if list.metrics {
        return Ok(status);
    }
    unread?;
    unlisted?;
    Ok(if is_damaged { Status::Findings } else { status })
}

/// And whether the WAL could be listed, where it was.
fn print(mut sets: Vec<Set>, list: &List, repository: &Repository) -> Result<(Status, Result<()>)> {
    let wanted = |set: &Set| list.backup_type.is_none_or(|wanted| set.type_name() == wanted.name());
    let now = OffsetDateTime::now_utc();
    // A younger one may be among those that cannot be read.
    let max_age = list.max_age.filter(|_| sets.iter().all(|set| set.unread().is_none()));
    let old = max_age.map_or_else(Vec::new, |age| info::too_old(&sets, age, now, wanted));
    if list.html || matches!(list.format, Some(Format::Html)) {
        let (status, unlisted) = page::print(repository, &sets, &old, now)?;
        old.iter().for_each(report::warn);
        return Ok((if old.is_empty() { status } else { Status::Findings }, unlisted));
    }
    let default = if std::io::stdout().is_terminal() { Format::Table } else { Format::Tsv };
    let format = if list.json { Format::Json } else { list.format.unwrap_or(default) };
    if list.totals && matches!(format, Format::Label | Format::Url) {
        return Err(
            Error::usage("totals have neither labels nor URLs").hint("give --format table, tsv or json")
        );
    }
    let mut text = String::new();
    let mut unlisted = Ok(());
    let clusters = keep::clusters_of(repository);
    let rules = |set: &Set| keep::rules_of(&clusters, set);
    let mut wal = |most: Option<u64>| {
        let mut of_one = |set: &Set| {
            let listed = WalBytes::list(&repository.store, &repository.query.repository, set, most);
            listed.map_err(|error: Error| unlisted = Err(error)).ok()
        };
        info::totals(&sets, &rules, &mut of_one, now)
    };
    if list.metrics {
        let cluster = repository.query.cluster.as_deref();
        text += &info::readable(&repository.query.repository, cluster, true);
        text += &info::metrics(&sets, cluster);
        text += &info::totals_metrics(&info::totals(&sets, &rules, |_| None, now));
    } else if list.totals {
        text += &info::show_totals(&wal(None), format.into())?;
    } else {
        let has_totals = matches!(format, Format::Table)
            && list.label.is_none()
            && list.backup_type.is_none()
            && !list.unpinned;
        let totals = (has_totals && !sets.is_empty()).then(|| wal(Some(MOST_WAL_FILES)));
        let kept = if list.unpinned { info::kept_by_pins(&sets, now) } else { BTreeSet::new() };
        sets.retain(|set| wanted(set) && !kept.contains(&(set.system_identifier, set.label.clone())));
        if let Some(label) = &list.label {
            require(&sets, label, format)?;
        }
        text += &info::show(&sets, format.into(), now)?;
        if list.label.is_some() && matches!(format, Format::Table) {
            text += &info::show_marks(&sets, now);
        }
        if let Some(totals) = totals {
            text += "\n";
            text += &info::show_totals(&totals, info::Format::Table)?;
        }
    }
    cli::print(&text)?;
    old.iter().for_each(report::warn);
    Ok((if old.is_empty() { Status::Done } else { Status::Findings }, unlisted))
}

/// One that is damaged is shown where there is room to say so, and is a finding everywhere.
fn require(sets: &[Set], label: &Label, format: Format) -> Result<()> {
    let is_damaged = sets.iter().any(|set| matches!(set.state, State::Damaged { .. }));
    let shows_all = matches!(format, Format::Table | Format::Json) && !sets.is_empty();
    if shows_all || is_damaged { Ok(()) } else { info::require(sets, label) }
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Full => BackupType::Full.name(),
            Type::Diff => BackupType::Diff.name(),
            Type::Incr => BackupType::Incr.name(),
            Type::Synthetic => SYNTHETIC,
        }
    }
}

impl From<Format> for info::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Table => info::Format::Table,
            Format::Label => info::Format::Label,
            Format::Url => info::Format::Url,
            Format::Tsv => info::Format::Tsv,
            // A page is no list.
            Format::Json | Format::Html => info::Format::Json,
        }
    }
}
