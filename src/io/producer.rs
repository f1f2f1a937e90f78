//! `-- COMMAND…`: the output of a command, believed only after its exit status was seen.
//!
//! The end-of-file of a pipe is the same for a producer that finished and one that was killed. Whoever
//! stores a stream must therefore ask for the status before calling it complete.

use crate::error::{Error, IoContext, Kind, Result, Status};
use crate::io::widen;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Names, with blanks between, the variables that a tool took from its configuration. They are the tool's own: its command
/// has the environment that was typed, as it would have on the other side of a pipe.
pub const OWN_VARIABLES: &str = "PGV_CONFIGURED_VARIABLES";

/// A running command. Its stderr is ours, and its stdin as a rule; its stdout is read by whoever took it.
#[must_use]
pub struct Producer {
    name: String,
    child: Child,
}

impl Producer {
    /// `command`: the program and its arguments, not empty.
    pub fn spawn(command: &[OsString]) -> Result<Self> {
        Self::spawn_reading(command, Stdio::inherit())
    }

    /// The same, with another stdin.
    pub fn spawn_reading(command: &[OsString], stdin: Stdio) -> Result<Self> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| Error::usage("no command after --"))?;
        let name = program.to_string_lossy().into_owned();
        let own = std::env::var(OWN_VARIABLES).unwrap_or_default();
        let mut typed = Command::new(program);
        for variable in own.split_whitespace().chain([OWN_VARIABLES]) {
            typed.env_remove(variable);
        }
        let child = typed
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Error::io(format_args!("run {name}"), e))?;
        Ok(Producer { name, child })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The command's output, to be read to its end.
    pub fn take_stdout(&mut self) -> Result<ChildStdout> {
        let name = &self.name;
        let stdout = self
            .child
            .stdout
            .take()
            .ok_or_else(|| Error::failed(format!("run {name}: its stdout was taken before")))?;
        widen(&stdout);
        Ok(stdout)
    }

    /// To be called after end of file: 0 and 7 mean that the output is complete.
    pub fn finish(self) -> Result<Status> {
        let Producer { name, mut child } = self;
        let status = child.wait().during(format_args!("wait for {name}"))?;
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(Status::Done),
            (Some(7), _) => Ok(Status::Findings),
            (Some(code), _) => Err(Error::new(
                Kind::of_status(code),
                format!("{name} exited with {code}, its output is not complete"),
            )),
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                Err(Error::failed(format!(
                    "{name} was killed by signal {signal}, its output is not complete"
                )))
            }
        }
    }

    /// Stops the command because its output is of no use any more, and reaps it.
    pub fn kill(self) {
        let Producer { mut child, .. } = self;
        // Already gone is what we want; the failure that made us kill it is what gets reported.
        let _already_gone = child.kill().is_err();
        let _not_reaped = child.wait().is_err();
    }
}
