//! Servers, and pgv-s3 run against them.

use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

/// One S3 server for all tests of the process. It ends with the process.
pub struct Server {
    environment: Vec<(String, String)>,
}

/// OpenStack Swift: strict about signatures, conditions, checksums and part sizes.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("s3-server.sh"))
}

/// moto: versions, policies and checksums, but no signatures.
pub fn moto() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("moto-server.sh"))
}

/// s3rver: it ignores conditions and checksums, can give up no upload and list none.
pub fn s3rver() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("s3rver-server.sh"))
}

impl Server {
    fn start(script: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(script.trim_end_matches(".sh"));
        let _first_time = std::fs::remove_dir_all(&directory).is_err();
        let script = format!("tests/tools/{script}");
        let started = Command::new(script).arg("start").arg(&directory).output().unwrap();
        let errors = String::from_utf8_lossy(&started.stderr);
        assert!(started.status.success(), "these tests need a server: make test-tools\n{errors}");
        let assignments = String::from_utf8(started.stdout).unwrap();
        let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Server { environment: assignments.lines().filter_map(pair).collect() }
    }

    pub fn value(&self, name: &str) -> &str {
        &self.environment.iter().find(|(found, _)| found == name).unwrap().1
    }

    /// A URL below a prefix of the test's own.
    pub fn url(&self, test: &str, name: &str) -> String {
        format!("s3://{}/{test}/{name}", self.value("PGV_TEST_BUCKET"))
    }

    /// HOST:PORT
    pub fn address(&self) -> &str {
        self.value("PGV_S3_ENDPOINT_URL").trim_start_matches("http://")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare_command(arguments);
        command.envs(self.environment.iter().cloned()).env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        run(&mut self.command(arguments), input)
    }

    pub fn done(&self, arguments: &[&str], input: &[u8]) -> Output {
        let output = self.run(arguments, input);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", errors(&output));
        output
    }

    /// What is left of uploads below `directory`.
    pub fn leftovers(&self, directory: &str) -> Vec<String> {
        lines(&self.done(&["rm", "--uploads", "--dry-run", directory], b""))
    }
}

/// pgv-s3 with nothing of the caller's environment that could steer it, and no signal ignored: tests run in the
/// background, too.
pub fn bare_command(arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM", env!("CARGO_BIN_EXE_pgv-s3")]);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("AWS_") || name.starts_with("PGV_") || name.to_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// On the usual server.
pub fn command(arguments: &[&str]) -> Command {
    server().command(arguments)
}

pub fn run(command: &mut Command, input: &[u8]) -> Output {
    finish(command.spawn().unwrap(), input)
}

pub fn finish(mut child: Child, input: &[u8]) -> Output {
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A refusal does not read its input.
        scope.spawn(move || stdin.write_all(input).is_err());
        child.wait_with_output().unwrap()
    })
}

/// Kills it when it takes longer than that.
pub fn run_within(longest: Duration, command: &mut Command, input: &[u8]) -> Output {
    let child = command.spawn().unwrap();
    let process = pid(child.id());
    let (ended, end) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if end.recv_timeout(longest) == Err(mpsc::RecvTimeoutError::Timeout) {
                kill_process(process, Signal::KILL).unwrap();
            }
        });
        let output = finish(child, input);
        drop(ended);
        output
    })
}

pub fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

pub fn s3(arguments: &[&str], input: &[u8]) -> Output {
    server().run(arguments, input)
}

pub fn done(arguments: &[&str], input: &[u8]) -> Output {
    server().done(arguments, input)
}

pub fn leftovers(directory: &str) -> Vec<String> {
    server().leftovers(directory)
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by {:?}", output.status))
}

pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Bytes that no compression and no repetition helps with.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = length as u64 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

/// The most memory that the process has had so far, in MiB.
pub fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}
