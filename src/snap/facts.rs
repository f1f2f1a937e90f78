//! Writes what is known of a finished backup to the files that the command line names.

use crate::catalog::Facts;
use crate::error::{Error, IoContext, Result};
use crate::io::Output;
use crate::snap::options::Options;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What the command line names beside the stream. What cannot be written is known before the backup begins.
pub struct Beside {
    pub manifest: Option<Output>,
    pub facts: Option<Output>,
}

impl Beside {
    pub fn create(options: &Options) -> Result<Self> {
        let create = |path: &Option<PathBuf>| -> Result<Option<Output>> {
            let Some(path) = path else { return Ok(None) };
            Output::require_file(path)?;
            Output::create(Some(path)).map(Some)
        };
        Ok(Beside { manifest: create(&options.manifest)?, facts: create(&options.facts)? })
    }
}

pub fn write(mut output: Output, facts: &Facts) -> Result<()> {
    let mut json = serde_json::to_vec(facts).map_err(|e| Error::failed(format!("encode the facts: {e}")))?;
    json.push(b'\n');
    output.write_all(&json).during(format_args!("write {}", output.name()))?;
    output.finish()
}

/// Empty if the kernel does not tell it.
pub fn host_name() -> String {
    let name = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    String::from_utf8_lossy(&name).trim().to_owned()
}

/// RFC 3339.
pub fn now() -> Result<String> {
    in_seconds(OffsetDateTime::now_utc())
}

/// Never before the moment itself: a target between the two would be taken for one that can be reached.
pub fn end_of_second() -> Result<String> {
    in_seconds(OffsetDateTime::now_utc() + Duration::from_secs(1))
}

fn in_seconds(time: OffsetDateTime) -> Result<String> {
    let time = time.replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).map_err(|e| Error::failed(format!("format the time: {e}")))
}
