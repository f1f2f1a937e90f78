//! Passphrases, key files, and the keys derived from them.

use crate::crypt::format::{FIRST_LINE_BYTES, Header, TAG_BYTES};
use crate::crypt::generated::{self, Form};
use crate::error::{Error, IoContext, Result};
use crate::io::random;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io::Read;
use subtle::ConstantTimeEq;

/// The longest passphrase that works alike by file, descriptor and openssl's own prompt, which stops
/// at 512 bytes.
const MAX_PASSPHRASE_BYTES: usize = 512;
/// Contexts are object names; S3 keys end at 1024 bytes.
pub const MAX_CONTEXT_BYTES: usize = 1023;
/// OWASP's figure for PBKDF2-HMAC-SHA256: a passphrase people can remember needs it.
const ITERATIONS_PASSPHRASE: u32 = 600_000;
/// 256 random bits need no stretching; 125 ms less for every WAL segment.
const ITERATIONS_GENERATED: u32 = 1_000;

/// A valid passphrase: 1 to 512 bytes, none of NUL, CR, LF. openssl silently cuts at these. A generated key is one; a
/// damaged generated key is none.
#[derive(Clone)]
pub struct Passphrase(Vec<u8>);

impl Passphrase {
    /// `name` says in errors where it came from; the passphrase itself never appears anywhere. Errors are of kind Usage.
    pub fn new(bytes: Vec<u8>, name: &str) -> Result<Self> {
        let problem = match &bytes[..] {
            [] => "is empty",
            long if long.len() > MAX_PASSPHRASE_BYTES => "is longer than 512 bytes",
            other if other.contains(&0) => "contains a NUL byte",
            other if other.contains(&b'\r') => "contains a carriage return",
            other if other.contains(&b'\n') => "contains more than one line",
            other => return Self::of_form(generated::form(other), bytes, name),
        };
        Err(Error::usage(format!("{name} {problem}"))
            .hint("a key file is one line: 1 to 512 bytes and at most one final newline"))
    }

    fn of_form(form: Form, bytes: Vec<u8>, name: &str) -> Result<Self> {
        match form {
            Form::Generated | Form::Passphrase => Ok(Passphrase(bytes)),
            Form::Damaged(why) => {
                Err(Error::usage(format!("{name} contains a damaged generated key: {why}"))
                    .hint("write the key from the recovery sheet again: one whole line, without blanks"))
            }
        }
    }

    /// Reads a key file: the passphrase and at most one final newline.
    pub fn read(reader: impl Read, name: &str) -> Result<Self> {
        let mut bytes = Vec::new();
        let limit = MAX_PASSPHRASE_BYTES as u64 + 2;
        reader.take(limit).read_to_end(&mut bytes).during(format_args!("read {name}"))?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Self::new(bytes, name)
    }

    /// A new key: `pgvkey1_`, 256 random bits, and a check part.
    pub fn generate() -> Result<Self> {
        let random: [u8; generated::RANDOM_BYTES] = random()?;
        Ok(Passphrase(generated::line(&random).into_bytes()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What a writer uses unless told otherwise.
    pub fn default_iterations(&self) -> u32 {
        match self.is_generated() {
            true => ITERATIONS_GENERATED,
            false => ITERATIONS_PASSPHRASE,
        }
    }

    /// What tells a generated key from another: eight hexadecimal digits, which records and configurations keep. A
    /// passphrase has no name, because it could be guessed from one.
    pub fn name(&self) -> Option<String> {
        self.is_generated().then(|| generated::name(&self.0))
    }

    /// The longer name of a generated key, by which a data key is called in a repository.
    pub fn fingerprint(&self) -> Option<String> {
        self.is_generated().then(|| generated::fingerprint(&self.0))
    }

    /// Whether one of its names is this.
    pub fn is_called(&self, name: &str) -> bool {
        self.name().as_deref() == Some(name) || self.fingerprint().as_deref() == Some(name)
    }

    fn is_generated(&self) -> bool {
        generated::form(&self.0) == Form::Generated
    }
}

/// What one stream is encrypted and authenticated with.
pub(super) struct StreamKeys {
    pub aes: [u8; 32],
    pub iv: [u8; 16],
    mac: Hmac<Sha256>,
}

impl StreamKeys {
    /// `aes` and `iv` are what `openssl enc -pbkdf2 -md sha256` derives; the MAC key binds the whole
    /// first line and the context as well.
    pub fn derive(
        passphrase: &Passphrase,
        salt: &[u8; 8],
        iterations: u32,
        first_line: &[u8; FIRST_LINE_BYTES],
        context: &[u8],
    ) -> Result<Self> {
        let mut derived = [0u8; 64];
        pbkdf2::pbkdf2_hmac::<Sha256>(&passphrase.0, salt, iterations, &mut derived);
        let mut outer = hmac(&derived)?;
        outer.update(b"pgv1 mac");
        outer.update(first_line);
        outer.update(context);
        let mut keys = StreamKeys { aes: [0; 32], iv: [0; 16], mac: hmac(&outer.finalize().into_bytes())? };
        keys.aes.copy_from_slice(&derived[..32]);
        keys.iv.copy_from_slice(&derived[32..48]);
        Ok(keys)
    }

    pub fn tag(&self, header: &Header) -> [u8; TAG_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(header.authenticated());
        mac.finalize().into_bytes().into()
    }

    /// In constant time, before anything else looks at the header.
    pub fn verifies(&self, header: &Header) -> bool {
        self.tag(header).ct_eq(header.tag()).into()
    }
}

fn hmac(key: &[u8]) -> Result<Hmac<Sha256>> {
    Hmac::<Sha256>::new_from_slice(key).map_err(|e| Error::failed(format!("HMAC key: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypt::format;

    #[test]
    fn generated_keys_need_no_stretching() {
        let key = Passphrase::generate().unwrap();
        assert_eq!((key.as_bytes().len(), key.default_iterations()), (60, 1_000));
        let other = Passphrase::new(b"correct horse".to_vec(), "key").unwrap();
        assert_eq!((other.default_iterations(), other.name()), (600_000, None));
        assert_eq!(Passphrase::new(key.as_bytes().to_vec(), "key").unwrap().name(), key.name());
    }

    #[test]
    fn a_damaged_key_is_named_and_never_shown() {
        let error = Passphrase::new(b"pgvkey1_short".to_vec(), "/etc/pgv/key").map(|_| ()).unwrap_err();
        assert_eq!(error.kind, crate::error::Kind::Usage);
        assert!(error.message().starts_with("/etc/pgv/key contains a damaged generated key: "), "{error}");
        assert!(!error.message().contains("short"), "{error}");
    }

    #[test]
    fn known_answer() {
        let passphrase = Passphrase::new(b"correct horse battery staple".to_vec(), "key").unwrap();
        let salt = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
        let keys = StreamKeys::derive(&passphrase, &salt, 1000, &format::first_line(1000), b"").unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(&keys.aes), "9b2bb7b7492215b5984346a63d07a137a6ce32e53827e9dd206eefe4501c288c");
        assert_eq!(hex(&keys.iv), "b18187694733877c6c93f3ce0be2fc5e");
    }
}
