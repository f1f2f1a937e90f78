//! The keys that pgv generates: their form, their names, and what is left of one that was damaged.
//!
//! `pgvkey1_`, 43 base64url characters of 256 random bits, `_`, and a check part of eight hexadecimal digits. Keys of
//! pgv 0.1.0 have no check part, and stay valid. The whole line is the passphrase, for pgv and for openssl alike.

use crate::catalog::key_object::is_data_key_name;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

const PREFIX: &str = "pgvkey1_";
pub(super) const RANDOM_BYTES: usize = 32;
/// Base64 without padding of [`RANDOM_BYTES`].
const RANDOM_CHARS: usize = 43;
/// A mistyped character stays unnoticed once in 2^32 times.
const CHECK_CHARS: usize = 8;
/// Of the longer name, by which a data key is called in a repository.
const FINGERPRINT_CHARS: usize = 16;
/// Prefix and random part: the whole key of pgv 0.1.0.
const UNCHECKED_CHARS: usize = PREFIX.len() + RANDOM_CHARS;
const CHECKED_CHARS: usize = UNCHECKED_CHARS + 1 + CHECK_CHARS;
/// Shorter texts are people's, `pgvkey_prod` and the like, unless they begin as a key does.
const TELLING_CHARS: usize = 30;

/// What the text of a key is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As pgv generated it, as far as its check part can tell.
    Generated,
    /// Surely meant to be a generated key, and none; what is wrong with it.
    Damaged(&'static str),
    /// What a person made up.
    Passphrase,
}

/// The line of a new key.
pub(super) fn line(random: &[u8; RANDOM_BYTES]) -> String {
    let unchecked = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let check = check_part(&unchecked);
    format!("{unchecked}_{check}")
}

/// Tells one generated key from another and reveals nothing else about it. Only for [`Form::Generated`]: a passphrase
/// could be guessed from its name. The same as `{ echo 'pgv key name'; cat KEYFILE; } | sha256sum | head -c 8`.
pub(super) fn name(line: &[u8]) -> String {
    digest("pgv key name", line, CHECK_CHARS)
}

/// The name with twice as many digits, so that nobody makes a second key of the same name.
pub(super) fn fingerprint(line: &[u8]) -> String {
    digest("pgv key name", line, FINGERPRINT_CHARS)
}

/// Whether `name` has the form of a generated key's name; any other text is a name that a person chose. So is a date,
/// as `20240501`, which is the name of one generated key of some sixty thousand: that is then checked by the key alone.
pub fn is_generated_name(name: &str) -> bool {
    is_data_key_name(name) || (is_short_name(name) && !is_date(name))
}

fn is_short_name(text: &str) -> bool {
    text.len() == CHECK_CHARS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Year, month and day, as people write them into names. `text` is ASCII, of eight characters.
fn is_date(text: &str) -> bool {
    let number = |from: usize, to: usize| text[from..to].parse::<u32>().unwrap_or(0);
    matches!(number(0, 4), 1900..=2099) && matches!(number(4, 6), 1..=12) && matches!(number(6, 8), 1..=31)
}

fn check_part(unchecked: &str) -> String {
    digest("pgv key check", unchecked.as_bytes(), CHECK_CHARS)
}

fn digest(purpose: &str, line: &[u8], digits: usize) -> String {
    let mut hash = Sha256::new();
    hash.update(purpose);
    hash.update(b"\n");
    hash.update(line);
    hash.update(b"\n");
    hash.finalize().iter().take(digits / 2).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn form(bytes: &[u8]) -> Form {
    let text = String::from_utf8_lossy(bytes);
    if is_whole(&text) {
        return Form::Generated;
    }
    let inner = text.trim_matches(is_wrapping);
    if inner.len() < text.len() && is_whole(inner) {
        return Form::Damaged("there is a blank, a quote or another character before or after it");
    }
    if !is_nearly_generated(inner) {
        return Form::Passphrase;
    }
    Form::Damaged(match inner.chars().count() {
        UNCHECKED_CHARS if inner.starts_with(PREFIX) => "it contains a character that no key has",
        CHECKED_CHARS if inner.starts_with(PREFIX) => "a character is wrong: its check part does not match",
        UNCHECKED_CHARS | CHECKED_CHARS => "it does not begin with \"pgvkey1_\", in lower case",
        length if length < UNCHECKED_CHARS => "its beginning or its end is missing",
        _ => "it is too long or too short",
    })
}

/// Byte for byte a key that pgv made.
fn is_whole(text: &str) -> bool {
    if !text.is_ascii() || !text.starts_with(PREFIX) {
        return false;
    }
    match text.len() {
        UNCHECKED_CHARS => text.bytes().all(is_key_byte),
        CHECKED_CHARS => has_check_part(text),
        _ => false,
    }
}

/// `text` is ASCII and of the length of a key with check part.
fn has_check_part(text: &str) -> bool {
    let (unchecked, check) = text.split_at(UNCHECKED_CHARS);
    unchecked.bytes().all(is_key_byte) && check.strip_prefix('_') == Some(check_part(unchecked).as_str())
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// What copying and pasting leaves around a line.
fn is_wrapping(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '"' | '\'' | '`')
}

/// Narrow enough that no passphrase of a person is refused: what is short must begin as a key does, exactly. What is
/// longer names the prefix, or is of a key's length and letters and begins nearly as one, or ends in a check part that
/// matches.
fn is_nearly_generated(text: &str) -> bool {
    if text.chars().count() < TELLING_CHARS {
        return text.starts_with(PREFIX);
    }
    let folded = text.to_ascii_lowercase();
    if folded.contains("pgvkey1") {
        return true;
    }
    let after = folded.strip_prefix("pgvkey").and_then(|rest| rest.chars().next());
    if after.is_some_and(|c| c.is_ascii_digit() || matches!(c, 'l' | 'i' | '_' | '|')) {
        return true;
    }
    let random_tail =
        text.len().checked_sub(RANDOM_CHARS + 1 + CHECK_CHARS).and_then(|from| text.get(from..));
    if random_tail.is_some_and(|tail| tail.is_ascii() && has_check_part(&format!("{PREFIX}{tail}"))) {
        return true;
    }
    let compact: Vec<char> = folded.chars().filter(|c| !c.is_whitespace()).collect();
    let shaped = compact.iter().all(|c| !c.is_ascii() || is_key_byte(*c as u8));
    shaped && (UNCHECKED_CHARS - 8..CHECKED_CHARS + 4).contains(&compact.len()) && begins_nearly(&compact)
}

/// At most two characters of the prefix are wrong, one is missing, or there is one too many. `text` is longer than the
/// prefix.
fn begins_nearly(text: &[char]) -> bool {
    let prefix: Vec<char> = PREFIX.chars().collect();
    let wrong = text.iter().zip(&prefix).filter(|(have, want)| have != want).count();
    let without = |chars: &[char], index: usize| [&chars[..index], &chars[index + 1..]].concat();
    let missing = |index| text.starts_with(&without(&prefix, index));
    let extra = |index| without(&text[..=prefix.len()], index) == prefix;
    wrong <= 2 || (0..prefix.len()).any(missing) || (0..=prefix.len()).any(extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "pgvkey1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn new() -> String {
        line(&std::array::from_fn(|index| index as u8))
    }

    #[test]
    fn names_and_check_parts_are_stable() {
        // { echo 'pgv key name'; echo KEY; } | sha256sum, and 'pgv key check' of the first 51 characters.
        assert_eq!(name(OLD.as_bytes()), "e011cbe9");
        assert_eq!(new(), format!("{OLD}_a078de5d"));
        assert_eq!(name(new().as_bytes()), "62b0d495");
        assert!(fingerprint(new().as_bytes()).starts_with("62b0d495"));
        assert!(is_data_key_name(&fingerprint(OLD.as_bytes())) && !is_data_key_name("62b0d495"));
        assert!(
            is_generated_name("0a1b2c3d") && !is_generated_name("second") && !is_generated_name("0A1B2C3D")
        );
        for date in ["20240501", "19991231"] {
            assert!(!is_generated_name(date), "{date}");
        }
        for digits in ["20241301", "20240532", "20240500", "18240501", "01052024", "2024050a"] {
            assert!(is_generated_name(digits), "{digits}");
        }
    }

    #[test]
    fn whole_keys_are_generated_and_what_people_make_up_is_not() {
        for key in [OLD, &new(), "pgvkey1_qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"] {
            assert_eq!(form(key.as_bytes()), Form::Generated, "{key}");
        }
        for phrase in ["pgvkey_prod", "pgvkeyinside", "pgvkey2024", "my-pgvkey1_prod", "PGVKEY1_PROD"] {
            assert_eq!(form(phrase.as_bytes()), Form::Passphrase, "{phrase}");
        }
        let random = "k7Zr0Qp_1xY-b2TqWmN8sLhVd4EoGf5RcJuKi6aBwXy";
        for phrase in ["correct horse battery staple", "pgv", "pgvkey for prod", "k", " x ", random] {
            assert_eq!(form(phrase.as_bytes()), Form::Passphrase, "{phrase}");
        }
    }

    /// One character exchanged, left out, added or in the other case, anywhere: refused, or for a key without check
    /// part another generated key, whose name is another.
    #[test]
    fn a_damaged_key_is_no_passphrase() {
        for key in [OLD.to_owned(), new()] {
            for index in 0..key.len() {
                let (before, after) = key.split_at(index);
                let (this, after) = after.split_at(1);
                let flipped = if this == "A" { "B" } else { "A" };
                let cased = match this.chars().all(char::is_lowercase) {
                    true => this.to_uppercase(),
                    false => this.to_lowercase(),
                };
                let texts = [
                    format!("{before}{flipped}{after}"),
                    format!("{before}{cased}{after}"),
                    format!("{before}{after}"),
                    format!("{before}x{this}{after}"),
                    format!("{before} {this}{after}"),
                    format!("{before}é{after}"),
                ];
                for text in texts.into_iter().filter(|text| *text != key) {
                    match form(text.as_bytes()) {
                        Form::Damaged(_) => {}
                        Form::Generated => {
                            assert_eq!(key, OLD, "{text}");
                            assert_ne!(name(text.as_bytes()), name(key.as_bytes()));
                        }
                        Form::Passphrase => panic!("{text} is taken for a passphrase"),
                    }
                }
            }
        }
    }

    #[test]
    fn what_copying_does_to_a_key() {
        let key = new();
        let spoiled = [
            format!(" {key}"),
            format!("{key}\t"),
            format!("\u{feff}{key}"),
            format!("\"{key}\""),
            format!("key         {key}"),
            key.to_uppercase(),
            key.replace("pgvkey1_", "PGVKEY1_"),
            key.replace("pgvkey1_", "pgvkeyl_"),
            key.replace("pgvkey1_", ""),
            key[..8].to_owned(),
            key[..20].to_owned(),
            key[..30].to_owned(),
            key[..55].to_owned(),
            key[4..].to_owned(),
            OLD.replace("pgvkey1_", "pgvkey_"),
            OLD.replace("pgvkey1_", "qgvkey1-"),
        ];
        for text in spoiled {
            assert!(matches!(form(text.as_bytes()), Form::Damaged(_)), "{text}");
        }
        // Cut exactly before its check part it is another key, and its name says so.
        assert_ne!(name(&key.as_bytes()[..UNCHECKED_CHARS]), name(key.as_bytes()));
    }
}
