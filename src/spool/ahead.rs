//! Which segments workers are to fetch for a recovery, one after the other, until it is over.

use crate::error::{IoContext, Result};
use crate::pg::wal;
use crate::spool::outgoing::file_names;
use crate::spool::server::segment_of;
use crate::spool::{Incoming, Server};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

/// A recovery that has not asked for so long is taken for ended.
const QUIET: Duration = Duration::from_secs(60);
/// How often it is looked at what recovery asked for, and what workers have done.
const POLL: Duration = Duration::from_millis(50);

pub struct Ahead<'a> {
    spool: &'a Incoming,
    segment_bytes: u64,
    /// Segments in the spool at most, those that are being fetched included.
    limit: usize,
    /// Segments that are being fetched at once.
    jobs: usize,
    /// As if the archive ended with this one.
    until: Option<&'a str>,
    next: Option<String>,
    at: String,
}

impl<'a> Ahead<'a> {
    pub fn new(
        spool: &'a Incoming,
        segment_bytes: u64,
        limit: usize,
        jobs: usize,
        until: Option<&'a str>,
    ) -> Self {
        Ahead { spool, segment_bytes, limit, jobs, until, next: None, at: String::new() }
    }

    /// Calls `fetch` for each segment when a worker is to begin with it, from the one after `name` on. A worker removes
    /// `NAME.lock` when it is done, and makes `end` where there was no such segment. Comes back when recovery is over.
    pub fn run(&mut self, name: &str, fetch: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        self.forget_others()?;
        self.forget_workers()?;
        self.go_on_after(name)?;
        let mut asked = Instant::now();
        while self.spool.recovery_goes_on() && asked.elapsed() < QUIET {
            if self.look_at_question()? {
                asked = Instant::now();
            }
            match self.wanted()? {
                Some(next) => {
                    fetch(&next)?;
                    self.next = wal::following(&next, self.segment_bytes);
                }
                None => std::thread::sleep(POLL),
            }
        }
        Ok(())
    }

    /// What servers that are gone left behind.
    fn forget_others(&self) -> Result<()> {
        let Some(above) = self.spool.directory().parent() else { return Ok(()) };
        for other in file_names(above)? {
            let process = other.split('-').next().and_then(|process| process.parse().ok());
            let path = above.join(&other);
            if path != self.spool.directory() && !process.is_some_and(Server::runs) {
                fs::remove_dir_all(&path).during_path("remove", &path)?;
            }
        }
        Ok(())
    }

    /// Locks that workers left who were killed.
    fn forget_workers(&self) -> Result<()> {
        for file in file_names(self.spool.directory())?.iter().filter(|file| file.ends_with(".lock")) {
            let path = self.spool.directory().join(file);
            let is_free = |lock: File| flock(&lock, FlockOperation::NonBlockingLockShared).is_ok();
            if File::open(&path).is_ok_and(is_free) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn go_on_after(&mut self, name: &str) -> Result<()> {
        remove(&self.spool.directory().join("end"))?;
        self.next = wal::following(name, self.segment_bytes);
        Ok(())
    }

    /// Whether recovery asked for another segment. If it was faster, or went over to another timeline, nobody asks for
    /// what lies before that.
    fn look_at_question(&mut self) -> Result<bool> {
        let text = fs::read_to_string(self.spool.directory().join("at")).unwrap_or_default();
        let asked = text.trim_end();
        if asked == self.at || !wal::is_segment_name(asked) {
            return Ok(false);
        }
        asked.clone_into(&mut self.at);
        let is_before = |next: &String| next.get(..8) == asked.get(..8) && asked < next.as_str();
        if !self.next.as_ref().is_some_and(is_before) {
            self.go_on_after(asked)?;
        }
        Ok(true)
    }

    /// The next segment, if there is room for it and a worker for it; its lock is made, so that it counts.
    fn wanted(&self) -> Result<Option<String>> {
        let directory = self.spool.directory();
        let mut fetching = BTreeMap::new();
        for file in file_names(directory)? {
            let Some(name) = segment_of(&file) else { continue };
            match self.is_passed(name) {
                true => remove(&directory.join(&file))?,
                false => *fetching.entry(name.to_owned()).or_insert(false) |= file.ends_with(".lock"),
            }
        }
        let running = fetching.values().filter(|is_running| **is_running).count();
        if running >= self.jobs || fetching.len() >= self.limit || directory.join("end").exists() {
            return Ok(None);
        }
        let mut next = self.next.clone();
        while let Some(there) = next.as_ref().filter(|next| fetching.contains_key(*next)) {
            next = wal::following(there, self.segment_bytes);
        }
        let Some(next) = next.filter(|next| !self.is_after_end(next)) else { return Ok(None) };
        let lock = directory.join(format!("{next}.lock"));
        fs::write(&lock, "").during_path("create", &lock)?;
        Ok(Some(next))
    }

    fn is_after_end(&self, name: &str) -> bool {
        self.until.is_some_and(|until| name.get(8..) > until.get(8..))
    }

    /// A worker that was killed leaves its lock, and one that was late a segment: when recovery is past them they go.
    fn is_passed(&self, name: &str) -> bool {
        !self.at.is_empty() && name < self.at.as_str()
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.during_path("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB16: u64 = 16 << 20;

    fn name(timeline: u32, number: u64) -> String {
        wal::name_of_number(timeline, number, MIB16)
    }

    #[test]
    fn the_spool_is_kept_full_and_no_fuller() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server { process: std::process::id(), started: 2 };
        let spool = Incoming::new(directory.path(), server, directory.path());
        fs::create_dir_all(spool.directory()).unwrap();
        let of = |file: &str| spool.directory().join(file);
        let last = name(1, 9);
        let mut ahead = Ahead::new(&spool, MIB16, 3, 2, Some(&last));
        ahead.go_on_after(&name(1, 1)).unwrap();
        let wanted = |ahead: &mut Ahead<'_>| {
            let next = ahead.wanted().unwrap();
            if let Some(next) = &next {
                ahead.next = wal::following(next, MIB16);
            }
            next
        };
        assert_eq!(wanted(&mut ahead), Some(name(1, 2)));
        assert_eq!(wanted(&mut ahead), Some(name(1, 3)));
        assert_eq!(wanted(&mut ahead), None, "two workers");
        let done = |number| {
            fs::write(of(&name(1, number)), "").unwrap();
            fs::remove_file(of(&format!("{}.lock", name(1, number)))).unwrap();
        };
        done(2);
        assert_eq!(wanted(&mut ahead), Some(name(1, 4)));
        done(3);
        done(4);
        assert_eq!(wanted(&mut ahead), None, "three segments");
        // Recovery is past them, and past one whose worker was killed.
        fs::write(of(&format!("{}.lock", name(1, 4))), "").unwrap();
        fs::write(of("at"), name(1, 6)).unwrap();
        assert!(ahead.look_at_question().unwrap());
        assert_eq!(wanted(&mut ahead), Some(name(1, 7)));
        assert_eq!(file_names(spool.directory()).unwrap().len(), 2);
        // There was no such segment.
        fs::write(of("end"), "").unwrap();
        assert_eq!(wanted(&mut ahead), None);
        fs::write(of("at"), name(2, 7)).unwrap();
        assert!(ahead.look_at_question().unwrap() && !ahead.look_at_question().unwrap());
        assert_eq!(wanted(&mut ahead), Some(name(2, 8)));
        assert_eq!(wanted(&mut ahead), Some(name(2, 9)));
        fs::remove_file(of(&format!("{}.lock", name(2, 8)))).unwrap();
        assert_eq!(wanted(&mut ahead), None, "the archive is to end there");
    }

    #[test]
    fn what_a_dead_server_left_goes() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server { process: std::process::id(), started: 2 };
        let spool = Incoming::new(directory.path(), server, directory.path());
        let dead = directory.path().join("spool/in/4194305-1");
        fs::create_dir_all(spool.directory()).unwrap();
        fs::create_dir_all(&dead).unwrap();
        // No recovery: it ends at once.
        Ahead::new(&spool, MIB16, 3, 2, None).run(&name(1, 1), &mut |_| Ok(())).unwrap();
        assert!(!dead.exists() && spool.directory().exists());
    }
}
