//! What is asked for: which directory, which end of recovery, and where the configuration goes.

use crate::recover::plan::Plan;
use crate::recover::text::Get;
use std::path::PathBuf;

/// Where the copy's configuration lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// In the data directory.
    Data,
    /// In this directory, which is made for it.
    New(PathBuf),
    /// In this directory, where it is already: it stays as it is.
    Existing(PathBuf),
    /// In this directory, which holds the server's socket too: a minimal one, and nothing of the original's.
    Isolated(PathBuf),
}

pub struct Request {
    /// Absolute.
    pub directory: PathBuf,
    pub plan: Plan,
    pub get: Get,
    pub home: Home,
    pub port: Option<u16>,
    pub pid_file: Option<PathBuf>,
    pub keep_archiving: bool,
    /// Where the server's libraries are: `None` if that is not known, and then none is missing.
    pub libraries: Option<PathBuf>,
}
