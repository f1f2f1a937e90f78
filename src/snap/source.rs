//! What is to be backed up, before it is: a server's data directory, or one at rest.

use crate::error::{Error, IoContext, Result};
use crate::pg::control::{self, Control};
use crate::pg::major;
use crate::snap::ledger::BUFFER;
use crate::snap::options::Options;
use crate::snap::session::Session;
use crate::snap::tree::{Entry, Tree};
use crate::tar::Attributes;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// What is to be backed up, before it is.
pub struct Source {
    pub root: PathBuf,
    pub session: Option<Session>,
    pub control: Control,
    pub major: u32,
    pub pg_version: String,
    pub checksums: bool,
    pub tree: Tree,
}

pub fn open(options: &Options) -> Result<Source> {
    let mut session = match options.offline {
        true => None,
        false => Some(Session::open(options.conninfo.as_deref())?),
    };
    let root = match (&options.data_directory, &mut session) {
        (Some(root), _) => root.clone(),
        (None, Some(session)) => session.data_directory()?,
        (None, None) => return Err(Error::usage("--offline needs PGDATA")),
    };
    let control = Control::read(&root)?;
    control.check_layout()?;
    if !BUFFER.is_multiple_of(control.page_size() as usize) {
        return Err(Error::damaged("impossible page size in pg_control"));
    }
    let (major, pg_version, checksums) = match &mut session {
        Some(session) => {
            if session.system_identifier()? != control.system_identifier() {
                return Err(Error::usage(format!(
                    "{} is not the data directory of the server that answers",
                    root.display()
                ))
                .hint("their system identifiers differ"));
            }
            (session.major(), session.version_text()?, session.data_checksums()?)
        }
        None => {
            check_shut_down(&root, &control)?;
            let path = root.join("PG_VERSION");
            let text = std::fs::read_to_string(&path).during_path("read", &path)?.trim().to_owned();
            let major =
                text.parse().map_err(|_| Error::damaged(format!("{} is not a version", path.display())))?;
            major::require(major)?;
            (major, text, control.has_page_checksums())
        }
    };
    let tree = Tree::new(&root, major, control.catalog_version());
    Ok(Source { root, session, control, major, pg_version, checksums, tree })
}

fn check_shut_down(root: &Path, control: &Control) -> Result<()> {
    let running = root.join("postmaster.pid").exists();
    match !running && control.state() == control::STATE_SHUT_DOWN {
        true => Ok(()),
        false => Err(Error::failed(format!("{} was not shut down cleanly, or is running", root.display()))
            .hint("if the server runs, leave out --offline; else start it and stop it cleanly")),
    }
}

/// Bytes of everything that will be copied from the data directory.
pub fn measure(tree: &Tree) -> Result<u64> {
    let mut total = 0;
    tree.walk(&mut |entry| {
        if let Entry::File { path, .. } = entry {
            // Gone meanwhile: it will not be copied either.
            total += std::fs::metadata(tree.absolute(path)).map_or(0, |metadata| metadata.len());
        }
        Ok(())
    })?;
    Ok(total)
}

/// Read after all data: on a standby it tells how far the copied pages reach. A stopped server's must
/// not have changed.
pub fn last_control(source: &Source, online: bool) -> Result<Control> {
    let control = Control::read(&source.root)?;
    if !online {
        check_shut_down(&source.root, &control)?;
        if control != source.control {
            return Err(Error::failed("the server was started during an offline backup"));
        }
    }
    Ok(control)
}

/// What pgv makes up belongs to the owner of the data directory.
pub fn root_attributes(root: &Path) -> Result<Attributes> {
    let metadata = std::fs::metadata(root).during_path("stat", root)?;
    Ok(Attributes { mtime: OffsetDateTime::now_utc().unix_timestamp(), ..Attributes::of(&metadata) })
}
