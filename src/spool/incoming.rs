//! Segments that workers fetched for a recovery: each has its name when it is whole. `at` says what recovery asked for
//! last. `NAME.lock` is there while workers are to fetch a segment. They hold the lock of `.ahead`, so that it is free when
//! the last of them is gone, however it ended; and each leaves `over` when it ends.

use crate::spool::Server;
use crate::spool::server::recovers;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a call looks whether a worker has fetched its segment.
const POLL: Duration = Duration::from_millis(5);

pub struct Incoming {
    /// `PGV_STATE_DIR/spool/in/PROCESS-STARTED`.
    directory: PathBuf,
    server: Server,
    data_directory: PathBuf,
}

impl Incoming {
    pub fn new(state: &Path, server: Server, data_directory: &Path) -> Self {
        let directory = state.join("spool/in").join(format!("{}-{}", server.process, server.started));
        Incoming { directory, server, data_directory: data_directory.to_owned() }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where workers put what they fetch before it is opened.
    pub fn sealed(&self) -> PathBuf {
        self.directory.join("sealed")
    }

    pub(super) fn sealed_segment(&self, name: &str) -> PathBuf {
        self.sealed().join(format!("{name}.pgv"))
    }

    pub(super) fn absent(&self, name: &str) -> PathBuf {
        self.sealed().join(format!("{name}.pgv.absent"))
    }

    pub(super) fn lock(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.lock"))
    }

    /// Whether a worker has ended.
    pub(super) fn is_over(&self) -> bool {
        self.directory.join("over").exists()
    }

    pub fn recovery_goes_on(&self) -> bool {
        Server::runs(self.server.process) && recovers(&self.data_directory)
    }

    /// Moves a segment to its place, if workers fetched it; one that a worker is at is waited for, `limit` at most. What
    /// fails here is fetched from the repository.
    pub fn take(&self, name: &str, place: &Path, limit: Duration) -> bool {
        if !self.directory.is_dir() {
            return false;
        }
        // Only the workers lose by it.
        let _unnoted = fs::write(self.directory.join("at"), format!("{name}\n")).is_err();
        self.wait_for_worker(name, limit);
        move_file(&self.directory.join(name), place).is_ok()
    }

    fn wait_for_worker(&self, name: &str, limit: Duration) {
        let until = Instant::now() + limit;
        while !self.directory.join(name).exists()
            && self.lock(name).exists()
            && self.is_worked_on()
            && Instant::now() < until
        {
            std::thread::sleep(POLL);
        }
    }

    fn is_worked_on(&self) -> bool {
        let Ok(lock) = File::open(self.directory.join(".ahead")) else { return false };
        !self.is_over() && flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
    }
}

/// It has its name when it is whole, on another file system too.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let mut part = to.as_os_str().to_owned();
            part.push(".pgv");
            fs::copy(from, &part)?;
            fs::rename(&part, to)?;
            fs::remove_file(from)
        }
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_fetches_is_waited_for_and_taken() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let spool = Incoming::new(at, Server { process: 1, started: 2 }, at);
        let (place, name) = (at.join("place"), "000000010000000000000002");
        assert!(!spool.take(name, &place, Duration::ZERO), "there is no spool");
        fs::create_dir_all(spool.directory()).unwrap();
        assert!(!spool.take(name, &place, Duration::from_secs(60)));
        assert_eq!(fs::read_to_string(spool.directory().join("at")).unwrap(), format!("{name}\n"));
        // Of workers that are all dead the lock is free.
        let lock = File::create(spool.directory().join(".ahead")).unwrap();
        fs::write(spool.lock(name), "").unwrap();
        assert!(!spool.take(name, &place, Duration::from_secs(60)));
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        assert!(!spool.take(name, &place, Duration::from_millis(20)), "a worker that hangs");
        // Of one that is dead the others know, and of an absent segment all do.
        fs::write(spool.directory().join("over"), "").unwrap();
        assert!(!spool.take(name, &place, Duration::from_secs(60)));
        fs::remove_file(spool.directory().join("over")).unwrap();
        fs::remove_file(spool.lock(name)).unwrap();
        assert!(!spool.take(name, &place, Duration::from_secs(60)));
        fs::write(spool.lock(name), "").unwrap();
        fs::write(spool.directory().join(name), "segment").unwrap();
        assert!(spool.take(name, &place, Duration::from_secs(60)));
        assert_eq!(fs::read_to_string(&place).unwrap(), "segment");
        assert!(!spool.directory().join(name).exists());
    }
}
