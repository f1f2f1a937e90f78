//! A bound for a whole process, whatever it waits for: PostgreSQL waits for its archive_command however long that takes.

use crate::error::{Error, Kind, Result};
use crate::io::interrupt::give_up;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Ends the process with the status of [`Kind::Temporary`] when it has passed.
pub struct Deadline {
    limit: Duration,
    until: Arc<Mutex<Instant>>,
}

impl Deadline {
    /// `what` is not done when it has passed, as in "put s3://b/k".
    pub fn begin(limit: Duration, what: &str) -> Result<Self> {
        let until = Arc::new(Mutex::new(Instant::now() + limit));
        let error = Error::new(Kind::Temporary, format!("{what}: not done within {} s", limit.as_secs()));
        let watched = Arc::clone(&until);
        let watch = move || loop {
            let left = read(&watched).saturating_duration_since(Instant::now());
            match left.is_zero() {
                true => give_up(&error),
                false => thread::sleep(left),
            }
        };
        thread::Builder::new().spawn(watch).map_err(|error| Error::io("start a thread", error))?;
        Ok(Deadline { limit, until })
    }

    /// Something was done: the time begins anew.
    pub fn renew(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.limit;
    }
}

fn read(until: &Mutex<Instant>) -> Instant {
    *until.lock().unwrap_or_else(PoisonError::into_inner)
}
