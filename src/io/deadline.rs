//! A bound for a whole process, whatever it waits for: PostgreSQL waits for its archive_command however long that takes.

use crate::error::{Error, Kind, Result};
use crate::io::begin_thread;
use crate::io::interrupt::give_up;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Ends the process with the status of [`Kind::Temporary`] when it has passed.
pub struct Deadline {
    limit: Duration,
    watched: Arc<Watched>,
}

#[derive(Default)]
struct Watched {
    ends: Mutex<Ends>,
    changed: Condvar,
}

#[derive(Default)]
struct Ends {
    process: Option<Instant>,
    tasks: BTreeMap<u64, Instant>,
    next: u64,
}

impl Deadline {
    /// `what` is not done when it has passed, as in "put s3://b/k".
    pub fn begin(limit: Duration, what: &str) -> Result<Self> {
        let deadline = Deadline::of_tasks(limit, what)?;
        deadline.renew();
        Ok(deadline)
    }

    /// Of a process that may wait for work as long as it likes: each task has so much time, and nothing else has.
    pub fn of_tasks(limit: Duration, what: &str) -> Result<Self> {
        let watched = Arc::<Watched>::default();
        let error = Error::new(Kind::Temporary, format!("{what}: not done within {} s", limit.as_secs()));
        let watching = Arc::clone(&watched);
        let watch = move || watching.wait_for_end(|| give_up(&error));
        begin_thread(watch)?;
        Ok(Deadline { limit, watched })
    }

    /// Something was done: the time begins anew.
    pub fn renew(&self) {
        self.watched.lock().process = Some(Instant::now() + self.limit);
        self.watched.changed.notify_all();
    }

    /// Begins a task, which ends when this is dropped.
    pub fn task(&self) -> Task<'_> {
        let mut ends = self.watched.lock();
        let number = ends.next;
        ends.next += 1;
        ends.tasks.insert(number, Instant::now() + self.limit);
        drop(ends);
        self.watched.changed.notify_all();
        Task { watched: &self.watched, number }
    }
}

/// Something that has a deadline of its own.
#[must_use]
pub struct Task<'a> {
    watched: &'a Watched,
    number: u64,
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.watched.lock().tasks.remove(&self.number);
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_end(&self, end: impl Fn()) {
        let mut ends = self.lock();
        loop {
            let first = ends.tasks.values().copied().chain(ends.process).min();
            let Some(first) = first else {
                ends = self.changed.wait(ends).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = first.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(ends);
                end();
                return;
            }
            ends = self.changed.wait_timeout(ends, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_task_that_lasts_has_an_end() {
        let watched = Arc::<Watched>::default();
        let deadline = Deadline { limit: Duration::from_millis(30), watched: Arc::clone(&watched) };
        drop(deadline.task());
        assert!(watched.lock().tasks.is_empty() && watched.lock().process.is_none());
        let _lasting = deadline.task();
        let (end, ended) = std::sync::mpsc::channel();
        let watching = Arc::clone(&watched);
        std::thread::spawn(move || watching.wait_for_end(|| end.send(()).unwrap()));
        ended.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
