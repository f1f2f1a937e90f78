//! `--decrypt`: a sealed stream is opened, or many files are.

use crate::keys::{absent_is_usage, read_keys};
use crate::output::{create_output, finish, refuse_same_file};
use crate::{Args, jobs};
use pgv::catalog::layout;
use pgv::cli;
use pgv::crypt::{self, Keyring};
use pgv::error::{Error, Kind, Result};
use pgv::io::{AtomicFile, Input, batch, named_file};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

pub fn decrypt(args: &Args) -> Result<()> {
    let keys = read_keys(args).map_err(absent_is_usage)?;
    if let (true, Some(directory)) = (args.batch, &args.output) {
        return decrypt_batch(args, &keys, directory);
    }
    let input = Input::of(&args.command, args.file.as_deref())?;
    refuse_same_file(&input, args.output.as_deref())?;
    let mut output = create_output(args)?;
    let name = input.name().to_owned();
    let context = args.context.as_encoded_bytes();
    let opened = crypt::open(input, &mut output, keys.passphrases(), context, jobs(args));
    finish(output, opened.map_err(|error| explain(error, &name, &keys))).map(|_| ())
}

fn explain(error: Error, name: &str, keys: &Keyring) -> Error {
    match error.kind {
        Kind::Key => error.context(name).supplement(format_args!("tried {}", keys.description())),
        _ => error.context(name),
    }
}

/// What it opens can be opened again: it is complete under its name, not durable. Files are opened side by side, each on
/// one thread.
fn decrypt_batch(args: &Args, keys: &Keyring, directory: &Path) -> Result<()> {
    let open_one = |line: &str| {
        let sealed_name = named_file(line)?;
        let name = sealed_name.strip_suffix(layout::SEALED).filter(|name| !name.is_empty());
        let name = name
            .ok_or_else(|| Error::usage(format!("{line}: the name does not end with {}", layout::SEALED)))?;
        let context = [args.context.as_encoded_bytes(), sealed_name.as_bytes()].concat();
        let input = Input::open(Some(Path::new(line)))?;
        let path = directory.join(name);
        let mut file = AtomicFile::create(&path, 0o666)?;
        crypt::open(input, &mut file, keys.passphrases(), &context, 1)
            .map_err(|error| explain(error, line, keys))?;
        file.publish().map(|()| path)
    };
    let print = |path: PathBuf| cli::print(&format!("{}\n", path.display()));
    batch(BufReader::new(Input::open(None)?).lines(), jobs(args), None, open_one, print)
}
