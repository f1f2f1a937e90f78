//! `pgv-merge`: the streams of a chain as one full stream.

mod merge;

use std::process::ExitCode;

fn main() -> ExitCode {
    pgv::cli::main("pgv-merge", |args| merge::run(args, None, &merge::as_it_is))
}
