//! `prune`: the backups that no rule keeps.

use crate::keep::{self, Keep, Windows};
use crate::place::Place;
use clap::ValueEnum;
use pgv::catalog::{Label, Record, key_object};
use pgv::cli;
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, KeepWal, Repository, Rules, Set};
use pgv::io::Input;
use pgv::report;
use std::collections::BTreeSet;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Print the labels of the backups that no rule keeps; nothing is removed
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    #[command(flatten)]
    rules: Keep,
    /// Read labels from FILE instead of rules
    #[arg(long, value_name = "FILE", conflicts_with = "Keep")]
    labels: Option<PathBuf>,
    /// The format of the list [default: table on a terminal, else label]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Also write the URLs of the WAL that is needed no more then to FILE
    #[arg(long, value_name = "FILE")]
    unneeded_wal: Option<PathBuf>,
    /// Also write the URLs of the data keys that nothing needs then to FILE
    #[arg(long, value_name = "FILE")]
    unneeded_keys: Option<PathBuf>,
    /// List all only if something may go; FILE is the record just stored
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    just_stored: Option<PathBuf>,
    /// Decide as of this time
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time)]
    now: Option<OffsetDateTime>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Label,
    Url,
    Json,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let repository = place.open(args.cluster)?;
    let now = args.now.unwrap_or_else(OffsetDateTime::now_utc);
    let given = Rules::from(args.rules);
    let keep_wal = given.wal;
    let glanced = glance(&repository, &given, args.just_stored.as_deref(), now)?;
    let is_all = glanced.is_none();
    let mut sets = match glanced {
        Some(sets) => sets,
        None => repository.collect()?,
    };
    info::warn_of_damaged(&sets);
    let fates = match args.labels {
        Some(file) => info::prune_labels(&sets, &read_labels(&file)?, now)?,
        None => info::prune(&sets, &rules(given, &repository, &sets, now)?, now)?,
    };
    let format = match (args.format, std::io::stdout().is_terminal()) {
        (Some(Format::Table), _) | (None, true) => info::Format::Table,
        (Some(Format::Json), _) => info::Format::Json,
        (Some(Format::Url), _) => info::Format::Url,
        _ => info::Format::Label,
    };
    let text = info::show_fates(&fates, format)?;
    // Where no backup has a data key nobody asks for keys: some that stay cost less than a listing at each expiry.
    let has_data_keys = sets
        .iter()
        .filter_map(Set::committed)
        .any(|record| record.key_name.as_deref().is_some_and(key_object::is_data_key_name));
    let may_go = fates.iter().filter(|fate| fate.reasons.is_empty()).map(|fate| fate.set);
    let may_go: BTreeSet<_> = may_go.map(|set| (set.system_identifier, set.label.clone())).collect();
    sets.retain(|set| !may_go.contains(&(set.system_identifier, set.label.clone())));
    if let Some(file) = &args.unneeded_wal {
        let windows = Windows::new(&repository, keep_wal, now)?;
        let keep = sets.first().and_then(|set| windows.of(set));
        write_unneeded(file, &repository, &sets, keep.as_ref(), now)?;
    }
    if let Some(file) = &args.unneeded_keys {
        // Of sets that are not known no keys are known.
        let sets = if is_all && has_data_keys { &sets[..] } else { &[] };
        let urls = info::unneeded_keys(&repository.store, &repository.query.repository, sets, now)?;
        write_lines(file, &urls)?;
    }
    cli::print(&text)?;
    Ok(Status::Done)
}

/// What is known without a listing of everything, if nothing may go by it. A window of WAL needs to know more.
fn glance(
    repository: &Repository,
    given: &Rules,
    stored: Option<&Path>,
    now: OffsetDateTime,
) -> Result<Option<Vec<Set>>> {
    let Some(file) = stored else { return Ok(None) };
    let cluster = repository.query.cluster.as_deref();
    let rules = match *given == Rules::default() {
        true => keep::configured_rules(repository, cluster)?,
        false => given.clone(),
    };
    if rules.wal.is_some() {
        return Ok(None);
    }
    let record = Record::parse(&std::fs::read(file).during_path("read", file)?)?;
    let sets = info::glance(&repository.store, &repository.query, &record)?;
    let Some(sets) = sets else { return Ok(None) };
    let stays = info::prune(&sets, &rules, now)?.iter().all(|fate| !fate.reasons.is_empty());
    Ok(stays.then_some(sets))
}

/// `sets`: those that stay.
fn write_unneeded(
    file: &Path,
    repository: &Repository,
    sets: &[Set],
    keep: Option<&KeepWal>,
    now: OffsetDateTime,
) -> Result<()> {
    let (urls, reasons) = info::unneeded(&repository.store, &repository.query.repository, sets, keep, now)?;
    reasons.iter().for_each(report::warn);
    write_lines(file, &urls)
}

fn write_lines(file: &Path, lines: &[String]) -> Result<()> {
    let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
    std::fs::write(file, text).during_path("write", file)
}

fn rules(given: Rules, repository: &Repository, sets: &[Set], now: OffsetDateTime) -> Result<Rules> {
    let mut rules = match given {
        none if none == Rules::default() => {
            let cluster = repository.query.cluster.as_deref();
            keep::configured_rules(repository, cluster.or(sets.first().map(|set| set.cluster.as_str())))?
        }
        given => given,
    };
    if let Some(length) = rules.wal {
        let keep = KeepWal { length, now };
        rules.beginnings = info::beginnings(&repository.store, &repository.query.repository, sets, &keep)?;
    }
    Ok(rules)
}

/// One a line. A line without a label is what a pipe prints that went wrong.
fn read_labels(file: &Path) -> Result<Vec<Label>> {
    let mut input = Input::open(Some(file))?;
    let mut text = String::new();
    input.read_to_string(&mut text).during(format_args!("read {}", input.name()))?;
    text.lines().map(|line| line.parse().map_err(Error::usage)).collect()
}
