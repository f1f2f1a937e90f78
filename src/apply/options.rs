//! What the command line asks for.

use crate::apply::decide::Request;
use crate::apply::places::Wanted;
use crate::apply::user::Owner;
use crate::catalog::{Mode, Selection, StreamIdentity};
use crate::error::{Error, Result};
use crate::report::Drawn;
use crate::stream::Claims;
use std::path::{Path, PathBuf};

/// The command line.
pub struct Options {
    pub claims: Claims,
    pub owner: Owner,
    pub tablespaces: Vec<(String, PathBuf)>,
    pub tablespaces_under: Option<PathBuf>,
    /// Where pg_wal goes, if not into the directory.
    pub wal: Option<PathBuf>,
    /// `None`: nothing is written, everything is checked.
    pub directory: Option<PathBuf>,
    /// `global/pg_control` is kept back.
    pub hold: bool,
    /// The directory holds the cluster already: what is the same is not written.
    pub delta: bool,
    /// Of other databases than these there are empty files.
    pub selection: Option<Selection>,
    /// Of a plan: what lies in the directory will be set aside.
    pub replace: bool,
    /// Where `pgv/stream.json` is written, too.
    pub identity: Option<PathBuf>,
    pub progress: Drawn,
    /// Of the whole stream in bytes, roughly.
    pub expected_size: Option<u64>,
}

impl Options {
    /// Files that are left out have a length only in a full.
    pub(super) fn check_selection(&self, identity: &StreamIdentity) -> Result<()> {
        match &self.selection {
            None => Ok(()),
            Some(_) if identity.mode != Mode::Full => {
                Err(Error::usage(format!("backup {} builds on others", identity.label))
                    .hint("nothing was written; with --databases give one stream, of pgv-merge --databases"))
            }
            Some(selection) if !identity.is_state_of(&selection.label) => {
                let (own, other) = (&identity.label, &selection.label);
                Err(Error::usage(format!("the selection is of backup {other}, not {own}"))
                    .hint("nothing was written"))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn wanted(&self, identity: &StreamIdentity) -> Wanted {
        Wanted {
            each: self.tablespaces.clone(),
            under: self.tablespaces_under.clone(),
            wal: self.wal.clone(),
            strict: identity.mode == Mode::Full && !self.hold,
        }
    }

    pub(super) fn request<'a>(&'a self, directory: &'a Path, wanted: &'a Wanted) -> Request<'a> {
        Request { directory, wanted, delta: self.delta, replace: self.replace }
    }
}
