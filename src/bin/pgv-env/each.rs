//! `--each`: a command for every line of stdin, several at once, and how each ended.

use pgv::cli::lines::Lines;
use pgv::error::{Error, IoContext, Kind, Result, Status};
use pgv::io::{Input, batch};
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// How one ended.
pub struct Ended {
    line: String,
    pub status: u8,
    /// What it said, if it failed.
    said: Vec<u8>,
    /// Why it had failed the first time.
    first: Option<String>,
}

/// Prints `ended STATUS LINE` for each as it ends, and before that `why TEXT` if it failed. With `twice` what ends with an
/// accepted status is run once more, and only that counts; `again TEXT` says why, if it then succeeded. A status that is not in
/// `accepted` stops the rest: what that command said is said, and its status is ours.
pub fn run(jobs: usize, accepted: &[u8], twice: bool, command: &[OsString]) -> Result<Status> {
    if command.is_empty() {
        return Err(Error::usage("--each needs a command"));
    }
    let work = |line: &str| {
        let mut ended = run_one(line, command)?;
        if twice && accepted.contains(&ended.status) {
            let first = ended.reason();
            ended = Ended { first: Some(first), ..run_one(line, command)? };
        }
        match ended.status == 0 || accepted.contains(&ended.status) {
            true => Ok(ended),
            false => Err(refusal(&ended)),
        }
    };
    let done = batch(BufReader::new(Input::open(None)?).lines(), jobs, None, work, |ended| {
        let mut lines = Lines::new();
        match &ended.first {
            _ if ended.status != 0 => lines.add("why", ended.reason()),
            Some(first) => lines.add("again", first),
            None => &mut lines,
        };
        lines.add("ended", format_args!("{} {}", ended.status, ended.line)).print()
    });
    done.map(|()| Status::Done)
}

/// Runs `command` for one line.
pub fn run_one(line: &str, command: &[OsString]) -> Result<Ended> {
    let words: Vec<_> = command.iter().map(|word| filled(word, line)).collect();
    let (program, arguments) = words.split_first().ok_or_else(|| Error::usage("--each needs a command"))?;
    let mut process = Command::new(program);
    process.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = process.output().during(format_args!("run {}", program.display()))?;
    let signal = || output.status.signal().map_or(255, |signal| 128 + signal);
    let status = output.status.code().unwrap_or_else(signal);
    Ok(Ended {
        line: line.to_owned(),
        status: u8::try_from(status).unwrap_or(255),
        said: output.stderr,
        first: None,
    })
}

/// `{}` is the line, `{1}` what stands before its first blank, and `{2}` what stands behind that.
fn filled(word: &OsStr, line: &str) -> OsString {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (mut made, mut left) = (Vec::new(), word.as_bytes());
    // Not one after the other: a line may hold such a mark itself.
    while !left.is_empty() {
        let found = [("{}", line), ("{1}", first), ("{2}", rest)]
            .into_iter()
            .find(|(mark, _)| left.starts_with(mark.as_bytes()));
        match found {
            Some((mark, text)) => {
                made.extend_from_slice(text.as_bytes());
                left = &left[mark.len()..];
            }
            None => {
                made.push(left[0]);
                left = &left[1..];
            }
        }
    }
    OsString::from_vec(made)
}

impl Ended {
    /// Passes on what it said.
    pub fn tell(&self) {
        // A stderr that fails cannot be told of anywhere; the status tells.
        let _unreportable = std::io::stderr().lock().write_all(&self.said).is_err();
    }

    /// The first error, which is the cause of those behind it, without the name of its tool.
    pub fn reason(&self) -> String {
        let said = String::from_utf8_lossy(&self.said);
        let first = said.lines().find_map(|line| line.split_once(": error: "));
        first.map_or_else(|| format!("it ended with {}", self.status), |(_, why)| why.to_owned())
    }
}

fn refusal(ended: &Ended) -> Error {
    ended.tell();
    // What is before the first blank is a number, or the line has none.
    let of = ended.line.split_once(' ').map_or(ended.line.as_str(), |(_, rest)| rest);
    let message = format!("{of} failed, with status {}: see above", ended.status);
    Error::new(Kind::of_status(ended.status.into()), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_filled_once() {
        let filled = |word: &str, line: &str| filled(word.as_ref(), line).into_string().unwrap();
        assert_eq!(filled("a{}b{1}c{2}", "12 x {} y"), "a12 x {} yb12cx {} y");
        assert_eq!(filled("{3}{", "x"), "{3}{");
        assert_eq!(filled("{2}", "one"), "");
    }
}
