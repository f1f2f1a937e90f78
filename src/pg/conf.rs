//! Which other files PostgreSQL's configuration files name, read as the server reads them. Texts are bytes: a
//! path need not be UTF-8.

use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
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

/// The assignment of one line; `None` for blank lines, comments, and what the server would refuse.
pub fn setting(line: &[u8]) -> Option<(String, OsString)> {
    let line = line.trim_ascii_start();
    let length = line.iter().take_while(|byte| is_name(**byte)).count();
    let (name, rest) = line.split_at(length);
    // guc-file.l: an ID begins with a LETTER.
    if name.first().is_none_or(|first| first.is_ascii_digit() || matches!(first, b'.' | b'$')) {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii_start();
    let value = match rest.strip_prefix(b"'") {
        Some(quoted) => unquoted(quoted)?,
        None => {
            let is_bare = |byte: &u8| !byte.is_ascii_whitespace() && *byte != b'#';
            let bare: Vec<u8> = rest.iter().copied().take_while(is_bare).collect();
            Some(bare).filter(|value| !value.is_empty())?
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

/// A name that an access file has for another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessName {
    pub include: Include,
    /// Where the path stands in the text, its quotes included, and without the `@`.
    pub span: Range<usize>,
}

/// What `pg_hba.conf` and its kin name: files of names (`@file`), and from 16 on whole files.
pub fn access_includes(text: &[u8], whole_files: bool) -> Vec<Include> {
    access_names(text, whole_files).into_iter().map(|name| name.include).collect()
}

/// The same with their places in the text.
pub fn access_names(text: &[u8], whole_files: bool) -> Vec<AccessName> {
    let mut found = Vec::new();
    for line in logical_lines(text) {
        let tokens = tokens(&line);
        let named = |token: &&Token| !token.quoted && token.text.len() > 1 && token.text[0] == b'@';
        found.extend(tokens.iter().filter(named).map(|token| AccessName {
            include: Include::File(path_of(&token.text[1..])),
            span: token.span.start + 1..token.span.end,
        }));
        if let ([word, path, ..], true) = (&tokens[..], whole_files) {
            let include = include_of(&word.text, path_of(&path.text));
            found.extend(include.map(|include| AccessName { include, span: path.span.clone() }));
        }
    }
    found
}

/// A path as an access file names it.
pub fn access_quoted(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    let needs_quotes = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'"' | b'#');
    if !bytes.iter().any(needs_quotes) && !bytes.ends_with(b"\\") {
        return bytes.to_vec();
    }
    let mut text = vec![b'"'];
    for byte in bytes {
        text.extend_from_slice(if *byte == b'"' { b"\"\"" } else { std::slice::from_ref(byte) });
    }
    text.push(b'"');
    text
}

fn path_of(text: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(text.to_vec()))
}

/// Bytes of one line, each with its place in the text.
type Line = Vec<(usize, u8)>;

/// A backslash at its end continues a line.
fn logical_lines(text: &[u8]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut continued = false;
    let mut start = 0;
    for whole in text.split(|byte| *byte == b'\n') {
        let line = whole.strip_suffix(b"\r").unwrap_or(whole);
        let continues = line.ends_with(b"\\");
        let line = if continues { &line[..line.len() - 1] } else { line };
        let bytes = (start..).zip(line.iter().copied());
        match lines.last_mut().filter(|_| continued) {
            Some(last) => last.extend(bytes),
            None => lines.push(bytes.collect()),
        }
        continued = continues;
        start += whole.len() + 1;
    }
    lines
}

struct Token {
    text: Vec<u8>,
    /// Whether it begins with a quote: then it is a name, whatever it looks like.
    quoted: bool,
    /// Its bytes in the text, quotes included.
    span: Range<usize>,
}

/// Words between blanks and commas; quotes hold words together, and a doubled one stands for itself.
fn tokens(line: &[(usize, u8)]) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut inside, mut in_token, mut was_quote) = (false, false, false);
    for &(at, byte) in line {
        let separates = byte.is_ascii_whitespace() || byte == b',';
        if !inside && byte == b'#' {
            break;
        }
        if !inside && separates {
            (in_token, was_quote) = (false, false);
            continue;
        }
        if !in_token {
            tokens.push(Token { text: Vec::new(), quoted: byte == b'"', span: at..at });
            in_token = true;
        }
        let is_quote = byte == b'"';
        if is_quote {
            inside = !inside;
        }
        if let Some(token) = tokens.last_mut() {
            token.span.end = at + 1;
            match is_quote {
                false => token.text.push(byte),
                true if inside && was_quote => token.text.push(b'"'),
                true => {}
            }
        }
        was_quote = is_quote && !inside;
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

    #[test]
    fn settings_are_read_as_the_server_reads_them() {
        let text = b"# include 'no'\nInclude = 'a b.conf' # yes\ninclude_if_exists c.conf\n\
            include_dir='it''s \\'d\\'\\\\\\101'\nport 5432\nhba_file = '/e/\xe9'\n= x\nhalf = 'open\n\
            .x = 1\n$x = 1\nport =\nport = # none\nempty = ''\noctal = '\\501'\n";
        let found = settings(text);
        let latin = OsStr::from_bytes(b"/e/\xe9").to_owned();
        let wanted: Vec<(String, OsString)> = [
            ("include", OsString::from("a b.conf")),
            ("include_if_exists", OsString::from("c.conf")),
            ("include_dir", OsString::from("it's 'd'\\A")),
            ("port", OsString::from("5432")),
            ("hba_file", latin),
            ("empty", OsString::new()),
            ("octal", OsString::from("A")),
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
    fn names_are_replaced_where_they_stand() {
        let text = b"local all @a,@\"b c\" trust # @no\n host \\\n @d \ninclude \"e f\"\n";
        let spans: Vec<&[u8]> =
            access_names(text, true).into_iter().map(|name| &text[name.span]).collect::<Vec<_>>();
        assert_eq!(spans, [&b"a"[..], b"\"b c\"", b"d", b"\"e f\""]);
        for path in ["/plain", "/with blank,comma", "/a\"b", "/a#b", "/end\\"] {
            let line = [b"include ", &access_quoted(Path::new(path))[..]].concat();
            assert_eq!(access_includes(&line, true), [Include::File(PathBuf::from(path))], "{path}");
        }
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
