//! `plan`: what a restore would do.

use pgv::cli;
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, Asked, Values};
use pgv::recover;
use std::fs;
use std::path::{Path, PathBuf};

/// Refuse a restore that has too little room, or print what it would do
#[derive(clap::Args)]
pub struct Args {
    /// What pgv-info recovery printed
    #[arg(value_name = "WAY")]
    way: PathBuf,
    /// What pgv-apply --plan printed; without it only settings change
    #[arg(long, value_name = "FILE")]
    places: Option<PathBuf>,
    /// The directory, as it was typed
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
    /// What it holds is set aside before
    #[arg(long)]
    replace: bool,
    /// It holds the cluster already: little room is no reason to refuse
    #[arg(long)]
    delta: bool,
    /// Only what differs is fetched
    #[arg(long, requires = "delta")]
    in_parts: bool,
    /// Print the plan, too
    #[arg(long)]
    print: bool,
    /// For programs
    #[arg(long, requires = "print")]
    as_json: bool,
    /// The key was tried on the beginning of the backup
    #[arg(long)]
    key_opens: bool,
    /// Where the server's programs are
    #[arg(long, value_name = "DIR")]
    programs: Option<String>,
    /// Where recovery ends, in words
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// What the server does then
    #[arg(long, value_name = "TEXT", default_value = "promote")]
    action: String,
    /// Recovery ends at the end of the backup
    #[arg(long)]
    immediate: bool,
    /// The repository is read at this rate at most
    #[arg(long, value_name = "RATE", value_parser = cli::parse_rate)]
    rate: Option<u64>,
    /// Refuse Debian's cluster of this name if it is another
    #[arg(long = "as", value_name = "VERSION/NAME")]
    as_cluster: Option<String>,
    /// Refuse this path if no setting can name it; may be repeated
    #[arg(long, value_name = "PATH")]
    named: Vec<PathBuf>,
}

pub fn run(args: Args) -> Result<Status> {
    recover::refuse_unnamed(args.named.iter().map(PathBuf::as_path))?;
    let places = args.places.as_deref().map(values).transpose()?;
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let asked = Asked {
        directory: args.directory.display().to_string(),
        replace: args.replace,
        delta: args.delta,
        in_parts: args.in_parts,
        programs: some(args.programs),
        target: some(args.target),
        action: args.action,
        immediate: args.immediate,
        rate: args.rate,
        key_opens: args.key_opens,
    };
    let way = values(&args.way)?;
    if let Some(name) = &args.as_cluster {
        recover::refuse_cluster(name, way.version(), &args.directory)?;
    }
    let plan = info::plan(&way, places.as_ref(), &asked);
    match (args.print, args.as_json) {
        (false, _) => {}
        (true, false) => cli::print(&plan.text)?,
        (true, true) => cli::print(&format!("{}\n", info::plan_json(&way, places.as_ref(), &asked)))?,
    }
    match plan.tight.filter(|_| !args.delta) {
        Some(tight) => Err(Error::failed(tight).hint("restore into a directory on a larger disk")),
        None => Ok(Status::Done),
    }
}

fn values(file: &Path) -> Result<Values> {
    Values::parse(&fs::read_to_string(file).during_path("read", file)?)
}
