//! Input by path, from stdin, or from a command.

use crate::error::{Error, IoContext, Result, Status};
use crate::io::{Producer, temporary_file, widen};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Stdin, a file, or the output of a command. Errors name it.
pub struct Input {
    name: String,
    /// Closed before the command is ended: whoever may not be ended by a signal ends when it writes.
    reader: File,
    running: Running,
}

/// The command, until its exit status is known. Its end of file is reported only after a good status: another one is the
/// error of the read that meets the end, and of each that comes after it.
struct Running {
    producer: Option<Producer>,
    end: Result<()>,
}

impl Running {
    fn new(producer: Option<Producer>) -> Self {
        Running { producer, end: Ok(()) }
    }

    fn end(&mut self) -> Result<()> {
        if let Some(producer) = self.producer.take() {
            // 0 and 7 both say that all of it came.
            self.end = producer.finish().map(|_: Status| ());
        }
        self.end.clone()
    }
}

impl Input {
    /// `None` and `-` are stdin.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) if path.as_os_str() != "-" => {
                let reader = File::open(path).during_path("open", path)?;
                Ok(Input { name: path.display().to_string(), reader, running: Running::new(None) })
            }
            _ => {
                let fd =
                    rustix::io::dup(rustix::stdio::stdin()).map_err(io::Error::from).during("open stdin")?;
                widen(&fd);
                Ok(Input { name: "stdin".to_owned(), reader: File::from(fd), running: Running::new(None) })
            }
        }
    }

    /// The output of a command, if one is given, or else as [`Input::open`].
    pub fn of(command: &[OsString], path: Option<&Path>) -> Result<Self> {
        if command.is_empty() {
            return Input::open(path);
        }
        Input::output_of(Producer::spawn(command)?)
    }

    /// The output of a command that reads `text` on its stdin.
    pub fn answering(command: &[OsString], text: &str) -> Result<Self> {
        let mut file = temporary_file()?;
        file.write_all(text.as_bytes()).and_then(|()| file.rewind()).during("write a temporary file")?;
        Input::output_of(Producer::spawn_reading(command, file.into_file().into())?)
    }

    fn output_of(mut producer: Producer) -> Result<Self> {
        let reader = File::from(OwnedFd::from(producer.take_stdout()?));
        let name = format!("the output of {}", producer.name());
        Ok(Input { name, reader, running: Running::new(Some(producer)) })
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
        let length = self.reader.read(buf)?;
        if length == 0 && !buf.is_empty() {
            self.running.end()?;
        }
        Ok(length)
    }
}

impl Drop for Running {
    /// Whoever reads no further has no use for the rest.
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            producer.kill();
        }
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

/// Gives `each` exactly so many bytes, in pieces of at most `most`, as they lie in the reader's buffer. `failed` says what
/// failed with the reader, which must not end before.
pub fn for_pieces(
    reader: &mut (impl BufRead + ?Sized),
    bytes: u64,
    most: usize,
    failed: impl Fn(io::Error) -> Error,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut left = bytes;
    while left > 0 {
        let wanted = usize::try_from(left).map_or(most, |left| left.min(most));
        let ready = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
            Ok([]) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            Ok(ready) => ready,
        };
        let piece = &ready[..ready.len().min(wanted)];
        let length = piece.len();
        each(piece)?;
        reader.consume(length);
        left -= length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn read_all(script: &str) -> Result<String> {
        let command = ["sh", "-c", script].map(OsString::from);
        let mut text = String::new();
        let mut input = Input::of(&command, None)?;
        input.read_to_string(&mut text).during(format_args!("read {}", input.name())).map(|_| text)
    }

    #[test]
    fn pieces_are_exactly_what_is_asked_for() {
        let pieces_of = |bytes| {
            let mut reader = io::BufReader::with_capacity(4, &b"0123456789"[..]);
            let mut pieces = Vec::new();
            let failed = |error| Error::io("read", error);
            for_pieces(&mut reader, bytes, 3, failed, |piece| {
                pieces.push(String::from_utf8_lossy(piece).into_owned());
                Ok(())
            })
            .map(|()| pieces)
        };
        assert_eq!(pieces_of(9).unwrap(), ["012", "3", "456", "7", "8"]);
        assert!(pieces_of(0).unwrap().is_empty());
        assert!(pieces_of(11).is_err(), "the reader has ended before");
    }

    #[test]
    fn the_end_of_a_command_counts_with_its_status() {
        assert_eq!(read_all("printf all").unwrap(), "all");
        assert_eq!(read_all("printf all; exit 7").unwrap(), "all");
        let kind = |script| read_all(script).map_err(|error: Error| error.kind).unwrap_err();
        assert_eq!(kind("printf some; exit 5"), Kind::Damaged);
        assert_eq!(kind("exit 75"), Kind::Temporary);
        assert_eq!(kind("exit 3"), Kind::NotFound);
        assert_eq!(kind("printf some; kill -9 $$"), Kind::Failed);
        // Whoever reads on is not told that it was the end.
        let mut input = Input::of(&["sh", "-c", "exit 5"].map(OsString::from), None).unwrap();
        for _ in 0..2 {
            let error = Error::io("read", input.read(&mut [0]).unwrap_err());
            assert_eq!(error.kind, Kind::Damaged);
        }
    }

    #[test]
    fn a_command_whose_output_is_not_wanted_ends() {
        let command = ["sh", "-c", "echo begun; exec sleep 600"].map(OsString::from);
        let begun = std::time::Instant::now();
        let mut input = Input::of(&command, None).unwrap();
        assert_eq!(read_full(&mut input, &mut [0; 5]).unwrap(), 5);
        drop(input);
        assert!(begun.elapsed().as_secs() < 60);
    }
}
