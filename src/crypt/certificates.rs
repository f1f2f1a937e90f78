//! The certificates of a PEM file, one by one. What is between the lines BEGIN and END is copied, not understood: openssl
//! does that.

use crate::error::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes; a file beyond has no certificates that a person chose.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Certificates of one file.
const MOST: usize = 32;
const MAX_CERTIFICATE_BYTES: usize = 64 << 10;
const LINE_CHARS: usize = 64;

/// Each as a PEM text of its own. `name`: of the file, for errors, which are of kind Usage. A private key is refused: it
/// was put there by mistake, and belongs to nobody who seals.
pub fn certificates(text: &[u8], name: &str) -> Result<Vec<String>> {
    let wrong = |why: &str| Error::usage(format!("{name}: {why}"));
    let text = std::str::from_utf8(text).map_err(|_| wrong("it is not text"))?;
    let mut found = Vec::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.lines().map(str::trim_end) {
        if let Some(label) = label(line, "BEGIN") {
            if open.is_some() {
                return Err(wrong("a block begins in another"));
            }
            if label.contains("PRIVATE KEY") {
                return Err(wrong("it has a private key, where only certificates belong").hint(
                    "give the certificate of the recipient; keep the private key away from this host",
                ));
            }
            open = Some((label, String::new()));
        } else if let Some(ending) = label(line, "END") {
            match open.take() {
                Some((label, body)) if label == ending => {
                    if label == "CERTIFICATE" {
                        found.push(certificate(&body).ok_or_else(|| wrong("a certificate is damaged"))?);
                    }
                }
                _ => return Err(wrong("a block ends that did not begin")),
            }
        } else if let Some((_, body)) = &mut open {
            body.push_str(line);
        }
    }
    match (open, found.len()) {
        (Some(_), _) => Err(wrong("its last block has no end")),
        (_, 0) => Err(wrong("it has no certificate").hint("it begins with -----BEGIN CERTIFICATE-----")),
        (_, count) if count > MOST => Err(wrong(&format!("it has more than {MOST} certificates"))),
        _ => Ok(found),
    }
}

/// CERTIFICATE of `-----BEGIN CERTIFICATE-----`.
fn label<'t>(line: &'t str, verb: &str) -> Option<&'t str> {
    line.strip_prefix("-----")?.strip_suffix("-----")?.strip_prefix(verb)?.strip_prefix(' ')
}

fn certificate(body: &str) -> Option<String> {
    let bytes = STANDARD.decode(body).ok()?;
    if bytes.is_empty() || bytes.len() > MAX_CERTIFICATE_BYTES {
        return None;
    }
    let body = STANDARD.encode(bytes);
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in body.as_bytes().chunks(LINE_CHARS) {
        text.push_str(std::str::from_utf8(line).ok()?);
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";

    fn refusal(text: &str) -> String {
        let error = certificates(text.as_bytes(), "r.pem").unwrap_err();
        assert_eq!(error.kind, crate::error::Kind::Usage);
        error.message().to_owned()
    }

    #[test]
    fn each_certificate_by_itself_and_nothing_else() {
        let text = format!(
            "subject=x\n{ONE}\r\n-----BEGIN EC PARAMETERS-----\nAQ==\n-----END EC PARAMETERS-----\n{ONE}"
        );
        assert_eq!(certificates(text.as_bytes(), "r.pem").unwrap(), [ONE, ONE]);
        let long =
            format!("-----BEGIN CERTIFICATE-----\r\n{}\r\n-----END CERTIFICATE-----\r\n", "AQID".repeat(40));
        let found = certificates(long.as_bytes(), "r.pem").unwrap();
        assert!(found[0].lines().all(|line| line.len() <= LINE_CHARS), "{found:?}");
    }

    #[test]
    fn what_is_no_list_of_certificates_is_refused() {
        let begin = "-----BEGIN CERTIFICATE-----\n";
        assert!(refusal("").ends_with("it has no certificate"));
        assert!(refusal("AQID\n").ends_with("it has no certificate"));
        assert!(refusal(&format!("{begin}AQID\n")).ends_with("has no end"));
        assert!(refusal(&format!("{begin}{ONE}")).ends_with("begins in another"));
        assert!(refusal("-----END CERTIFICATE-----\n").ends_with("did not begin"));
        for body in ["", "A", "AQ!D", "AQID=", "....", "AQID AQID"] {
            let text = format!("{begin}{body}\n-----END CERTIFICATE-----\n");
            assert!(refusal(&text).ends_with("a certificate is damaged"), "{body}");
        }
        assert!(refusal(&ONE.repeat(33)).ends_with("more than 32 certificates"));
        for kind in ["PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            let text = format!("{ONE}-----BEGIN {kind}-----\nAQID\n-----END {kind}-----\n");
            assert!(refusal(&text).contains("private key"), "{kind}");
        }
    }
}
