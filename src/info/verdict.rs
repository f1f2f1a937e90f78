//! Makes a verdict of what pgv-verify or pgv-drill found.

use crate::catalog::{VERDICT_FORMAT, Verdict, VerdictKind};
use crate::error::{Error, Result};
use crate::info::facts::one_line;

/// One line of JSON. Without findings all is well.
pub fn verdict(
    kind: VerdictKind,
    started_at: String,
    seconds: u64,
    bytes: u64,
    findings: &[String],
) -> Result<String> {
    let findings: Vec<_> = findings.iter().map(|finding| one_line(finding)).collect();
    let ok = findings.is_empty();
    let verdict =
        Verdict { format: VERDICT_FORMAT.to_owned(), kind, started_at, seconds, bytes, ok, findings };
    serde_json::to_string(&verdict).map_err(|e| Error::failed(format!("encode the verdict: {e}")))
}
