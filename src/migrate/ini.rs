//! The text of a configuration of pgBackRest: sections of `key=value` lines.

use crate::error::{Error, Result};

/// One line, with the place that messages name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub section: String,
    pub key: String,
    /// Never empty.
    pub value: String,
    /// `FILE: line N`.
    pub place: String,
}

/// Each file begins outside of every section, as in pgBackRest. `name`: of the file.
pub fn parse(name: &str, text: &[u8]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut section = String::new();
    for (index, line) in text.split(|b| *b == b'\n').enumerate() {
        let place = format!("{name}: line {}", index + 1);
        let wrong = |why: &str| Error::usage(format!("{place} {why}"));
        let line = std::str::from_utf8(line).map_err(|_| wrong("is not UTF-8"))?.trim();
        if line.starts_with('\u{feff}') {
            return Err(wrong("begins with a byte order mark").hint("save the file as UTF-8 without one"));
        }
        // Nobody sees it, and no setting of pgv can have it.
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return Err(wrong("has a control character"));
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let inner = rest.strip_suffix(']').filter(|inner| !inner.is_empty());
            section = inner.ok_or_else(|| wrong("is not a section: [name]"))?.to_owned();
            continue;
        }
        // Not the line itself: it may be half of a secret.
        let (key, value) = line.split_once('=').ok_or_else(|| wrong("is not key=value"))?;
        let (key, value) = (key.trim(), value.trim());
        if section.is_empty() {
            return Err(wrong("is outside of a section"));
        }
        if key.is_empty() || value.is_empty() {
            return Err(wrong(if key.is_empty() { "has no key" } else { "has no value" }));
        }
        entries.push(Entry { section: section.clone(), key: key.into(), value: value.into(), place });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_values() {
        let text = b"# x\n[global]\r\n repo1-path = /a=b # c \n\n[main:backup]\nprocess-max=4";
        let found = parse("f", text).unwrap();
        let shown: Vec<_> =
            found.iter().map(|e| (e.section.as_str(), e.key.as_str(), e.value.as_str())).collect();
        assert_eq!(shown, [("global", "repo1-path", "/a=b # c"), ("main:backup", "process-max", "4")]);
        assert_eq!(found[1].place, "f: line 6");
    }

    #[test]
    fn what_is_no_configuration_is_refused_without_showing_it() {
        for text in ["a=b", "[global]\nsecret", "[global]\n=secret", "[global]\nsecret=", "[]", "[secret"] {
            let error = parse("f", text.as_bytes()).unwrap_err();
            assert!(!error.message().contains("secret"), "{error}");
        }
        for text in [&b"[global]\nx=\xff"[..], b"[global]\nx=/r\0x", b"[global]\nx=\x1b[31m", b"[gl\x01obal]"]
        {
            assert!(parse("f", text).is_err());
        }
        let error = parse("f", "\u{feff}[global]\n".as_bytes()).unwrap_err();
        assert!(error.message().contains("byte order mark"), "{error}");
    }
}
