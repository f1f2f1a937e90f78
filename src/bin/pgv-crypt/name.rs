//! `--key-name` and `--check-key`: which keys there are, and which of them opens a sealed stream.

use crate::Args;
use crate::keys::read_keys;
use pgv::catalog::Record;
use pgv::cli::lines::Lines;
use pgv::crypt::{self, Key};
use pgv::error::{IoContext, Result};
use pgv::io::Input;
use std::io::Read;

/// Bytes of a record that are looked at for a key's name; a record has some thousands.
const MAX_RECORD_BYTES: u64 = 16 << 20;

pub fn key_names(args: &Args) -> Result<()> {
    let keys = read_keys(args)?;
    keys.require_name(&needed_names(args)?)?;
    print_keys(keys.keys())
}

/// What opens is the right key, whatever a record says that is needed; its names are for the refusal.
pub fn check_key(args: &Args) -> Result<()> {
    let keys = read_keys(args).map_err(crypt::absent_is_usage)?;
    let input = Input::of(&args.command, args.file.as_deref())?;
    let name = input.name().to_owned();
    let context = args.context.as_encoded_bytes();
    print_keys(std::slice::from_ref(keys.opening(input, &name, &needed_names(args)?, context)?))
}

/// What is no name of a generated key is left out. A record that cannot be understood names none: what it says of the
/// key decides nothing.
pub fn needed_names(args: &Args) -> Result<Vec<String>> {
    let mut names = args.expect_name.clone();
    if let Some(path) = &args.expect_record {
        let mut json = Vec::new();
        Input::open(Some(path))?.take(MAX_RECORD_BYTES).read_to_end(&mut json).during_path("read", path)?;
        names.extend(Record::parse(&json).ok().and_then(|record| record.key_name));
    }
    names.retain(|name| crypt::is_generated_name(name));
    Ok(names)
}

/// For scripts: the file first; a passphrase has no name. `key_id` is the longer name.
fn print_keys(keys: &[Key]) -> Result<()> {
    let mut lines = Lines::new();
    for key in keys {
        let name = key.passphrase().name();
        lines.add("key_file", key.source());
        lines.add("key_kind", if name.is_some() { "generated" } else { "passphrase" });
        lines.add_some("key_name", name);
        lines.add_some("key_id", key.passphrase().fingerprint());
    }
    lines.print()
}
