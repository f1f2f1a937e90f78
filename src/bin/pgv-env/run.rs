//! The verb of `pgv-env`, which `pgv-info env` has as well.

use crate::command::{at_service, not_run, process};
use crate::{each, pgbackrest, retry};
use clap::Parser;
use pgv::cli::config::{self, Config, Environment};
use pgv::cli::lines::Lines;
use pgv::cli::{self, Arguments, Common, owner};
use pgv::error::{Error, Result, Status};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

/// Run a command with a cluster's configuration as its environment
#[derive(Parser)]
#[command(
    version,
    override_usage = "pgv-env [-c FILE] CLUSTER COMMAND [ARGUMENT…]\n       pgv-env --print [-c FILE] [CLUSTER]"
)]
pub struct Args {
    /// The configuration [default: /etc/pgv/CLUSTER.conf]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the environment and what follows from it, as key value lines
    #[arg(long, group = "form")]
    print: bool,
    /// Print only what FILE sets, as set lines
    #[arg(long, group = "form", requires = "config")]
    file: bool,
    /// Also print the port of the Debian cluster
    #[arg(long, requires = "print")]
    server: bool,
    /// Print a duration, such as 36h, in seconds
    #[arg(long, group = "form", value_name = "DURATION", value_parser = cli::parse_duration)]
    seconds: Option<Duration>,
    /// Run COMMAND with the S3 service of FILE, not of the environment
    #[arg(long, group = "form", requires = "config")]
    service: bool,
    /// Run COMMAND as the owner of the configuration
    #[arg(long, group = "form")]
    step_down: bool,
    /// Run COMMAND for each line of standard input, at most N at a time
    #[arg(long, group = "form", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    each: Option<u16>,
    /// Run COMMAND again while it ends with 75, for up to DURATION
    #[arg(long, group = "form", value_name = "DURATION", value_parser = cli::parse_duration)]
    retry: Option<Duration>,
    /// Do not treat these statuses as failures
    #[arg(long, requires = "each", value_name = "STATUS", value_delimiter = ',')]
    accept: Vec<u8>,
    /// Run once more what ends with these statuses
    #[arg(long, requires = "accept")]
    twice: bool,
    /// Run it as the owner of this path instead
    #[arg(long, requires = "step_down", value_name = "PATH")]
    owner_of: Option<PathBuf>,
    #[command(flatten)]
    pgbackrest: pgbackrest::Options,
    #[arg(value_name = "CLUSTER COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
    #[command(flatten)]
    common: Common,
}

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

pub fn run(args: Args) -> Result<Status> {
    let file = args.config.as_deref();
    if let Some(duration) = args.seconds {
        refuse_more(&args.words)?;
        Lines::new().add("seconds", duration.as_secs()).print()?;
        return Ok(Status::Done);
    }
    if let (true, Some(file)) = (args.file, file) {
        refuse_more(&args.words)?;
        print_file(&config::read_any(file)?.0)?;
        return Ok(Status::Done);
    }
    if let (true, Some(file)) = (args.service, file) {
        return at_service(&config::read_file(file)?, &args.words);
    }
    if let Some(jobs) = args.each {
        return each::run(jobs.into(), &args.accept, args.twice, &args.words);
    }
    if let Some(limit) = args.retry {
        return retry::run(limit, &args.words);
    }
    let (cluster, command) = match args.words.split_first() {
        Some((cluster, command)) => (Some(cluster_name(cluster)?), command),
        None => (None, &[][..]),
    };
    // A script has none where its caller named none.
    let cluster = cluster.filter(|name| !name.is_empty());
    if let Some(file) = args.pgbackrest.file() {
        refuse_more(command)?;
        return args.pgbackrest.print(file, cluster);
    }
    if args.print {
        refuse_more(command)?;
        let mut environment = Environment::load(file, cluster)?;
        if args.server {
            environment.add_debian_port()?;
        }
        environment.lines()?.print()?;
        return Ok(Status::Done);
    }
    if command.is_empty() {
        return Err(Error::usage("a cluster and a command are needed").hint("pgv-env --help"));
    }
    if args.step_down {
        owner::step_down(file, cluster, args.owner_of.as_deref(), command)?;
        return Ok(Status::Done);
    }
    let mut environment = Environment::load(file, cluster)?;
    environment.add_debian_port()?;
    let mut process = process(command)?;
    Err(not_run(command, process.envs(environment.changes()).exec()))
}

fn cluster_name(word: &OsStr) -> Result<&str> {
    word.to_str().ok_or_else(|| Error::usage("the cluster's name is not UTF-8"))
}

fn refuse_more(words: &[OsString]) -> Result<()> {
    match words.first() {
        Some(word) => {
            Err(Error::usage(format!("too many arguments: {}", word.display())).hint("pgv-env --help"))
        }
        None => Ok(()),
    }
}

fn print_file(config: &Config) -> Result<()> {
    let mut lines = Lines::new();
    for setting in &config.settings {
        lines.add("set", format_args!("{}={}", setting.key, setting.value));
    }
    lines.print()
}
