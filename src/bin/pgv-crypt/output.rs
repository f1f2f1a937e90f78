//! Where a stream goes, and how it ends there.

use crate::Args;
use pgv::error::{Error, IoContext, Result};
use pgv::io::{Input, Output};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What comes out of a sealed stream may well be text for a terminal; a sealed stream never is.
pub fn create_output(args: &Args) -> Result<Output> {
    match &args.output {
        None if args.decrypt => Output::create(Some(Path::new("-"))),
        output => Output::create(output.as_deref()),
    }
}

/// The last step of every mode: complete and durable, or nothing under the final name.
pub fn finish<T>(output: Output, result: Result<T>) -> Result<T> {
    let value = result?;
    output.finish().map(|()| value)
}

pub fn refuse_same_file(input: &Input, output: Option<&Path>) -> Result<()> {
    let identity = |m: &std::fs::Metadata| (m.dev(), m.ino());
    let ours = input.file().metadata().during(format_args!("stat {}", input.name()))?;
    let same =
        output.and_then(|path| std::fs::metadata(path).ok()).is_some_and(|m| identity(&m) == identity(&ours));
    match same {
        true => Err(Error::usage(format!("{} is both input and output", input.name()))),
        false => Ok(()),
    }
}
