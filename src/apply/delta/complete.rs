//! Puts a stream together from what was fetched of it and from what the directory has.

use crate::apply::delta::present;
use crate::apply::delta::steps::{LINE_LIMIT, Step};
use crate::apply::look;
use crate::apply::user::Rights;
use crate::error::{Error, IoContext, Kind, Result, Status};
use crate::io::{Output, read_full, read_line};
use crate::pg::control;
use crate::tar::{Attributes, TarWriter, padded};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes copied at a time.
const PIECE: usize = 256 << 10;

/// `steps`: of [`compare`](crate::apply::delta::compare), which looked at the same `directory`. `input`: the ranges that it
/// wanted, and nothing else. Writes the stream to stdout.
pub fn complete(steps: &Path, directory: &Path, input: impl Read) -> Result<Status> {
    let file = File::open(steps).during_path("open", steps)?;
    let root = look::resolve(directory)?;
    Rights::of(&root)?.become_owner()?;
    let sink = BufWriter::with_capacity(PIECE, Output::create(None)?);
    let scratch = vec![0; PIECE];
    let mut whole = Whole { input, sink, root, from: Vec::new(), open: None, left: 0, padding: 0, scratch };
    let mut lines = BufReader::new(file);
    let name = steps.display().to_string();
    while !lines.fill_buf().during_path("read", steps)?.is_empty() {
        let line = read_line(&mut lines, LINE_LIMIT, &name)?;
        whole.take(Step::parse(&line).map_err(|error| error.context(&name))?)?;
    }
    whole.finish()
}

struct Whole<R> {
    input: R,
    sink: BufWriter<Output>,
    root: PathBuf,
    /// The present file's path in the directory, and what was opened of it.
    from: Vec<u8>,
    open: Option<(File, PathBuf)>,
    /// Bytes that the present member still lacks, and what follows them.
    left: u64,
    padding: u64,
    scratch: Vec<u8>,
}

impl<R: Read> Whole<R> {
    fn take(&mut self, step: Step) -> Result<()> {
        let is_content = matches!(
            step,
            Step::From(_) | Step::Pages { .. } | Step::Fetched(_) | Step::Present { .. } | Step::Unused(_)
        );
        if !is_content && self.left > 0 {
            return Err(wrong("a file lacks a part of its content"));
        }
        match step {
            Step::Members(bytes) => self.pass(bytes),
            Step::Directory { path, mode } => {
                let mut header = Vec::new();
                TarWriter::new(&mut header).directory(&path, attributes(mode, 0))?;
                self.put(&header)
            }
            Step::File { path, size, mode, mtime } => self.begin(&path, size, attributes(mode, mtime)),
            Step::From(path) => {
                (self.from, self.open) = (path, None);
                Ok(())
            }
            Step::Pages { page_size, header } => {
                let bytes = header.encode(page_size);
                self.count(bytes.len() as u64)?;
                self.put(&bytes)?;
                self.pad()
            }
            Step::Fetched(bytes) => {
                self.count(bytes)?;
                self.pass(bytes)?;
                self.pad()
            }
            Step::Present { at, bytes } => {
                self.count(bytes)?;
                self.copy(at, bytes)?;
                self.pad()
            }
            Step::Unused(bytes) => {
                self.count(bytes)?;
                self.zeros(bytes)?;
                self.pad()
            }
            Step::End => {
                let mut end = TarWriter::new(Vec::new());
                end.begin_file(control::PATH.as_bytes(), 0, attributes(0o600, 0))?;
                let (bytes, _) = end.finish()?;
                self.put(&bytes)
            }
        }
    }

    fn begin(&mut self, path: &[u8], size: u64, attributes: Attributes) -> Result<()> {
        let mut header = Vec::new();
        TarWriter::new(&mut header).begin_file(path, size, attributes)?;
        let whole = padded(size).ok_or_else(|| wrong("a file that is too large"))?;
        (self.left, self.padding) = (size, whole - size);
        self.put(&header)
    }

    fn count(&mut self, bytes: u64) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| wrong("a file has too much content"))?;
        Ok(())
    }

    /// Once all of a file has come.
    fn pad(&mut self) -> Result<()> {
        match self.left {
            0 => {
                let padding = std::mem::take(&mut self.padding);
                self.zeros(padding)
            }
            _ => Ok(()),
        }
    }

    fn pass(&mut self, bytes: u64) -> Result<()> {
        let mut left = bytes;
        while left > 0 {
            let length = piece(left);
            let got =
                read_full(&mut self.input, &mut self.scratch[..length]).during("read the fetched parts")?;
            if got < length {
                return Err(Error::damaged("the fetched parts end too early")
                    .hint("if the command before it in the pipe failed, see its message"));
            }
            self.sink.write_all(&self.scratch[..length]).during(WRITE)?;
            left -= length as u64;
        }
        Ok(())
    }

    /// The blocks there were what they must be a moment ago.
    fn copy(&mut self, at: u64, bytes: u64) -> Result<()> {
        if self.open.is_none() {
            self.open = present::open(&self.root, &self.from)?;
        }
        let Some((file, path)) = &self.open else {
            let path = self.from.escape_ascii();
            return Err(changed(format!("{path} in {} is gone", self.root.display())));
        };
        let mut done = 0;
        while done < bytes {
            let length = piece(bytes - done);
            file.read_exact_at(&mut self.scratch[..length], at + done).map_err(|error| {
                match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => {
                        changed(format!("{} became shorter", path.display()))
                    }
                    _ => Error::io(format_args!("read {}", path.display()), error),
                }
            })?;
            self.sink.write_all(&self.scratch[..length]).during(WRITE)?;
            done += length as u64;
        }
        Ok(())
    }

    fn zeros(&mut self, bytes: u64) -> Result<()> {
        let mut left = bytes;
        while left > 0 {
            let length = piece(left);
            self.scratch[..length].fill(0);
            self.sink.write_all(&self.scratch[..length]).during(WRITE)?;
            left -= length as u64;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).during(WRITE)
    }

    /// Nothing may follow, and what brought the parts must have ended well.
    fn finish(mut self) -> Result<Status> {
        if self.left > 0 {
            return Err(wrong("a file lacks a part of its content"));
        }
        if read_full(&mut self.input, &mut [0; 1]).during("read the fetched parts")? > 0 {
            return Err(Error::damaged("more parts came than are wanted"));
        }
        let output = self.sink.into_inner().map_err(|error| Error::io(WRITE, error.into_error()))?;
        output.finish().map(|()| Status::Done)
    }
}

const WRITE: &str = "write stdout";

/// Whom it belongs to is not known, and of no use: pgv-apply goes by the root.
fn attributes(mode: u32, mtime: i64) -> Attributes {
    Attributes { mode, uid: 0, gid: 0, mtime }
}

fn piece(left: u64) -> usize {
    usize::try_from(left).map_or(PIECE, |left| left.min(PIECE))
}

fn wrong(why: &str) -> Error {
    Error::failed(format!("the steps of a stream are wrong: {why}"))
}

fn changed(why: String) -> Error {
    Error::new(Kind::Temporary, why)
        .hint("the directory changed while it was restored; give the same command again")
}
