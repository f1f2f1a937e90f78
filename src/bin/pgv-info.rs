//! `pgv-info`: what a repository holds, what to restore, what may go.

use clap::{Parser, Subcommand, ValueEnum};
use pgv::catalog::{BackupType, Label};
use pgv::cli::{self, Arguments, Common, StoreOptions, config};
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, Choice, Query, RecordInput, Rules, Set, State};
use pgv::pg::Lsn;
use pgv::report;
use pgv::store::{Store, Url};
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
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
    system_id: Option<u64>,
    /// The configuration, instead of /etc/pgv/CLUSTER.conf
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
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
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// As --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Exit with 7 if the newest backup is older, such as 26h, or there is none
    #[arg(long, value_name = "DURATION", value_parser = cli::parse_duration)]
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
    /// Print the labels of the backups that no rule keeps; nothing is removed
    Prune {
        cluster: Option<String>,
        #[command(flatten)]
        rules: Keep,
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
}

#[derive(clap::Args)]
struct Keep {
    /// The newest fulls, each with all that is built on it
    #[arg(long, env = "PGV_KEEP_FULL", value_name = "N")]
    keep_full: Option<usize>,
    /// The newest backups of any type
    #[arg(long, env = "PGV_KEEP_LAST", value_name = "N")]
    keep_last: Option<usize>,
    /// The newest of each hour (day, week, month, year) of the last N that have one
    #[arg(long, env = "PGV_KEEP_HOURLY", value_name = "N")]
    keep_hourly: Option<usize>,
    #[arg(long, env = "PGV_KEEP_DAILY", value_name = "N")]
    keep_daily: Option<usize>,
    #[arg(long, env = "PGV_KEEP_WEEKLY", value_name = "N")]
    keep_weekly: Option<usize>,
    #[arg(long, env = "PGV_KEEP_MONTHLY", value_name = "N")]
    keep_monthly: Option<usize>,
    #[arg(long, env = "PGV_KEEP_YEARLY", value_name = "N")]
    keep_yearly: Option<usize>,
    /// Everything younger than this, such as 14d
    #[arg(long, env = "PGV_KEEP_WITHIN", value_name = "DURATION", value_parser = cli::parse_duration)]
    keep_within: Option<Duration>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Type {
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

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    cli::main("pgv-info", run)
}

fn run(args: Args) -> Result<Status> {
    let named = match &args.verb {
        None => args.list.cluster.clone(),
        Some(Verb::Choose { cluster, .. } | Verb::Prune { cluster, .. } | Verb::Record { cluster, .. }) => {
            cluster.clone()
        }
    };
    let named = named.or_else(|| std::env::var("PGV_CLUSTER").ok().filter(|name| !name.is_empty()));
    if let Some(Verb::Record { facts, object, annotation, key_name, .. }) = args.verb {
        return print_record(named, &facts, &object, annotation, key_name);
    }
    let Some(repository) = args.place.repo.filter(|repository| !repository.is_empty()) else {
        return run_configured(args.place.config, named);
    };
    let repository = Url::parse(&format!("{}/", repository.trim_end_matches('/')))?;
    let store = Store::open(&repository, &args.store)?;
    let query = Query { repository, cluster: named, system_identifier: args.place.system_id };
    let sets = info::collect(&store, &query)?;
    for set in &sets {
        if let State::Damaged(why) = &set.state {
            report::warn(format_args!("{}: {why}", set.url));
        }
    }
    let damaged = sets.iter().any(|set| matches!(set.state, State::Damaged(_)));
    let status = match args.verb {
        Some(Verb::Choose { time, lsn, label, .. }) => return print_choice(&sets, time, lsn, label),
        Some(Verb::Prune { rules, .. }) => return print_prune(&sets, &rules),
        _ => print_list(sets, &args.list)?,
    };
    Ok(if damaged { Status::Findings } else { status })
}

/// The configuration is environment, AWS_* keys included, and only a new process gets that.
fn run_configured(file: Option<PathBuf>, cluster: Option<String>) -> Result<Status> {
    let missing = || {
        Error::usage("no repository")
            .hint("give --repo URL, or a CLUSTER that has a configuration in /etc/pgv")
    };
    let config = config::read(file.as_deref(), cluster.as_deref())?.ok_or_else(missing)?;
    let set = |key: &str| std::env::var_os(key).is_some_and(|value| !value.is_empty());
    let mut settings: Vec<_> = config.settings.into_iter().filter(|(key, _)| !set(key)).collect();
    if !settings.iter().any(|(key, value)| key == "PGV_REPO" && !value.is_empty()) {
        return Err(missing().context(format!("configuration of {}", config.cluster)));
    }
    if !set("PGV_CLUSTER") && !settings.iter().any(|(key, _)| key == "PGV_CLUSTER") {
        settings.push(("PGV_CLUSTER".to_owned(), config.cluster));
    }
    let mut command = std::process::Command::new(std::env::current_exe().during("find pgv-info")?);
    command.args(std::env::args_os().skip(1)).envs(settings);
    Err(Error::io("run pgv-info", command.exec()))
}

fn print_list(mut sets: Vec<Set>, list: &List) -> Result<Status> {
    let now = OffsetDateTime::now_utc();
    let old = list.max_age.is_some_and(|age| info::is_too_old(&sets, age, now));
    if let Some(label) = &list.label {
        sets.retain(|set| set.label == *label);
        if sets.is_empty() {
            return Err(Error::not_found(format!("there is no backup {label}")));
        }
    }
    if let Some(wanted) = list.backup_type {
        sets.retain(|set| set.label.backup_type() == BackupType::from(wanted));
    }
    let default = if std::io::stdout().is_terminal() { Format::Table } else { Format::Tsv };
    let format = if list.json { Format::Json } else { list.format.unwrap_or(default) };
    let status = print(&info::show(&sets, format.into())?)?;
    if old {
        report::warn("the newest backup is too old, or there is none");
        return Ok(Status::Findings);
    }
    Ok(status)
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

fn print_prune(sets: &[Set], keep: &Keep) -> Result<Status> {
    let rules = Rules {
        full: keep.keep_full,
        last: keep.keep_last,
        hourly: keep.keep_hourly,
        daily: keep.keep_daily,
        weekly: keep.keep_weekly,
        monthly: keep.keep_monthly,
        yearly: keep.keep_yearly,
        within: keep.keep_within,
    };
    let verdicts = info::prune(sets, &rules, OffsetDateTime::now_utc())?;
    let terminal = std::io::stdout().is_terminal();
    let line = |verdict: &info::Verdict<'_>| match (verdict.reasons.is_empty(), terminal) {
        (true, false) => format!("{}\n", verdict.set.label),
        (true, true) => format!("{}  may go\n", verdict.set.label),
        (false, true) => format!("{}  stays: {}\n", verdict.set.label, verdict.reasons.join(", ")),
        (false, false) => String::new(),
    };
    print(&verdicts.iter().map(line).collect::<String>())
}

fn print_record(
    cluster: Option<String>,
    facts: &std::path::Path,
    objects: &[(String, String)],
    annotations: Vec<(String, String)>,
    key_name: Option<String>,
) -> Result<Status> {
    let read = |path: &std::path::Path| std::fs::read(path).during_path("read", path);
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
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).during("write stdout")?;
    Ok(Status::Done)
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it needs a name, = and a value".to_owned()),
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
