//! What the command line asks for.

use crate::catalog::Label;
use crate::report::Drawn;
use std::ffi::OsString;
use std::path::PathBuf;

/// The command line.
pub struct Options {
    pub conninfo: Option<OsString>,
    pub offline: bool,
    /// The manifests of the chain to build on, oldest first; none for a full.
    pub since: Vec<PathBuf>,
    /// Whole files instead of blocks.
    pub files: bool,
    /// Where the pgv manifest goes, if anywhere.
    pub manifest: Option<PathBuf>,
    /// Where the list of members goes, if anywhere.
    pub members: Option<PathBuf>,
    /// Where the facts go, if anywhere.
    pub facts: Option<PathBuf>,
    pub label: Option<Label>,
    /// Whether the server hurries its checkpoint.
    pub fast: bool,
    pub include_wal: bool,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// Default: the server's data_directory.
    pub data_directory: Option<PathBuf>,
    pub progress: Drawn,
}
