//! Output to stdout, or to a file that appears only when complete.

use crate::error::{Error, IoContext, Result};
use crate::io::{AtomicFile, die_if_unread, widen};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

/// Where a tool's data goes. When whoever reads stdout has seen enough, the tool dies of SIGPIPE, as a
/// filter does: in a pipe the stage that failed must not be hidden by those before it. [`Output::finish`] is the last
/// thing that can fail in every tool: dropped without it a file never gets its name, and leaves nothing.
#[must_use]
pub enum Output {
    /// Unbuffered: every tool writes in large pieces, and a buffer would need a flush that could be
    /// forgotten.
    Stdout(File),
    File(AtomicFile),
}

impl Output {
    /// `None` and `-` are stdout. Binary data does not go to a terminal unless `-` asks for it.
    pub fn create(path: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) if path.as_os_str() != "-" => {
                refuse_other_than_file(path)?;
                Ok(Output::File(AtomicFile::create(path, 0o600)?))
            }
            None if io::stdout().is_terminal() => {
                Err(Error::usage("the output is binary, and stdout is a terminal")
                    .hint("redirect stdout or give -o FILE; -o - writes to the terminal anyway"))
            }
            _ => {
                let fd = rustix::io::dup(rustix::stdio::stdout())
                    .map_err(io::Error::from)
                    .during("open stdout")?;
                widen(&fd);
                Ok(Output::Stdout(File::from(fd)))
            }
        }
    }

    pub fn name(&self) -> String {
        match self {
            Output::Stdout(_) => "stdout".to_owned(),
            Output::File(file) => file.path().display().to_string(),
        }
    }

    /// Makes the output complete: what was written to a file is synced and gets its name. An existing
    /// file is replaced, as by a shell's `>`.
    pub fn finish(self) -> Result<()> {
        match self {
            Output::Stdout(mut file) => file.flush().during("write stdout"),
            Output::File(file) => file.commit(true),
        }
    }

    /// Refuses a path of a file beside the stream that goes to stdout, before any work: it must be a file, or be free.
    pub fn require_file(path: &Path) -> Result<()> {
        match path.as_os_str() == "-" {
            true => Err(Error::usage("--manifest and --facts need a file: the stream goes to stdout")),
            false => refuse_other_than_file(path),
        }
    }
}

/// The complete file takes the name: of a device or a pipe it would make a file.
fn refuse_other_than_file(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => {
            Err(Error::usage(format!("{} is not a regular file", path.display()))
                .hint("to write to a device or a pipe, redirect stdout"))
        }
        // What cannot be looked at cannot be created either, and that says why.
        _ => Ok(()),
    }
}

/// Where a stream goes that is complete only if it was finished.
pub trait Sink: Write {
    /// What was written is all. Without it the other side knows that it is not.
    fn finish(self) -> Result<()>;
}

impl Sink for BufWriter<Output> {
    fn finish(self) -> Result<()> {
        self.into_inner().map_err(|e| Error::io("write stdout", e.into_error()))?.finish()
    }
}

impl Write for Output {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stdout(file) => file.write(buf).map_err(die_if_unread),
            Output::File(file) => file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stdout(file) => file.flush(),
            Output::File(file) => file.flush(),
        }
    }
}
