//! `pgv-env`: a command with a cluster's configuration as its environment; for scripts, that environment as lines.

mod command;
mod each;
mod pgbackrest;
mod retry;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    pgv::cli::main("pgv-env", run::run)
}
