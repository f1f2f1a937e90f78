//! The syntax of postgresql.conf (guc-file.l): one setting a line, values quoted or bare, and lines that include files.
//! Files are read as bytes: their encoding is the server's.

/// Of a line that sets something, or includes something: then the name is `include`, `include_if_exists` or `include_dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// In lower case: names are compared without regard to it.
    pub name: String,
    pub value: String,
}

/// `None` for blank lines, comments, and what the server would refuse.
pub fn parse_line(line: &str) -> Option<Setting> {
    let line = line.trim_matches(|c: char| c.is_ascii_whitespace());
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$') || !c.is_ascii();
    let (name, rest) = line.split_at(line.find(|c| !is_name(c)).unwrap_or(line.len()));
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let value = match rest.strip_prefix('\'') {
        Some(quoted) => unquote(quoted)?,
        None => {
            let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '#').unwrap_or(rest.len());
            Some(rest[..end].to_owned()).filter(|value| !value.is_empty())?
        }
    };
    Some(Setting { name: name.to_ascii_lowercase(), value })
}

/// Behind the first quote, to the last (`DeescapeQuotedString`).
fn unquote(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut characters = text.chars().peekable();
    loop {
        match characters.next()? {
            '\'' if characters.peek() == Some(&'\'') => {
                characters.next();
                value.push('\'');
            }
            '\'' => return Some(value),
            '\\' => match characters.next()? {
                'b' => value.push('\u{8}'),
                'f' => value.push('\u{c}'),
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                digit @ '0'..='7' => {
                    let mut code = digit.to_digit(8)?;
                    for _ in 0..2 {
                        let Some(next) = characters.peek().and_then(|c| c.to_digit(8)) else { break };
                        code = code * 8 + next;
                        characters.next();
                    }
                    value.push(char::from(u8::try_from(code).ok()?));
                }
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

/// A value in quotes. No character of it can end the line.
pub fn quote(value: &str) -> String {
    let mut text = String::from("'");
    for character in value.chars() {
        match character {
            '\'' => text.push_str("''"),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
    text.push('\'');
    text
}

pub fn line(name: &str, value: &str) -> String {
    format!("{name} = {}\n", quote(value))
}

/// `parse_bool` in bool.c: any beginning of a word that only one of them has.
pub fn is_on(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    begins("on", 2) || begins("true", 1) || begins("yes", 1) || value == "1"
}

/// A list of names, each perhaps in double quotes (`SplitDirectoriesString`, `SplitIdentifierString`).
pub fn list(value: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut is_quoted = false;
    for character in value.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => items.push(std::mem::take(&mut item)),
            other => item.push(other),
        }
    }
    items.push(item);
    items.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// The same as a value.
pub fn join(items: &[String]) -> String {
    let plain = |item: &String| !item.contains([',', '"', ' ']);
    let one = |item: &String| if plain(item) { item.clone() } else { format!("\"{item}\"") };
    items.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(line: &str) -> Option<(String, String)> {
        parse_line(line).map(|setting| (setting.name, setting.value))
    }

    #[test]
    fn lines_as_the_server_reads_them() {
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(parsed("port = 5432"), pair("port", "5432"));
        assert_eq!(parsed("  Port 5432 # the port"), pair("port", "5432"));
        assert_eq!(parsed("port=5432#x"), pair("port", "5432"));
        assert_eq!(parsed("a.b = 'x''y\\'z\\\\ # no comment' # c"), pair("a.b", "x'y'z\\ # no comment"));
        assert_eq!(parsed("x = '\\101\\n'"), pair("x", "A\n"));
        assert_eq!(parsed("include_dir 'conf.d'"), pair("include_dir", "conf.d"));
        assert_eq!(parsed("archive_command = ''"), pair("archive_command", ""));
        for nothing in ["", "# port = 1", "port", "port =", "= 5", "x = 'open", "5 = 6"] {
            assert_eq!(parsed(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn lists_and_truth() {
        assert_eq!(list("a, \"b, c\",d ,"), ["a", "b, c", "d"]);
        assert_eq!(join(&list("a, \"b, c\"")), "a, \"b, c\"");
        assert!(is_on("on") && is_on("T") && is_on("1") && is_on("YES") && is_on("tr"));
        assert!(!is_on("off") && !is_on("o") && !is_on("") && !is_on("try"));
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_again(value: String) {
            let text = line("x", &value);
            prop_assert_eq!(text.lines().count(), 1);
            prop_assert_eq!(parsed(&text), Some(("x".to_owned(), value)));
        }
    }
}
