//! `--generate-key`: a new key.

use crate::Args;
use crate::output::finish;
use pgv::crypt::Passphrase;
use pgv::error::{IoContext, Result};
use pgv::io::{AtomicFile, Output};
use std::io::Write;
use std::path::Path;

/// A key is text, made to be looked at: a terminal is as good a place for it as any. A file that is there may be the
/// only copy of another key.
pub fn generate_key(args: &Args) -> Result<()> {
    let line = [Passphrase::generate()?.as_bytes(), b"\n"].concat();
    if let Some(path) = args.output.as_deref().filter(|path| path.as_os_str() != "-") {
        let mut file = AtomicFile::create(path, 0o600)?;
        file.write_all(&line).during_path("write", path)?;
        return file
            .commit(false)
            .map_err(|error| error.hint("backups may need the existing key: choose another file name"));
    }
    let mut output = Output::create(Some(Path::new("-")))?;
    let written = output.write_all(&line).during(format_args!("write {}", output.name()));
    finish(output, written)
}
