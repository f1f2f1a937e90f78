//! A nameless temporary file for what must be written after it was collected.

use crate::error::{Error, Result};
use crate::io::random::random_name;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Gone with the process, however that ends. Its errors name the directory that it takes its room from.
#[derive(Debug)]
pub struct TemporaryFile {
    file: File,
    place: PathBuf,
}

/// In PGV_STATE_DIR/tmp; where there is none, in TMPDIR or /tmp.
pub fn temporary_file() -> Result<TemporaryFile> {
    let state = std::env::var_os("PGV_STATE_DIR").filter(|state| !state.is_empty()).map(PathBuf::from);
    temporary_file_in(state.as_deref(), &std::env::temp_dir())
}

fn temporary_file_in(state: Option<&Path>, other: &Path) -> Result<TemporaryFile> {
    if let Some(state) = state {
        let place = state.join("tmp");
        // Only below what is there: a state directory is not ours to make.
        match DirBuilder::new().mode(0o700).create(&place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {}
            _ => match create(&place) {
                Ok(file) => return Ok(file),
                // Of another user, who shares the state directory's cluster and not its rights.
                Err((io::ErrorKind::PermissionDenied, _)) => {}
                Err((_, error)) => return Err(error),
            },
        }
    }
    create(other).map_err(|(_, error)| error)
}

fn create(place: &Path) -> std::result::Result<TemporaryFile, (io::ErrorKind, Error)> {
    let failed = |error: io::Error| (error.kind(), wrong("create", place, error));
    let name = random_name().map_err(|error| (io::ErrorKind::Other, error))?;
    let path = place.join(format!("pgv-{name}"));
    let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).clone();
    let file = options.open(&path).map_err(failed)?;
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(TemporaryFile { file, place: place.to_owned() })
}

fn wrong(verb: &str, place: &Path, error: io::Error) -> Error {
    let no_room = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let error = Error::io(format_args!("{verb} a temporary file in {}", place.display()), error);
    match no_room {
        true => error.hint("free space there, or set PGV_STATE_DIR to a directory on another disk"),
        false => error,
    }
}

impl TemporaryFile {
    pub fn into_file(self) -> File {
        self.file
    }

    fn named<T>(&self, verb: &str, done: io::Result<T>) -> io::Result<T> {
        done.map_err(|error| wrong(verb, &self.place, error).into())
    }
}

impl Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.file.write(bytes);
        self.named("write", done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.file.flush();
        self.named("write", done)
    }
}

impl Read for TemporaryFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let done = self.file.read(bytes);
        self.named("read", done)
    }
}

impl Seek for TemporaryFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let done = self.file.seek(to);
        self.named("read", done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::IoContext;

    #[test]
    fn the_state_directory_comes_before_tmpdir() {
        let state = tempfile::tempdir().unwrap();
        let mut file = temporary_file_in(Some(state.path()), Path::new("/nowhere")).unwrap();
        file.write_all(b"x").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert_eq!(file.place, state.path().join("tmp"));
        assert_eq!(std::fs::read_dir(&file.place).unwrap().count(), 0, "it has a name");
    }

    #[test]
    fn without_a_state_directory_it_is_tmpdir_and_the_error_names_it() {
        let other = tempfile::tempdir().unwrap();
        let file = temporary_file_in(Some(Path::new("/nowhere")), other.path()).unwrap();
        assert_eq!(file.place, other.path());
        let error = temporary_file_in(None, Path::new("/nowhere")).unwrap_err();
        assert!(error.message().starts_with("create a temporary file in /nowhere: "), "{error}");
    }

    #[test]
    fn a_full_disk_is_named() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut file = TemporaryFile { file: full, place: "/the/place".into() };
        let error = file.write_all(b"x").during("write").unwrap_err();
        assert_eq!(error.message(), "write a temporary file in /the/place: no space left on device");
        assert_eq!(error.hints().len(), 1);
    }
}
