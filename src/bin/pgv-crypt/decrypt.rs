//! `--decrypt`: a sealed stream is opened.

use crate::keys::{absent_is_usage, read_keys};
use crate::output::{create_output, finish, refuse_same_file};
use crate::{Args, jobs};
use pgv::crypt;
use pgv::error::{Kind, Result};
use pgv::io::Input;

pub fn decrypt(args: &Args) -> Result<()> {
    let keys = read_keys(args).map_err(absent_is_usage)?;
    let input = Input::of(&args.command, args.file.as_deref())?;
    refuse_same_file(&input, args.output.as_deref())?;
    let mut output = create_output(args)?;
    let name = input.name().to_owned();
    let context = args.context.as_encoded_bytes();
    let opened = crypt::open(input, &mut output, keys.passphrases(), context, jobs(args));
    let opened = opened.map_err(|error| match error.kind {
        Kind::Key => error.context(name).supplement(format_args!("tried {}", keys.description())),
        _ => error.context(name),
    });
    finish(output, opened).map(|_| ())
}
