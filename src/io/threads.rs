//! Threads that may not be had: the system or a limit (ulimit -u) refuses them, which is an error and no fault of pgv.

use crate::error::{Error, Result};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// Runs `work` on a thread of its own.
pub fn begin_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    Builder::new().spawn(work).map_err(|error| Error::io("start a thread", error))
}

/// The same within `scope`, which waits for it. What `work` has is dropped if it has no thread.
pub fn begin_in<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).map_err(|error| Error::io("start a thread", error))
}

/// Begins as many workers as can be had, at most `count` and at least one.
pub fn begin_workers<'scope>(
    scope: &'scope Scope<'scope, '_>,
    count: usize,
    work: impl Fn() + Clone + Send + 'scope,
) -> Result<()> {
    for number in 0..count {
        match begin_in(scope, work.clone()) {
            Err(error) if number == 0 => return Err(error),
            // They do the work of those that are missing.
            Err(_) => break,
            Ok(_) => {}
        }
    }
    Ok(())
}
