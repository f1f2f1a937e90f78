//! `events`: what happened in the WAL that pg_waldump prints, and the command that undoes it.

use pgv::cli;
use pgv::error::{Error, IoContext, Result, Status};
use pgv::find::{Catalogue, Event, Kind, Options, Search, Sieve, Wanted};
use pgv::io::die_if_unread;
use pgv::pg::Lsn;
use pgv::pg::records::Text;
use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// A line of pg_waldump may be long: a transaction may have any number of subtransactions.
const LONGEST_LINE: u64 = 1 << 30;

/// Print what happened in the WAL that pg_waldump prints on stdin, in UTC
#[derive(clap::Args)]
pub struct Args {
    /// The command that is printed, up to its target
    command: String,
    /// Nothing that happened before this time
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time)]
    from: Option<OffsetDateTime>,
    /// Nothing that happened after this time
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time)]
    to: Option<OffsetDateTime>,
    /// Only this [default: drop, truncate, delete, restore-point]
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    kind: Vec<Kind>,
    /// Only what happened to this relation
    #[arg(long, value_name = "NAME|NUMBER")]
    relation: Option<String>,
    /// Rows of relations' names, with zero bytes between the fields
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// Take for records only those whose places are in DIR/1, DIR/2 and so on
    #[arg(long, value_name = "DIR")]
    starts: PathBuf,
    /// Where the timeline begins
    #[arg(long, value_name = "LSN")]
    begin: Option<Lsn>,
    /// Also name the timeline in the commands
    #[arg(long, value_name = "ID")]
    timeline: Option<u32>,
    /// For people
    #[arg(long)]
    paragraphs: bool,
    /// Write to FILE from which commit to which it came
    #[arg(long, value_name = "FILE")]
    reached: Option<PathBuf>,
}

fn parse_kind(text: &str) -> std::result::Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| format!("it is one of {}", names()))
}

pub fn run(args: &Args) -> Result<Status> {
    let catalogue = match &args.catalogue {
        Some(file) => Catalogue::parse(&fs::read(file).during_path("read", file)?)?,
        None => Catalogue::default(),
    };
    let wanted = args.relation.as_deref().map(|text| Wanted::find(text, &catalogue)).transpose()?;
    let begin = args.begin.unwrap_or(Lsn(0));
    let options = Options { from: args.from, to: args.to, kinds: args.kind.clone(), wanted, begin };
    let mut search = Search::new(options, catalogue);
    let mut output = io::stdout().lock();
    let mut print = |event: Event| {
        let timeline = args.timeline.map(|id| format!(" --timeline {id}")).unwrap_or_default();
        let command = format!("{} --lsn {} --exclusive{timeline}", args.command, event.lsn);
        let text = if args.paragraphs { event.paragraph(&command)? } else { event.line(&command)? };
        // At once: a search takes minutes.
        let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
        written.map_err(die_if_unread).during("write stdout")
    };
    let mut sieve = Sieve::new(read_starts(&args.starts));
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    let mut goes_on = true;
    while goes_on && read_line(&mut input, &mut line)? {
        let record = sieve.add(&String::from_utf8_lossy(&line))?;
        goes_on = record.map_or(Ok(true), |record| search.read(&record, &mut print))?;
    }
    if goes_on && let Some(last) = sieve.end()? {
        search.read(&last, &mut print)?;
    }
    args.reached.as_deref().map_or(Ok(()), |file| write_reached(&search, file))?;
    Ok(Status::Done)
}

/// What pgv-peek records wrote to files with consecutive numbers, which are deleted as they are read.
fn read_starts(directory: &Path) -> impl FnMut() -> Result<Option<Vec<(Lsn, Text)>>> {
    let mut number = 0_u64;
    move || {
        let file = directory.join((number + 1).to_string());
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.during_path("read", &file)?,
        };
        number += 1;
        fs::remove_file(&file).during_path("delete", &file)?;
        let place = |entry: &[u8; 9]| {
            let [lsn @ .., text] = *entry;
            let text = if text == Text::None as u8 {
                Text::None
            } else if text == Text::Name as u8 {
                Text::Name
            } else {
                Text::Any
            };
            (Lsn(u64::from_le_bytes(lsn)), text)
        };
        Ok(Some(bytes.as_chunks().0.iter().map(place).collect()))
    }
}

fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool> {
    line.clear();
    let read = Read::take(&mut *input, LONGEST_LINE).read_until(b'\n', line).during("read stdin")?;
    if read as u64 == LONGEST_LINE {
        return Err(Error::damaged("pg_waldump prints a line of 1 GiB"));
    }
    line.pop_if(|byte| *byte == b'\n');
    Ok(read > 0)
}

fn write_reached(search: &Search, file: &Path) -> Result<()> {
    let (first, last) = search.reached();
    let mut lines = cli::lines::Lines::new();
    lines.add_some("first_commit", first.map(pgv::catalog::rfc3339));
    lines.add_some("last_commit", last.map(pgv::catalog::rfc3339));
    lines.add("has_ended", search.has_ended());
    fs::write(file, lines.as_str()).during_path("write", file)
}
