//! Where the keys come from: options before the environment before the terminal.

use crate::Args;
use crate::recipient::is_recipient;
use pgv::crypt::{Key, Keyring, Passphrase};
use pgv::error::{Error, IoContext, Result};
use std::fs::File;

pub fn read_keys(args: &Args) -> Result<Keyring> {
    let world_readable = args.key_world_readable.unwrap_or(false);
    let mut keys = Vec::new();
    if let Some(descriptor) = args.key_fd {
        let source = format!("the key on descriptor {descriptor}");
        let file = File::open(format!("/dev/fd/{descriptor}")).during(format_args!("open {source}"));
        let file = file.map_err(|error| Error::usage(error.message()))?;
        keys.push(Key::read_open(file, &source, world_readable)?);
    }
    for (index, path) in args.key_file.iter().enumerate() {
        keys.push(Key::read(path, &format!("key file {} of --key-file", index + 1), world_readable)?);
    }
    if keys.is_empty() {
        keys = Key::read_configured(world_readable)?;
    }
    // They come from the repository, when a stream is there that needs one.
    if keys.is_empty() && !(args.decrypt && is_recipient()) {
        keys.push(ask_for_key(args.encrypt)?);
    }
    Ok(Keyring::new(keys))
}

fn ask_for_key(twice: bool) -> Result<Key> {
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map_err(|error| {
            Error::usage(format!("no key is given, and no passphrase can be asked for: {error}"))
                .hint("give --key-file FILE, or set PGV_KEY_FILE")
        })
    };
    let first = ask("passphrase: ")?;
    if twice && ask("again: ")? != first {
        return Err(Error::usage("the two passphrases differ"));
    }
    Ok(Key::new("the passphrase", Passphrase::new(first.into_bytes(), "the passphrase")?))
}
