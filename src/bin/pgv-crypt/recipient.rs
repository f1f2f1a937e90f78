//! Data keys that this host opens as a recipient: where no key at hand opens a stream, PGV_IDENTITY or PGV_UNWRAP says
//! how the keys in the repository are opened, and pgv-open-keys.sh does that.
//!
//! A script that opened them already, and asked for a passphrase once, says so in PGV_KEYS_OPENED.

use pgv::cli;
use pgv::crypt::{Key, Keyring, Passphrase};
use pgv::error::{Error, IoContext, Kind, Result};
use pgv::io::{Producer, read_full};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::Stdio;

const SCRIPT: &str = "pgv-open-keys.sh";
/// Text line, salt and header of the first record: what tells whether a key opens a stream.
const HEAD_BYTES: usize = 240;
/// Bytes of keys that are read: more than all keys of a repository.
const MAX_KEYS_BYTES: u64 = 1 << 20;

pub fn is_recipient() -> bool {
    let is_set = |name| cli::variable(name).is_some();
    (is_set("PGV_IDENTITY") || is_set("PGV_UNWRAP")) && !is_set("PGV_KEYS_OPENED")
}

/// Adds to `keys` the data key that opens the stream that begins in `reader`, if none of `keys` does. Returns what was read
/// of it.
pub fn find_key(keys: &mut Keyring, reader: &mut impl Read, name: &str, context: &[u8]) -> Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let length = read_full(reader, &mut head).during(format_args!("read {name}"))?;
    head.truncate(length);
    match keys.opening(&head[..], name, &[], context) {
        Err(error) if error.kind == Kind::Key => {}
        // It opens, or is no sealed stream: that is said when it is opened.
        _ => return Ok(head),
    }
    if let Some(key) = opened_key(&head, name, context)? {
        keys.add(key);
    }
    Ok(head)
}

/// The keys are opened one after the other, until one fits.
fn opened_key(head: &[u8], name: &str, context: &[u8]) -> Result<Option<Key>> {
    let script = script()?;
    let mut producer =
        Producer::spawn_reading(&[OsString::from("bash"), script.into_os_string()], Stdio::null())?;
    let stdout = producer.take_stdout()?;
    for line in BufReader::new(stdout.take(MAX_KEYS_BYTES)).lines() {
        let line = line.during("read the data keys")?;
        let key = Key::new("a data key", Passphrase::new(line.into_bytes(), "a data key")?);
        let mut ring = Keyring::new(vec![key]);
        if ring.opening(head, name, &[], context).is_ok() {
            producer.kill();
            return Ok(ring.take_first());
        }
    }
    producer
        .finish()
        .map(|_| None)
        .map_err(|error| error.context(format_args!("open the data keys for {name}")))
}

/// Beside this program, or where make install puts it.
fn script() -> Result<PathBuf> {
    let program = std::env::current_exe().during("find this program")?;
    let here = program.parent().map(PathBuf::from).unwrap_or_default();
    let places = [here.join(SCRIPT), here.join("../lib/pgv").join(SCRIPT)];
    let found = places.into_iter().find(|place| place.is_file());
    found.ok_or_else(|| {
        Error::usage(format!(
            "{SCRIPT}, which opens data keys, is not installed beside {}",
            program.display()
        ))
        .hint("install pgv's package, or give the opened key: --key-file FILE")
    })
}
