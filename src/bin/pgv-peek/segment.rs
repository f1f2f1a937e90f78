//! `segment`: what the headers of WAL segments say, and whether that is what their surroundings say.

use pgv::catalog::layout;
use pgv::error::{Error, Result, Status};
use pgv::pg::control::Control;
use pgv::pg::segment::{self, Expected, Opened};
use pgv::pg::wal::{self, SegmentHeader};
use std::path::{Path, PathBuf};

/// Print what the headers of WAL segments say
#[derive(clap::Args)]
pub struct Args {
    /// The segments, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Refuse a segment unless this is its name, and it is whole
    #[arg(long, conflicts_with = "own_names")]
    name: Option<String>,
    /// Refuse a segment unless its file has its name, and it is whole
    #[arg(long)]
    own_names: bool,
    /// Refuse a segment unless its records reach its end, or a switch
    #[arg(long)]
    full: bool,
    /// Refuse a segment of another history; exit with 7 if FILE has more
    #[arg(long, value_name = "OTHER")]
    beside: Option<PathBuf>,
    /// Refuse a segment of another cluster than in this data directory
    #[arg(long, value_name = "DIR")]
    data_directory: Option<PathBuf>,
    /// Refuse a segment of a cluster with another system identifier
    #[arg(long, env = "PGV_SYSTEM_ID", value_name = "ID")]
    system_id: Option<String>,
}

pub fn lines(args: &Args) -> Result<(String, Status)> {
    let of_directory = args.data_directory.as_deref().map(Control::read).transpose()?;
    let systems = [system_id(args)?, of_directory.map(|control| control.system_identifier())];
    let mut text = String::new();
    for file in &args.files {
        let opened = segment::open(file)?;
        check(&opened, file, args, &systems)?;
        text.push_str(&describe(&opened.header));
    }
    if args.full {
        args.files.iter().try_for_each(|file| segment::refuse_unfinished(file))?;
    }
    let mut status = Status::Done;
    if let Some(other) = &args.beside {
        for file in &args.files {
            if segment::holds_more(file, other)? {
                status = Status::Findings;
            }
        }
    }
    Ok((text, status))
}

fn check(opened: &Opened, file: &Path, args: &Args, systems: &[Option<u64>]) -> Result<()> {
    let name = if args.own_names { own_name(file) } else { args.name.clone() };
    let history = match &name {
        Some(name) => segment::history_beside(file, name)?,
        None => None,
    };
    for &system_identifier in systems {
        let expected = Expected {
            name: name.as_deref(),
            history: history.as_deref(),
            system_identifier,
            file_bytes: opened.file_bytes.filter(|_| name.is_some()),
        };
        segment::check(&opened.header, &expected).map_err(|error| error.context(file.display()))?;
    }
    Ok(())
}

/// Of a segment, and of one that is not full yet.
fn own_name(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    Some(name.strip_suffix(".partial").unwrap_or(name).to_owned())
}

fn system_id(args: &Args) -> Result<Option<u64>> {
    let text = args.system_id.as_deref().filter(|text| !text.is_empty());
    let parse = |text: &str| {
        layout::parse_system_id(text)
            .ok_or_else(|| Error::usage(format!("\"{}\" is not a system identifier", text.escape_default())))
    };
    text.map(parse).transpose()
}

fn describe(header: &SegmentHeader) -> String {
    let SegmentHeader { major, timeline, address, system_identifier, segment_bytes, block_bytes } = header;
    let name = header.name();
    let following = wal::following(&name, u64::from(*segment_bytes)).unwrap_or_default();
    format!(
        "name {name}\nfollowing {following}\nmajor {major}\ntimeline {timeline}\naddress {address}\n\
         system_identifier {system_identifier}\nsegment_bytes {segment_bytes}\nblock_bytes {block_bytes}\n"
    )
}
