//! Undoes an upload that was begun, also when a signal ends the process.

use crate::report;
use crate::store::s3::client::{S3Store, abort};
use crate::store::url::Url;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How long a signal waits for a request that decides about the upload, and for the one that undoes it.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(10);

/// What has to be undone, shared with the thread that waits for signals.
#[derive(Default)]
pub struct Begun {
    pub id: Option<String>,
    /// Shared by itself, as parts are sent while it is not known yet whether the upload has begun.
    pub running: Running,
    /// By a signal: nothing is begun any more.
    pub closed: bool,
}

/// The tasks that send parts.
pub type Running = Arc<Mutex<Vec<AbortHandle>>>;

pub fn give_up_on_signal(store: &S3Store, url: &Url, shared: &Mutex<Begun>) {
    let deadline = Instant::now() + SIGNAL_PATIENCE;
    while Instant::now() < deadline {
        match shared.try_lock() {
            Ok(mut begun) => return give_up(store, url, &mut begun),
            Err(TryLockError::Poisoned(poisoned)) => return give_up(store, url, &mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    report::warn(format_args!("put {url}: interrupted during the last request; the object may still appear"));
}

/// Parts on their way first: one that lands after the upload was aborted would stay.
pub fn give_up(store: &S3Store, url: &Url, begun: &mut Begun) {
    begun.closed = true;
    let mut running = begun.running.lock().unwrap_or_else(PoisonError::into_inner);
    let under_way = running.drain(..).filter(|task| !task.is_finished()).map(|task| task.abort()).count();
    drop(running);
    let Some(id) = begun.id.take() else { return };
    let aborting = async {
        abort(&store.inner.connection, url, &id).await?;
        // The service may have got a part meanwhile.
        match under_way {
            0 => Ok(()),
            _ => abort(&store.inner.connection, url, &id).await,
        }
    };
    let aborted = store.block_on(async { tokio::time::timeout(SIGNAL_PATIENCE, aborting).await });
    let why = match aborted {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure.explain(format_args!("abort the upload to {url}")).to_string(),
        Err(_) => format!("abort the upload to {url}: no answer for {} s", SIGNAL_PATIENCE.as_secs()),
    };
    report::warn(why);
    report::hint("to delete its parts: pgv-s3 rm --uploads URL");
}
