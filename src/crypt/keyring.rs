//! The keys of a run: where each came from, who else may read it, and whether it is the one that is needed.
//!
//! A refusal names the file, the key's name and the name that is needed. It advises nothing that could destroy: a key
//! that cannot be read is not a key that does not exist.

use crate::catalog::key_object::is_data_key_name;
use crate::crypt::generated::{self, Form, is_generated_name};
use crate::crypt::key::Passphrase;
use crate::crypt::open::fitting_key;
use crate::error::{Error, IoContext, Kind, Result};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A key, and what it is called in messages: its file, as a rule.
pub struct Key {
    source: String,
    passphrase: Passphrase,
}

impl Key {
    pub fn new(source: &str, passphrase: Passphrase) -> Self {
        Key { source: source.to_owned(), passphrase }
    }

    /// Reads a key file. `place` says where its name was given, for messages: what cannot be opened may be the key
    /// itself, given by mistake. With `world_readable` everybody may read it, as a secret that a container mounts.
    /// Errors: NotFound if the file is proved absent, else Usage for what is no usable key file.
    pub fn read(path: &Path, place: &str, world_readable: bool) -> Result<Self> {
        match File::open(path) {
            Ok(file) => Self::read_open(file, &shown(path), world_readable),
            Err(error) => Err(unopened(path, place, &error)),
        }
    }

    /// The same from an open file.
    pub fn read_open(file: File, source: &str, world_readable: bool) -> Result<Self> {
        let metadata = file.metadata().during(format_args!("stat {source}"))?;
        if metadata.is_dir() {
            return Err(Error::usage(format!("{source} is a directory, not a key file")));
        }
        // Without a name nobody else can open it: what a script was handed on.
        let is_named_file = metadata.is_file() && metadata.nlink() > 0;
        if is_named_file && !world_readable && metadata.permissions().mode() & 0o007 != 0 {
            return Err(Error::usage(format!("{source} contains a key, and every user may read it"))
                .hint(format!("chmod 0600 {source}"))
                .hint(
                    "only for a secret that a container mounts with mode 0444: PGV_KEY_WORLD_READABLE=yes",
                ));
        }
        Ok(Self::new(source, Passphrase::read(file, source)?))
    }

    /// Reads those of PGV_KEY_FILE: paths with colons between.
    pub fn read_configured(world_readable: bool) -> Result<Vec<Self>> {
        let list = std::env::var_os("PGV_KEY_FILE").unwrap_or_default();
        let read = |(index, path): (usize, PathBuf)| {
            Key::read(&path, &format!("key file {} of PGV_KEY_FILE", index + 1), world_readable)
        };
        let paths = std::env::split_paths(&list).filter(|_| !list.is_empty());
        paths.enumerate().map(read).collect()
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn passphrase(&self) -> &Passphrase {
        &self.passphrase
    }
}

/// A file in memory, as root hands one on, has the name of the file that it is a copy of.
fn shown(path: &Path) -> String {
    let memory = path.read_link().ok().filter(|_| path.starts_with("/dev/fd"));
    let memory = memory.as_deref().and_then(Path::to_str);
    let of = memory.and_then(|name| name.strip_prefix("/memfd:")?.strip_suffix(" (deleted)"));
    of.map_or_else(|| path.display().to_string(), str::to_owned)
}

fn unopened(path: &Path, place: &str, error: &io::Error) -> Error {
    let (shown, hint) = match is_surely_a_path(path) {
        true => (path.display().to_string(), "check the path, and that its file system is mounted"),
        false => (place.to_owned(), "give the name of the key file, never the key itself"),
    };
    let what = format!("open {shown}");
    match error.kind() {
        io::ErrorKind::NotFound if path.symlink_metadata().is_ok() => {
            Error::usage(format!("{what}: it is a link to a file that does not exist")).hint(hint)
        }
        io::ErrorKind::NotFound => Error::not_found(format!("{what}: no such file")).hint(hint),
        io::ErrorKind::PermissionDenied => Error::usage(format!("{what}: permission denied"))
            .hint("the key may exist: run the command as a user who may read it: sudo -u postgres …"),
        _ => Error::usage(Error::io(what, io::Error::from(error.kind())).message()).hint(hint),
    }
}

/// What should be its directory exists, and it does not look like a key.
fn is_surely_a_path(path: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let exists = |parent: &Path| {
        parent.metadata().map_or_else(|error| error.kind() == io::ErrorKind::PermissionDenied, |_| true)
    };
    parent.is_some_and(exists) && generated::form(path.as_os_str().as_bytes()) == Form::Passphrase
}

/// Only for whoever asks about a key is its absence an answer; a stream that cannot be opened for want of a key is
/// there all the same.
pub fn absent_is_usage(mut error: Error) -> Error {
    if error.kind == Kind::NotFound {
        error.kind = Kind::Usage;
    }
    error
}

/// The first key seals, all open.
pub struct Keyring {
    keys: Vec<Key>,
    passphrases: Vec<Passphrase>,
}

impl Keyring {
    pub fn new(keys: Vec<Key>) -> Self {
        let passphrases = keys.iter().map(|key| key.passphrase.clone()).collect();
        Keyring { keys, passphrases }
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub fn passphrases(&self) -> &[Passphrase] {
        &self.passphrases
    }

    fn has(&self, name: &str) -> bool {
        self.passphrases.iter().any(|passphrase| passphrase.is_called(name))
    }

    /// Gives the first key up.
    pub fn take_first(&mut self) -> Option<Key> {
        if self.keys.is_empty() {
            return None;
        }
        self.passphrases.remove(0);
        Some(self.keys.remove(0))
    }

    /// Adds a key that opens.
    pub fn add(&mut self, key: Key) {
        self.passphrases.push(key.passphrase.clone());
        self.keys.push(key);
    }

    /// Of a stream called `name` that did not open: which keys were tried, if it is for want of a key.
    pub fn explain(&self, error: Error, name: &str) -> Error {
        match error.kind {
            Kind::Key if self.keys.is_empty() => error.context(name).supplement("no key was at hand"),
            Kind::Key => error.context(name).supplement(format_args!("tried {}", self.description())),
            _ => error.context(name),
        }
    }

    /// "/etc/pgv/key (key 1a2b3c4d), /etc/pgv/old (a passphrase)".
    pub fn description(&self) -> String {
        let one = |key: &Key| match key.passphrase.name() {
            Some(name) => format!("{} (key {name})", key.source),
            None => format!("{} (a passphrase)", key.source),
        };
        self.keys.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Refuses, as Kind::Key, if none of the keys is called by one of `needed`, unless one of these is a name that a
    /// person chose: it says nothing about a key.
    pub fn require_name(&self, needed: &[String]) -> Result<()> {
        let is_missing = |name: &String| is_generated_name(name) && !self.has(name);
        if needed.iter().all(is_missing) && !needed.is_empty() {
            return Err(self.refusal(format!("wrong key: tried {}", self.description()), needed));
        }
        Ok(())
    }

    /// The key that opens a sealed stream, of which no more than the beginning is read. Refuses as Kind::Key.
    pub fn opening(&self, reader: impl Read, name: &str, needed: &[String], context: &[u8]) -> Result<&Key> {
        match fitting_key(reader, &self.passphrases, context) {
            Ok(index) => self.keys.get(index).ok_or_else(|| Error::failed("an unknown key opens the stream")),
            Err(error) if error.kind == Kind::Key => Err(self.refusal(
                format!(
                    "open {name}: wrong key or context, or a damaged beginning: tried {}",
                    self.description()
                ),
                needed,
            )),
            Err(error) => Err(error.context(format_args!("open {name}"))),
        }
    }

    /// Says which key is needed, and where its text may be.
    fn refusal(&self, message: String, needed: &[String]) -> Error {
        let error = Error::new(Kind::Key, message);
        // A configuration may name the wrong key that was tried; a record and a configuration the same.
        let mut missing: Vec<&str> = Vec::new();
        for name in needed.iter().filter(|name| !self.has(name)) {
            if !missing.contains(&name.as_str()) {
                missing.push(name);
            }
        }
        match &missing[..] {
            [] => error.hint("write the key that sealed it, from the recovery sheet, into a key file"),
            names if names.iter().any(|name| is_data_key_name(name)) => error.hint(format!(
                "data key {} is needed, which only a recipient can open: set PGV_IDENTITY or PGV_UNWRAP",
                names.join(" or ")
            )),
            names => error.hint(format!(
                "key {} is needed: write it, from the recovery sheet, into a key file",
                names.join(" or ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(path: &Path, text: &str, mode: u32) {
        // One that may not be written is there from before.
        drop(fs::remove_file(path));
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path) -> Error {
        Key::read(path, "key file 1", false).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_needed_key_is_named_once_and_never_the_one_that_was_tried() {
        let passphrase = Passphrase::generate().unwrap();
        let tried = passphrase.name().unwrap();
        let keyring = Keyring::new(vec![Key::new("/etc/pgv/key", passphrase)]);
        let hint = |needed: &[&str]| {
            let needed: Vec<String> = needed.iter().map(|name| (*name).to_owned()).collect();
            keyring.refusal("wrong key".to_owned(), &needed).hints().join(" ")
        };
        assert!(hint(&[&tried, "ef483c40", "ef483c40"]).starts_with("key ef483c40 is needed: "));
        assert!(hint(&["ef483c40", "ef483c41"]).starts_with("key ef483c40 or ef483c41 is needed: "));
        assert!(hint(&[&tried]).starts_with("write the key that sealed it"));
    }

    #[test]
    fn a_copy_in_memory_is_called_as_its_file() {
        let copy = rustix::fs::memfd_create("/etc/pgv/key", rustix::fs::MemfdFlags::empty()).unwrap();
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
        assert_eq!(shown(Path::new(&path)), "/etc/pgv/key");
        assert_eq!(shown(Path::new("/dev/fd/99999")), "/dev/fd/99999");
    }

    #[test]
    fn who_may_read_a_key_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for (mode, world_readable, read) in [
            (0o600, false, true),
            (0o640, false, true),
            (0o444, true, true),
            (0o644, false, false),
            (0o602, false, false),
        ] {
            write(&path, "secret\n", mode);
            assert_eq!(Key::read(&path, "k", world_readable).is_ok(), read, "{mode:o}");
        }
        assert!(refusal(&path).hints()[0].contains("chmod 0600"));
    }

    /// Only what is proved absent is not found, and nothing says to make a new key.
    #[test]
    fn what_cannot_be_read_is_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        std::os::unix::fs::symlink(&absent, dir.path().join("link")).unwrap();
        write(&dir.path().join("empty"), "", 0o600);
        let cases = [
            ("absent", Kind::NotFound, "no such file"),
            ("link", Kind::Usage, "link"),
            ("empty", Kind::Usage, "is empty"),
            (".", Kind::Usage, "directory"),
            ("empty/below", Kind::Usage, "not a directory"),
        ];
        for (name, kind, word) in cases {
            let error = refusal(&dir.path().join(name));
            assert_eq!(error.kind, kind, "{name}: {error}");
            assert!(error.message().contains(word), "{name}: {error}");
            assert!(
                !error.hints().iter().any(|hint| hint.contains("generate")),
                "{name}: {:?}",
                error.hints()
            );
        }
        assert!(refusal(&absent).message().contains(absent.to_str().unwrap()));
        // The key itself, given by mistake.
        assert_eq!(refusal(Path::new("pgvkey1_AAAA")).message(), "open key file 1: no such file");
    }

    #[test]
    fn a_name_decides_only_if_it_is_a_keys_own() {
        let generated = Passphrase::generate().unwrap();
        let name = generated.name().unwrap();
        let ring = Keyring::new(vec![Key::new("/k", generated)]);
        let needs =
            |names: &[&str]| ring.require_name(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert!(needs(&[]).is_ok() && needs(&["second"]).is_ok());
        assert!(needs(&[&name]).is_ok() && needs(&["00000000", &name]).is_ok());
        let error = needs(&["00000000"]).unwrap_err();
        assert_eq!(error.kind, Kind::Key);
        assert!(
            error.message().contains(&format!("/k (key {name})")) && error.hints()[0].contains("00000000")
        );
    }
}
