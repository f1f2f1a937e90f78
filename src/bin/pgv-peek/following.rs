//! `following`: the names of the segments after one, on its timeline.

use pgv::error::{Error, Result};
use pgv::pg::wal;

/// Print the names of the segments after one, one a line
#[derive(clap::Args)]
pub struct Args {
    /// The name of a segment
    #[arg(value_name = "SEGMENT")]
    name: String,
    /// Bytes of a segment, wal_segment_size
    #[arg(long, value_name = "BYTES")]
    segment_bytes: u64,
    /// How many names
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(..=100_000))]
    count: u32,
    /// As many as there are up to this one
    #[arg(long, value_name = "SEGMENT", conflicts_with = "count")]
    through: Option<String>,
}

pub fn lines(args: &Args) -> Result<String> {
    if !wal::is_segment_size(args.segment_bytes) {
        return Err(Error::usage(format!("{} bytes is not the size of a WAL segment", args.segment_bytes)));
    }
    let mut text = String::new();
    let mut name = args.name.clone();
    let number = |name: &str| wal::segment_number(name, args.segment_bytes).map(|(_, number)| number);
    let count = match args.through.as_deref() {
        None => args.count.into(),
        Some(last) => number(last)
            .zip(number(&name))
            .map(|(last, first)| last.saturating_sub(first))
            .ok_or_else(|| {
                Error::usage(format!(
                    "{} and {} do not name two segments",
                    name.escape_default(),
                    last.escape_default()
                ))
            })?,
    };
    for _ in 0..count {
        name = wal::following(&name, args.segment_bytes).ok_or_else(|| {
            Error::usage(format!("\"{}\" is not the name of a WAL segment", name.escape_default()))
        })?;
        text.push_str(&name);
        text.push('\n');
    }
    Ok(text)
}
