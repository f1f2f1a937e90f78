//! Records, verdicts and marks as an earlier run read them from S3, in PGV_STATE_DIR/records: they are create-only, so
//! an object of the same name, size and ETag need not be read again. Nothing here says what exists: a run uses only
//! what its own listing shows, and parses it as if it had just been read. Whatever is wrong with the file, or with the
//! place for it, costs requests and nothing else.

use crate::error::{Error, IoContext, Result};
use crate::info::listed::Listed;
use crate::io::AtomicFile;
use crate::report;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Begins the first line of a file, which ends with the digest of the rest. Another one is another format's, or damaged.
const FORMAT: &str = "pgv-records/1 ";
/// Below PGV_STATE_DIR.
const DIRECTORY: &str = "records";
/// Bytes of a file, and so of memory: the records of some five thousand backups. Of more the newest are kept.
const LIMIT: usize = 16 << 20;
/// Files: one for each cluster and system identifier of a repository. Of more the last written are kept.
const MOST_FILES: usize = 8;
/// Bytes of an ETag and of a name. Longer ones are no service's that is known, and are not kept.
const LONGEST: usize = 1024;

/// What is known of the objects of one directory.
pub struct RecordCache {
    file: PathBuf,
    /// Where the service is, and the directory there: under another name nothing of a file counts.
    place: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By name below the directory.
    entries: BTreeMap<String, Entry>,
    /// Whether the file differs from it.
    is_changed: bool,
}

struct Entry {
    etag: String,
    content: Vec<u8>,
    /// Whether the present listing shows it, and it is what it must be.
    is_used: bool,
}

impl RecordCache {
    /// Nothing, if `state` is not a directory of this user. `place`: the address of the service and the directory.
    pub fn open(state: &Path, place: String) -> Option<Self> {
        if !is_own(&fs::metadata(state).ok()?) {
            return None;
        }
        let file = state.join(DIRECTORY).join(&hex(place.as_bytes())[..32]);
        let entries = read(&file, &place).unwrap_or_default();
        let known = Mutex::new(Known { entries, is_changed: false });
        Some(RecordCache { file, place, known })
    }

    /// The content of an object that is listed so.
    pub fn get(&self, name: &str, listed: &Listed) -> Option<Vec<u8>> {
        let mut known = self.known();
        let entry = known.entries.get_mut(name).filter(|entry| entry.is(listed))?;
        entry.is_used = true;
        Some(entry.content.clone())
    }

    /// What was just read, and is what it must be.
    pub fn put(&self, name: &str, listed: &Listed, content: Vec<u8>) {
        let Some(etag) = listed.etag.as_ref().filter(|etag| is_word(etag) && is_word(name)) else { return };
        let mut known = self.known();
        known.is_changed = true;
        known.entries.insert(name.to_owned(), Entry { etag: etag.clone(), content, is_used: true });
    }

    /// What seems to be damaged is read again, by later runs as well. `prefix`: of names.
    pub fn forget(&self, prefix: &str) {
        let mut known = self.known();
        let before = known.entries.len();
        known.entries.retain(|name, _| !name.starts_with(prefix));
        known.is_changed |= known.entries.len() != before;
    }

    /// What was not looked at this time, but is listed as it was.
    pub fn retain<'a>(&self, listed: impl Iterator<Item = (String, &'a Listed)>) {
        let mut known = self.known();
        for (name, listed) in listed {
            if let Some(entry) = known.entries.get_mut(&name).filter(|entry| entry.is(listed)) {
                entry.is_used = true;
            }
        }
    }

    /// What was not listed, because the listing began after this name.
    pub fn retain_until(&self, name: &str) {
        self.known().entries.range_mut(..name.to_owned()).for_each(|(_, entry)| entry.is_used = true);
    }

    /// All that is known, as it was listed.
    pub fn all(&self) -> Vec<(String, Listed)> {
        let listed =
            |entry: &Entry| Listed { bytes: entry.content.len() as u64, etag: Some(entry.etag.clone()) };
        self.known().entries.iter().map(|(name, entry)| (name.clone(), listed(entry))).collect()
    }

    /// Of all that is known.
    pub fn names(&self) -> Vec<String> {
        self.known().entries.keys().cloned().collect()
    }

    /// Writes what was used, if the file holds anything else. A failure only costs the next run its requests.
    pub fn save(self) {
        if let Err(error) = self.write() {
            report::verbose(format_args!("{error}; the next run reads all records again"));
        }
    }

    fn write(self) -> Result<()> {
        let known = self.known.into_inner().unwrap_or_else(PoisonError::into_inner);
        let before = known.entries.len();
        let used: BTreeMap<String, Entry> =
            known.entries.into_iter().filter(|(_, entry)| entry.is_used).collect();
        if !known.is_changed && used.len() == before {
            return Ok(());
        }
        let directory = self.file.parent().unwrap_or(Path::new("."));
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
        .during_path("create", directory)?;
        let text = encode(&self.place, &used);
        let mut file = AtomicFile::create(&self.file, 0o600)?;
        file.write_all(&text).during_path("write", &self.file)?;
        // It has its own digest: half of it after a crash is none.
        file.publish()?;
        remove_old(directory)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is(&self, listed: &Listed) -> bool {
        listed.etag.as_ref() == Some(&self.etag) && listed.bytes == self.content.len() as u64
    }
}

fn is_own(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// It can stand in a line between spaces.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Nothing, if it is not there, not this user's, damaged, of another format, or about another place.
fn read(file: &Path, place: &str) -> Option<BTreeMap<String, Entry>> {
    // A pipe would wait for whoever writes to it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let opened = File::options().read(true).custom_flags(flags).open(file).ok()?;
    let metadata = opened.metadata().ok()?;
    if !metadata.is_file() || !is_own(&metadata) || metadata.len() > LIMIT as u64 {
        return None;
    }
    let mut text = Vec::new();
    opened.take(LIMIT as u64).read_to_end(&mut text).ok()?;
    decode(&text, place)
}

/// The newest of `entries`, as many as fit.
fn encode(place: &str, entries: &BTreeMap<String, Entry>) -> Vec<u8> {
    let mut rest = format!("{place}\n").into_bytes();
    let limit = LIMIT - FORMAT.len() - hex(&[]).len() - 1;
    // Names begin with labels, which come in the order of time.
    for (name, Entry { etag, content, .. }) in entries.iter().rev() {
        let line = format!("{} {etag} {name}\n", content.len());
        if rest.len() + line.len() + content.len() < limit {
            rest.extend_from_slice(line.as_bytes());
            rest.extend_from_slice(content);
            rest.push(b'\n');
        }
    }
    let mut text = format!("{FORMAT}{}\n", hex(&rest)).into_bytes();
    text.append(&mut rest);
    text
}

fn decode(text: &[u8], place: &str) -> Option<BTreeMap<String, Entry>> {
    let (digest, rest) = line(text.strip_prefix(FORMAT.as_bytes())?)?;
    if digest != hex(rest) {
        return None;
    }
    let (of, mut rest) = line(rest)?;
    let mut entries = BTreeMap::new();
    while of == place && !rest.is_empty() {
        let (head, content) = line(rest)?;
        let mut words = head.splitn(3, ' ');
        let (length, etag, name) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        let (content, end) = content.split_at_checked(length)?;
        rest = end.strip_prefix(b"\n")?;
        let entry = Entry { etag: etag.to_owned(), content: content.to_owned(), is_used: false };
        entries.insert(name.to_owned(), entry);
    }
    Some(entries)
}

/// Up to a newline, and what follows it.
fn line(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&text[..end]).ok()?, &text[end + 1..]))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Those of repositories that are asked for no more, and what killed writers left.
fn remove_old(directory: &Path) -> Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory).during_path("list", directory)? {
        let entry = entry.during_path("list", directory)?;
        // One that another run has just removed or renamed.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((metadata.modified().during_path("stat", directory)?, entry.path()));
    }
    files.sort_unstable();
    for (_, file) in files.iter().rev().skip(MOST_FILES) {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(format_args!("remove {}", file.display()), error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(etag: &str, content: &str) -> Listed {
        Listed { bytes: content.len() as u64, etag: Some(etag.to_owned()) }
    }

    fn open(state: &Path) -> RecordCache {
        RecordCache::open(state, "http://x s3://b/r/c/1/backup/".to_owned()).unwrap()
    }

    /// With one object in it, and the name of its file.
    fn filled(state: &Path) -> PathBuf {
        let cache = open(state);
        let file = cache.file.clone();
        cache.put("20261101-010000F/record.json", &listed("e1", "one\ntwo"), b"one\ntwo".to_vec());
        cache.save();
        file
    }

    fn has(state: &Path, etag: &str, content: &str) -> bool {
        open(state).get("20261101-010000F/record.json", &listed(etag, content))
            == Some(content.as_bytes().to_vec())
    }

    #[test]
    fn a_pipe_in_its_place_is_not_waited_for() {
        let state = tempfile::tempdir().unwrap();
        let file = filled(state.path());
        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(!has(state.path(), "e1", "one\ntwo"));
    }

    #[test]
    fn only_what_is_listed_the_same_is_known() {
        let state = tempfile::tempdir().unwrap();
        filled(state.path());
        assert!(has(state.path(), "e1", "one\ntwo"));
        assert!(!has(state.path(), "e2", "one\ntwo"), "another ETag");
        assert!(!has(state.path(), "e1", "one\ntwo."), "another size");
        let cache = open(state.path());
        assert!(cache.get("20261101-010000F/record.json", &Listed { bytes: 7, etag: None }).is_none());
        assert!(cache.get("20261102-010000F/record.json", &listed("e1", "one\ntwo")).is_none());
        let elsewhere = RecordCache::open(state.path(), "http://y s3://b/r/c/1/backup/".to_owned()).unwrap();
        assert!(elsewhere.known().entries.is_empty());
    }

    #[test]
    fn a_damaged_file_is_none_and_is_written_anew() {
        let state = tempfile::tempdir().unwrap();
        let file = filled(state.path());
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&file, &damaged).unwrap();
            assert!(open(state.path()).known().entries.is_empty(), "byte {at}");
            fs::write(&file, &whole[..at]).unwrap();
            assert!(open(state.path()).known().entries.is_empty(), "{at} bytes");
        }
        let other = String::from_utf8(whole.clone()).unwrap().replace("records/1", "records/2");
        fs::write(&file, other).unwrap();
        assert!(!has(state.path(), "e1", "one\ntwo"));
        filled(state.path());
        assert_eq!(fs::read(&file).unwrap(), whole);
        // A name that its file does not have.
        let other = RecordCache::open(state.path(), "elsewhere".to_owned()).unwrap().file;
        fs::copy(&file, &other).unwrap();
        let elsewhere = RecordCache::open(state.path(), "elsewhere".to_owned()).unwrap();
        assert!(elsewhere.known().entries.is_empty());
    }

    #[test]
    fn what_is_not_listed_or_seems_damaged_goes() {
        let state = tempfile::tempdir().unwrap();
        let file = filled(state.path());
        let before = (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().ino());
        // Nothing new: nothing is written.
        let cache = open(state.path());
        assert!(cache.get("20261101-010000F/record.json", &listed("e1", "one\ntwo")).is_some());
        cache.save();
        let cache = open(state.path());
        let shown = listed("e1", "one\ntwo");
        cache.retain([("20261101-010000F/record.json".to_owned(), &shown)].into_iter());
        cache.save();
        assert_eq!((fs::read(&file).unwrap(), fs::metadata(&file).unwrap().ino()), before);
        let cache = open(state.path());
        cache.put("20261102-010000F/record.json", &listed("e2", "2"), b"2".to_vec());
        cache.save();
        assert!(!has(state.path(), "e1", "one\ntwo"), "no listing showed it");
        filled(state.path());
        let cache = open(state.path());
        assert!(cache.get("20261101-010000F/record.json", &shown).is_some());
        cache.forget("20261101-010000F/");
        cache.save();
        assert!(!has(state.path(), "e1", "one\ntwo"), "it seemed damaged");
    }

    #[test]
    fn what_was_not_listed_stays() {
        let state = tempfile::tempdir().unwrap();
        filled(state.path());
        let cache = open(state.path());
        cache.put("20261102-010000F/record.json", &listed("e2", "2"), b"2".to_vec());
        cache.retain_until("20261102-010000F");
        cache.save();
        assert!(has(state.path(), "e1", "one\ntwo"));
        let cache = open(state.path());
        assert_eq!(cache.names().len(), 2);
        // Now it would be listed.
        cache.retain_until("20261101-010000F");
        cache.save();
        assert!(open(state.path()).names().is_empty());
    }

    #[test]
    fn what_has_no_etag_or_a_strange_one_is_not_kept() {
        let state = tempfile::tempdir().unwrap();
        let cache = open(state.path());
        let file = cache.file.clone();
        cache.put("a", &Listed { bytes: 1, etag: None }, b"x".to_vec());
        cache.put("a", &listed("", "x"), b"x".to_vec());
        cache.put("a", &listed("two words", "x"), b"x".to_vec());
        cache.put("a b", &listed("e", "x"), b"x".to_vec());
        cache.save();
        assert!(!file.exists());
    }

    #[test]
    fn files_and_their_number_are_bounded() {
        let state = tempfile::tempdir().unwrap();
        let cache = open(state.path());
        let file = cache.file.clone();
        let content = "x".repeat(1 << 20);
        for day in 10..30 {
            let name = format!("202611{day}-010000F/record.json");
            cache.put(&name, &listed("e", &content), content.clone().into_bytes());
        }
        cache.save();
        assert!(fs::metadata(&file).unwrap().len() <= LIMIT as u64);
        let cache = open(state.path());
        assert!(cache.get("20261129-010000F/record.json", &listed("e", &content)).is_some(), "the newest");
        assert!(cache.get("20261110-010000F/record.json", &listed("e", &content)).is_none(), "the oldest");
        for number in 0..20 {
            let cache = RecordCache::open(state.path(), format!("place {number}")).unwrap();
            cache.put("a", &listed("e", "x"), b"x".to_vec());
            cache.save();
        }
        assert_eq!(fs::read_dir(state.path().join(DIRECTORY)).unwrap().count(), MOST_FILES);
    }

    #[test]
    fn two_runs_at_once_leave_one_whole_file() {
        let state = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| drop(filled(state.path()))));
            }
        });
        assert!(has(state.path(), "e1", "one\ntwo"));
        assert_eq!(fs::read_dir(state.path().join(DIRECTORY)).unwrap().count(), 1);
    }

    #[test]
    fn without_a_place_nothing_is_kept_and_nothing_fails() {
        let state = tempfile::tempdir().unwrap();
        assert!(RecordCache::open(&state.path().join("none"), String::new()).is_none());
        // There is a file where the directory belongs.
        fs::write(state.path().join(DIRECTORY), "").unwrap();
        filled(state.path());
        assert!(!has(state.path(), "e1", "one\ntwo"));
    }
}
