//! The last step of a restore: `global/pg_control`, without which no server starts. Until then its bytes
//! lie in the directory's mark, and one rename makes them the file.

use crate::apply::look::{self, is_there, refuse_running_server};
use crate::apply::places;
use crate::apply::user::Rights;
use crate::catalog::member::{self, APPLYING, HELD, IDENTITY};
use crate::catalog::{Label, StreamIdentity};
use crate::error::{Error, IoContext, Kind, Result, Status};
use crate::io::sync_directory;
use crate::pg::backup_manifest::{self, Entry, Reader};
use crate::pg::control::{self, Control};
use crate::report;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::path::Path;

/// Turns the mark of an unfinished directory into that of one that waits, with `content` for
/// `global/pg_control`. Everything else must be on disk. `own` gives the file its owner and mode.
pub fn hold(root: &Path, content: &[u8], own: impl FnOnce(&File, &Path) -> Result<()>) -> Result<()> {
    let applying = root.join(APPLYING);
    let mut file =
        OpenOptions::new().write(true).truncate(true).open(&applying).during_path("open", &applying)?;
    file.write_all(content).during_path("write", &applying)?;
    own(&file, &applying)?;
    file.sync_all().during_path("sync", &applying)?;
    let held = root.join(HELD);
    fs::rename(&applying, &held).during_path("rename", &applying)?;
    sync_directory(&root.join(member::DIRECTORY))
}

/// From here on a server can start.
pub fn put_in_place(root: &Path) -> Result<()> {
    let held = root.join(HELD);
    fs::rename(&held, root.join(control::PATH)).during_path("rename", &held)?;
    sync_places(root)
}

/// Puts `global/pg_control` in place in a directory that is held. Refuses, as existing with other
/// content, what is not held, and another backup than `expected`, or of another cluster; what was done already is done.
pub fn commit(directory: &Path, expected: Option<&Label>, system_id: Option<u64>) -> Result<Status> {
    let root = &look::resolve(directory)?;
    Rights::of(root)?.become_owner()?;
    let refused = |why: String| {
        Error::new(Kind::Exists, format!("{}: {why}", root.display())).hint("nothing was changed")
    };
    refuse_running_server(root)?;
    let identity = match fs::read(root.join(IDENTITY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused("there is no backup in it".to_owned()));
        }
        json => StreamIdentity::parse(&json.during_path("read", &root.join(IDENTITY))?)?,
    };
    if let Some(expected) = expected.filter(|expected| !identity.is_state_of(expected)) {
        return Err(refused(format!("it contains backup {}, not {expected}", identity.label)));
    }
    if let Some(other) = system_id.filter(|expected| *expected != identity.system_identifier) {
        let own = identity.system_identifier;
        return Err(refused(format!("it contains a backup of cluster {own}, not of {other}")));
    }
    if is_there(&root.join(APPLYING))? {
        let error = refused(format!("backup {} in it is not complete", identity.label));
        return Err(error.hint("restore it again, into the same directory"));
    }
    let (held, in_place) = (is_there(&root.join(HELD))?, is_there(&root.join(control::PATH))?);
    let listed = listed_control(root)?;
    match (held, in_place) {
        (true, true) => Err(refused("it has both global/pg_control and pgv/held".to_owned())),
        (true, false) => {
            let bytes = fs::read(root.join(HELD)).during_path("read", &root.join(HELD))?;
            if !is_listed(&bytes, &listed)
                || Control::parse(bytes)?.system_identifier() != identity.system_identifier
            {
                return Err(Error::damaged(format!(
                    "{} is not the pg_control of backup {}",
                    root.join(HELD).display(),
                    identity.label
                ))
                .hint("restore it again, into the same directory"));
            }
            sync_places(root)?;
            put_in_place(root)?;
            report::verbose(format_args!("backup {} can be started", identity.label));
            Ok(Status::Done)
        }
        (false, true) => {
            let bytes = fs::read(root.join(control::PATH)).during_path("read", &root.join(control::PATH))?;
            match is_listed(&bytes, &listed) {
                true => sync_places(root).map(|()| Status::Done),
                false => Err(refused(
                    "it has no pgv/held, and a server was started in it after the restore".to_owned(),
                )),
            }
        }
        (false, false) => Err(refused("it has neither pgv/held nor global/pg_control".to_owned())),
    }
}

fn is_listed(bytes: &[u8], listed: &Entry) -> bool {
    bytes.len() as u64 == listed.size && crc32c::crc32c(bytes) == listed.crc32c
}

/// What the directory's own manifest says of `global/pg_control`.
fn listed_control(root: &Path) -> Result<Entry> {
    let path = root.join(backup_manifest::PATH);
    let file = File::open(&path).during_path("open", &path)?;
    let mut manifest = Reader::new(BufReader::with_capacity(64 << 10, file))?;
    let mut found = None;
    while let Some(entry) = manifest.next_file()? {
        if entry.path == control::PATH.as_bytes() {
            found = Some(entry);
        }
    }
    manifest.finish()?;
    found.ok_or_else(|| Error::damaged(format!("{} lists no global/pg_control", path.display())))
}

/// The file systems of the directory and of all that it links to.
fn sync_places(root: &Path) -> Result<()> {
    let linked = places::linked(root)?;
    let wal = root.join("pg_wal");
    for place in [root, &wal].into_iter().chain(linked.spaces.values().map(std::path::PathBuf::as_path)) {
        let directory = File::open(place).during_path("open", place)?;
        rustix::fs::syncfs(&directory).map_err(io::Error::from).during_path("sync", place)?;
    }
    sync_directory(&root.join("global"))?;
    sync_directory(&root.join(member::DIRECTORY))
}
