//! Every key of a configuration with the type of its value: the only list there is.

use crate::catalog::key_object::LONGEST_USE;
use crate::catalog::layout;
use crate::cli::{parse_duration, parse_period, parse_rate, parse_size};
use std::borrow::Cow;

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Text that no message shows.
    Secret,
    /// Absolute in a file; in the environment relative to the directory of whoever set it.
    Path,
    /// Paths with colons between them.
    Paths,
    /// `s3://bucket/prefix` or `file:///path`.
    Repository,
    /// An http or https URL.
    Web,
    ClusterName,
    SystemId,
    /// In seconds, at least so many.
    Duration(u64),
    /// From a second to so many.
    DurationTo(u64),
    /// A duration, or `never`.
    Period,
    Count(u64, u64),
    /// The same, or this word.
    CountOr(u64, u64, &'static str),
    Size,
    Rate,
    /// Becomes `yes` or `no`.
    YesNo,
    Choice(&'static [&'static str]),
    /// The service's own encryption.
    Encryption,
    /// MODE=DURATION.
    Lock,
}

const KEEP: Kind = Kind::Count(0, 1_000_000);

/// Every `PGV_` key, in alphabetical order. `pgv.conf(5)` describes them.
pub const KEYS: &[Key] = &[
    key("PGV_CHECKPOINT", Kind::Choice(&["fast", "spread"])),
    key("PGV_CLUSTER", Kind::ClusterName),
    key("PGV_EXPIRE", Kind::YesNo),
    key("PGV_FULL_EVERY", Kind::Period),
    key("PGV_HOSTS", Kind::Path),
    key("PGV_IDENTITY", Kind::Path),
    key("PGV_JOBS", Kind::Count(1, 256)),
    key("PGV_KEEP_DAILY", KEEP),
    key("PGV_KEEP_DIFF", KEEP),
    key("PGV_KEEP_FULL", KEEP),
    key("PGV_KEEP_HOURLY", KEEP),
    key("PGV_KEEP_LAST", KEEP),
    key("PGV_KEEP_MONTHLY", KEEP),
    key("PGV_KEEP_WAL", Kind::Duration(1)),
    key("PGV_KEEP_WEEKLY", KEEP),
    key("PGV_KEEP_WITHIN", Kind::Duration(0)),
    key("PGV_KEEP_YEARLY", KEEP),
    key("PGV_KEY_EVERY", Kind::DurationTo(LONGEST_USE.as_secs())),
    key("PGV_KEY_FILE", Kind::Paths),
    key("PGV_KEY_NAME", Kind::Text),
    key("PGV_KEY_WORLD_READABLE", Kind::YesNo),
    key("PGV_LEVEL", Kind::CountOr(1, 19, "auto")),
    key("PGV_NOTIFY", Kind::Text),
    key("PGV_PGDATA", Kind::Path),
    key("PGV_PING_URL", Kind::Web),
    key("PGV_RATE", Kind::Rate),
    key("PGV_RECIPIENTS", Kind::Path),
    key("PGV_REPO", Kind::Repository),
    key("PGV_RESTORE_RATE", Kind::Rate),
    key("PGV_S3_CA_FILE", Kind::Path),
    key("PGV_S3_ENDPOINT_URL", Kind::Web),
    key("PGV_S3_OBJECT_LOCK", Kind::Lock),
    key("PGV_S3_PATH_STYLE", Kind::YesNo),
    key("PGV_S3_PROFILE", Kind::Text),
    key("PGV_S3_REGION", Kind::Text),
    key("PGV_S3_SSE", Kind::Encryption),
    key("PGV_S3_STALL", Kind::Duration(1)),
    key("PGV_S3_STORAGE_CLASS", Kind::Text),
    key("PGV_S3_TIMEOUT", Kind::Duration(0)),
    key("PGV_SIGNER", Kind::Path),
    key("PGV_STATE_DIR", Kind::Path),
    key("PGV_SYSTEM_ID", Kind::SystemId),
    key("PGV_UNWRAP", Kind::Text),
    key("PGV_WAL", Kind::Choice(&["include", "none"])),
    key("PGV_WAL_JOBS", Kind::Count(1, 64)),
    key("PGV_WAL_SPOOL", Kind::Size),
    key("PGV_WAL_TIMEOUT", Kind::Duration(1)),
    key("PGV_WRAP", Kind::Text),
];

/// Keys of libpq and of the AWS SDK whose values are known to be numbers.
const FOREIGN: &[Key] = &[key("AWS_MAX_ATTEMPTS", Kind::Count(1, 1_000_000))];

/// Of all other `PG` and `AWS_` keys.
const OTHER: Key = key("", Kind::Secret);

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// The key of that name, which a configuration may set.
pub fn find(name: &str) -> Option<&'static Key> {
    if name.starts_with("PGV_") {
        return KEYS.iter().find(|key| key.name == name);
    }
    let is_foreign = name.starts_with("PG") || name.starts_with("AWS_");
    FOREIGN.iter().find(|key| key.name == name).or_else(|| is_foreign.then_some(&OTHER))
}

impl Kind {
    /// The value as tools read it, or what it must be. The answer shows the value of a number or a choice, never one
    /// that could be a secret given by mistake.
    pub fn check(self, value: &str) -> Result<Cow<'_, str>, String> {
        let same = Ok(Cow::Borrowed(value));
        let shown = |must: String| format!("\"{}\": {must}", value.escape_debug());
        match self {
            Kind::Text | Kind::Secret | Kind::Path | Kind::Paths => same,
            Kind::Repository => match is_repository(value) {
                true => Ok(Cow::Borrowed(value.trim_end_matches('/'))),
                false => Err("it must be s3://bucket/prefix or file:///path".to_owned()),
            },
            Kind::Web => match has_host(value, "http://") || has_host(value, "https://") {
                true => same,
                false => Err("it must be an http:// or https:// URL".to_owned()),
            },
            Kind::ClusterName if layout::is_cluster_name(value) => same,
            Kind::ClusterName => Err(shown(
                "a cluster's name has letters, digits, _, - and ., and begins with neither - nor .".into(),
            )),
            Kind::SystemId if layout::parse_system_id(value).is_some() => same,
            Kind::SystemId => Err(shown("it must be a system identifier, a decimal number".to_owned())),
            Kind::Duration(least) => match parse_duration(value).map_err(shown)?.as_secs() {
                seconds if seconds < least => Err(shown(format!("it must be at least {least}s"))),
                _ => same,
            },
            Kind::DurationTo(most) => match parse_duration(value).map_err(shown)?.as_secs() {
                seconds if (1..=most).contains(&seconds) => same,
                _ => Err(shown(format!("it must be at least 1s, and at most {}d", most / 86_400))),
            },
            Kind::Period => parse_period(value).map_err(shown).and(same),
            Kind::Count(least, most) => match parse_count(value) {
                Some(count) if (least..=most).contains(&count) => same,
                _ => Err(shown(format!("it must be a whole number from {least} to {most}"))),
            },
            Kind::CountOr(_, _, word) if value == word => same,
            Kind::CountOr(least, most, word) => match Kind::Count(least, most).check(value) {
                Err(why) => Err(format!("{why}, or {word}")),
                count => count,
            },
            Kind::Size => match parse_size(value).map_err(shown)? {
                0 => Err(shown("it must be greater than zero".to_owned())),
                bytes if i64::try_from(bytes).is_err() => Err(shown("it is too large".to_owned())),
                _ => same,
            },
            Kind::Rate => parse_rate(value).map_err(shown).and(same),
            Kind::YesNo => match parse_yes_no(value) {
                Some(true) => Ok(Cow::Borrowed("yes")),
                Some(false) => Ok(Cow::Borrowed("no")),
                None => Err(shown("it must be yes or no".to_owned())),
            },
            Kind::Choice(choices) if choices.contains(&value) => same,
            Kind::Choice(choices) => Err(shown(format!("it must be {}", choices.join(" or ")))),
            Kind::Encryption => {
                let key = value.strip_prefix("aws:kms=").is_some_and(|key| !key.is_empty());
                match key || matches!(value, "AES256" | "aws:kms") {
                    true => same,
                    false => Err("it must be AES256, aws:kms or aws:kms=KEY".to_owned()),
                }
            }
            Kind::Lock => match value.split_once('=') {
                Some(("governance" | "compliance", duration)) => {
                    parse_duration(duration).map_err(shown).and(same)
                }
                _ => Err(shown("it must be governance=DURATION or compliance=DURATION".to_owned())),
            },
        }
    }
}

/// Digits only: `parse` takes a sign, and a shell takes a leading zero for octal.
fn parse_count(value: &str) -> Option<u64> {
    let canonical = value.bytes().all(|b| b.is_ascii_digit()) && (value == "0" || !value.starts_with('0'));
    value.parse().ok().filter(|_| canonical)
}

fn parse_yes_no(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "y" | "true" | "t" | "on" | "1" => Some(true),
        "no" | "n" | "false" | "f" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn is_repository(value: &str) -> bool {
    let bucket = value.strip_prefix("s3://").map(|rest| rest.split('/').next().unwrap_or_default());
    match bucket {
        Some(bucket) => !bucket.is_empty() && !value.contains(['?', '#', '@']),
        None => value.strip_prefix("file:///").is_some_and(|path| !path.trim_matches('/').is_empty()),
    }
}

fn has_host(value: &str, scheme: &str) -> bool {
    value.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<String, String> {
        find(name).unwrap().kind.check(value).map(Cow::into_owned)
    }

    #[test]
    fn the_table_is_sorted_and_documented() {
        assert!(KEYS.is_sorted_by(|a, b| a.name < b.name));
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let manual = std::fs::read_to_string(root.join("man/pgv.conf.5")).unwrap();
        for key in KEYS {
            assert!(manual.contains(key.name), "pgv.conf(5) does not describe {}", key.name);
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for (name, value) in [
            ("PGV_KEEP_FULL", "two"),
            ("PGV_KEEP_FULL", "-1"),
            ("PGV_KEEP_FULL", "+2"),
            ("PGV_KEEP_FULL", "08"),
            ("PGV_KEEP_WAL", "0s"),
            ("PGV_KEY_EVERY", "0s"),
            ("PGV_KEY_EVERY", "91d"),
            ("PGV_KEEP_WAL", "14"),
            ("PGV_WAL_JOBS", "0"),
            ("PGV_WAL_JOBS", "2x"),
            ("PGV_WAL_TIMEOUT", "0s"),
            ("PGV_WAL_TIMEOUT", "60"),
            ("PGV_WAL_SPOOL", "0MiB"),
            ("PGV_WAL_SPOOL", "1 GiB"),
            ("PGV_FULL_EVERY", "9999999999w"),
            ("PGV_FULL_EVERY", "Never"),
            ("PGV_RATE", "50MiB"),
            ("PGV_RESTORE_RATE", "0B/s"),
            ("PGV_LEVEL", "22"),
            ("PGV_EXPIRE", "nope"),
            ("PGV_WAL", "exclude"),
            ("PGV_CHECKPOINT", "slow"),
            ("PGV_REPO", "/srv/backup"),
            ("PGV_REPO", "s3:///prefix"),
            ("PGV_REPO", "file:///"),
            ("PGV_S3_ENDPOINT_URL", "s3.example.com"),
            ("PGV_S3_OBJECT_LOCK", "governance=1"),
            ("PGV_S3_SSE", "aws:kms="),
            ("PGV_SYSTEM_ID", "0123"),
            ("PGV_CLUSTER", "../x"),
            ("AWS_MAX_ATTEMPTS", "many"),
        ] {
            assert!(check(name, value).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn values_become_what_tools_read() {
        assert_eq!(check("PGV_EXPIRE", "Off").unwrap(), "no");
        assert_eq!(check("PGV_S3_PATH_STYLE", "1").unwrap(), "yes");
        assert_eq!(check("PGV_REPO", "s3://b/p//").unwrap(), "s3://b/p");
        assert_eq!(check("PGPASSWORD", "x y").unwrap(), "x y");
        assert_eq!(check("PGV_FULL_EVERY", "never").unwrap(), "never");
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let why = check("PGV_REPO", "pgvkey1_secret").unwrap_err();
        assert!(!why.contains("secret"), "{why}");
    }
}
