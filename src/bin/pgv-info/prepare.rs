//! `prepare`: the settings and the configuration that a restored directory needs before a server starts in it.

use pgv::error::{Error, IoContext, Result};
use pgv::io::Input;
use pgv::recover::{self, Action, Get, Goal, Home, Plan, Request};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Write the settings and the configuration of a restored directory
#[derive(clap::Args)]
pub struct Args {
    /// The restored data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What pgv-info recovery printed, or - for stdin
    #[arg(long, value_name = "FILE", required_unless_present = "raise")]
    recovery: Option<PathBuf>,
    /// End at the end of the backup
    #[arg(long, group = "goal")]
    immediate: bool,
    /// End at this transaction
    #[arg(long, group = "goal")]
    xid: Option<u64>,
    /// End at this restore point
    #[arg(long, group = "goal")]
    name: Option<String>,
    /// What the server does at its target [default: promote]
    #[arg(long, value_name = "promote|pause|shutdown")]
    action: Option<Action>,
    /// The pgv-wal-get that restore_command runs
    #[arg(long, value_name = "PROGRAM", required_unless_present = "raise")]
    wal_get: Option<PathBuf>,
    /// The configuration that restore_command reads
    #[arg(long, value_name = "FILE", required_unless_present = "raise")]
    wal_config: Option<PathBuf>,
    /// The name of the cluster in the repository
    #[arg(long, value_name = "CLUSTER", required_unless_present = "raise")]
    wal_cluster: Option<String>,
    /// Put the configuration into this new directory
    #[arg(long, value_name = "DIR", group = "home")]
    into: Option<PathBuf>,
    /// Leave the configuration in this directory as it is
    #[arg(long, value_name = "DIR", group = "home")]
    existing: Option<PathBuf>,
    /// Make a minimal configuration and a socket in this directory
    #[arg(long, value_name = "DIR", group = "home")]
    isolated: Option<PathBuf>,
    /// The port of the copy
    #[arg(long)]
    port: Option<u16>,
    /// external_pid_file of the copy
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Leave archive_mode as it is
    #[arg(long)]
    keep_archiving: bool,
    /// Leave out libraries that are not in this directory
    #[arg(long, value_name = "DIR")]
    libraries: Option<PathBuf>,
    /// Where the server's programs are: as --libraries, with its own
    #[arg(long, value_name = "DIR", conflicts_with = "libraries")]
    programs: Option<PathBuf>,
    /// Only raise settings that recovery was found to need higher
    #[arg(long)]
    raise: bool,
}

pub fn lines(args: &Args) -> Result<String> {
    let directory = std::path::absolute(&args.directory).during_path("find", &args.directory)?;
    // A setting that names a relative path would be read in another directory.
    let absolute = |place: &PathBuf| std::path::absolute(place).during_path("find", place);
    let home = match (&args.into, &args.existing, &args.isolated) {
        (Some(place), ..) => Home::New(absolute(place)?),
        (_, Some(place), _) => Home::Existing(absolute(place)?),
        (.., Some(place)) => Home::Isolated(absolute(place)?),
        _ => Home::Data,
    };
    if args.raise {
        return recover::raise(&directory, &home).map(|lines| lines.as_str().to_owned());
    }
    let missing = |option: &str| Error::usage(format!("--{option} is needed"));
    let goal = match (&args.name, args.xid, args.immediate) {
        (Some(name), ..) => Goal::Name(name.clone()),
        (_, Some(xid), _) => Goal::Xid(xid),
        (.., true) => Goal::Immediate,
        _ => Goal::Told,
    };
    let text = read(args.recovery.as_deref().ok_or_else(|| missing("recovery"))?)?;
    let request = Request {
        plan: Plan::parse(&text, goal, args.action.unwrap_or(Action::Promote))?,
        get: Get {
            program: args.wal_get.clone().ok_or_else(|| missing("wal-get"))?,
            config: args.wal_config.clone().ok_or_else(|| missing("wal-config"))?,
            cluster: args.wal_cluster.clone().ok_or_else(|| missing("wal-cluster"))?,
        },
        directory,
        home,
        port: args.port,
        pid_file: args.pid_file.clone(),
        keep_archiving: args.keep_archiving,
        libraries: args.libraries.clone().or_else(|| recover::libraries_of(args.programs.as_deref()?)),
    };
    recover::prepare(&request).map(|lines| lines.as_str().to_owned())
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    let mut input = Input::open(Some(file))?;
    input.read_to_string(&mut text).during(format_args!("read {}", input.name()))?;
    Ok(text)
}
