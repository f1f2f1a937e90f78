//! Makes a verdict of what pgv-verify or pgv-drill found.

use crate::catalog::rfc3339;
use crate::catalog::{VERDICT_FORMAT, Verdict, VerdictKind};
use crate::error::{Error, Result};
use crate::info::facts::one_line;
use time::OffsetDateTime;

/// It need not name every file of thousands.
const MOST_FINDINGS: usize = 100;

/// What lines of text say, one finding a line.
pub fn findings(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.is_empty()).take(MOST_FINDINGS).map(str::to_owned).collect()
}

/// When it began, RFC 3339, and for how many seconds it has gone on. `began`: seconds since 1970.
pub fn began(began: i64, now: OffsetDateTime) -> Result<(String, u64)> {
    let time = OffsetDateTime::from_unix_timestamp(began)
        .map_err(|_| Error::usage(format!("{began} is not a time in seconds since 1970")))?;
    // A clock that was set back makes no time negative.
    Ok((rfc3339(time), u64::try_from((now - time).whole_seconds()).unwrap_or(0)))
}

/// One line of JSON. Without findings all is well.
pub fn verdict(
    kind: VerdictKind,
    started_at: String,
    seconds: u64,
    restore_seconds: Option<u64>,
    bytes: u64,
    findings: &[String],
) -> Result<String> {
    let findings: Vec<_> = findings.iter().map(|finding| one_line(finding)).collect();
    let ok = findings.is_empty();
    let format = VERDICT_FORMAT.to_owned();
    let verdict = Verdict { format, kind, started_at, seconds, restore_seconds, bytes, ok, findings };
    serde_json::to_string(&verdict).map_err(|e| Error::failed(format!("encode the verdict: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_ends_now() {
        let now = OffsetDateTime::from_unix_timestamp(1_795_000_090).unwrap();
        assert_eq!(began(1_795_000_000, now).unwrap(), ("2026-11-18T11:06:40Z".to_owned(), 90));
        assert_eq!(began(1_795_000_099, now).unwrap().1, 0);
        assert!(began(i64::MAX, now).is_err());
    }

    #[test]
    fn findings_are_the_first_lines() {
        let text = (0..150).map(|n| format!("{n}\n")).collect::<String>();
        assert_eq!(findings(&text).len(), MOST_FINDINGS);
        assert_eq!(findings("a\n\nb\n"), ["a", "b"]);
        assert!(findings("").is_empty());
    }
}
