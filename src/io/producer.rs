//! `-- COMMAND…`: the output of a command, believed only after its exit status was seen.
//!
//! The end-of-file of a pipe is the same for a producer that finished and one that was killed. Whoever
//! stores a stream must therefore ask for the status before calling it complete.

use crate::error::{Error, IoContext, Kind, Result, Status};
use crate::io::interrupt::{Unfinished, end_if_interrupted, on_interrupt};
use crate::io::widen;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// Names, with blanks between, the variables that a tool took from its configuration. They are the tool's own: its command
/// has the environment that was typed, as it would have on the other side of a pipe.
pub const OWN_VARIABLES: &str = "PGV_CONFIGURED_VARIABLES";

/// A running command. Its stderr is ours, and its stdin as a rule; its stdout is read by whoever took it. A signal that ends this process
/// ends the command as well: it may be waiting for a network, and would notice only when it writes.
#[must_use]
pub struct Producer {
    name: String,
    child: Child,
    unfinished: Unfinished,
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
        let mut child = typed
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Error::io(format_args!("run {name}"), e))?;
        let pid = Pid::from_child(&child);
        let end = move || {
            let _just_ended = kill_process(pid, Signal::TERM).is_err();
        };
        match on_interrupt(end) {
            Ok(unfinished) => Ok(Producer { name, child, unfinished }),
            Err(error) => {
                let _already_gone = child.kill().is_err();
                Err(error)
            }
        }
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
        let Producer { name, mut child, unfinished } = self;
        let status = wait(&mut child, unfinished).during(format_args!("wait for {name}"))?;
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
        let Producer { mut child, unfinished, .. } = self;
        match child.kill() {
            // It is root's, and we have become somebody else: it ends when it writes, and is not waited for.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            // Already gone is what we want; the failure that made us kill it is what gets reported.
            _ => {
                let _not_reaped = wait(&mut child, unfinished).is_err();
            }
        }
    }
}

/// Reaps it only when no signal is sent to it any more: until then its number is its own.
fn wait(child: &mut Child, unfinished: Unfinished) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    let ended = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    while matches!(ended(), Err(Errno::INTR)) {}
    drop(unfinished);
    // What it says after a signal is of the signal.
    end_if_interrupted();
    child.wait()
}
