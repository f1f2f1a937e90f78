//! The lines of an input, worked on several at once: what `--batch` of a tool is. One process for many short files,
//! because starting one takes as long as half of its work.

use crate::error::{Error, IoContext, Kind, Result};
use crate::io::begin_in;
use crate::report;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};

/// The last component of the path in a line. Stdin cannot be one of the files: it is where the lines come from.
pub fn named_file(line: &str) -> Result<&str> {
    let name = Path::new(line).file_name().and_then(|name| name.to_str()).filter(|name| *name != "-");
    name.ok_or_else(|| Error::usage(format!("\"{line}\" on stdin names no file")))
}

/// Calls `work` for each line on one of at most `jobs` threads, and `done` on this one with what it made, in no order. A
/// line whose work fails with the kind `passed_over` keeps no other from being worked on; any other failure ends the
/// batch, and is what is returned when the work that was begun has ended.
///
/// A thread is begun when all others are at work: where lines come more slowly than they are worked on, one will do.
pub fn batch<T: Send>(
    mut lines: impl Iterator<Item = io::Result<String>> + Send,
    jobs: usize,
    passed_over: Option<Kind>,
    work: impl Fn(&str) -> Result<T> + Sync,
    mut done: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let (sender, receiver) = sync_channel(jobs);
    let idle = AtomicUsize::new(0);
    let crew = Crew { lines: Mutex::new(&mut lines), idle: &idle, left: AtomicUsize::new(jobs), passed_over };
    let (crew, work) = (&crew, &work);
    thread::scope(|scope| {
        crew.begin_one(scope, work, sender)?;
        collect(receiver, passed_over, &mut done)
    })
}

struct Crew<'a> {
    lines: Mutex<&'a mut (dyn Iterator<Item = io::Result<String>> + Send)>,
    /// Threads that wait for a line.
    idle: &'a AtomicUsize,
    /// That may be begun yet.
    left: AtomicUsize,
    passed_over: Option<Kind>,
}

impl Crew<'_> {
    fn begin_one<'scope, T: Send + 'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        work: &'scope (impl Fn(&str) -> Result<T> + Sync),
        results: SyncSender<Result<T>>,
    ) -> Result<()> {
        let may = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, may).is_ok() {
            self.idle.fetch_add(1, Ordering::SeqCst);
            if let Err(error) = begin_in(scope, move || self.work_on_some(scope, work, &results)) {
                self.idle.fetch_sub(1, Ordering::SeqCst);
                return Err(error);
            }
        }
        Ok(())
    }

    fn work_on_some<'scope, T: Send + 'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        work: &'scope (impl Fn(&str) -> Result<T> + Sync),
        results: &SyncSender<Result<T>>,
    ) {
        loop {
            // A statement of its own: the lock is for the line, not for what is done with it.
            let next = self.lines.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(line) = next else { return };
            if self.idle.fetch_sub(1, Ordering::SeqCst) == 1 {
                // Without one more these go on.
                let _none_to_be_had = self.begin_one(scope, work, results.clone()).is_err();
            }
            let result = line.during("read stdin").and_then(|line| work(&line));
            let go_on = result.as_ref().map_or_else(|error| Some(error.kind) == self.passed_over, |_| true);
            // Before anybody learns of it, who may have waited for that with the next line.
            self.idle.fetch_add(1, Ordering::SeqCst);
            if results.send(result).is_err() || !go_on {
                return;
            }
        }
    }
}

/// Dropping the receiver stops the others. What matters more than what is passed over is told last, and decides.
fn collect<T>(
    results: Receiver<Result<T>>,
    passed_over: Option<Kind>,
    done: &mut impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let mut last = None;
    for result in results {
        match result {
            Ok(made) => done(made)?,
            Err(error) if Some(error.kind) == passed_over => {
                if let Some(earlier) = last.replace(error) {
                    report::error(&earlier);
                }
            }
            Err(error) => {
                last.iter().for_each(report::error);
                return Err(error);
            }
        }
    }
    last.map_or(Ok(()), Err)
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
            Some(Kind::Exists),
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
            let result = batch(lines(1000), 1, Some(Kind::Exists), work, |()| {
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
        assert_eq!(batch(lines(9), 1, Some(Kind::Exists), work, |()| Ok(())).unwrap_err().kind, Kind::Failed);
    }

    #[test]
    fn threads_are_as_many_as_there_is_work_for() {
        let threads = |jobs: usize, is_slow: bool| {
            let seen = Mutex::new(std::collections::HashSet::new());
            let (at_once, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            // Each line comes when the one before is done; or all are there, and none is done before as many are begun.
            let free = (Mutex::new(true), std::sync::Condvar::new());
            let lines = (0..8).map(|number| {
                if !is_slow {
                    let mut is_free = free.0.lock().unwrap();
                    while !*is_free {
                        is_free = free.1.wait(is_free).unwrap();
                    }
                    *is_free = false;
                }
                Ok(number.to_string())
            });
            let work = |_: &str| {
                seen.lock().unwrap().insert(thread::current().id());
                most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                while is_slow && most.load(Ordering::SeqCst) < jobs {
                    thread::yield_now();
                }
                at_once.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            };
            let done = |()| {
                *free.0.lock().unwrap() = true;
                free.1.notify_all();
                Ok(())
            };
            batch(lines, jobs, Some(Kind::Exists), work, done).unwrap();
            (most.into_inner(), seen.into_inner().unwrap().len())
        };
        assert_eq!(threads(5, true).0, 5);
        let (most, seen) = threads(5, false);
        assert!(most == 1 && seen <= 2, "{most} at once of {seen}");
    }
}
