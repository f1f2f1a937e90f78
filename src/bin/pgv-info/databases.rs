//! `databases`: which databases of a backup a restore leaves out, and what it reads of each stream.

use pgv::catalog::{Label, MembersReader, Record, Selection};
use pgv::cli;
use pgv::error::{Error, IoContext, Result};
use pgv::info::{self, Share, Values};
use pgv::io::Output;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Choose databases of a backup, and say what a restore of them reads
#[derive(clap::Args)]
pub struct Args {
    /// What pgv-info recovery printed
    #[arg(long, value_name = "FILE")]
    way: PathBuf,
    /// Has N.members and record-N of each link, and gets N.ranges
    #[arg(long, value_name = "DIR")]
    parts: PathBuf,
    /// A part of the newest stream, with the names of its databases
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Write the choice to this file
    #[arg(long, value_name = "FILE")]
    selection: PathBuf,
    /// Names of databases, or OIDs
    #[arg(required = true, value_name = "NAME")]
    names: Vec<OsString>,
}

/// Prints the lines of `pgv-info recovery` as they are for this restore.
pub fn lines(args: &Args) -> Result<String> {
    let text = fs::read_to_string(&args.way).during_path("read", &args.way)?;
    let values = Values::parse(&text)?;
    let links = values.all("backup").len();
    let label = values.get("label").ok_or_else(|| Error::usage("the plan of the recovery has no label"))?;
    let label = label.parse::<Label>().map_err(Error::usage)?;
    let names: Vec<_> = args.names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let list = args.list.as_deref().map(open).transpose()?.map(info::read_databases);
    let list = list.transpose()?.flatten();
    let newest = members(&args.parts, links.saturating_sub(1))?;
    let present = newest.map(info::databases_of).transpose()?;
    let selection = info::select_databases(&label, &names, list.as_ref(), present.as_ref())?;
    write(&args.selection, &selection.encode()?)?;
    let shares = (0..links).map(|number| share(&args.parts, number, links, &selection));
    let shares = shares.collect::<Result<Vec<_>>>()?;
    let stored = (0..links).map(|number| stored(&args.parts, number)).collect::<Result<Vec<_>>>()?;
    Ok(info::way_of_databases(&text, &shares, &stored, &selection, &names))
}

/// Writes the ranges of one link. Nothing where it has no list of members.
fn share(parts: &Path, number: usize, links: usize, selection: &Selection) -> Result<Option<Share>> {
    let Some(members) = members(parts, number)? else { return Ok(None) };
    let share = info::share(members, selection, number + 1 == links)?;
    let text = cli::ranges_text(&share.chosen.ranges);
    write(&parts.join(format!("{number}.ranges")), text.as_bytes()).map(|()| Some(share))
}

fn members(parts: &Path, number: usize) -> Result<Option<MembersReader<BufReader<File>>>> {
    let path = parts.join(format!("{number}.members"));
    match path.try_exists().during_path("look at", &path)? {
        true => MembersReader::open(open(&path)?, &path.display().to_string()).map(Some),
        false => Ok(None),
    }
}

/// Bytes of the link's sealed stream, by its record.
fn stored(parts: &Path, number: usize) -> Result<u64> {
    let path = parts.join(format!("record-{number}"));
    let record = Record::parse(&fs::read(&path).during_path("read", &path)?)?;
    Ok(record.objects.iter().find(|object| object.name == "data.pgv").map_or(0, |object| object.bytes))
}

fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path).during_path("open", path).map(BufReader::new)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let mut output = Output::create(Some(path))?;
    output.write_all(content).during_path("write", path)?;
    output.finish()
}
