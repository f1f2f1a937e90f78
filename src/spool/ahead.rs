//! Which segments workers are to fetch for a recovery, one after the other, until it is over.
//!
//! A worker puts a sealed segment into `sealed`, as NAME.pgv, or NAME.pgv.absent where there is none, and then the opened
//! one beside it. What it is done with is cleared away here. `over` says that a worker has ended: so do the others.

use crate::error::{IoContext, Result};
use crate::io::TEMPORARY_PREFIX;
use crate::pg::wal;
use crate::spool::outgoing::file_names;
use crate::spool::server::segment_of;
use crate::spool::{Incoming, Server};
use std::collections::BTreeMap;
use std::fs;
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
    /// Segments that are on their way at once.
    most: usize,
    /// As if the archive ended with this one.
    until: Option<&'a str>,
    next: Option<String>,
    at: String,
    /// There was no such segment.
    ended: bool,
}

impl<'a> Ahead<'a> {
    pub fn new(
        spool: &'a Incoming,
        segment_bytes: u64,
        limit: usize,
        jobs: usize,
        until: Option<&'a str>,
    ) -> Self {
        // While some are fetched, as many are opened, or wait for that.
        let most = jobs.saturating_mul(2);
        Ahead { spool, segment_bytes, limit, most, until, next: None, at: String::new(), ended: false }
    }

    /// Calls `fetch` for each segment when workers are to begin with it, from the one after `name` on. Comes back when
    /// recovery is over, or asks for another timeline, or a worker has ended.
    pub fn run(&mut self, name: &str, fetch: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        self.forget_others()?;
        self.forget_workers()?;
        self.go_on_after(name);
        let mut asked = Instant::now();
        while self.spool.recovery_goes_on() && asked.elapsed() < QUIET && !self.spool.is_over() {
            if self.look_at_question() {
                asked = Instant::now();
            }
            if !self.at.is_empty() && self.at.get(..8) != name.get(..8) {
                return Ok(());
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

    /// What workers left who were killed.
    fn forget_workers(&self) -> Result<()> {
        let unfinished = |file: &&String| file.ends_with(".lock") || file.starts_with(TEMPORARY_PREFIX);
        for file in file_names(self.spool.directory())?.iter().filter(unfinished) {
            remove(&self.spool.directory().join(file))?;
        }
        for file in file_names(&self.spool.sealed())? {
            remove(&self.spool.sealed().join(file))?;
        }
        Ok(())
    }

    fn go_on_after(&mut self, name: &str) {
        self.ended = false;
        self.next = wal::following(name, self.segment_bytes);
    }

    /// Whether recovery asked for another segment. If it was faster, or went over to another timeline, nobody asks for
    /// what lies before that.
    fn look_at_question(&mut self) -> bool {
        let text = fs::read_to_string(self.spool.directory().join("at")).unwrap_or_default();
        let asked = text.trim_end();
        if asked == self.at || !wal::is_segment_name(asked) {
            return false;
        }
        asked.clone_into(&mut self.at);
        let is_before = |next: &String| next.get(..8) == asked.get(..8) && asked < next.as_str();
        if !self.next.as_ref().is_some_and(is_before) {
            self.go_on_after(asked);
        }
        true
    }

    /// The next segment, if there is room for it and a worker for it; its lock is made, so that it counts.
    fn wanted(&mut self) -> Result<Option<String>> {
        let directory = self.spool.directory();
        // Whether each is here.
        let mut known: BTreeMap<String, bool> = BTreeMap::new();
        for file in file_names(directory)? {
            if let Some(name) = segment_of(&file) {
                *known.entry(name.to_owned()).or_insert(false) |= file == name;
            }
        }
        for (name, is_here) in &known {
            if self.is_passed(name) {
                remove(&directory.join(name))?;
            }
            let absent = self.spool.absent(name);
            let is_absent = !is_here && absent.exists();
            self.ended |= is_absent;
            if *is_here || is_absent || self.is_passed(name) {
                remove(&self.spool.lock(name))?;
                remove(&self.spool.sealed_segment(name))?;
                remove(&absent)?;
            }
        }
        known.retain(|name, is_here| !self.is_passed(name) && (*is_here || self.spool.lock(name).exists()));
        let running = known.values().filter(|is_here| !**is_here).count();
        if running >= self.most || known.len() >= self.limit || self.ended {
            return Ok(None);
        }
        let mut next = self.next.clone();
        while let Some(there) = next.as_ref().filter(|next| known.contains_key(*next)) {
            next = wal::following(there, self.segment_bytes);
        }
        let Some(next) = next.filter(|next| !self.is_after_end(next)) else { return Ok(None) };
        let lock = self.spool.lock(&next);
        fs::write(&lock, "").during_path("create", &lock)?;
        Ok(Some(next))
    }

    fn is_after_end(&self, name: &str) -> bool {
        self.until.is_some_and(|until| name.get(8..) > until.get(8..))
    }

    /// One that was late leaves a segment: when recovery is past it, it goes.
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
        fs::create_dir_all(spool.sealed()).unwrap();
        let of = |file: &str| spool.directory().join(file);
        let last = name(1, 9);
        let mut ahead = Ahead::new(&spool, MIB16, 3, 1, Some(&last));
        ahead.go_on_after(&name(1, 1));
        let wanted = |ahead: &mut Ahead<'_>| {
            let next = ahead.wanted().unwrap();
            if let Some(next) = &next {
                ahead.next = wal::following(next, MIB16);
            }
            next
        };
        assert_eq!(wanted(&mut ahead), Some(name(1, 2)));
        assert_eq!(wanted(&mut ahead), Some(name(1, 3)));
        assert_eq!(wanted(&mut ahead), None, "one is fetched, one is opened");
        let done = |number| {
            fs::write(spool.sealed_segment(&name(1, number)), "").unwrap();
            fs::write(of(&name(1, number)), "").unwrap();
        };
        done(2);
        assert_eq!(wanted(&mut ahead), Some(name(1, 4)));
        done(3);
        done(4);
        assert_eq!(wanted(&mut ahead), None, "three segments");
        assert!(file_names(&spool.sealed()).unwrap().is_empty() && !spool.lock(&name(1, 4)).exists());
        // Recovery is past them, and past one that a worker is at.
        fs::write(spool.lock(&name(1, 4)), "").unwrap();
        fs::write(of("at"), name(1, 5)).unwrap();
        assert!(ahead.look_at_question() && !ahead.look_at_question());
        assert_eq!(wanted(&mut ahead), Some(name(1, 6)));
        assert_eq!(file_names(spool.directory()).unwrap().len(), 3, "at, sealed and a lock");
        // There was no such segment.
        fs::write(spool.absent(&name(1, 6)), "").unwrap();
        assert_eq!(wanted(&mut ahead), None);
        assert!(!spool.lock(&name(1, 6)).exists() && !spool.absent(&name(1, 6)).exists());
        fs::write(of("at"), name(1, 7)).unwrap();
        assert!(ahead.look_at_question());
        assert_eq!(wanted(&mut ahead), Some(name(1, 8)));
        assert_eq!(wanted(&mut ahead), Some(name(1, 9)));
        done(8);
        assert_eq!(wanted(&mut ahead), None, "the archive is to end there");
    }

    #[test]
    fn what_killed_workers_left_goes_and_what_they_finished_stays() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server { process: std::process::id(), started: 2 };
        let spool = Incoming::new(directory.path(), server, directory.path());
        fs::create_dir_all(spool.sealed()).unwrap();
        let whole = spool.directory().join(name(1, 2));
        let half = spool.directory().join(format!("{TEMPORARY_PREFIX}0123456789abcdef"));
        for file in [&whole, &half, &spool.lock(&name(1, 3)), &spool.sealed_segment(&name(1, 3))] {
            fs::write(file, "").unwrap();
        }
        Ahead::new(&spool, MIB16, 3, 2, None).run(&name(1, 1), &mut |_| Ok(())).unwrap();
        assert_eq!(
            file_names(spool.directory()).unwrap().len(),
            2,
            "the segment and the directory of sealed ones"
        );
        assert!(whole.exists() && file_names(&spool.sealed()).unwrap().is_empty());
    }

    #[test]
    fn what_a_dead_server_left_goes() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server { process: std::process::id(), started: 2 };
        let spool = Incoming::new(directory.path(), server, directory.path());
        let dead = directory.path().join("spool/in/4194305-1");
        fs::create_dir_all(spool.sealed()).unwrap();
        fs::create_dir_all(&dead).unwrap();
        // No recovery: it ends at once.
        Ahead::new(&spool, MIB16, 3, 2, None).run(&name(1, 1), &mut |_| Ok(())).unwrap();
        assert!(!dead.exists() && spool.directory().exists());
    }
}
