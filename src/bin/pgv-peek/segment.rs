//! `segment`: what the headers of WAL segments say, and whether that is what their surroundings say.

use pgv::cli;
use pgv::error::{Result, Status};
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
    /// Refuse a segment that has another name in its header, or is not complete
    #[arg(long, conflicts_with = "own_names")]
    name: Option<String>,
    /// Refuse a segment that has another name in its header than its file
    #[arg(long)]
    own_names: bool,
    /// Refuse a segment whose records do not reach its end
    #[arg(long)]
    full: bool,
    /// Refuse a segment that does not begin as other does
    #[arg(long, value_name = "OTHER")]
    beside: Option<PathBuf>,
    /// Refuse a segment of another cluster
    #[arg(long, value_name = "DIR")]
    data_directory: Option<PathBuf>,
    /// Refuse a segment of a cluster with another system identifier
    #[arg(long, env = "PGV_SYSTEM_ID", value_name = "ID")]
    system_id: Option<String>,
}

pub fn lines(args: &Args) -> Result<(String, Status)> {
    let of_directory = args.data_directory.as_deref().map(Control::read).transpose()?;
    let systems =
        [cli::system_id(args.system_id.as_deref())?, of_directory.map(|control| control.system_identifier())];
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

fn describe(header: &SegmentHeader) -> String {
    let SegmentHeader { major, timeline, address, system_identifier, segment_bytes, block_bytes } = header;
    let name = header.name();
    let following = wal::following(&name, u64::from(*segment_bytes)).unwrap_or_default();
    format!(
        "name {name}\nfollowing {following}\nmajor {major}\ntimeline {timeline}\naddress {address}\n\
         system_identifier {system_identifier}\nsegment_bytes {segment_bytes}\nblock_bytes {block_bytes}\n"
    )
}
