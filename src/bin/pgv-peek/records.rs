//! `records`: which WAL records are whole, and whether recovery to a moment would find its end among them.

use pgv::catalog::CLOCK_MARGIN;
use pgv::cli;
use pgv::error::{IoContext, Result};
use pgv::pg::records::{self, Record};
use pgv::pg::{Lsn, segment};
use std::path::PathBuf;
use time::OffsetDateTime;

/// Print where whole WAL records end, and when transactions did
#[derive(clap::Args)]
pub struct Args {
    /// Consecutive segments, oldest first, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Begin with the record at this LSN
    #[arg(long, value_name = "LSN")]
    from: Option<Lsn>,
    /// Write to FILE where each record begins, for pgv-peek events
    #[arg(long, value_name = "FILE")]
    starts: Option<PathBuf>,
    /// Count the transactions that ended after TIME
    #[arg(long, value_name = "TIME", value_parser = cli::parse_time)]
    until: Option<OffsetDateTime>,
    /// With --until, also count those that ended at TIME
    #[arg(long, requires = "until")]
    exclusive: bool,
}

pub fn lines(args: &Args) -> Result<String> {
    let (content, header) = segment::read_all(&args.files, args.from)?;
    let mut found = Found::default();
    // Microseconds; recovery that stops before a time stops before what ended at that time.
    let until = args.until.map(|time| time.unix_timestamp_nanos() / 1000 - i128::from(args.exclusive));
    let mut starts = Vec::new();
    let mut each = |record: Record| {
        if args.starts.is_some() {
            starts.extend(record.start.0.to_le_bytes());
            starts.push(record.text as u8);
        }
        found.add(record, until);
    };
    let broken = match args.from {
        Some(from) => records::scan_from(&content, &header, from, &mut each),
        None => records::scan(&content, &header, &mut each),
    };
    if let Some(file) = &args.starts {
        std::fs::write(file, &starts).during_path("write", file)?;
    }
    let next = found.next(u64::from(header.segment_bytes));
    let unread = next.map_or(args.files.len() as u64, |next| {
        let end = header.address.0.saturating_add(content.len() as u64);
        end.saturating_sub(next.0).div_ceil(u64::from(header.segment_bytes).max(1))
    });
    let begin = format!("begin {}\n", header.address);
    let broken = broken.map(|broken| format!("broken {broken}\n")).unwrap_or_default();
    Ok(begin + &found.lines(next, unread) + &broken)
}

#[derive(Default)]
struct Found {
    records: u64,
    last: Option<Record>,
    transactions: u64,
    /// Of those that ended after the time.
    after: u64,
    /// Of those that ended so long before it that no earlier record is of a later time.
    long_before: u64,
}

impl Found {
    fn add(&mut self, record: Record, until: Option<i128>) {
        self.records += 1;
        self.last = Some(record);
        let Some(ended) = record.transaction_end.map(i128::from) else { return };
        self.transactions += 1;
        let Some(until) = until else { return };
        self.after += u64::from(ended > until);
        self.long_before += u64::from(ended + (CLOCK_MARGIN.as_micros() as i128) < until);
    }

    /// Where the next record begins.
    fn next(&self, segment_bytes: u64) -> Option<Lsn> {
        let last = self.last?;
        Some(if last.switches { Lsn(last.end.0.next_multiple_of(segment_bytes.max(1))) } else { last.end })
    }

    /// `unread`: so many of the last files hold the beginning of a record that is not whole.
    fn lines(&self, next: Option<Lsn>, unread: u64) -> String {
        let last = self.last.map(|last| format!("last_record {}\nlast_end {}\n", last.start, last.end));
        let next = next.map(|next| format!("next_record {next}\n"));
        format!(
            "records {}\n{}{}unread_files {unread}\ntransactions {}\ntransactions_after {}\ntransactions_long_before {}\n",
            self.records,
            last.unwrap_or_default(),
            next.unwrap_or_default(),
            self.transactions,
            self.after,
            self.long_before
        )
    }
}
