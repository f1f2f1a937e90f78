//! Values of postgresql.conf (guc-file.l) as text: quoted, as truths and as lists. What a line says is read by
//! [`conf`](super::conf).

use super::conf;

/// Of a line that sets something, or includes something: then the name is `include`, `include_if_exists` or `include_dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// In lower case: names are compared without regard to it.
    pub name: String,
    pub value: String,
}

/// `None` for blank lines, comments, and what the server would refuse. A byte that is not UTF-8 is replaced.
pub fn parse_line(line: &str) -> Option<Setting> {
    let (name, value) = conf::setting(line.as_bytes())?;
    Some(Setting { name, value: value.to_string_lossy().into_owned() })
}

/// A value in quotes. No character of it can end the line.
pub fn quote(value: &str) -> String {
    String::from_utf8_lossy(&quote_bytes(value.as_bytes())).into_owned()
}

/// The same of a path, which need not be UTF-8.
pub fn quote_bytes(value: &[u8]) -> Vec<u8> {
    let mut text = vec![b'\''];
    for byte in value {
        match byte {
            b'\'' => text.extend_from_slice(b"''"),
            b'\\' => text.extend_from_slice(b"\\\\"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            other => text.push(*other),
        }
    }
    text.push(b'\'');
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
