//! `transfer`: what pgv-copy is to copy.

use crate::place::Place;
use pgv::catalog::Label;
use pgv::error::{Error, IoContext, Result, Status};
use pgv::info::{self, Transfer};
use pgv::io::Input;
use pgv::pg::wal;
use pgv::store::Url;
use std::io::Read;
use std::path::PathBuf;

/// Print what another repository lacks of this one, in the order in which it is to be copied
#[derive(clap::Args)]
pub struct Args {
    cluster: Option<String>,
    /// What is there: lines of pgv-s3 ls --long, or - for stdin
    #[arg(long, value_name = "FILE")]
    there: PathBuf,
    /// The URL of the other repository
    #[arg(long, value_name = "URL")]
    to: String,
    /// Only this backup
    #[arg(long)]
    label: Option<Label>,
    /// And all WAL from this segment on
    #[arg(long, value_name = "NAME", value_parser = parse_segment)]
    wal_since: Option<String>,
}

pub fn run(args: Args, place: Place) -> Result<Status> {
    let to = Url::parse(&format!("{}/", args.to.trim_end_matches('/')))?;
    let mut text = String::new();
    let mut input = Input::open(Some(&args.there))?;
    input.read_to_string(&mut text).during(format_args!("read {}", input.name()))?;
    let there = info::parse_listing(&text, &to)?;
    let repository = place.open_chain(args.cluster, args.label.clone())?;
    let sets = repository.read(args.label.as_ref())?;
    let wanted = Transfer { label: args.label, wal_since: args.wal_since };
    info::transfer(&repository.store, &repository.query.repository, &sets, &wanted, &there)?.print()?;
    Ok(Status::Done)
}

fn parse_segment(text: &str) -> std::result::Result<String, Error> {
    match wal::is_segment_name(text) {
        true => Ok(text.to_owned()),
        false => Err(Error::usage("not the name of a WAL segment")),
    }
}
