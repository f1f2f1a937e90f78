//! `rm`: objects are removed.

use pgv::cli::{self, StoreOptions};
use pgv::error::{Result, Status};
use pgv::store::{Order, Removal, Scope, Store, Url, remove_in_order};
use std::time::Duration;

/// Remove objects
#[derive(clap::Args)]
pub struct Args {
    /// URLs, or - for URLs on stdin
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,
    /// Delete all objects below a URL that ends with a slash
    #[arg(long)]
    recursive: bool,
    /// Delete what killed uploads left below a URL that ends with a slash
    #[arg(long, conflicts_with = "recursive")]
    uploads: bool,
    /// Only those that began earlier than this, such as 2d
    #[arg(long, value_name = "DURATION", requires = "uploads", value_parser = cli::parse_duration)]
    older_than: Option<Duration>,
    /// Delete NAME of each directory first; print each deleted directory
    #[arg(long, value_name = "NAME", requires = "recursive", conflicts_with = "dry_run")]
    first: Option<String>,
    /// Delete NAME of each directory last
    #[arg(long, value_name = "NAME", requires = "first")]
    last: Option<String>,
    /// Count a missing object as deleted, without looking for it first
    #[arg(long, conflicts_with_all = ["recursive", "uploads", "dry_run"])]
    missing_ok: bool,
    /// Print what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// URLs on stdin end with NUL instead of newline
    #[arg(short = '0', long)]
    null: bool,
}

pub fn run(args: &Args, options: &StoreOptions) -> Result<Status> {
    let scope = match (args.recursive, args.uploads) {
        (true, _) => Scope::Below,
        (_, true) => Scope::Uploads(args.older_than.unwrap_or_default()),
        _ => Scope::Object,
    };
    let mut given = crate::given(&args.urls, if args.null { b'\0' } else { b'\n' }).peekable();
    let Some(Ok(first)) = given.peek() else { return given.next().transpose().map(|_| Status::Done) };
    let url = Url::parse(first)?;
    let store = Store::open(&url, options)?;
    let mut print = |url: &Url| crate::print(&[url.to_string()]);
    if let Some(first) = &args.first {
        let directories = given.map(|url| Url::parse(&url?)).collect::<Result<Vec<_>>>()?;
        let order = Order { first, last: args.last.as_deref() };
        remove_in_order(&store, &directories, &order, &mut print)?;
        return Ok(Status::Done);
    }
    let rehearsal = args.dry_run.then_some(&mut print as &mut dyn FnMut(&Url) -> Result<()>);
    let mut removal = Removal::new(store, url.scheme(), scope, rehearsal).missing_ok(args.missing_ok);
    given.try_for_each(|url| removal.add(Url::parse(&url?)?))?;
    removal.finish()?;
    Ok(Status::Done)
}
