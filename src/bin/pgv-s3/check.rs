//! `check`: whether a store can do what a backup needs.

use crate::keeping::KeepingArgs;
use pgv::cli::StoreOptions;
use pgv::error::{Result, Status};
use pgv::store::{self, PutOptions};
use std::time::Duration;

/// Try every operation that a backup needs, below a URL that ends with /
#[derive(clap::Args)]
pub struct Args {
    pub url: String,
    #[command(flatten)]
    kept: KeepingArgs,
}

/// Whoever waits for the check is there to put right what it finds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

/// A line for each operation.
pub fn run(args: Args, options: &StoreOptions) -> Result<Status> {
    let options = StoreOptions { timeout: options.timeout.or(Some(CHECK_TIMEOUT)), ..options.clone() };
    let (store, url) = crate::open(&format!("{}/", args.url.trim_end_matches('/')), &options)?;
    let mut status = Status::Done;
    store::check(
        &store,
        &url,
        &PutOptions { kept: args.kept.into(), ..PutOptions::default() },
        &mut |outcome| {
            crate::print(&match outcome.failure {
                None => vec![format!("ok   {}", outcome.what)],
                Some(error) => {
                    status = Status::Findings;
                    let hints = error.hints().iter().map(|hint| format!("     {hint}"));
                    let lines =
                        [format!("BAD  {}: {error}", outcome.what), format!("     {}", outcome.costs)];
                    lines.into_iter().chain(hints).collect()
                }
            })
        },
    )?;
    Ok(status)
}
