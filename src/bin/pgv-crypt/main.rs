//! `pgv-crypt`: compress, encrypt and authenticate a stream, and the reverse.

mod certificates;
mod decrypt;
mod doctor;
mod encrypt;
mod generate;
mod keys;
mod name;
mod output;
mod recipient;

use pgv::cli::{self, Arguments, Common, ConfigOption, Wanted};
use pgv::crypt::Level;
use pgv::error::{Error, Result, Status};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

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
    /// Print a new key, or write it to a new file
    #[arg(long, group = "mode")]
    generate_key: bool,
    /// Print file, kind and name of each key
    #[arg(long, group = "mode", conflicts_with_all = ["file", "command", "output"])]
    key_name: bool,
    /// Print which key opens a sealed stream, from its beginning
    #[arg(long, group = "mode", conflicts_with = "output")]
    check_key: bool,
    /// Print what is right and wrong with the keys, or with opening a stream
    #[arg(long, group = "mode", conflicts_with = "output")]
    doctor: bool,
    /// Write each certificate of a PEM file to a file of its own
    #[arg(long, group = "mode", requires = "output", conflicts_with = "command")]
    certificates: bool,
    /// The name of the key that is needed
    #[arg(long, value_name = "NAME", conflicts_with_all = ["encrypt", "decrypt", "generate_key"])]
    expect_name: Vec<String>,
    /// The file that holds the key: one line, a generated key or a passphrase
    #[arg(short, long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Read the key from this descriptor
    #[arg(long, value_name = "N")]
    key_fd: Option<u32>,
    /// Take the name of the key that is needed from the record.json of a backup
    #[arg(long, value_name = "FILE", conflicts_with_all = ["encrypt", "decrypt", "generate_key"])]
    expect_record: Option<PathBuf>,
    /// Accept a key file that everyone may read [default: no]
    #[arg(long, env = "PGV_KEY_WORLD_READABLE", value_name = "yes|no", num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", value_parser = clap::builder::BoolishValueParser::new())]
    key_world_readable: Option<bool>,
    /// Bind the stream to TEXT
    #[arg(long, value_name = "TEXT", default_value = "")]
    context: OsString,
    /// The number of PBKDF2 iterations [default: 600000, 1000 for a generated key]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    iter: Option<u32>,
    /// The zstd level, 1 to 19, or auto [default: 3]
    #[arg(long, value_name = "N|auto", env = "PGV_LEVEL", default_value = "3", hide_default_value = true)]
    level: Level,
    /// Use settings for WAL: at level 3, the same size in less time
    #[arg(long, conflicts_with = "decrypt")]
    wal: bool,
    /// Seal or open each file that a line of standard input names
    #[arg(long, requires = "output", conflicts_with_all = ["generate_key", "file", "command"])]
    batch: bool,
    /// The number of threads [default: one for each core]
    #[arg(long, value_name = "N", env = "PGV_JOBS", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Write where each record lies to this file; to open, read that
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "generate_key", "key_name", "check_key", "doctor"])]
    index: Option<PathBuf>,
    /// Open only the bytes of the plaintext that this file names
    #[arg(long, value_name = "FILE", requires = "index", conflicts_with = "encrypt")]
    ranges: Option<PathBuf>,
    /// Open only so many percent of the records, chosen at random
    #[arg(long, value_name = "PERCENT", requires = "index", conflicts_with_all = ["encrypt", "ranges"],
        value_parser = clap::value_parser!(u8).range(1..=100))]
    sample: Option<u8>,
    /// Write to this file, which appears only when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Read this file [default: stdin]
    #[arg(value_name = "FILE", conflicts_with = "command")]
    file: Option<PathBuf>,
    /// Read the output of COMMAND; complete only if it exits 0 or 7
    #[arg(last = true, value_name = "COMMAND")]
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
    if args.doctor {
        return doctor::doctor(&args).map(|()| Status::Done);
    }
    let needs_key = !args.generate_key && !args.certificates;
    if needs_key && args.key_file.is_empty() && args.key_fd.is_none() {
        args.config.apply(Wanted::Key)?;
    }
    match (args.encrypt, args.decrypt, args.generate_key) {
        (true, _, _) => encrypt::encrypt(&args),
        (_, true, _) => decrypt::decrypt(&args).map(|()| Status::Done),
        (_, _, true) => generate::generate_key(&args).map(|()| Status::Done),
        _ if args.certificates => certificates::split(&args).map(|()| Status::Done),
        _ if args.key_name => name::key_names(&args).map(|()| Status::Done),
        _ if args.check_key => name::check_key(&args).map(|()| Status::Done),
        _ => Err(Error::usage("give --encrypt, --decrypt, --generate-key, --key-name or --check-key")),
    }
}

fn jobs(args: &Args) -> usize {
    cli::threads(args.jobs)
}
