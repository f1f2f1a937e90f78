//! Input by path or from stdin.

use crate::error::{IoContext, Result};
use crate::io::widen;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Stdin or a file. Errors name it.
pub struct Input {
    name: String,
    reader: File,
}

impl Input {
    /// `None` and `-` are stdin.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) if path.as_os_str() != "-" => {
                let reader = File::open(path).during_path("open", path)?;
                Ok(Input { name: path.display().to_string(), reader })
            }
            _ => {
                let fd =
                    rustix::io::dup(rustix::stdio::stdin()).map_err(io::Error::from).during("open stdin")?;
                widen(&fd);
                Ok(Input { name: "stdin".to_owned(), reader: File::from(fd) })
            }
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn file(&self) -> &File {
        &self.reader
    }
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf)
    }
}

/// Fills `buf` unless the input ends first; returns how much was read. Short reads, as a pipe gives
/// them, are put together.
pub fn read_full(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match reader.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
