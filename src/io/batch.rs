//! The lines of an input, worked on several at once: what `--batch` of a tool is. One process for many short files,
//! because starting one takes as long as half of its work.

use crate::error::{Error, IoContext, Kind, Result};
use crate::report;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

type Lines<'a> = Mutex<&'a mut (dyn Iterator<Item = io::Result<String>> + Send)>;

/// The last component of the path in a line. Stdin cannot be one of the files: it is where the lines come from.
pub fn named_file(line: &str) -> Result<&str> {
    let name = Path::new(line).file_name().and_then(|name| name.to_str()).filter(|name| *name != "-");
    name.ok_or_else(|| Error::usage(format!("\"{line}\" on stdin names no file")))
}

/// Calls `work` for each line on one of `jobs` threads, and `done` on this one with what it made, in no order. A
/// line whose work says Exists keeps no other from being worked on; any other failure ends the batch, and is what is
/// returned when the work that was begun has ended.
pub fn batch<T: Send>(
    mut lines: impl Iterator<Item = io::Result<String>> + Send,
    jobs: usize,
    work: impl Fn(&str) -> Result<T> + Sync,
    mut done: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let lines: &Lines<'_> = &Mutex::new(&mut lines);
    let (sender, receiver) = sync_channel(jobs);
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, work) = (sender.clone(), &work);
            scope.spawn(move || work_on_some(lines, work, &sender));
        }
        drop(sender);
        collect(receiver, &mut done)
    })
}

fn work_on_some<T>(
    lines: &Lines<'_>,
    work: &(impl Fn(&str) -> Result<T> + Sync),
    results: &SyncSender<Result<T>>,
) {
    loop {
        // A statement of its own: the lock is for the line, not for what is done with it.
        let next = lines.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(line) = next else { return };
        let result = line.during("read stdin").and_then(|line| work(&line));
        let go_on = result.as_ref().map_or_else(|error| error.kind == Kind::Exists, |_| true);
        if results.send(result).is_err() || !go_on {
            return;
        }
    }
}

/// Dropping the receiver stops the others. What matters more than an object that exists is told last, and decides.
fn collect<T>(results: Receiver<Result<T>>, done: &mut impl FnMut(T) -> Result<()>) -> Result<()> {
    let mut exists = None;
    for result in results {
        match result {
            Ok(made) => done(made)?,
            Err(error) if error.kind == Kind::Exists => {
                if let Some(earlier) = exists.replace(error) {
                    report::error(&earlier);
                }
            }
            Err(error) => {
                exists.iter().for_each(report::error);
                return Err(error);
            }
        }
    }
    exists.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> impl Iterator<Item = io::Result<String>> + Send {
        (0..count).map(|number| Ok(number.to_string()))
    }

    #[test]
    fn every_line_is_worked_on_once() {
        let mut seen = Vec::new();
        batch(
            lines(100),
            7,
            |line| Ok(line.parse::<usize>().unwrap()),
            |n| {
                seen.push(n);
                Ok(())
            },
        )
        .unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_exists_ends_nothing_and_any_other_failure_does() {
        let run = |kind| {
            let mut done = 0;
            let work = |line: &str| match line {
                "1" => Err(Error::new(kind, "line 1")),
                _ => Ok(()),
            };
            let result = batch(lines(1000), 1, work, |()| {
                done += 1;
                Ok(())
            });
            (result.unwrap_err().kind, done)
        };
        assert_eq!(run(Kind::Exists), (Kind::Exists, 999));
        assert_eq!(run(Kind::Temporary), (Kind::Temporary, 1));
    }

    #[test]
    fn a_failure_behind_one_that_exists_is_not_hidden() {
        let work = |line: &str| match line {
            "1" => Err(Error::new(Kind::Exists, "line 1")),
            "2" => Err(Error::failed("line 2")),
            _ => Ok(()),
        };
        assert_eq!(batch(lines(9), 1, work, |()| Ok(())).unwrap_err().kind, Kind::Failed);
    }
}
