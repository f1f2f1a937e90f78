//! `--decrypt`: a sealed stream is opened, or parts of one, or many files are.

use crate::keys::read_keys;
use crate::output::{create_output, finish, refuse_same_file};
use crate::recipient::{find_key, is_recipient};
use crate::{Args, jobs};
use pgv::catalog::layout;
use pgv::cli;
use pgv::crypt::{self, Index, Keyring};
use pgv::error::{Error, IoContext, Result};
use pgv::io::{AtomicFile, Input, batch, named_file};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub fn decrypt(args: &Args) -> Result<()> {
    let mut keys = read_keys(args).map_err(crypt::absent_is_usage)?;
    if let (true, Some(directory)) = (args.batch, &args.output) {
        return decrypt_batch(args, &keys, directory);
    }
    match &args.index {
        Some(index) => decrypt_ranges(args, &keys, index),
        None => decrypt_all(args, &mut keys),
    }
}

fn decrypt_all(args: &Args, keys: &mut Keyring) -> Result<()> {
    let mut input = Input::of(&args.command, args.file.as_deref())?;
    refuse_same_file(&input, args.output.as_deref())?;
    let mut output = create_output(args)?;
    let name = input.name().to_owned();
    let context = args.context.as_encoded_bytes();
    let head = match is_recipient() {
        true => find_key(keys, &mut input, &name, context)?,
        false => Vec::new(),
    };
    let opened =
        crypt::open(Cursor::new(head).chain(input), &mut output, keys.passphrases(), context, jobs(args));
    finish(output, opened.map_err(|error| keys.explain(error, &name))).map(drop)
}

/// A command gets on its stdin which bytes of the sealed stream it is to print.
fn decrypt_ranges(args: &Args, keys: &Keyring, index: &Path) -> Result<()> {
    let index = Index::read(File::open(index).during_path("open", index)?)
        .map_err(|error| error.context(index.display()))?;
    let wanted = match (&args.ranges, args.sample) {
        (Some(ranges), _) => {
            let ranges = Input::open(Some(ranges))?;
            let name = ranges.name().to_owned();
            cli::read_ranges(BufReader::new(ranges), &name)?
        }
        (None, Some(percent)) => index.sample(percent)?,
        (None, None) => return Err(Error::usage("--index without --ranges or --sample opens nothing")),
    };
    let stored = index.object_ranges(&wanted)?;
    let (name, reader): (String, Box<dyn Read + Send>) = match args.command.is_empty() {
        false => {
            let input = Input::answering(&args.command, &cli::ranges_text(&stored))?;
            (input.name().to_owned(), Box::new(input))
        }
        true => {
            let path = args.file.as_deref().ok_or_else(|| {
                Error::usage("ranges are read from a file or a command: give FILE, or -- COMMAND")
            })?;
            let input = Input::open(Some(path))?;
            refuse_same_file(&input, args.output.as_deref())?;
            let file = input.file().try_clone().during(format_args!("open {}", input.name()))?;
            (input.name().to_owned(), Box::new(Parts { file, ranges: stored.into_iter(), left: 0..0 }))
        }
    };
    let mut output = create_output(args)?;
    let context = args.context.as_encoded_bytes();
    let opened =
        crypt::open_ranges(reader, &mut output, keys.passphrases(), context, (&index, &wanted), jobs(args));
    finish(output, opened.map_err(|error| keys.explain(error, &name))).map(drop)
}

/// Parts of a file, one after the other. It ends early where the file does.
struct Parts {
    file: File,
    ranges: std::vec::IntoIter<Range<u64>>,
    left: Range<u64>,
}

impl Read for Parts {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            let Some(next) = self.ranges.next() else { return Ok(0) };
            self.left = next;
        }
        let length =
            usize::try_from(self.left.end - self.left.start).map_or(buf.len(), |left| left.min(buf.len()));
        let read = self.file.read_at(&mut buf[..length], self.left.start)?;
        self.left.start += read as u64;
        Ok(read)
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
            .map_err(|error| keys.explain(error, line))?;
        file.publish().map(|()| path)
    };
    let print = |path: PathBuf| cli::print(&format!("{}\n", path.display()));
    batch(BufReader::new(Input::open(None)?).lines(), jobs(args), None, open_one, print)
}
