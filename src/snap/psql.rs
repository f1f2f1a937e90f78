//! A session with the server through `psql`. Service files, password files, certificates, several hosts and
//! Debian's choice of a cluster are its business, so that what is backed up is what `psql` reaches in the same
//! environment, and what the scripts beside this tool ask.
//!
//! psql reads one statement and one `\echo` at a time. Fields of rows end with a zero byte, which no value can
//! hold, and the echoed line bears a mark that nobody can guess.

use crate::error::{Error, IoContext, Kind, Result};
use crate::io::{begin_thread, random};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PROGRAM: &str = "psql";
/// It knows by the SQLSTATE, which psql does not print, whether a server refuses all connections for now
/// (PQPING_REJECT, libpq).
const ASKED: &str = "pg_isready";
const OPTIONS: [&str; 7] = [
    "--no-psqlrc",
    "--no-password",
    "--quiet",
    "--tuples-only",
    "--no-align",
    "--field-separator-zero",
    "--record-separator-zero",
];
/// libpq would connect to a database with the role's name.
const DEFAULT_DATABASE: &str = "postgres";
/// Seconds for each host and address, where nothing else says so; libpq would wait for ever.
const DEFAULT_CONNECT_TIMEOUT: &str = "60";
/// For what a server answers at once, while its disks are busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(600);
/// What passes by itself, in the words of libpq and of a server that speaks English: it is starting, stopping or full, or
/// it does not answer. A server whose lc_messages is another language says it is full in that, and nothing else tells it.
const PASSING: [&str; 16] = [
    "the database system is starting up",
    "the database system is shutting down",
    "the database system is in recovery mode",
    "not yet accepting connections",
    "not accepting connections",
    "terminating connection due to administrator command",
    "terminating connection because of crash of another server process",
    "too many clients",
    "too many connections",
    "remaining connection slots",
    "Connection refused",
    "Connection reset by peer",
    "Connection timed out",
    "timeout expired",
    "closed the connection unexpectedly",
    "connection to server was lost",
];
/// The same by SQLSTATE: connection exceptions, too_many_connections, admin_shutdown, crash_shutdown and
/// cannot_connect_now: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const PASSING_STATES: [&str; 5] = ["08", "53300", "57P01", "57P02", "57P03"];
/// What is kept of psql's messages, bytes.
const MESSAGES: u64 = 64 << 10;

pub struct Psql {
    child: Child,
    statements: ChildStdin,
    answers: ChildStdout,
    messages: Option<JoinHandle<Vec<u8>>>,
    mark: String,
}

impl Psql {
    /// `conninfo`: keyword/value, URI, or a bare database name; what it lacks comes from the environment.
    pub fn connect(conninfo: Option<&OsStr>) -> Result<Self> {
        let random: [u8; 16] = random()?;
        let mut child = command(conninfo).spawn().map_err(not_started)?;
        let (statements, answers, messages) =
            match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
                (Some(statements), Some(answers), Some(messages)) => (statements, answers, messages),
                _ => return Err(Error::failed("start psql: it has no pipes")),
            };
        let messages = begin_thread(move || read_messages(messages))?;
        let mut psql = Psql {
            child,
            statements,
            answers,
            messages: Some(messages),
            mark: random.map(|byte| format!("{byte:02x}")).concat(),
        };
        // Bytes as they are: in a cluster of SQL_ASCII a name need not be of any encoding.
        psql.run("SET client_encoding = 'SQL_ASCII'").map_err(|mut error| {
            if error.kind == Kind::Failed && is_not_ready(conninfo) {
                error.kind = Kind::Temporary;
            }
            error.context("connect to the server")
        })?;
        for setting in
            ["client_min_messages = error", "search_path = pg_catalog", "application_name = 'pgv-snap'"]
        {
            psql.run(&format!("SET {setting}"))?;
        }
        Ok(psql)
    }

    pub fn run(&mut self, sql: &str) -> Result<()> {
        self.ask(sql, ANSWER_LIMIT).map(|_| ())
    }

    /// The rows of an answer with so many columns; NULL is empty.
    pub fn rows<const COLUMNS: usize>(&mut self, sql: &str) -> Result<Vec<[Vec<u8>; COLUMNS]>> {
        self.rows_within(sql, ANSWER_LIMIT)
    }

    /// Gives up after `limit`.
    pub fn rows_within<const COLUMNS: usize>(
        &mut self,
        sql: &str,
        limit: Duration,
    ) -> Result<Vec<[Vec<u8>; COLUMNS]>> {
        let answer = self.ask(sql, limit)?;
        let Some(fields) = answer.strip_suffix(b"\0") else { return Ok(Vec::new()) };
        let fields: Vec<&[u8]> = fields.split(|byte| *byte == 0).collect();
        let (rows, []) = fields.as_chunks::<COLUMNS>() else {
            return Err(Error::failed(format!("{sql}: the answer has another number of columns")));
        };
        Ok(rows.iter().map(|row| row.map(<[u8]>::to_vec)).collect())
    }

    /// What psql prints before the mark.
    fn ask(&mut self, sql: &str, limit: Duration) -> Result<Vec<u8>> {
        let mark = &self.mark;
        let text =
            format!("{sql}\n;\n\\echo {mark} :ERROR :LAST_ERROR_SQLSTATE :LAST_ERROR_MESSAGE {mark}\n");
        if self.statements.write_all(text.as_bytes()).is_err() {
            return Err(self.ended());
        }
        let (begin, end) = (format!("{mark} "), format!(" {mark}\n"));
        let mut answer = Vec::new();
        let until = Instant::now() + limit;
        while !(answer.ends_with(end.as_bytes()) && answer.len() > begin.len() + end.len()) {
            if !is_readable(&self.answers, until).during("wait for psql")? {
                return Err(Error::new(
                    Kind::Temporary,
                    format!("the server did not answer for {} seconds: {sql}", limit.as_secs()),
                ));
            }
            let mut chunk = [0; 16 << 10];
            match self.answers.read(&mut chunk) {
                Ok(0) => return Err(self.ended()),
                Ok(length) => answer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read psql's answer", error)),
            }
        }
        let found = answer.windows(begin.len()).position(|window| window == begin.as_bytes());
        let rows = found.unwrap_or(0);
        let told =
            String::from_utf8_lossy(&answer[rows + begin.len()..answer.len() - end.len()]).into_owned();
        match told.strip_prefix("true ") {
            Some(refusal) => {
                let (state, message) = refusal.split_once(' ').unwrap_or(("", refusal));
                let passes = PASSING_STATES.iter().any(|passing| state.starts_with(passing));
                Err(Error::new(kind(passes), format!("{sql}: {}", one_line(message))))
            }
            None => {
                answer.truncate(rows);
                Ok(answer)
            }
        }
    }

    /// psql is gone, and so is the session; its messages say why.
    fn ended(&mut self) -> Error {
        let status = self.child.wait();
        let messages = self.messages.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let text = one_line(String::from_utf8_lossy(&messages).replace("psql: error: ", "").trim());
        let error = match (text.is_empty(), status) {
            (false, _) => Error::new(kind(passes(&text)), text),
            (true, Ok(status)) => Error::failed(format!("psql ended: {status}")),
            (true, Err(error)) => Error::io("wait for psql", error),
        };
        explained(error)
    }
}

/// Without psql the server ends the session, and with it a backup that was begun.
impl Drop for Psql {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing left to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(conninfo: Option<&OsStr>) -> Command {
    let mut command = like_psql(PROGRAM, conninfo);
    command.args(OPTIONS);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// With the connection and the environment of psql.
fn like_psql(program: &str, conninfo: Option<&OsStr>) -> Command {
    let mut command = Command::new(program);
    if let Some(conninfo) = conninfo {
        command.arg("--dbname").arg(conninfo);
    }
    // A service file wins over these, and a connection string over both.
    for (name, value) in [("PGDATABASE", DEFAULT_DATABASE), ("PGCONNECT_TIMEOUT", DEFAULT_CONNECT_TIMEOUT)] {
        if std::env::var_os(name).is_none_or(|value| value.is_empty()) {
            command.env(name, value);
        }
    }
    command.env("PGAPPNAME", "pgv-snap").env("PGCLIENTENCODING", "SQL_ASCII");
    command.env("LC_ALL", "C").env_remove("LANGUAGE");
    command
}

/// Whether the server starts or stops, in whatever language it says so.
fn is_not_ready(conninfo: Option<&OsStr>) -> bool {
    let mut asked = like_psql(ASKED, conninfo);
    asked.arg("--quiet").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Without it, which every package of psql has, the words have to do.
    asked.status().is_ok_and(|status| status.code() == Some(1))
}

fn not_started(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::usage("psql is not in PATH")
            .hint("apt-get install postgresql-client, or add its directory to PATH"),
        _ => Error::io("start psql", error),
    }
}

/// Until the end, so that psql never waits for a reader; the first of it is kept.
fn read_messages(mut pipe: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let first = pipe.by_ref().take(MESSAGES).read_to_end(&mut kept);
    match first.and_then(|_| io::copy(&mut pipe, &mut io::sink())) {
        Ok(_) => kept,
        Err(error) => format!("psql's messages cannot be read: {error}").into_bytes(),
    }
}

fn is_readable(pipe: &ChildStdout, until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait = rustix::event::Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut polled = [rustix::event::PollFd::new(pipe, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&wait)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

fn kind(passes: bool) -> Kind {
    if passes { Kind::Temporary } else { Kind::Failed }
}

/// Whether psql's message says only what passes. It tells of each host and address that was tried; what one server
/// refuses for good it refuses the next time too.
fn passes(text: &str) -> bool {
    let told = |text: &str| PASSING.iter().any(|passing| text.contains(passing));
    let mut tries =
        text.split("connection to server at ").flat_map(|part| part.split("connection to server on "));
    told(text) && tries.all(|one| !one.contains("FATAL:") || told(one))
}

/// With what to do, where a message alone leaves people at a loss.
fn explained(error: Error) -> Error {
    let text = error.message().to_owned();
    if text.contains("Peer authentication failed") {
        return error.hint("run it as the system user that the role belongs to, such as sudo -u postgres");
    }
    if text.contains("no password supplied") {
        return error.hint("put the password into ~/.pgpass, mode 0600");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_there_for_now_is_temporary() {
        let at = "connection to server at \"db\" (10.0.0.1), port 5432 failed: ";
        let on = "connection to server on socket \"/run/.s.PGSQL.5432\" failed: ";
        for why in [
            "FATAL:  the database system is starting up",
            "FATAL:  the database system is shutting down",
            "FATAL:  sorry, too many clients already",
            "FATAL:  remaining connection slots are reserved for non-replication superuser connections",
            "Connection refused; Is the server running on that host and accepting TCP/IP connections?",
            "timeout expired",
            "server closed the connection unexpectedly; This probably means the server terminated abnormally",
        ] {
            assert!(passes(&format!("{at}{why}")) && passes(&format!("{on}{why}")), "{why}");
            assert!(!passes(&format!(
                "{at}{why}; {at}FATAL:  password authentication failed for user \"x\""
            )));
        }
        assert!(passes(
            "FATAL:  terminating connection due to administrator command; connection to server was lost"
        ));
        for why in [
            "No such file or directory",
            "FATAL:  role \"x\" does not exist",
            "fe_sendauth: no password supplied",
        ] {
            assert!(!passes(&format!("{on}{why}")), "{why}");
        }
    }
}
