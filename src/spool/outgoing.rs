//! Segments that are stored ahead of PostgreSQL, which asks for one after the other.
//!
//! A mark, `NAME.ok`, says that a segment is durable in the repository. It holds for one run of the server and one
//! repository, and for a segment that was not written to since its batch began. `batch` names the segments that workers
//! are at; the workers hold its lock, so that it is free when the last of them is gone, however it ended.

use crate::error::{Error, IoContext, Result};
use crate::pg::control::Control;
use crate::pg::segment::{self, Expected};
use crate::pg::wal;
use crate::spool::Server;
use crate::spool::server::segment_of;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Segments of a batch at most: a shorter one is done, and marked, before PostgreSQL asks.
const LONGEST_BATCH: usize = 1024;
/// How often a call looks whether a worker has stored its segment.
const POLL: Duration = Duration::from_millis(10);

pub struct Outgoing<'a> {
    /// `PGV_STATE_DIR/spool/out`.
    directory: PathBuf,
    /// What a mark says.
    voucher: String,
    /// `pg_wal`.
    wal: &'a Path,
}

impl<'a> Outgoing<'a> {
    /// `tree`: the URL of the cluster in the repository.
    pub fn new(state: &Path, server: &Server, tree: &str, wal: &'a Path) -> Self {
        Outgoing {
            directory: state.join("spool/out"),
            voucher: format!("{} {} {tree}", server.process, server.started),
            wal,
        }
    }

    /// What cannot be read is no mark: the segment is pushed again, and compared.
    pub fn is_marked(&self, name: &str) -> bool {
        let mark = self.mark_of(name);
        let is_newer = match (modified(&mark), modified(&self.wal.join(name))) {
            (Some(marked), Some(written)) => marked > written,
            _ => false,
        };
        is_newer && fs::read_to_string(mark).is_ok_and(|text| text.trim_end() == self.voucher)
    }

    /// Unless the segment was written to since the batch began.
    pub fn mark(&self, name: &str) -> Result<()> {
        match (modified(&self.directory.join("batch")), modified(&self.wal.join(name))) {
            (Some(began), Some(written)) if began > written => {
                let mark = self.mark_of(name);
                fs::write(&mark, format!("{}\n", self.voucher)).during_path("write", &mark)
            }
            _ => Ok(()),
        }
    }

    /// Waits for a worker that is at this segment, until it has marked it or has ended, or for `limit`.
    pub fn wait_for_batch(&self, name: &str, limit: Duration) {
        let until = Instant::now() + limit;
        let Ok(mut batch) = File::open(self.directory.join("batch")) else { return };
        let mut names = String::new();
        if batch.read_to_string(&mut names).is_err() || !names.lines().any(|line| line == name) {
            return;
        }
        while !self.is_marked(name)
            && flock(&batch, FlockOperation::NonBlockingLockShared).is_err()
            && Instant::now() < until
        {
            std::thread::sleep(POLL);
        }
    }

    pub fn is_ready(&self, name: &str) -> bool {
        self.wal.join("archive_status").join(format!("{name}.ready")).exists()
    }

    /// The segments after one that are ready and have no mark, at most `limit`, with no other between them: nothing is
    /// stored after a segment that is not known to be in the archive as it is here, or two histories would be one.
    pub fn next_batch(&self, after: &str, segment_bytes: u64, limit: usize) -> Result<Vec<String>> {
        let ready = self.ready()?;
        let last = ready.iter().rfind(|name| name.get(..8) == after.get(..8));
        let mut batch = Vec::new();
        let mut name = after.to_owned();
        while last.is_some_and(|last| name < *last) && batch.len() < limit.min(LONGEST_BATCH) {
            let Some(next) = wal::following(&name, segment_bytes) else { break };
            let is_stored = match ready.contains(&next) {
                true => self.is_marked(&next),
                // Archived, by PostgreSQL's own call.
                false => self.is_done(&next) || !self.wal.join(&next).exists(),
            };
            match (is_stored, batch.is_empty()) {
                (false, _) if ready.contains(&next) => batch.push(next.clone()),
                (true, true) => {}
                _ => break,
            }
            name = next;
        }
        Ok(batch)
    }

    /// Removes what earlier batches left, and names the new one. The script holds the lock of `batch.new`.
    pub fn begin_batch(&self, names: &[String]) -> Result<()> {
        for file in file_names(&self.directory)? {
            let name = file.strip_suffix(".ok").and_then(segment_of);
            if name.is_some_and(|name| !self.is_ready(name)) {
                remove(&self.directory.join(&file))?;
            }
        }
        let sealed = self.directory.join("sealed");
        match fs::remove_dir_all(&sealed) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).during_path("remove", &sealed)
            }
            _ => fs::create_dir(&sealed).during_path("create", &sealed),
        }?;
        let (new, batch) = (self.directory.join("batch.new"), self.directory.join("batch"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)
            .during_path("create", &new)?;
        file.write_all((names.join("\n") + "\n").as_bytes()).during_path("write", &new)?;
        fs::rename(&new, &batch).during_path("rename to", &batch)
    }

    pub fn wal(&self) -> &Path {
        self.wal
    }

    fn ready(&self) -> Result<BTreeSet<String>> {
        let files = file_names(&self.wal.join("archive_status"))?;
        let names = files.iter().filter_map(|file| file.strip_suffix(".ready"));
        Ok(names.filter(|name| wal::is_segment_name(name)).map(str::to_owned).collect())
    }

    fn is_done(&self, name: &str) -> bool {
        self.wal.join("archive_status").join(format!("{name}.done")).exists()
    }

    fn mark_of(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.ok"))
    }
}

/// Refuses a file of WAL that is not what its name says, or of another cluster; of a `.history` and a `.backup` there is
/// nothing to see.
pub fn check_segment(file: &Path, name: &str, control: &Control) -> Result<()> {
    let name = name.strip_suffix(".partial").unwrap_or(name);
    if !wal::is_segment_name(name) {
        return Ok(());
    }
    let opened = segment::open(file)?;
    let history = segment::history_beside(file, name)?;
    let expected = Expected {
        name: Some(name),
        history: history.as_deref(),
        system_identifier: Some(control.system_identifier()),
        file_bytes: opened.file_bytes,
    };
    segment::check(&opened.header, &expected).map_err(|error| error.context(file.display()))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.during_path("remove", path),
    }
}

/// What is no UTF-8 is none of ours.
pub fn file_names(directory: &Path) -> Result<Vec<String>> {
    let read = |error| Error::io(format_args!("read {}", directory.display()), error);
    let entries = fs::read_dir(directory).map_err(read)?;
    let names = entries.map(|entry| Ok(entry.map_err(read)?.file_name().into_string().ok()));
    Ok(names.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB16: u64 = 16 << 20;

    struct Host {
        directory: tempfile::TempDir,
        wal: PathBuf,
    }

    fn name(number: u64) -> String {
        wal::name_of_number(1, number, MIB16)
    }

    impl Host {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let wal = directory.path().join("pg_wal");
            fs::create_dir_all(wal.join("archive_status")).unwrap();
            fs::create_dir_all(directory.path().join("spool/out")).unwrap();
            Host { directory, wal }
        }

        fn spool(&self) -> Outgoing<'_> {
            let server = Server { process: 1, started: 2 };
            Outgoing::new(self.directory.path(), &server, "s3://b/demo", &self.wal)
        }

        /// A segment with a status, written an hour ago.
        fn add(&self, number: u64, status: &str) {
            let path = self.wal.join(name(number));
            fs::write(&path, "").unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
            fs::write(self.wal.join("archive_status").join(format!("{}.{status}", name(number))), "")
                .unwrap();
        }

        fn batch(&self, after: u64, limit: usize) -> Vec<String> {
            self.spool().next_batch(&name(after), MIB16, limit).unwrap()
        }
    }

    #[test]
    fn a_batch_is_what_is_ready_without_a_gap() {
        let host = Host::new();
        assert!(host.batch(1, 9).is_empty());
        [2, 3, 4, 6].into_iter().for_each(|number| host.add(number, "ready"));
        assert_eq!(host.batch(1, 9), [name(2), name(3), name(4)]);
        assert_eq!(host.batch(1, 2), [name(2), name(3)]);
        // It is being written: what is ready after it waits.
        fs::write(host.wal.join(name(5)), "").unwrap();
        assert!(host.batch(4, 9).is_empty());
        host.add(5, "done");
        assert_eq!(host.batch(4, 9), [name(6)]);
        assert!(host.batch(6, 9).is_empty());
    }

    #[test]
    fn what_is_marked_is_not_stored_again() {
        let host = Host::new();
        (2..6).for_each(|number| host.add(number, "ready"));
        let spool = host.spool();
        spool.mark(&name(2)).unwrap();
        assert!(!spool.is_marked(&name(2)), "there was no batch");
        spool.begin_batch(&[name(2), name(3)]).unwrap();
        spool.mark(&name(2)).unwrap();
        assert!(spool.is_marked(&name(2)));
        assert_eq!(host.batch(1, 9), [name(3), name(4), name(5)]);
        // Marked with a gap before it: it is not left out.
        spool.mark(&name(4)).unwrap();
        assert_eq!(host.batch(1, 9), [name(3)]);
        // Another run of the server, another repository.
        let server = Server { process: 1, started: 3 };
        assert!(!Outgoing::new(host.directory.path(), &server, "s3://b/demo", &host.wal).is_marked(&name(2)));
        // Written to since.
        fs::write(host.wal.join(name(3)), "x").unwrap();
        spool.mark(&name(3)).unwrap();
        assert!(!spool.is_marked(&name(3)));
    }

    #[test]
    fn a_new_batch_clears_up() {
        let host = Host::new();
        (2..5).for_each(|number| host.add(number, "ready"));
        let (spool, out) = (host.spool(), host.directory.path().join("spool/out"));
        spool.begin_batch(&[name(2)]).unwrap();
        spool.mark(&name(2)).unwrap();
        spool.mark(&name(3)).unwrap();
        fs::write(out.join("sealed/x.pgv"), "").unwrap();
        fs::remove_file(host.wal.join("archive_status").join(format!("{}.ready", name(2)))).unwrap();
        spool.begin_batch(&[name(4)]).unwrap();
        let mut left = file_names(&out).unwrap();
        left.sort();
        assert_eq!(left, [format!("{}.ok", name(3)), "batch".to_owned(), "sealed".to_owned()]);
        assert!(file_names(&out.join("sealed")).unwrap().is_empty());
    }

    #[test]
    fn a_call_waits_for_the_worker_at_its_segment_and_for_no_other() {
        let host = Host::new();
        host.add(2, "ready");
        let (spool, hour) = (host.spool(), Duration::from_secs(3600));
        spool.wait_for_batch(&name(2), hour);
        spool.begin_batch(&[name(2)]).unwrap();
        // Nobody holds the lock: the worker is dead.
        spool.wait_for_batch(&name(2), hour);
        let worker = File::open(host.directory.path().join("spool/out/batch")).unwrap();
        flock(&worker, FlockOperation::LockExclusive).unwrap();
        spool.wait_for_batch(&name(3), hour);
        let began = Instant::now();
        spool.wait_for_batch(&name(2), Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50));
        spool.mark(&name(2)).unwrap();
        spool.wait_for_batch(&name(2), hour);
    }
}
