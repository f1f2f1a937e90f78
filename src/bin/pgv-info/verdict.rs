//! `verdict`: what a verification or a drill found.

use clap::ValueEnum;
use pgv::catalog::{VerdictKind, verdict_name};
use pgv::error::{Error, IoContext, Result};
use pgv::info;
use std::fs;
use std::path::PathBuf;
use time::OffsetDateTime;

/// Print the verdict of a verification or a drill, to be stored beside the backup
#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_enum)]
    kind: Kind,
    /// RFC 3339, UTC
    #[arg(long, value_name = "TIME", required_unless_present = "began", requires = "seconds")]
    started_at: Option<String>,
    #[arg(long, value_name = "N", requires = "started_at")]
    seconds: Option<u64>,
    /// Instead of both: when it began, seconds since 1970; it ends now
    #[arg(long, value_name = "SECONDS", conflicts_with = "started_at")]
    began: Option<i64>,
    /// Of a drill: how long the restore took
    #[arg(long, value_name = "N")]
    restore_seconds: Option<u64>,
    #[arg(long, value_name = "N")]
    bytes: u64,
    /// What was wrong; without any all is well
    #[arg(long, value_name = "TEXT")]
    finding: Vec<String>,
    /// And each line of this file, of the first hundred
    #[arg(long, value_name = "FILE")]
    findings: Option<PathBuf>,
    /// Write it below DIR under its name below the backup; print that name
    #[arg(long, value_name = "DIR")]
    below: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Verify,
    Drill,
    Wal,
}

pub fn text(args: Args) -> Result<String> {
    let mut findings = args.finding;
    if let Some(file) = &args.findings {
        findings.extend(info::findings(&fs::read_to_string(file).during_path("read", file)?));
    }
    let now = OffsetDateTime::now_utc();
    let (started_at, seconds) = match (args.started_at, args.seconds, args.began) {
        (Some(time), Some(seconds), _) => (time, seconds),
        (.., Some(began)) => info::began(began, now)?,
        _ => return Err(Error::usage("--began: no such time")),
    };
    let kind = args.kind.into();
    let line = info::verdict(kind, started_at, seconds, args.restore_seconds, args.bytes, &findings)? + "\n";
    let Some(directory) = &args.below else { return Ok(line) };
    let name = verdict_name(args.kind.into(), now);
    let path = directory.join(&name);
    let parent = path.parent().unwrap_or(directory);
    fs::create_dir_all(parent).during_path("create", parent)?;
    fs::write(&path, line).during_path("write", &path)?;
    Ok(name + "\n")
}

impl From<Kind> for VerdictKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Verify => VerdictKind::Verify,
            Kind::Drill => VerdictKind::Drill,
            Kind::Wal => VerdictKind::Wal,
        }
    }
}
