//! `--doctor`: what is right and wrong with the keys, for pgv-check.

use crate::Args;
use crate::keys::read_keys;
use crate::name::needed_names;
use pgv::cli;
use pgv::cli::lines::Lines;
use pgv::crypt::{Key, Keyring};
use pgv::error::{Error, Kind, Result};
use pgv::io::Input;
use std::fmt::Display;
use std::os::unix::fs::PermissionsExt;

const SHEET: &str = "from the recovery sheet, into the key file before anything is stored";

/// Prints `ok`, `note` and `bad` lines, the last two with `advice` behind them. With a command or a file it is whether a
/// key opens that, and else what the keys are.
pub fn doctor(args: &Args) -> Result<()> {
    let files = cli::variable("PGV_KEY_FILE").unwrap_or_default();
    let mut lines = Lines::new();
    match read_keys(args) {
        _ if files.is_empty() && args.key_file.is_empty() => {
            let advice = "set PGV_KEY_FILE in the configuration; pgv-setup creates a missing key";
            bad(&mut lines, "key: PGV_KEY_FILE is not set", advice);
        }
        Ok(keys) if !args.command.is_empty() || args.file.is_some() => {
            opens(&mut lines, args, &keys, &files)?
        }
        Ok(keys) => names(&mut lines, args, &keys, &files)?,
        Err(error) if error.kind == Kind::NotFound => bad(
            &mut lines,
            format!("key: a file of PGV_KEY_FILE={files} does not exist"),
            "mount its file system; if the file is lost, write the line of the recovery sheet that begins \
             with pgvkey1_ into it",
        ),
        Err(error) => bad(&mut lines, format!("key: {files} cannot be used: {error}"), hint(&error)),
    }
    lines.print()
}

fn bad(lines: &mut Lines, text: impl Display, advice: impl Display) {
    lines.add("bad", text).add("advice", advice);
}

fn hint(error: &Error) -> String {
    error.hints().first().cloned().unwrap_or_else(|| {
        "it must contain one key, and the user who runs this must be able to read it".to_owned()
    })
}

fn names(lines: &mut Lines, args: &Args, keys: &Keyring, files: &str) -> Result<()> {
    let needed = needed_names(args)?;
    match keys.require_name(&needed) {
        Ok(_) => {
            let describe = |key: &Key| match key.passphrase().name() {
                Some(name) => format!("{} named {name}", key.source()),
                None => key.source().to_owned(),
            };
            lines.add(
                "ok",
                format_args!("key: {}", keys.keys().iter().map(describe).collect::<Vec<_>>().join(", ")),
            );
        }
        Err(_) => {
            let name = needed.join(" ");
            let text = format!("key: PGV_KEY_NAME is {name}, but no file of {files} is that key");
            bad(lines, text, format!("write the key {name}, {SHEET}"));
        }
    }
    // As a container mounts secrets.
    for file in std::env::split_paths(files) {
        if std::fs::metadata(&file).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0) {
            lines
                .add("note", format_args!("key: every user of this machine may read {}", file.display()))
                .add("advice", "PGV_KEY_WORLD_READABLE allows that; use chmod 0600 if possible");
        }
    }
    Ok(())
}

/// What a backup was sealed with is what opens it.
fn opens(lines: &mut Lines, args: &Args, keys: &Keyring, files: &str) -> Result<()> {
    let input = Input::of(&args.command, args.file.as_deref())?;
    let name = input.name().to_owned();
    match keys.opening(input, &name, &needed_names(args)?, args.context.as_encoded_bytes()) {
        Ok(_) => {
            lines.add("ok", "key: opens the newest backup");
        }
        Err(error) => match error.kind {
            Kind::Key => bad(
                lines,
                format!("key: no file of {files} opens the newest backup: {error}"),
                format!("write the right key, {SHEET}"),
            ),
            Kind::NotFound | Kind::Damaged => bad(
                lines,
                format!("backups: the newest backup is damaged: {error}"),
                "pgv-verify checks all of it",
            ),
            _ => bad(
                lines,
                format!("key: could not test whether it opens the newest backup: {error}"),
                "see the message above",
            ),
        },
    }
    Ok(())
}
