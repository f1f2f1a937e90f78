//! What an increment is laid over: the directory must be what its parent left, and nobody may have
//! started it since. All of it is looked at before anything is changed.

use crate::apply::look;
use crate::catalog::StreamIdentity;
use crate::catalog::member::{APPLYING, HELD, IDENTITY};
use crate::error::{Error, IoContext, Kind, Result};
use crate::pg::backup_manifest::{self, Entry, Reader};
use crate::pg::control::{self, Control};
use crate::stream::is_data;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Refuses, as existing with other content, what is not the increment's parent, complete and unchanged.
pub fn check(root: &Path, increment: &StreamIdentity) -> Result<()> {
    let wrong = |why: String| {
        Error::new(Kind::Exists, format!("{}: {why}", root.display()))
            .hint("nothing was written; restore the chain from its full backup into a new directory")
    };
    let json = match fs::read(root.join(IDENTITY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(wrong("there is no backup in it on which an increment could build".to_owned()));
        }
        json => json.during_path("read", &root.join(IDENTITY))?,
    };
    if root.join(APPLYING).exists() {
        return Err(wrong("an earlier restore into it was interrupted".to_owned()));
    }
    let there = StreamIdentity::parse(&json)?;
    if !increment.builds_on(&there) {
        let parent = increment.parent.as_ref().map_or_else(String::new, ToString::to_string);
        return Err(wrong(format!("it contains backup {}, not {parent}", there.label)));
    }
    check_files(root).map_err(|error| wrong(error.message().to_owned()))
}

/// Refuses what is no data directory of the stream's cluster.
pub fn check_cluster(root: &Path, stream: &StreamIdentity) -> Result<()> {
    let wrong = |why: &str| {
        Error::new(Kind::Exists, format!("{}: {why}", root.display())).hint("nothing was written")
    };
    let there = match look::is_there(&root.join(control::PATH))? {
        true => Control::read(root).map_err(|error| wrong(error.message()))?.system_identifier(),
        false => look::system_identifier(root)?.ok_or_else(|| wrong("it is not a data directory"))?,
    };
    match there == stream.system_identifier {
        true => Ok(()),
        false => Err(wrong("it is the data directory of another cluster")),
    }
}

/// Every file that the directory's own manifest lists is there with its size, and `global/pg_control`
/// is the one of the backup: a server that was started has changed it.
fn check_files(root: &Path) -> Result<()> {
    let held = root.join(HELD).exists();
    let mut manifest = open(&root.join(backup_manifest::PATH))?;
    while let Some(listed) = manifest.next_file()? {
        let path = root.join(OsStr::from_bytes(&listed.path));
        if listed.path == control::PATH.as_bytes() {
            check_control(root, &listed, held)?;
            continue;
        }
        let size = fs::symlink_metadata(&path).map(|metadata| metadata.len());
        if size.as_ref().ok() != Some(&listed.size) {
            let there = size.map_or_else(|error| error.to_string(), |size| format!("{size} bytes"));
            return Err(Error::damaged(format!(
                "{}: {there}; it has changed after it was restored",
                path.display()
            )));
        }
    }
    manifest.finish().map(drop)
}

fn check_control(root: &Path, listed: &Entry, held: bool) -> Result<()> {
    if held {
        return match root.join(control::PATH).exists() {
            true => Err(Error::damaged("global/pg_control exists before the end of the chain")),
            false => Ok(()),
        };
    }
    let control = Control::read(root)?;
    match crc32c::crc32c(control.bytes()) == listed.crc32c {
        true => Ok(()),
        false => Err(Error::damaged("a server was started in it after the restore")),
    }
}

fn open(path: &Path) -> Result<Reader<BufReader<File>>> {
    let file = File::open(path).during_path("open", path)?;
    Reader::new(BufReader::with_capacity(64 << 10, file))
}

/// A `backup_manifest` whose files are asked for in its order.
pub struct Cursor {
    manifest: Reader<BufReader<File>>,
    next: Option<Entry>,
}

impl Cursor {
    pub fn open(path: &Path) -> Result<Self> {
        let mut manifest = open(path)?;
        let next = manifest.next_file()?;
        Ok(Cursor { manifest, next })
    }

    pub fn find(&mut self, path: &[u8]) -> Result<Option<Entry>> {
        while self.next.as_ref().is_some_and(|next| !is_data(&next.path) || *next.path < *path) {
            self.next = self.manifest.next_file()?;
        }
        Ok(self.next.clone().filter(|next| next.path == path))
    }
}
