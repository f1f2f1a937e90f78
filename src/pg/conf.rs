//! Which other files PostgreSQL's configuration files name, read as the server reads them. Texts are bytes: a
//! path need not be UTF-8.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// How deep the server follows files that include files (CONF_FILE_MAX_DEPTH).
pub const MAX_DEPTH: u32 = 10;

/// A file that another one names, not yet made absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Include {
    File(PathBuf),
    /// Its `*.conf` files.
    Directory(PathBuf),
}

/// Assignments of `postgresql.conf`, in order, names in lower case; lines that are none are passed over, as the
/// server would not start with them.
pub fn settings(text: &[u8]) -> Vec<(String, OsString)> {
    text.split(|byte| *byte == b'\n').filter_map(setting).collect()
}

fn setting(line: &[u8]) -> Option<(String, OsString)> {
    let line = line.trim_ascii_start();
    let length = line.iter().take_while(|byte| is_name(**byte)).count();
    let (name, rest) = line.split_at(length);
    if name.is_empty() || name[0].is_ascii_digit() {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii_start();
    let value = match rest.strip_prefix(b"'") {
        Some(quoted) => unquoted(quoted)?,
        None => {
            rest.iter().copied().take_while(|byte| !byte.is_ascii_whitespace() && *byte != b'#').collect()
        }
    };
    Some((String::from_utf8_lossy(name).to_ascii_lowercase(), OsString::from_vec(value)))
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.') || byte >= 0x80
}

/// The value of a string whose first quote is gone (DeescapeQuotedString).
fn unquoted(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    loop {
        let (byte, length) = match text {
            [b'\'', b'\'', ..] => (b'\'', 2),
            [b'\'', ..] => return Some(value),
            [b'\\', b'0'..=b'7', ..] => {
                let octal = |byte: &&u8| (b'0'..=b'7').contains(*byte);
                let digits: Vec<u8> = text[1..].iter().take(3).take_while(octal).copied().collect();
                let number = digits.iter().fold(0, |sum: u32, digit| sum * 8 + u32::from(digit - b'0'));
                (number as u8, 1 + digits.len())
            }
            [b'\\', escaped, ..] => (unescaped(*escaped), 2),
            [byte, ..] => (*byte, 1),
            [] => return None,
        };
        value.push(byte);
        text = &text[length..];
    }
}

fn unescaped(letter: u8) -> u8 {
    match letter {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    }
}

/// What an assignment includes, if it does.
pub fn include(name: &str, value: &OsString) -> Option<Include> {
    include_of(name.as_bytes(), PathBuf::from(value))
}

fn include_of(word: &[u8], path: PathBuf) -> Option<Include> {
    match word {
        _ if path.as_os_str().is_empty() => None,
        b"include" | b"include_if_exists" => Some(Include::File(path)),
        b"include_dir" => Some(Include::Directory(path)),
        _ => None,
    }
}

/// What `pg_hba.conf` and its kin name: files of names (`@file`), and from 16 on whole files.
pub fn access_includes(text: &[u8], whole_files: bool) -> Vec<Include> {
    let mut found = Vec::new();
    for line in logical_lines(text) {
        let tokens = tokens(&line);
        let named = |token: &&Token| !token.quoted && token.text.len() > 1 && token.text[0] == b'@';
        found.extend(tokens.iter().filter(named).map(|token| Include::File(path_of(&token.text[1..]))));
        if let ([word, path, ..], true) = (&tokens[..], whole_files) {
            found.extend(include_of(&word.text, path_of(&path.text)));
        }
    }
    found
}

fn path_of(text: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(text.to_vec()))
}

/// A backslash at its end continues a line.
fn logical_lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut continued = false;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let continues = line.ends_with(b"\\");
        let line = if continues { &line[..line.len() - 1] } else { line };
        match lines.last_mut().filter(|_| continued) {
            Some(last) => last.extend_from_slice(line),
            None => lines.push(line.to_vec()),
        }
        continued = continues;
    }
    lines
}

struct Token {
    text: Vec<u8>,
    /// Whether it begins with a quote: then it is a name, whatever it looks like.
    quoted: bool,
}

/// Words between blanks and commas; quotes hold words together, and a doubled one stands for itself.
fn tokens(line: &[u8]) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut inside, mut in_token, mut was_quote) = (false, false, false);
    for byte in line {
        let separates = byte.is_ascii_whitespace() || *byte == b',';
        if !inside && *byte == b'#' {
            break;
        }
        if !inside && separates {
            (in_token, was_quote) = (false, false);
            continue;
        }
        if !in_token {
            tokens.push(Token { text: Vec::new(), quoted: *byte == b'"' });
            in_token = true;
        }
        if *byte == b'"' {
            inside = !inside;
            if let Some(token) = tokens.last_mut().filter(|_| inside && was_quote) {
                token.text.push(b'"');
            }
            was_quote = !inside;
        } else {
            was_quote = false;
            if let Some(token) = tokens.last_mut() {
                token.text.push(*byte);
            }
        }
    }
    tokens
}

/// As the server makes it: relative to the directory of the file that names it, without `.` and `..`.
pub fn absolute(path: &Path, directory: &Path) -> PathBuf {
    let mut whole = PathBuf::from("/");
    for component in directory.join(path).components() {
        match component {
            Component::ParentDir => _ = whole.pop(),
            Component::Normal(name) => whole.push(name),
            _ => {}
        }
    }
    whole
}

/// Whether the server reads a file of this name in a directory that is included.
pub fn is_included_name(name: &[u8]) -> bool {
    name.ends_with(b".conf") && name.len() > b".conf".len() && !name.starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn settings_are_read_as_the_server_reads_them() {
        let text = b"# include 'no'\nInclude = 'a b.conf' # yes\ninclude_if_exists c.conf\n\
            include_dir='it''s \\'d\\'\\\\\\101'\nport 5432\nhba_file = '/e/\xe9'\n= x\nhalf = 'open\n";
        let found = settings(text);
        let latin = OsStr::from_bytes(b"/e/\xe9").to_owned();
        let wanted: Vec<(String, OsString)> = [
            ("include", OsString::from("a b.conf")),
            ("include_if_exists", OsString::from("c.conf")),
            ("include_dir", OsString::from("it's 'd'\\A")),
            ("port", OsString::from("5432")),
            ("hba_file", latin),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        assert_eq!(found, wanted);
        let included: Vec<_> = found.iter().filter_map(|(name, value)| include(name, value)).collect();
        assert_eq!(included.len(), 3);
        assert_eq!(included[2], Include::Directory(PathBuf::from("it's 'd'\\A")));
    }

    #[test]
    fn access_files_name_others() {
        let text = b"local all @admins,\"@name\",@\"two words\" trust # @no\n\
            include \"more rules\"\ninclude_dir hba.d\nhost all \\\n  @next all trust\nlocal \"a\"\"@b\" @ trust\n";
        let file = |name: &str| Include::File(PathBuf::from(name));
        let names = vec![file("admins"), file("two words")];
        let next = file("next");
        let older = access_includes(text, false);
        assert_eq!(older, [names.clone(), vec![next.clone()]].concat());
        let whole = vec![file("more rules"), Include::Directory(PathBuf::from("hba.d")), next];
        assert_eq!(access_includes(text, true), [names, whole].concat());
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let directory = Path::new("/etc/pg");
        assert_eq!(absolute(Path::new("../x/./y.conf"), directory), Path::new("/etc/x/y.conf"));
        assert_eq!(absolute(Path::new("/a//b"), directory), Path::new("/a/b"));
        assert!(
            is_included_name(b"a.conf") && !is_included_name(b".a.conf") && !is_included_name(b"a.conf~")
        );
    }
}
