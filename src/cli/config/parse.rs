//! The text of a configuration: `KEY=value` lines, parsed and never evaluated, so that systemd, a shell and this
//! program read the same from it.

use super::keys;
use crate::error::{Error, Result};

/// One key that a file sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    /// Checked, and as tools read it. Never empty.
    pub value: String,
}

/// `name`: of the file, for the errors. They say which line and key, and never what a secret is. A key with an empty value
/// is not set.
pub fn parse(name: &str, text: &[u8]) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let mut seen: Vec<(&str, usize)> = Vec::new();
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(Error::usage(format!("{name}: line 1 begins with a byte order mark"))
            .hint(format!("remove it: sed -i '1s/^\\xef\\xbb\\xbf//' {name}")));
    }
    for (number, line) in text.split(|b| *b == b'\n').enumerate().map(|(index, line)| (index + 1, line)) {
        let wrong = |why: &str| Error::usage(format!("{name}: line {number}{why}"));
        if line.ends_with(b"\r") {
            let more = "the file has Windows line ends";
            return Err(wrong(&format!(" ends with a carriage return: {more}"))
                .hint(format!("remove them: sed -i 's/\\r$//' {name}")));
        }
        let line = std::str::from_utf8(line).map_err(|_| wrong(" is not UTF-8"))?;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| no_pair(&wrong))?;
        let known = check_name(key, &wrong)?;
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == key) {
            return Err(wrong(&format!(": {key} is set twice, first in line {first}"))
                .hint("remove one of them".to_owned()));
        }
        seen.push((key, number));
        let value = unquote(key, value, &wrong)?;
        if !value.is_empty() {
            let value = known.kind.check(value).map_err(|why| wrong(&format!(": {key}: {why}")))?;
            refuse_relative(known.kind, &value).map_err(|why| wrong(&format!(": {key}: {why}")))?;
            settings.push(Setting { key: key.to_owned(), value: value.into_owned() });
        }
    }
    Ok(settings)
}

fn no_pair(wrong: &dyn Fn(&str) -> Error) -> Error {
    wrong(" is not KEY=value").hint("write no blanks around =, and nothing before KEY")
}

fn check_name(key: &str, wrong: &dyn Fn(&str) -> Error) -> Result<&'static keys::Key> {
    let is_part = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if key.is_empty() || key.as_bytes()[0].is_ascii_digit() || !key.bytes().all(is_part) {
        return Err(no_pair(wrong));
    }
    let hint = match key.starts_with("PGV_") {
        true => "man 5 pgv.conf lists them",
        false => "only PGV_, PG and AWS_ keys belong here",
    };
    keys::find(key).ok_or_else(|| wrong(&format!(": unknown key {key}")).hint(hint))
}

/// The value without its quotes.
fn unquote<'t>(key: &str, text: &'t str, wrong: &dyn Fn(&str) -> Error) -> Result<&'t str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_./:@%+,=-".contains(&b);
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    let inner = if quoted { &text[1..text.len() - 1] } else { text };
    if let Some(c) = inner.chars().find(|c| matches!(c, '"' | '\\' | '$' | '`')) {
        if !quoted && c == '"' && inner.trim_end().len() != inner.len() {
            return Err(wrong(&format!(": a blank follows the value of {key}")));
        }
        return Err(wrong(&format!(
            ": the value of {key} contains {c}, which a shell and systemd read differently"
        ))
        .hint(way_out(key)));
    }
    if inner.chars().any(char::is_control) {
        return Err(wrong(&format!(": the value of {key} contains a control character")));
    }
    match quoted || inner.bytes().all(plain) {
        true => Ok(inner),
        false => {
            Err(wrong(&format!(": the value of {key} needs double quotes")).hint(format!("{key}=\"…\"")))
        }
    }
}

/// Where a value goes that cannot stand in a configuration.
fn way_out(key: &str) -> &'static str {
    match key {
        "PGPASSWORD" => "put the password into a password file, and set PGPASSFILE to its path here",
        _ if key.starts_with("AWS_") => {
            "put the credentials into ~/.aws/credentials of the user who backs up, as a profile, and set PGV_S3_PROFILE to its name here"
        }
        "PGV_NOTIFY" => "put the command into a script, and set PGV_NOTIFY to its path here",
        "PGV_PING_URL" => "write the character as its code, such as %24 for $",
        _ => "it cannot be quoted for both: choose a value without it",
    }
}

/// Nobody knows in which directory a file is read.
fn refuse_relative(kind: keys::Kind, value: &str) -> std::result::Result<(), String> {
    let is_relative = match kind {
        keys::Kind::Path => !value.starts_with('/'),
        keys::Kind::Paths => value.split(':').any(|path| !path.starts_with('/')),
        _ => false,
    };
    if is_relative { Err("it must be an absolute path".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_configuration_may_say() {
        let text = "# c\n\nPGV_REPO=s3://b/p\nPGPASSWORD=\"a b#;'\"\nAWS_SECRET_ACCESS_KEY=a+/=\nPGV_KEEP_FULL=\nPGV_EXPIRE=false";
        let settings = parse("x.conf", text.as_bytes()).unwrap();
        let pairs: Vec<_> = settings.iter().map(|set| (set.key.as_str(), set.value.as_str())).collect();
        let expected = [
            ("PGV_REPO", "s3://b/p"),
            ("PGPASSWORD", "a b#;'"),
            ("AWS_SECRET_ACCESS_KEY", "a+/="),
            ("PGV_EXPIRE", "no"),
        ];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn what_it_may_not() {
        for bad in [
            "PGV_REPO = x",
            "PGV_REPO=a b",
            "PGV_REPO=\"file:///a",
            "PGV_REPO=\"$(id)\"",
            "PGV_REPO=`id`",
            "PGV_REPOO=x",
            "PATH=/x",
            "LD_PRELOAD=/x",
            " PGV_REPO=file:///x",
            "export PGV_REPO=file:///x",
            "PGV_REPO=file:///a\nPGV_REPO=file:///b",
            "PGV_KEEP_FULL=\nPGV_KEEP_FULL=2",
            "PGV_REPO",
            "PGV_REPO=file:///x\r",
            "PGV_KEEP_FULL=two",
            "PGV_WAL_JOBS=0",
            "PGV_KEY_FILE=key",
            "PGV_KEY_FILE=/etc/a:b",
            "pgv_repo=x",
            "=x",
        ] {
            let error = parse("x.conf", bad.as_bytes()).unwrap_err();
            assert!(error.message().starts_with("x.conf: line "), "{bad}: {error}");
        }
    }

    fn refusal(text: &str) -> String {
        let error = parse("/etc/pgv/x.conf", text.as_bytes()).unwrap_err();
        format!("{error}; {}", error.hints().join("; "))
    }

    #[test]
    fn errors_name_the_way_out_and_no_secret() {
        let windows = refusal("# a\r\nPGV_REPO=s3://b/p\r\n");
        assert!(windows.contains("line 1 ends with a carriage return"), "{windows}");
        assert!(windows.contains("sed -i 's/\\r$//' /etc/pgv/x.conf"), "{windows}");
        let secret = refusal("AWS_SECRET_ACCESS_KEY=\"pa$$word\"");
        assert!(secret.contains("PGV_S3_PROFILE") && !secret.contains("pa$"), "{secret}");
        let password = refusal("PGPASSWORD=\"back\\slash\"");
        assert!(password.contains("PGPASSFILE") && !password.contains("slash"), "{password}");
        assert!(
            refusal("PGV_REPO=s3://a\n\nPGV_REPO=s3://b")
                .contains("line 3: PGV_REPO is set twice, first in line 1")
        );
        assert!(refusal("PGV_KEEP_FULL=two").contains("line 1: PGV_KEEP_FULL: \"two\""));
    }
}
