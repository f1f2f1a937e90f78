//! The command that `pgv-env` runs.

use pgv::cli::config::{self, Config};
use pgv::error::{Error, Result, Status};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub fn process(command: &[OsString]) -> Result<Command> {
    let (program, arguments) = command.split_first().ok_or_else(|| Error::usage("a command is needed"))?;
    let mut process = Command::new(program);
    process.args(arguments);
    Ok(process)
}

pub fn not_run(command: &[OsString], error: std::io::Error) -> Error {
    let program = command.first().map(|program| program.display().to_string()).unwrap_or_default();
    Error::usage(Error::io(format_args!("run {program}"), error).message())
}

/// For one side of a copy: no secret goes through an argument list.
pub fn at_service(config: &Config, command: &[OsString]) -> Result<Status> {
    let mut process = process(command)?;
    for name in config::service_only(config) {
        process.env_remove(name);
    }
    process.envs(config::service_of(config).into_iter().map(|set| (&set.key, &set.value)));
    // The tools then look for no other configuration.
    process.envs(config.get("PGV_REPO").map(|repository| ("PGV_REPO", repository)));
    Err(not_run(command, process.exec()))
}
