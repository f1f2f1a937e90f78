//! Connection strings as libpq parses them (fe-connect.c: `conninfo_parse`, `conninfo_uri_parse_options`), without
//! connecting. No message has a word of the text in it: a part of a password may stand anywhere if a quote is missing.

use crate::error::{Error, Result};

/// Every keyword of libpq 13 to 19.
const KEYWORDS: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_ca_file",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];
const SECRETS: &[&str] =
    &["oauth_client_secret", "password", "scram_client_key", "scram_server_key", "sslpassword"];
const HIDDEN: &str = "********";
const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Keywords and values, in the order in which they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conninfo(Vec<(&'static str, String)>);

impl Conninfo {
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = match SCHEMES.into_iter().find_map(|scheme| text.strip_prefix(scheme)) {
            Some(rest) => Uri { text, rest, found: Vec::new() }.parse()?,
            None => pairs(text)?,
        };
        if parsed.is_empty() {
            return Err(Error::usage("the connection string is empty"));
        }
        Ok(Conninfo(parsed))
    }

    /// In keywords and values, for people.
    pub fn shown(&self) -> String {
        let hidden = |(keyword, value): &(&str, String)| match SECRETS.contains(keyword) {
            true => format!("{keyword}={HIDDEN}"),
            false => format!("{keyword}={}", quoted(value)),
        };
        self.0.iter().map(hidden).collect::<Vec<_>>().join(" ")
    }

    /// In keywords and values, with others behind them; of two values of a keyword libpq takes the last.
    pub fn with(&self, more: &[(&'static str, &str)]) -> String {
        let own = self.0.iter().map(|(keyword, value)| (*keyword, value.as_str()));
        let all = own.chain(more.iter().copied());
        all.map(|(keyword, value)| format!("{keyword}={}", quoted(value))).collect::<Vec<_>>().join(" ")
    }
}

/// `ReplicationSlotValidateName` in slot.c.
pub fn is_slot_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn quoted(value: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && c != '\'' && c != '\\';
    match !value.is_empty() && value.chars().all(is_plain) {
        true => value.to_owned(),
        false => format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'")),
    }
}

fn keyword(word: &str) -> Option<&'static str> {
    KEYWORDS.iter().copied().find(|known| *known == word)
}

/// `rest` is the end of `text`.
fn error(text: &str, rest: &str, what: &str) -> Error {
    let at = text.get(..text.len() - rest.len()).unwrap_or_default().chars().count() + 1;
    Error::usage(format!("the connection string, at character {at}: {what}"))
}

/// isspace() of C.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// `host=db1 password='it\'s'`.
fn pairs(text: &str) -> Result<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let begin = rest;
        let end = rest.find(|c| c == '=' || is_space(c)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let Some(value) = behind.trim_start_matches(is_space).strip_prefix('=') else {
            return Err(error(text, begin, "there is no = after this keyword"));
        };
        let name = keyword(name).ok_or_else(|| error(text, begin, "libpq has no such keyword"))?;
        let value = value.trim_start_matches(is_space);
        let (value, behind) = match value.strip_prefix('\'') {
            Some(inside) => take_value(inside, |c| c == '\'')
                .and_then(|(value, behind)| Some((value, behind.strip_prefix('\'')?)))
                .ok_or_else(|| error(text, value, "this quote is not closed"))?,
            None => take_value(value, is_space).unwrap_or_default(),
        };
        found.push((name, value));
        rest = behind.trim_start_matches(is_space);
    }
    Ok(found)
}

/// Up to what ends it, with a backslash before what stands for itself.
fn take_value(text: &str, ends: impl Fn(char) -> bool) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c if ends(c) => return Some((value, text.get(at..)?)),
            c => value.push(c),
        }
    }
    Some((value, ""))
}

/// `postgresql://user:password@host:port,host:port/dbname?keyword=value&…`, every part of which may be missing.
struct Uri<'a> {
    text: &'a str,
    rest: &'a str,
    found: Vec<(&'static str, String)>,
}

impl<'a> Uri<'a> {
    fn parse(mut self) -> Result<Vec<(&'static str, String)>> {
        let end = self.rest.find(['@', '/']).unwrap_or(self.rest.len());
        if self.rest.get(end..).is_some_and(|behind| behind.starts_with('@')) {
            let user = self.take(|c| c == ':' || c == '@');
            self.add("user", user)?;
            if self.skip(':') {
                let password = self.take(|c| c == '@');
                self.add("password", password)?;
            }
            self.skip('@');
        }
        self.hosts()?;
        if self.skip('/') {
            let name = self.take(|c| c == '?');
            self.add("dbname", name)?;
        }
        if self.skip('?') {
            self.parameters()?;
        }
        match self.rest.is_empty() {
            true => Ok(self.found),
            false => Err(self.error("this does not belong into a URI")),
        }
    }

    fn hosts(&mut self) -> Result<()> {
        let (mut hosts, mut ports, mut has_port) = (Vec::new(), Vec::new(), false);
        loop {
            if self.rest.starts_with('[') {
                self.skip('[');
                let host = self.take(|c| c == ']');
                if host.is_empty() || !self.skip(']') {
                    return Err(self.error("an IPv6 address must end with ]"));
                }
                if !self.rest.is_empty() && !self.rest.starts_with([':', '/', '?', ',']) {
                    return Err(self.error("only :, /, ? or a comma may follow the IPv6 address"));
                }
                hosts.push(host);
            } else {
                hosts.push(self.take(|c| matches!(c, ':' | '/' | '?' | ',')));
            }
            let colon = self.skip(':');
            has_port |= colon;
            ports.push(if colon { self.take(|c| matches!(c, '/' | '?' | ',')) } else { "" });
            if !self.skip(',') {
                break;
            }
        }
        let host = hosts.join(",");
        self.add("host", &host)?;
        let port = ports.join(",");
        if has_port { self.add("port", &port) } else { Ok(()) }
    }

    fn parameters(&mut self) -> Result<()> {
        while !self.rest.is_empty() {
            let begin = self.rest;
            let part = self.take(|c| c == '&');
            self.skip('&');
            let refused = |what| error(self.text, begin, what);
            let (name, value) = part
                .split_once('=')
                .filter(|(_, value)| !value.contains('='))
                .ok_or_else(|| refused("a parameter must have one ="))?;
            let (name, value) = match (self.decoded(name)?.as_str(), value) {
                // JDBC's.
                ("ssl", "true") => ("sslmode", "require"),
                (name, value) => (keyword(name).ok_or_else(|| refused("libpq has no such keyword"))?, value),
            };
            let value = self.decoded(value)?;
            self.found.push((name, value));
        }
        Ok(())
    }

    fn take(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let (taken, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn skip(&mut self, c: char) -> bool {
        let behind = self.rest.strip_prefix(c);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    /// What is empty is as if it were not there.
    fn add(&mut self, name: &'static str, value: &str) -> Result<()> {
        let value = self.decoded(value)?;
        if !value.is_empty() {
            self.found.push((name, value));
        }
        Ok(())
    }

    /// %XX stands for a byte.
    fn decoded(&self, text: &str) -> Result<String> {
        let mut bytes = Vec::new();
        let mut parts = text.split('%');
        bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
        for part in parts {
            let digits = part.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let byte =
                digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|byte| *byte != 0);
            bytes.push(byte.ok_or_else(|| self.error("% must be followed by the two digits of a byte"))?);
            bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
        }
        String::from_utf8(bytes).map_err(|_| self.error("what is before this is not UTF-8"))
    }

    fn error(&self, what: &str) -> Error {
        error(self.text, self.rest, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Vec<(&'static str, String)> {
        Conninfo::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).0
    }

    fn values(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        pairs.iter().map(|(keyword, value)| (*keyword, (*value).to_owned())).collect()
    }

    #[test]
    fn keywords_and_values() {
        assert_eq!(parsed(" host = db1\tport=5433 "), values(&[("host", "db1"), ("port", "5433")]));
        assert_eq!(
            parsed(r"user=rep password='it\'s \\ =here' application_name=a\ b\'"),
            values(&[("user", "rep"), ("password", r"it's \ =here"), ("application_name", "a b'")])
        );
        assert_eq!(parsed("host='' options="), values(&[("host", ""), ("options", "")]));
        assert_eq!(parsed("password='a'user=b"), values(&[("password", "a"), ("user", "b")]));
    }

    #[test]
    fn uris() {
        assert_eq!(
            parsed(
                "postgresql://rep:s%40c%3Aret@db1:5433,[::1],db3:1/postgres?sslmode=require&application_name=a%20b"
            ),
            values(&[
                ("user", "rep"),
                ("password", "s@c:ret"),
                ("host", "db1,::1,db3"),
                ("port", "5433,,1"),
                ("dbname", "postgres"),
                ("sslmode", "require"),
                ("application_name", "a b"),
            ])
        );
        assert_eq!(parsed("postgres://db1"), values(&[("host", "db1")]));
        assert_eq!(
            parsed("postgresql:///x?host=/run/pg&ssl=true"),
            values(&[("dbname", "x"), ("host", "/run/pg"), ("sslmode", "require")])
        );
    }

    #[test]
    fn what_libpq_refuses_is_refused_without_a_word_of_it() {
        for text in [
            "",
            "  ",
            "secret",
            "host=db1 secret",
            "hots=secret",
            "password='secret",
            "postgresql://u:secret@[::1",
            "postgresql://u:secret@[::1]x/",
            "postgresql://u:secret%zz@h/",
            "postgresql://u:secret%00@h/",
            "postgresql://h/d?password",
            "postgresql://h/d?secret=1",
            "postgresql://h/d?password=secret=1",
            "postgresql://",
        ] {
            let error = Conninfo::parse(text).unwrap_err();
            assert_eq!(error.kind, crate::error::Kind::Usage, "{text}");
            assert!(!error.to_string().contains("secret"), "{text}: {error}");
        }
        let error = Conninfo::parse("host=db1 nobody=x").unwrap_err().to_string();
        assert_eq!(error, "the connection string, at character 10: libpq has no such keyword");
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = "postgresql://rep:secret@db1/?sslpassword=secret&application_name=my%27s%20one";
        let shown = Conninfo::parse(text).unwrap().shown();
        assert_eq!(
            shown,
            r"user=rep password=******** host=db1 sslpassword=******** application_name='my\'s one'"
        );
    }

    #[test]
    fn names_of_slots() {
        assert!(is_slot_name("node_2") && is_slot_name(&"a".repeat(63)));
        assert!(!is_slot_name("") && !is_slot_name("Node") && !is_slot_name("a-b"));
        assert!(!is_slot_name(&"a".repeat(64)));
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_parsed_again(value: String) {
            let conninfo = Conninfo(vec![("password", value.clone()), ("user", "u".to_owned())]);
            let again = conninfo.with(&[("replication", "true")]);
            let wanted = values(&[("password", &value), ("user", "u"), ("replication", "true")]);
            prop_assert_eq!(parsed(&again), wanted);
        }
    }
}
