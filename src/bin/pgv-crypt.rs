//! `pgv-crypt`: compress, encrypt and authenticate a stream, and the reverse.

use pgv::catalog::Record;
use pgv::cli::lines::Lines;
use pgv::cli::{self, Arguments, Common, ConfigOption, Wanted};
use pgv::crypt::{self, Key, Keyring, Passphrase, SealOptions};
use pgv::error::{Error, IoContext, Kind, Result, Status};
use pgv::io::{AtomicFile, Input, Output, Producer, batch, die_if_unread};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// Bytes of a record that are looked at for a key's name; a record has some thousands.
const MAX_RECORD_BYTES: u64 = 16 << 20;

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
    /// Print file, kind and name of each key
    #[arg(long, group = "mode", conflicts_with_all = ["file", "command", "output"])]
    key_name: bool,
    /// Print which key opens a sealed stream; read only its beginning
    #[arg(long, group = "mode", conflicts_with_all = ["command", "output"])]
    check_key: bool,
    /// Name of the key that is needed; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with_all = ["encrypt", "decrypt", "generate_key"])]
    expect_name: Vec<String>,
    /// File holding the key; repeated, the first seals and all open
    #[arg(short, long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Read the key from this open descriptor
    #[arg(long, value_name = "N")]
    key_fd: Option<u32>,
    /// Take the needed key's name from a backup's record.json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["encrypt", "decrypt", "generate_key"])]
    expect_record: Option<PathBuf>,
    /// Accept a key file that everybody may read [default: no]
    #[arg(long, env = "PGV_KEY_WORLD_READABLE", value_name = "yes|no", num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", value_parser = clap::builder::BoolishValueParser::new())]
    key_world_readable: Option<bool>,
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
    let needs_key = !args.generate_key;
    if needs_key && args.key_file.is_empty() && args.key_fd.is_none() {
        args.config.apply(Wanted::Key)?;
    }
    match (args.encrypt, args.decrypt, args.generate_key) {
        (true, _, _) => encrypt(&args),
        (_, true, _) => decrypt(&args).map(|()| Status::Done),
        (_, _, true) => generate_key(&args).map(|()| Status::Done),
        _ if args.key_name => key_names(&args).map(|()| Status::Done),
        _ if args.check_key => check_key(&args).map(|()| Status::Done),
        _ => Err(Error::usage("give --encrypt, --decrypt, --generate-key, --key-name or --check-key")),
    }
}

fn key_names(args: &Args) -> Result<()> {
    let keys = read_keys(args)?;
    keys.require_name(&needed_names(args)?)?;
    print_keys(keys.keys())
}

/// What opens is the right key, whatever a record says that is needed; its names are for the refusal.
fn check_key(args: &Args) -> Result<()> {
    let keys = read_keys(args).map_err(absent_is_usage)?;
    let input = Input::open(args.file.as_deref())?;
    let name = input.name().to_owned();
    let context = args.context.as_encoded_bytes();
    print_keys(std::slice::from_ref(keys.opening(input, &name, &needed_names(args)?, context)?))
}

/// What is no name of a generated key is left out. A record that cannot be understood names none: what it says of the
/// key decides nothing.
fn needed_names(args: &Args) -> Result<Vec<String>> {
    let mut names = args.expect_name.clone();
    if let Some(path) = &args.expect_record {
        let mut json = Vec::new();
        Input::open(Some(path))?.take(MAX_RECORD_BYTES).read_to_end(&mut json).during_path("read", path)?;
        names.extend(Record::parse(&json).ok().and_then(|record| record.key_name));
    }
    names.retain(|name| crypt::is_generated_name(name));
    Ok(names)
}

/// For scripts: the file first; a passphrase has no name.
fn print_keys(keys: &[Key]) -> Result<()> {
    let mut lines = Lines::new();
    for key in keys {
        let name = key.passphrase().name();
        lines.add("key_file", key.source());
        lines.add("key_kind", if name.is_some() { "generated" } else { "passphrase" });
        lines.add_some("key_name", name);
    }
    lines.print()
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
    let keys = read_keys(args).map_err(absent_is_usage)?;
    let passphrase = keys.passphrases().first().ok_or_else(|| Error::usage("no key"))?;
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
    let keys = read_keys(args).map_err(absent_is_usage)?;
    let input = Input::open(args.file.as_deref())?;
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

/// Options before the environment before the terminal.
fn read_keys(args: &Args) -> Result<Keyring> {
    let world_readable = args.key_world_readable.unwrap_or(false);
    let mut keys = Vec::new();
    if let Some(descriptor) = args.key_fd {
        let source = format!("the key on descriptor {descriptor}");
        let file = File::open(format!("/dev/fd/{descriptor}")).during(format_args!("open {source}"));
        let file = file.map_err(|error| Error::usage(error.message()))?;
        keys.push(Key::read_open(file, &source, world_readable)?);
    }
    for (index, path) in args.key_file.iter().enumerate() {
        keys.push(Key::read(path, &format!("key file {} of --key-file", index + 1), world_readable)?);
    }
    if keys.is_empty() {
        keys = keys_of_environment(world_readable)?;
    }
    if keys.is_empty() {
        keys.push(ask_for_key(args.encrypt)?);
    }
    Ok(Keyring::new(keys))
}

fn keys_of_environment(world_readable: bool) -> Result<Vec<Key>> {
    let Some(list) = std::env::var_os("PGV_KEY_FILE").filter(|list| !list.is_empty()) else {
        return Ok(Vec::new());
    };
    let paths = std::env::split_paths(&list).enumerate();
    paths
        .map(|(index, path)| {
            Key::read(&path, &format!("key file {} of PGV_KEY_FILE", index + 1), world_readable)
        })
        .collect()
}

/// Only for whoever asks about a key is its absence an answer; a stream that cannot be opened for want of a key is
/// there all the same.
fn absent_is_usage(mut error: Error) -> Error {
    if error.kind == Kind::NotFound {
        error.kind = Kind::Usage;
    }
    error
}

fn ask_for_key(twice: bool) -> Result<Key> {
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map_err(|error| {
            Error::usage(format!("no key, and the terminal cannot be asked: {error}"))
                .hint("give --key-file FILE, or set PGV_KEY_FILE")
        })
    };
    let first = ask("passphrase: ")?;
    if twice && ask("again: ")? != first {
        return Err(Error::usage("the two passphrases differ"));
    }
    Ok(Key::new("the passphrase", Passphrase::new(first.into_bytes(), "the passphrase")?))
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
