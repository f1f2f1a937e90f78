//! What `pgv-info recovery` and `pgv-apply --plan` printed.

use crate::catalog::unescape;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The values of `key value` lines, in their order.
pub struct Values(BTreeMap<String, Vec<String>>);

impl Values {
    /// Refuses any other text. Bytes that are not UTF-8 are replaced: this is for people.
    pub fn parse(text: &str) -> Result<Self> {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            let value = unescape(value)
                .ok_or_else(|| Error::usage(format!("{key}: not a value that pgv wrote: {value}")))?;
            values.entry(key.to_owned()).or_default().push(String::from_utf8_lossy(&value).into_owned());
        }
        Ok(Values(values))
    }

    /// Of the server that was backed up; empty if that is not known.
    pub fn version(&self) -> &str {
        self.get("pg_version").unwrap_or_default()
    }

    pub fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Nothing where it is empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).last().map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn number(&self, key: &str) -> u64 {
        self.get(key).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Of lines whose value begins with an OID.
    pub fn of_oid(&self, key: &str, oid: &str) -> Option<&str> {
        self.all(key).iter().find_map(|value| value.strip_prefix(oid)?.strip_prefix(' '))
    }
}
