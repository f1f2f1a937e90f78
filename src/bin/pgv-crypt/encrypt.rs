//! `--encrypt`: a stream, the output of a command, or many files are sealed.

use crate::keys::read_keys;
use crate::output::{create_output, finish, refuse_same_file};
use crate::{Args, jobs};
use pgv::catalog::layout;
use pgv::cli;
use pgv::crypt::{self, Index, Level, SealOptions};
use pgv::error::{Error, IoContext, Kind, Result, Status};
use pgv::io::{AtomicFile, Input, Producer, batch, named_file};
use std::io::{BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub fn encrypt(args: &Args) -> Result<Status> {
    let keys = read_keys(args).map_err(crypt::absent_is_usage)?;
    let passphrase = keys.passphrases().first().ok_or_else(|| Error::usage("no key"))?;
    let mut options = SealOptions {
        passphrase,
        context: args.context.as_encoded_bytes(),
        iterations: args.iter.unwrap_or_else(|| passphrase.default_iterations()),
        level: level(args),
        wal: args.wal,
        jobs: jobs(args),
        record_bytes: crypt::CHUNK_BYTES,
    };
    if !args.command.is_empty() {
        return encrypt_command(args, &options);
    }
    if let (true, Some(directory)) = (args.batch, &args.output) {
        return encrypt_batch(directory, &options);
    }
    let input = Input::open(args.file.as_deref())?;
    refuse_same_file(&input, args.output.as_deref())?;
    options.record_bytes = record_bytes(&input)?;
    let mut output = create_output(args)?;
    let sealed = create_index(args)
        .and_then(|index| seal_with_index(index, || crypt::seal(input, &mut output, &options, || Ok(()))));
    finish(output, sealed).map(|()| Status::Done)
}

/// A WAL segment is over before anything could be learnt, and level 3 has settings for it.
fn level(args: &Args) -> Level {
    match args.level {
        Level::Auto if args.wal => Level::Fixed(Level::Auto.first()),
        level => level,
    }
}

/// The command is asked for its status after its end of file and before the END record.
fn encrypt_command(args: &Args, options: &SealOptions<'_>) -> Result<Status> {
    let mut producer = Producer::spawn(&args.command)?;
    let stdout = producer.take_stdout()?;
    let mut output = match create_output(args) {
        Ok(output) => output,
        Err(error) => {
            producer.kill();
            return Err(error);
        }
    };
    let mut status = Status::Done;
    let mut running = Some(producer);
    let complete = || {
        if let Some(producer) = running.take() {
            status = producer.finish()?;
        }
        Ok(())
    };
    let sealed = create_index(args)
        .and_then(|index| seal_with_index(index, || crypt::seal(stdout, &mut output, options, complete)));
    if let Some(producer) = running.take() {
        producer.kill();
    }
    finish(output, sealed).map(|()| status)
}

/// Before the first byte is sealed: where the index can go.
fn create_index(args: &Args) -> Result<Option<AtomicFile>> {
    args.index.as_deref().map(|path| AtomicFile::create(path, 0o600)).transpose()
}

/// The index is complete before the stream is called so: a script that has the one has the other.
fn seal_with_index(index: Option<AtomicFile>, seal: impl FnOnce() -> Result<Index>) -> Result<()> {
    let sealed = seal();
    let Some(mut file) = index else { return sealed.map(drop) };
    sealed.and_then(|index| index.write(&mut BufWriter::new(&mut file)))?;
    file.publish()
}

/// What it makes is on its way to a store, and can be made again: it is complete under its name, not durable. Files
/// are sealed side by side, each on one thread.
fn encrypt_batch(directory: &Path, options: &SealOptions<'_>) -> Result<Status> {
    let spare = Mutex::new(Vec::new());
    let workspaces = || spare.lock().unwrap_or_else(PoisonError::into_inner);
    let seal_one = |line: &str| {
        let (sealed_name, context) = batch_names(line, options.context)?;
        let input = Input::open(Some(Path::new(line)))?;
        let options = SealOptions { context: &context, record_bytes: record_bytes(&input)?, ..*options };
        let path = directory.join(sealed_name);
        let mut file = AtomicFile::create(&path, 0o600)?;
        let mut workspace = workspaces().pop().unwrap_or_default();
        let sealed = crypt::seal_alone(input, &mut file, &options, &mut workspace);
        workspaces().push(workspace);
        sealed.map_err(|error| error.context(line))?;
        file.publish().map(|()| path)
    };
    let print = |path: PathBuf| cli::print(&format!("{}\n", path.display()));
    batch(BufReader::new(Input::open(None)?).lines(), options.jobs, Some(Kind::Exists), seal_one, print)?;
    Ok(Status::Done)
}

/// NAME.pgv of a path, and the context with it at its end.
fn batch_names(path: &str, context: &[u8]) -> Result<(String, Vec<u8>)> {
    let sealed_name = format!("{}{}", named_file(path)?, layout::SEALED);
    let context = [context, sealed_name.as_bytes()].concat();
    Ok((sealed_name, context))
}

fn record_bytes(input: &Input) -> Result<usize> {
    crypt::record_bytes(input.file()).during(format_args!("stat {}", input.name()))
}
