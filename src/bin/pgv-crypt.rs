//! `pgv-crypt`: compress, encrypt and authenticate a stream, and the reverse.

use pgv::cli::{self, Arguments, Common, ConfigOption, Wanted};
use pgv::crypt::{self, Passphrase, SealOptions};
use pgv::error::{Error, IoContext, Result, Status};
use pgv::io::{AtomicFile, Input, Output, Producer, batch, die_if_unread};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// Seal a stream (compress, encrypt, authenticate) or open a sealed one
#[derive(clap::Parser)]
#[command(name = "pgv-crypt", version)]
struct Args {
    /// Compress, encrypt and authenticate
    #[arg(short, long, group = "mode")]
    encrypt: bool,
    /// Authenticate, decrypt and decompress
    #[arg(short, long, group = "mode")]
    decrypt: bool,
    /// Print a new key: one line, 256 random bits
    #[arg(long, group = "mode")]
    generate_key: bool,
    /// File holding the key; repeated, the first seals and all open
    #[arg(short, long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Read the key from this open descriptor
    #[arg(long, value_name = "N")]
    key_fd: Option<u32>,
    /// Bind the stream to this text; the same is needed to open it
    #[arg(long, value_name = "TEXT", default_value = "")]
    context: OsString,
    /// PBKDF2 iterations [default: 600000, 1000 for a generated key]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    iter: Option<u32>,
    /// zstd level, 1 to 19
    #[arg(long, env = "PGV_LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
    /// The input is WAL: level 3 then takes two thirds of the time for the same size
    #[arg(long, conflicts_with = "decrypt")]
    wal: bool,
    /// Seal each file that a line of stdin names as NAME.pgv in the directory --output, with NAME.pgv added to the
    /// context; print its path
    #[arg(long, requires = "output", conflicts_with_all = ["decrypt", "generate_key", "file", "command"])]
    batch: bool,
    /// Threads that compress or decompress [default: one for each core]
    #[arg(long, value_name = "N", env = "PGV_JOBS", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Write to this file, which appears only when complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Read this file [default: stdin]
    #[arg(value_name = "FILE", conflicts_with = "command")]
    file: Option<PathBuf>,
    /// Seal the output of COMMAND, as complete only if it exits 0 or 7
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "decrypt")]
    command: Vec<OsString>,
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    common: Common,
}

impl Arguments for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

fn main() -> ExitCode {
    cli::main("pgv-crypt", run)
}

fn run(args: Args) -> Result<Status> {
    let needs_key = args.encrypt || args.decrypt;
    if needs_key && args.key_file.is_empty() && args.key_fd.is_none() {
        args.config.apply(Wanted::Key)?;
    }
    match (args.encrypt, args.decrypt, args.generate_key) {
        (true, _, _) => encrypt(&args),
        (_, true, _) => decrypt(&args).map(|()| Status::Done),
        (_, _, true) => generate_key(&args).map(|()| Status::Done),
        _ => Err(Error::usage("give --encrypt, --decrypt or --generate-key")),
    }
}

/// A key is text, made to be looked at: a terminal is as good a place for it as any. A file that is there may be the
/// only copy of another key.
fn generate_key(args: &Args) -> Result<()> {
    let line = [Passphrase::generate()?.as_bytes(), b"\n"].concat();
    if let Some(path) = args.output.as_deref().filter(|path| path.as_os_str() != "-") {
        let mut file = AtomicFile::create(path, 0o600)?;
        return match file.write_all(&line).during_path("write", path) {
            Ok(()) => file
                .commit(false)
                .map_err(|error| error.hint("without its key no backup opens: take another name")),
            Err(error) => {
                file.abandon();
                Err(error)
            }
        };
    }
    let mut output = Output::create(Some(Path::new("-")))?;
    let written = output.write_all(&line).during(format_args!("write {}", output.name()));
    finish(output, written)
}

fn encrypt(args: &Args) -> Result<Status> {
    let keys = read_keys(args)?;
    let passphrase = keys.first().ok_or_else(|| Error::usage("no key"))?;
    let mut options = SealOptions {
        passphrase,
        context: args.context.as_encoded_bytes(),
        iterations: args.iter.unwrap_or_else(|| passphrase.default_iterations()),
        level: args.level,
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
    let sealed = crypt::seal(input, &mut output, &options, || Ok(()));
    finish(output, sealed).map(|_| Status::Done)
}

fn record_bytes(input: &Input) -> Result<usize> {
    crypt::record_bytes(input.file()).during(format_args!("stat {}", input.name()))
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
        match sealed {
            Ok(_) => file.publish().map(|()| path),
            Err(error) => {
                file.abandon();
                Err(error.context(line))
            }
        }
    };
    let mut stdout = std::io::stdout().lock();
    let print = |path: PathBuf| {
        let printed = writeln!(stdout, "{}", path.display()).and_then(|()| stdout.flush());
        printed.map_err(die_if_unread).during("write stdout")
    };
    batch(BufReader::new(Input::open(None)?).lines(), options.jobs, seal_one, print)?;
    Ok(Status::Done)
}

/// NAME.pgv of a path, and the context with it at its end.
fn batch_names(path: &str, context: &[u8]) -> Result<(String, Vec<u8>)> {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| *name != "-");
    let name = name.ok_or_else(|| Error::usage(format!("\"{path}\" on stdin names no file")))?;
    let sealed_name = format!("{name}.pgv");
    let context = [context, sealed_name.as_bytes()].concat();
    Ok((sealed_name, context))
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
    let sealed = crypt::seal(stdout, &mut output, options, || {
        if let Some(producer) = running.take() {
            status = producer.finish()?;
        }
        Ok(())
    });
    if let Some(producer) = running.take() {
        producer.kill();
    }
    finish(output, sealed).map(|_| status)
}

fn decrypt(args: &Args) -> Result<()> {
    let keys = read_keys(args)?;
    let input = Input::open(args.file.as_deref())?;
    refuse_same_file(&input, args.output.as_deref())?;
    let mut output = create_output(args)?;
    let name = input.name().to_owned();
    let opened = crypt::open(input, &mut output, &keys, args.context.as_encoded_bytes(), jobs(args));
    finish(output, opened.map_err(|error| error.context(name))).map(|_| ())
}

/// The last step of every mode: complete and durable, or nothing under the final name.
fn finish<T>(output: Output, result: Result<T>) -> Result<T> {
    match result {
        Ok(value) => output.finish().map(|()| value),
        Err(error) => {
            output.abandon();
            Err(error)
        }
    }
}

/// What comes out of a sealed stream may well be text for a terminal; a sealed stream never is.
fn create_output(args: &Args) -> Result<Output> {
    match &args.output {
        None if args.decrypt => Output::create(Some(Path::new("-"))),
        output => Output::create(output.as_deref()),
    }
}

fn jobs(args: &Args) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    args.jobs.map_or_else(cores, usize::from)
}

/// Options before the environment before the terminal. Values of -k are never printed: someone will
/// give the key itself one day.
fn read_keys(args: &Args) -> Result<Vec<Passphrase>> {
    let mut keys = Vec::new();
    if let Some(descriptor) = args.key_fd {
        let path = PathBuf::from(format!("/dev/fd/{descriptor}"));
        keys.push(read_key_file(&path, &format!("the key on descriptor {descriptor}"))?);
    }
    for (index, path) in args.key_file.iter().enumerate() {
        keys.push(read_key_file(path, &format!("key file {} of --key-file", index + 1))?);
    }
    if keys.is_empty() {
        keys = keys_of_environment()?;
    }
    if keys.is_empty() {
        keys.push(ask_for_key(args.encrypt)?);
    }
    Ok(keys)
}

fn keys_of_environment() -> Result<Vec<Passphrase>> {
    let Some(list) = std::env::var_os("PGV_KEY_FILE").filter(|list| !list.is_empty()) else {
        return Ok(Vec::new());
    };
    let paths = std::env::split_paths(&list).enumerate();
    paths
        .map(|(index, path)| read_key_file(&path, &format!("key file {} of PGV_KEY_FILE", index + 1)))
        .collect()
}

fn read_key_file(path: &Path, name: &str) -> Result<Passphrase> {
    let file = File::open(path).during(format_args!("open {name}")).map_err(|error| {
        Error::usage(error.message()).hint("it is the name of a file that is needed, never the key itself")
    })?;
    Passphrase::read(file, name)
}

fn ask_for_key(twice: bool) -> Result<Passphrase> {
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map_err(|error| {
            Error::usage(format!("no key, and the terminal cannot be asked: {error}"))
                .hint("give -k FILE or set PGV_KEY_FILE; pgv-crypt --generate-key makes a key")
        })
    };
    let first = ask("passphrase: ")?;
    if twice && ask("again: ")? != first {
        return Err(Error::usage("the two passphrases differ"));
    }
    Passphrase::new(first.into_bytes(), "the passphrase")
}

fn refuse_same_file(input: &Input, output: Option<&Path>) -> Result<()> {
    let identity = |m: &std::fs::Metadata| (m.dev(), m.ino());
    let ours = input.file().metadata().during(format_args!("stat {}", input.name()))?;
    let same =
        output.and_then(|path| std::fs::metadata(path).ok()).is_some_and(|m| identity(&m) == identity(&ours));
    match same {
        true => Err(Error::usage(format!("{} is both input and output", input.name()))),
        false => Ok(()),
    }
}
