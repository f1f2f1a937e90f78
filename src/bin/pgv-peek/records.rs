//! `records`: which WAL records are whole, and whether recovery to a moment would find its end among them.

use pgv::cli;
use pgv::error::{Error, Result};
use pgv::pg::records::{self, Record};
use pgv::pg::{Lsn, segment};
use std::path::PathBuf;
use time::OffsetDateTime;

/// Clocks of two hosts, and transactions that overtake each other on their way into the WAL, differ by less, microseconds.
const MARGIN: i128 = 600_000_000;

/// Print where whole WAL records end, and when transactions did
#[derive(clap::Args)]
pub struct Args {
    /// Consecutive segments, oldest first, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Say whether a transaction ended after this time, which has a zone
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time)]
    until: Option<OffsetDateTime>,
}

pub fn lines(args: &Args) -> Result<String> {
    let mut content = Vec::new();
    let mut first = None;
    for file in &args.files {
        let (bytes, header) = segment::read(file)?;
        let begin = first.get_or_insert_with(|| header.clone());
        if begin.address.0.wrapping_add(content.len() as u64) != header.address.0 {
            return Err(Error::damaged(format!("{}: it does not follow the segment before", file.display())));
        }
        content.extend(bytes);
    }
    let Some(header) = first else { return Ok(String::new()) };
    let mut found = Found::default();
    let until = args.until.map(|time| time.unix_timestamp_nanos() / 1000);
    records::scan(&content, &header, &mut |record| found.add(record, until));
    Ok(found.lines())
}

#[derive(Default)]
struct Found {
    records: u64,
    last: Option<(Lsn, Lsn)>,
    transactions: u64,
    /// Of those that ended after the time.
    after: u64,
    /// Of those that ended so long before it that no earlier record is of a later time.
    long_before: u64,
}

impl Found {
    fn add(&mut self, record: Record, until: Option<i128>) {
        self.records += 1;
        self.last = Some((record.start, record.end));
        let Some(ended) = record.transaction_end.map(i128::from) else { return };
        self.transactions += 1;
        let Some(until) = until else { return };
        self.after += u64::from(ended > until);
        self.long_before += u64::from(ended + MARGIN < until);
    }

    fn lines(&self) -> String {
        let last = self.last.map(|(start, end)| format!("last_record {start}\nlast_end {end}\n"));
        format!(
            "records {}\n{}transactions {}\ntransactions_after {}\ntransactions_long_before {}\n",
            self.records,
            last.unwrap_or_default(),
            self.transactions,
            self.after,
            self.long_before
        )
    }
}
