//! `pgv-info`: what a repository holds, what to restore, what may go.

// Verbs of the two small tools. An archive_command that began before an upgrade asks for `segment` and `control`;
// scripts ask for all three where only the tools of 0.1.0 lie beside them.
#[path = "pgv-peek/control.rs"]
mod control;
#[path = "pgv-env/run.rs"]
mod env;
#[path = "pgv-peek/following.rs"]
mod following;
#[path = "pgv-info/identity.rs"]
mod identity;
#[path = "pgv-info/prepare.rs"]
mod prepare;
#[path = "pgv-peek/records.rs"]
mod records;
#[path = "pgv-peek/segment.rs"]
mod segment;

use clap::{Parser, Subcommand, ValueEnum};
use pgv::catalog::{BackupType, Label, Mode, VerdictKind, layout};
use pgv::cli::{self, Arguments, Common, ConfigOption, StoreOptions, Wanted};
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, Along, Choice, Query, RecordInput, Rules, Set, State};
use pgv::io::{Input, die_if_unread};
use pgv::pg::{Lsn, timeline};
use pgv::report;
use pgv::store::{Store, Url};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// List the backups of a repository, choose what to restore, say what may go
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    store: StoreOptions,
}

/// Where to look.
#[derive(clap::Args)]
struct Place {
    /// The repository: s3://bucket/prefix or file:///path
    #[arg(long, global = true, env = "PGV_REPO", value_name = "URL")]
    repo: Option<String>,
    /// Only the cluster with this system identifier
    #[arg(long, global = true, env = "PGV_SYSTEM_ID", value_name = "ID")]
    system_id: Option<String>,
    #[command(flatten)]
    config: ConfigOption,
}

#[derive(clap::Args)]
struct List {
    /// The cluster, such as 15-main; default: the only one configured, or all of a repository
    cluster: Option<String>,
    /// Only this backup; 3 if it is not there
    #[arg(long)]
    label: Option<Label>,
    /// Only backups of this type
    #[arg(long = "type", value_name = "TYPE")]
    backup_type: Option<Type>,
    /// Default: table on a terminal, else tsv
    #[arg(long, value_enum, group = "form")]
    format: Option<Format>,
    /// As --format json
    #[arg(long, group = "form")]
    json: bool,
    /// Print the same facts as Prometheus reads them; what is wrong is in them, and the status is 0
    #[arg(long, group = "form")]
    metrics: bool,
    /// Exit with 7 if the newest backup of any listed cluster is older, such as 26h, or there is none
    #[arg(long, conflicts_with = "metrics", value_name = "DURATION", value_parser = cli::parse_duration)]
    max_age: Option<Duration>,
}

#[derive(Subcommand)]
enum Verb {
    /// Print the URLs of the backups to restore, oldest first
    Choose {
        cluster: Option<String>,
        /// The newest backup; the default
        #[arg(long, group = "target")]
        latest: bool,
        /// The newest backup that was complete before this time, which has a zone
        #[arg(long, group = "target", value_parser = cli::parse_time)]
        time: Option<OffsetDateTime>,
        /// The newest backup that is consistent at this LSN
        #[arg(long, group = "target")]
        lsn: Option<Lsn>,
        /// This backup
        #[arg(long, group = "target")]
        label: Option<Label>,
    },
    /// Print what the next backup is, "key value": its type, what it builds on, its label
    Next {
        cluster: Option<String>,
        /// auto: a full if the newest is older than --full-every, else incr
        #[arg(long = "type", value_enum, default_value = "auto", value_name = "TYPE")]
        backup_type: NextType,
        /// An increment of whole files
        #[arg(long)]
        files: bool,
        /// How often a full is made [default: PGV_FULL_EVERY, else 7d]
        #[arg(long, value_name = "DURATION", value_parser = cli::parse_duration)]
        full_every: Option<Duration>,
    },
    /// Print the backup sets for scripts, one a line, in columns; fails if any cannot be read
    Sets {
        cluster: Option<String>,
        /// Only this backup and those that it builds on
        #[arg(long)]
        label: Option<Label>,
        /// Print after each the objects that its record names
        #[arg(long)]
        objects: bool,
    },
    /// Print how recovery comes to a target, or refuse: from which backup, along which timelines and segments
    Recovery {
        cluster: Option<String>,
        #[command(flatten)]
        goal: Goal,
    },
    /// Print the labels of the backups that no rule keeps; nothing is removed
    Prune {
        cluster: Option<String>,
        #[command(flatten)]
        rules: Keep,
        /// Instead of rules: what goes with these labels, one a line, - for stdin; refused if nothing good would be left
        #[arg(long, value_name = "FILE", conflicts_with = "Keep")]
        labels: Option<PathBuf>,
        /// Default: table on a terminal, else label
        #[arg(long, value_enum)]
        format: Option<PruneFormat>,
        /// As if it were this time
        #[arg(long, value_name = "TIME", value_parser = cli::parse_time)]
        now: Option<OffsetDateTime>,
    },
    /// Print the record.json of a backup
    Record {
        cluster: Option<String>,
        /// What pgv-snap --facts wrote
        #[arg(long, value_name = "FILE")]
        facts: PathBuf,
        /// An object, and what pgv-s3 put --json printed for it
        #[arg(long, value_name = "NAME=FILE", required = true, value_parser = pair)]
        object: Vec<(String, String)>,
        /// A note of yours
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        annotation: Vec<(String, String)>,
        /// What the key is called where you keep it
        #[arg(long, env = "PGV_KEY_NAME", value_name = "NAME")]
        key_name: Option<String>,
    },
    /// Print what the archived WAL can restore: from when to when on each timeline, and what is missing
    Wal {
        cluster: Option<String>,
        /// Default: table on a terminal, else tsv
        #[arg(long, value_enum)]
        format: Option<WalFormat>,
        /// Print the same facts as Prometheus reads them; what is wrong is in them, and the status is 0
        #[arg(long, conflicts_with = "format")]
        metrics: bool,
        /// And what waits in this data directory to be archived; default: PGV_PGDATA, if that can be read
        #[arg(long, value_name = "DIR", requires = "metrics")]
        data_directory: Option<PathBuf>,
        /// Print the URLs of what no backup needs any more; nothing is removed
        #[arg(long, conflicts_with_all = ["format", "metrics"])]
        unneeded: bool,
        /// As if it were this time
        #[arg(long, value_name = "TIME", requires = "unneeded", value_parser = cli::parse_time)]
        now: Option<OffsetDateTime>,
    },
    /// Print the verdict of a verification or a drill, to be stored beside the backup
    Verdict {
        #[arg(long, value_enum)]
        kind: CheckKind,
        /// RFC 3339, UTC
        #[arg(long, value_name = "TIME")]
        started_at: String,
        #[arg(long, value_name = "N")]
        seconds: u64,
        #[arg(long, value_name = "N")]
        bytes: u64,
        /// What was wrong; without any all is well
        #[arg(long, value_name = "TEXT")]
        finding: Vec<String>,
    },
    /// Print why a backup is not built on another, one reason a line; the status is 7 if there are any
    Lineage {
        /// Where its stream.json lies, and the first and the last line of its manifest
        #[arg(value_name = "DIR")]
        backup: PathBuf,
        /// The same of its parent
        #[arg(value_name = "PARENT")]
        parent: PathBuf,
    },
    Prepare(prepare::Args),
    Identity(identity::Args),
    #[command(hide = true)]
    Control(control::Args),
    #[command(hide = true)]
    Segment(segment::Args),
    #[command(hide = true)]
    Following(following::Args),
    #[command(hide = true)]
    Records(records::Args),
}

/// Where recovery is to end; without any at the end of what is archived.
#[derive(clap::Args)]
struct Goal {
    /// At this time, which has a zone
    #[arg(long, group = "target", value_parser = cli::parse_time)]
    time: Option<OffsetDateTime>,
    /// At this LSN
    #[arg(long, group = "target")]
    lsn: Option<Lsn>,
    /// At this transaction
    #[arg(long, group = "target")]
    xid: Option<u64>,
    /// At this restore point
    #[arg(long, group = "target")]
    name: Option<String>,
    /// At the end of the backup
    #[arg(long, group = "target")]
    immediate: bool,
    /// Along this timeline; default: latest, with a target current
    #[arg(long, value_name = "ID|latest|current")]
    timeline: Option<Along>,
    /// From this backup; default: the newest that can reach the target
    #[arg(long)]
    label: Option<Label>,
    /// Where the archive's history files lie, opened
    #[arg(long, value_name = "DIR")]
    histories: Option<PathBuf>,
}

/// Without any of these the rules are PGV_KEEP_FULL and its relatives, from environment or configuration.
#[derive(clap::Args)]
struct Keep {
    /// The newest fulls, each with all that is built on it (with --keep-diff: the fulls alone)
    #[arg(long, value_name = "N")]
    keep_full: Option<usize>,
    /// The newest fulls or differentials, each with the incrementals that follow it
    #[arg(long, value_name = "N")]
    keep_diff: Option<usize>,
    /// The newest backups of any type
    #[arg(long, value_name = "N")]
    keep_last: Option<usize>,
    /// The newest of each of the last N hours that have one; likewise days, weeks, months, years
    #[arg(long, value_name = "N")]
    keep_hourly: Option<usize>,
    #[arg(long, value_name = "N")]
    keep_daily: Option<usize>,
    #[arg(long, value_name = "N")]
    keep_weekly: Option<usize>,
    #[arg(long, value_name = "N")]
    keep_monthly: Option<usize>,
    #[arg(long, value_name = "N")]
    keep_yearly: Option<usize>,
    /// Everything younger than this, such as 14d
    #[arg(long, value_name = "DURATION", value_parser = cli::parse_duration)]
    keep_within: Option<Duration>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Type {
    Full,
    Diff,
    Incr,
}

#[derive(Clone, Copy, ValueEnum)]
enum NextType {
    Auto,
    Full,
    Diff,
    Incr,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Label,
    Url,
    Tsv,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum PruneFormat {
    Table,
    Label,
    Url,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum CheckKind {
    Verify,
    Drill,
    Wal,
}

#[derive(Clone, Copy, ValueEnum)]
enum WalFormat {
    Table,
    Tsv,
    Json,
}

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(verb) if verb == "env" => cli::main_with("pgv-env", std::env::args_os().skip(1), env::run),
        _ => cli::main("pgv-info", run),
    }
}

fn run(args: Args) -> Result<Status> {
    let named = match &args.verb {
        None => args.list.cluster.clone(),
        Some(
            Verb::Choose { cluster, .. }
            | Verb::Recovery { cluster, .. }
            | Verb::Prune { cluster, .. }
            | Verb::Next { cluster, .. }
            | Verb::Sets { cluster, .. }
            | Verb::Record { cluster, .. }
            | Verb::Wal { cluster, .. },
        ) => cluster.clone(),
        Some(Verb::Verdict { kind, started_at, seconds, bytes, finding }) => {
            let line = info::verdict((*kind).into(), started_at.clone(), *seconds, *bytes, finding)?;
            return print(&(line + "\n"));
        }
        Some(Verb::Lineage { backup, parent }) => return print_lineage(backup, parent),
        Some(Verb::Identity(args)) => return print(&identity::lines(args)?),
        Some(Verb::Prepare(args)) => return print(&prepare::lines(args)?),
        Some(Verb::Control(args)) => return print(&control::lines(args)?),
        Some(Verb::Following(args)) => return print(&following::lines(args)?),
        Some(Verb::Records(args)) => return print(&records::lines(args)?),
        Some(Verb::Segment(args)) => {
            let (text, status) = segment::lines(args)?;
            return print(&text).map(|_| status);
        }
    };
    // The name of a configuration is not always that of the cluster in it.
    let named = named.filter(|name| !cli::chose_configuration(name));
    let repository = args.place.repo.filter(|repository| !repository.is_empty());
    let is_record = matches!(args.verb, Some(Verb::Record { .. }));
    match &repository {
        Some(url) if args.place.config.config.is_none() => {
            args.place.config.apply(Wanted::Repository { url, told: args.store.names_service() })?;
        }
        None if is_record && args.place.config.config.is_none() => {}
        _ => args.place.config.apply(Wanted::Cluster(named.as_deref()))?,
    }
    let named = named.or_else(|| variable("PGV_CLUSTER"));
    if let Some(Verb::Record { facts, object, annotation, key_name, .. }) = args.verb {
        return print_record(named, &facts, &object, annotation, key_name);
    }
    let repository = repository.ok_or_else(|| {
        Error::usage("no repository")
            .hint("give --repo URL, or a CLUSTER that has a configuration with PGV_REPO in /etc/pgv")
    })?;
    let repository = Url::parse(&format!("{}/", repository.trim_end_matches('/')))?;
    let store = Store::open(&repository, &args.store)?;
    let chain_of = match &args.verb {
        Some(
            Verb::Choose { label, .. }
            | Verb::Sets { label, .. }
            | Verb::Recovery { goal: Goal { label, .. }, .. },
        ) => label.clone(),
        _ => None,
    };
    let query = Query {
        repository,
        cluster: named,
        system_identifier: system_id(args.place.system_id)?,
        label: args.list.label.clone(),
        chain_of,
    };
    match args.verb {
        None => list(&store, &query, &args.list),
        Some(Verb::Choose { time, lsn, label, .. }) => {
            let sets = info::survey(&store, &query)?;
            warn_of_damaged(&sets);
            refuse_no_repository(&store, &query, &sets)?;
            print_choice(&sets, time, lsn, label)
        }
        Some(Verb::Recovery { goal, .. }) => {
            let sets = info::survey(&store, &query)?;
            warn_of_damaged(&sets);
            refuse_no_repository(&store, &query, &sets)?;
            print_recovery(&store, &query.repository, &sets, goal)
        }
        Some(Verb::Sets { label, objects, .. }) => print_sets(&store, &query, label.as_ref(), objects),
        Some(Verb::Next { backup_type, files, full_every, .. }) => {
            let wanted = info::Wanted {
                backup_type: backup_type.into(),
                mode: if files { Mode::Files } else { Mode::Blocks },
                full_every: full_every.map_or_else(full_every_of_environment, Ok)?,
            };
            print_next(&info::collect(&store, &query)?, &wanted)
        }
        Some(Verb::Prune { rules, labels, format, now, .. }) => {
            let sets = collect_known(&store, &query)?;
            warn_of_damaged(&sets);
            print_prune(&sets, rules.into(), labels.as_deref(), format, now)
        }
        Some(Verb::Wal { format, metrics, data_directory, unneeded, now, .. }) => {
            let sets = collect_known(&store, &query)?;
            let damaged = warn_of_damaged(&sets);
            let status = if metrics {
                let archives = info::archives(&store, &query.repository, &sets)?;
                let waiting = waiting(data_directory.as_deref())?;
                return print(&info::wal_metrics(&archives, query.cluster.as_deref(), waiting.as_ref()));
            } else if unneeded {
                print_unneeded(&store, &query.repository, &sets, now)?
            } else {
                print_wal(&store, &query.repository, &sets, format)?
            };
            Ok(if damaged { Status::Findings } else { status })
        }
        Some(
            Verb::Record { .. }
            | Verb::Verdict { .. }
            | Verb::Lineage { .. }
            | Verb::Prepare(_)
            | Verb::Identity(_)
            | Verb::Control(_)
            | Verb::Segment(_)
            | Verb::Following(_)
            | Verb::Records(_),
        ) => Err(Error::failed("a verb that reads no repository came too far")),
    }
}

/// Everything there is to show is shown, and what cannot be read ends it with its own status; with metrics it is in them.
fn list(store: &Store, query: &Query, list: &List) -> Result<Status> {
    let sets = info::survey(store, query)?;
    // Metrics say with a zero that there is none.
    if !list.metrics {
        refuse_no_repository(store, query, &sets)?;
    }
    let damaged = warn_of_damaged(&sets);
    let unread = info::refuse_unread(&sets);
    let status = print_list(sets, list, query.cluster.as_deref())?;
    if list.metrics {
        return Ok(status);
    }
    unread?;
    Ok(if damaged { Status::Findings } else { status })
}

/// Of a repository that is there.
fn collect_known(store: &Store, query: &Query) -> Result<Vec<Set>> {
    let sets = info::collect(store, query)?;
    refuse_no_repository(store, query, &sets)?;
    Ok(sets)
}

/// A mistyped repository must not look like an empty one.
fn refuse_no_repository(store: &Store, query: &Query, sets: &[Set]) -> Result<()> {
    let url = &query.repository;
    if !sets.is_empty() || info::is_repository(store, url)? {
        return Ok(());
    }
    let missing =
        format!("{url}: there is no repository: neither {} nor the tree of a cluster", layout::MARK);
    Err(Error::not_found(missing)
        .hint("check PGV_REPO, or --repo; is its disk mounted? the first pgv-backup makes a repository"))
}

fn print_sets(store: &Store, query: &Query, label: Option<&Label>, objects: bool) -> Result<Status> {
    let sets = match label {
        Some(_) => info::survey(store, query)?,
        None => info::collect(store, query)?,
    };
    refuse_no_repository(store, query, &sets)?;
    warn_of_damaged(&sets);
    let chosen = match label {
        Some(label) => info::with_parents(&sets, label)?,
        None => sets.iter().collect(),
    };
    let line = |set: &&Set| {
        let objects = if objects { info::object_lines(set)? } else { String::new() };
        Ok(info::set_line(set) + &objects)
    };
    print(&chosen.iter().map(line).collect::<Result<String>>()?)
}

/// Two backups in one second, or on two hosts: a label must follow the latest, so its second is waited for.
const LABEL_WAIT: Duration = Duration::from_secs(5);

fn print_next(sets: &[Set], wanted: &info::Wanted) -> Result<Status> {
    let begun = Instant::now();
    let mut now = OffsetDateTime::now_utc();
    while info::not_earlier(sets, now).is_some() && begun.elapsed() < LABEL_WAIT {
        std::thread::sleep(Duration::from_millis(200));
        now = OffsetDateTime::now_utc();
    }
    print(&info::next(sets, wanted, now)?.lines())
}

fn full_every_of_environment() -> Result<Duration> {
    let key = "PGV_FULL_EVERY";
    let text = variable(key).unwrap_or_else(|| "7d".to_owned());
    cli::parse_duration(&text).map_err(|why| Error::usage(format!("{key}: {why}")))
}

fn print_unneeded(
    store: &Store,
    repository: &Url,
    sets: &[Set],
    now: Option<OffsetDateTime>,
) -> Result<Status> {
    let now = now.unwrap_or_else(OffsetDateTime::now_utc);
    let (urls, reasons) = info::unneeded(store, repository, sets, now)?;
    reasons.iter().for_each(report::warn);
    print(&urls.iter().fold(String::new(), |text, url| text + url + "\n"))
}

/// PGV_PGDATA may be another host's.
fn waiting(data_directory: Option<&Path>) -> Result<Option<info::Waiting>> {
    match data_directory {
        Some(directory) => info::waiting(directory).map(Some),
        None => Ok(variable("PGV_PGDATA").and_then(|directory| info::waiting(directory.as_ref()).ok())),
    }
}

/// And of what cannot be read. Whether anything is damaged.
fn warn_of_damaged(sets: &[Set]) -> bool {
    let mut found = false;
    for set in sets {
        match &set.state {
            State::Damaged { why, record: None } => {
                report::warn(format_args!("{}/{}: {why}", set.url, layout::RECORD));
            }
            State::Damaged { why, .. } => report::warn(format_args!("{}/: {why}", set.url)),
            _ => {}
        }
        found |= matches!(set.state, State::Damaged { .. });
        if let Some(error) = set.unread() {
            report::warn(format_args!("{}/ cannot be read: {error}", set.url));
        }
    }
    found
}

/// An empty value means that nothing is set.
fn variable(key: &str) -> Option<String> {
    std::env::var_os(key).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

fn system_id(text: Option<String>) -> Result<Option<u64>> {
    let parse = |text: String| {
        layout::parse_system_id(&text)
            .ok_or_else(|| Error::usage(format!("\"{}\" is not a system identifier", text.escape_default())))
    };
    text.filter(|text| !text.is_empty()).map(parse).transpose()
}

fn print_list(mut sets: Vec<Set>, list: &List, cluster: Option<&str>) -> Result<Status> {
    let wanted =
        |set: &Set| list.backup_type.is_none_or(|wanted| set.label.backup_type() == BackupType::from(wanted));
    let now = OffsetDateTime::now_utc();
    // A younger one may be among those that cannot be read.
    let max_age = list.max_age.filter(|_| sets.iter().all(|set| set.unread().is_none()));
    let old = max_age.map_or_else(Vec::new, |age| info::too_old(&sets, age, now, wanted));
    sets.retain(wanted);
    let default = if std::io::stdout().is_terminal() { Format::Table } else { Format::Tsv };
    let format = if list.json { Format::Json } else { list.format.unwrap_or(default) };
    if let Some(label) = &list.label {
        // One that is damaged is shown where there is room to say so, and is a finding everywhere.
        let is_damaged = sets.iter().any(|set| matches!(set.state, State::Damaged { .. }));
        let shows_all = matches!(format, Format::Table | Format::Json) && !sets.is_empty();
        if !shows_all && !is_damaged {
            info::require(&sets, label)?;
        }
    }
    let text = match list.metrics {
        true => info::metrics(&sets, cluster),
        false => info::show(&sets, format.into())?,
    };
    let status = print(&text)?;
    old.iter().for_each(report::warn);
    Ok(if old.is_empty() { status } else { Status::Findings })
}

fn print_choice(
    sets: &[Set],
    time: Option<OffsetDateTime>,
    lsn: Option<Lsn>,
    label: Option<Label>,
) -> Result<Status> {
    let choice = match (time, lsn, label) {
        (Some(time), _, _) => Choice::Time(time),
        (_, Some(lsn), _) => Choice::Lsn(lsn),
        (_, _, Some(label)) => Choice::Label(label),
        _ => Choice::Latest,
    };
    let chain = info::choose(sets, &choice)?;
    print(&chain.iter().fold(String::new(), |text, set| text + &set.url + "\n"))
}

fn print_recovery(store: &Store, repository: &Url, sets: &[Set], goal: Goal) -> Result<Status> {
    let histories = goal.histories.as_deref().map_or_else(|| Ok(info::Histories::new()), read_histories)?;
    let request = info::Request { target: goal.target(), along: goal.timeline, label: goal.label };
    let archived = info::Archived::list(store, repository, sets)?;
    print(&info::recovery(sets, &archived, &histories, &request)?.lines())
}

impl Goal {
    fn target(&self) -> info::Target {
        match (self.time, self.lsn) {
            (Some(time), _) => info::Target::Time(time),
            (_, Some(lsn)) => info::Target::Lsn(lsn),
            _ if self.immediate => info::Target::Immediate,
            _ if self.xid.is_some() || self.name.is_some() => info::Target::Unplaced,
            _ => info::Target::End,
        }
    }
}

/// Whatever else lies there is none of them.
fn read_histories(directory: &Path) -> Result<info::Histories> {
    let mut histories = info::Histories::new();
    for entry in std::fs::read_dir(directory).during_path("read", directory)? {
        let path = entry.during_path("read", directory)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(timeline) = timeline::timeline_of_history(&name) {
            histories.insert(timeline, std::fs::read_to_string(&path).during_path("read", &path)?);
        }
    }
    Ok(histories)
}

fn print_prune(
    sets: &[Set],
    given: Rules,
    labels: Option<&Path>,
    format: Option<PruneFormat>,
    now: Option<OffsetDateTime>,
) -> Result<Status> {
    let now = now.unwrap_or_else(OffsetDateTime::now_utc);
    let fates = match labels {
        Some(file) => info::prune_labels(sets, &read_labels(file)?, now)?,
        None if given == Rules::default() => info::prune(sets, &rules_of_environment()?, now)?,
        None => info::prune(sets, &given, now)?,
    };
    let format = match (format, std::io::stdout().is_terminal()) {
        (Some(PruneFormat::Table), _) | (None, true) => info::Format::Table,
        (Some(PruneFormat::Json), _) => info::Format::Json,
        (Some(PruneFormat::Url), _) => info::Format::Url,
        _ => info::Format::Label,
    };
    print(&info::show_fates(&fates, format)?)
}

/// One a line. A line without a label is what a pipe prints that went wrong.
fn read_labels(file: &Path) -> Result<Vec<Label>> {
    let mut input = Input::open(Some(file))?;
    let mut text = String::new();
    input.read_to_string(&mut text).during(format_args!("read {}", input.name()))?;
    text.lines().map(|line| line.parse().map_err(Error::usage)).collect()
}

/// The option is the variable's name in lower case.
fn rules_of_environment() -> Result<Rules> {
    let wrong = |key: &str, why: &str| Error::usage(format!("{key}: {why}"));
    let count = |key: &str| {
        variable(key).map(|text| text.parse().map_err(|_| wrong(key, "not a number"))).transpose()
    };
    let within = "PGV_KEEP_WITHIN";
    let duration = |text: String| cli::parse_duration(&text).map_err(|why| wrong(within, &why));
    Ok(Rules {
        full: count("PGV_KEEP_FULL")?,
        diff: count("PGV_KEEP_DIFF")?,
        last: count("PGV_KEEP_LAST")?,
        hourly: count("PGV_KEEP_HOURLY")?,
        daily: count("PGV_KEEP_DAILY")?,
        weekly: count("PGV_KEEP_WEEKLY")?,
        monthly: count("PGV_KEEP_MONTHLY")?,
        yearly: count("PGV_KEEP_YEARLY")?,
        within: variable(within).map(duration).transpose()?,
    })
}

impl From<Keep> for Rules {
    fn from(keep: Keep) -> Self {
        Rules {
            full: keep.keep_full,
            diff: keep.keep_diff,
            last: keep.keep_last,
            hourly: keep.keep_hourly,
            daily: keep.keep_daily,
            weekly: keep.keep_weekly,
            monthly: keep.keep_monthly,
            yearly: keep.keep_yearly,
            within: keep.keep_within,
        }
    }
}

fn print_wal(store: &Store, repository: &Url, sets: &[Set], format: Option<WalFormat>) -> Result<Status> {
    let archives = info::archives(store, repository, sets)?;
    let format = match (format, std::io::stdout().is_terminal()) {
        (Some(WalFormat::Table), _) | (None, true) => info::Format::Table,
        (Some(WalFormat::Json), _) => info::Format::Json,
        _ => info::Format::Tsv,
    };
    let printed = print(&info::show_wal(&archives, format)?)?;
    Ok(if archives.iter().any(info::Archive::has_gaps) { Status::Findings } else { printed })
}

fn print_lineage(backup: &Path, parent: &Path) -> Result<Status> {
    let lineage = |directory: &Path| {
        let (stream, manifest) = (directory.join("stream.json"), directory.join("manifest"));
        let stream = std::fs::read(&stream).during_path("read", &stream)?;
        let manifest = std::fs::read_to_string(&manifest).during_path("read", &manifest)?;
        info::Lineage::parse(&stream, &manifest).map_err(|error| error.context(directory.display()))
    };
    let found = lineage(backup)?.contradictions(&lineage(parent)?);
    let printed = print(&found.iter().fold(String::new(), |text, why| text + why + "\n"))?;
    Ok(if found.is_empty() { printed } else { Status::Findings })
}

fn print_record(
    cluster: Option<String>,
    facts: &Path,
    objects: &[(String, String)],
    annotations: Vec<(String, String)>,
    key_name: Option<String>,
) -> Result<Status> {
    let read = |path: &Path| std::fs::read(path).during_path("read", path);
    let object = |(name, path): &(String, String)| Ok((name.clone(), read(path.as_ref())?));
    let input = RecordInput {
        cluster: cluster.ok_or_else(|| Error::usage("which cluster? give it, or set PGV_CLUSTER"))?,
        facts: read(facts)?,
        objects: objects.iter().map(object).collect::<Result<_>>()?,
        key_name: key_name.filter(|name| !name.is_empty()),
        annotations: annotations.into_iter().collect(),
    };
    print(&(info::record(input)? + "\n"))
}

fn print(text: &str) -> Result<Status> {
    let mut output = std::io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(die_if_unread).during("write stdout")?;
    Ok(Status::Done)
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it needs a name, = and a value".to_owned()),
    }
}

impl From<NextType> for Option<BackupType> {
    fn from(text: NextType) -> Self {
        match text {
            NextType::Auto => None,
            NextType::Full => Some(BackupType::Full),
            NextType::Diff => Some(BackupType::Diff),
            NextType::Incr => Some(BackupType::Incr),
        }
    }
}

impl From<CheckKind> for VerdictKind {
    fn from(kind: CheckKind) -> Self {
        match kind {
            CheckKind::Verify => VerdictKind::Verify,
            CheckKind::Drill => VerdictKind::Drill,
            CheckKind::Wal => VerdictKind::Wal,
        }
    }
}

impl From<Type> for BackupType {
    fn from(text: Type) -> Self {
        match text {
            Type::Full => BackupType::Full,
            Type::Diff => BackupType::Diff,
            Type::Incr => BackupType::Incr,
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
            Format::Json => info::Format::Json,
        }
    }
}
