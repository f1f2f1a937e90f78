//! The rules of `prune`, from its options or from the environment.

use pgv::cli;
use pgv::error::{Error, Result};
use pgv::info::Rules;
use std::time::Duration;

/// Without any of these the rules are PGV_KEEP_FULL and its relatives, from environment or configuration.
#[derive(clap::Args)]
pub struct Keep {
    /// Keep the newest N fulls, each with all that is built on it
    #[arg(long, value_name = "N")]
    keep_full: Option<usize>,
    /// Keep the newest N fulls or differentials, with their incrementals
    #[arg(long, value_name = "N")]
    keep_diff: Option<usize>,
    /// The newest backups of any type
    #[arg(long, value_name = "N")]
    keep_last: Option<usize>,
    /// Keep the newest backup of each of the last N hours that have one
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
    /// Every moment of so long can be restored; before, only backups
    #[arg(long, value_name = "DURATION", value_parser = cli::parse_duration)]
    keep_wal: Option<Duration>,
}

/// The option is the variable's name in lower case.
pub fn rules_of_environment() -> Result<Rules> {
    let count = |key: &str| {
        cli::variable(key).map(|text| text.parse().map_err(|_| wrong(key, "not a number"))).transpose()
    };
    Ok(Rules {
        full: count("PGV_KEEP_FULL")?,
        diff: count("PGV_KEEP_DIFF")?,
        last: count("PGV_KEEP_LAST")?,
        hourly: count("PGV_KEEP_HOURLY")?,
        daily: count("PGV_KEEP_DAILY")?,
        weekly: count("PGV_KEEP_WEEKLY")?,
        monthly: count("PGV_KEEP_MONTHLY")?,
        yearly: count("PGV_KEEP_YEARLY")?,
        within: duration("PGV_KEEP_WITHIN")?,
        wal: duration(WAL)?,
        ..Rules::default()
    })
}

/// For how long all WAL stays: as given, or by the environment. Zero is a mistake, of which all WAL would die.
pub fn wal(given: Option<Duration>) -> Result<Option<Duration>> {
    match given.map_or_else(|| duration(WAL), |given| Ok(Some(given)))? {
        Some(Duration::ZERO) => Err(wrong(WAL, "it must be greater than zero")),
        length => Ok(length),
    }
}

const WAL: &str = "PGV_KEEP_WAL";

fn duration(key: &str) -> Result<Option<Duration>> {
    let parse = |text: String| cli::parse_duration(&text).map_err(|why| wrong(key, &why));
    cli::variable(key).map(parse).transpose()
}

fn wrong(key: &str, why: &str) -> Error {
    Error::usage(format!("{key}: {why}"))
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
            wal: keep.keep_wal,
            ..Rules::default()
        }
    }
}
