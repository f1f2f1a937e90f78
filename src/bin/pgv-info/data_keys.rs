//! `keys`: the wrapped data keys of a cluster, in the order in which they are to be opened.

use crate::place::Place;
use pgv::catalog::key_object::is_data_key_name;
use pgv::error::{Result, Status};
use pgv::info::{self, DataKeys};

/// Print the wrapped data keys of a cluster, in the order of the tries
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// This key first; other text than the name of a data key is ignored
    #[arg(long, value_name = "NAME")]
    need: Vec<String>,
    /// Only the keys of --need
    #[arg(long)]
    only_needed: bool,
    /// At most this number of keys for each system identifier
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// All wrappings of each key, and not only those to try
    #[arg(long)]
    all_wrappings: bool,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let repository = place.open(args.cluster)?;
    let mut needed = args.need;
    needed.retain(|name| is_data_key_name(name));
    let wanted = DataKeys {
        needed,
        only_needed: args.only_needed,
        limit: args.limit,
        all_wrappings: args.all_wrappings,
    };
    info::data_keys(&repository, &wanted)?.print().map(|()| Status::Done)
}
