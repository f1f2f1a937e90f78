//! What a backup would be, without one.

use crate::cli::lines::Lines;
use crate::error::Result;
use crate::snap::base;
use crate::snap::options::Options;
use crate::snap::session::{Archiving, Session};
use crate::snap::source::{self, measure};
use std::path::PathBuf;

/// What a backup would be of.
pub struct Estimate {
    /// Of files, WAL left out.
    pub bytes: u64,
    pub system_identifier: u64,
    pub data_directory: PathBuf,
    pub pg_version: String,
    /// Why there can be no increment since the manifests that were given.
    pub refusal: Option<String>,
    /// None of a cluster at rest.
    pub archiving: Option<Archiving>,
}

impl Estimate {
    /// For scripts.
    pub fn lines(&self) -> Lines {
        let mut lines = Lines::new();
        lines.add("bytes", self.bytes).add("system_identifier", self.system_identifier);
        lines.add_path("data_directory", &self.data_directory).add("pg_version", &self.pg_version);
        lines.add_some("refusal", self.refusal.as_ref());
        if let Some(archiving) = &self.archiving {
            lines.add("in_recovery", if archiving.in_recovery { "yes" } else { "no" });
            lines.add("archive_mode", &archiving.mode);
            lines.add_bytes("archive_command", &archiving.command);
            lines.add_bytes("archive_library", &archiving.library);
        }
        lines
    }
}

/// Looks, and starts nothing.
pub fn estimate(options: &Options) -> Result<Estimate> {
    let mut source = source::open(options)?;
    Ok(Estimate {
        refusal: base::refusal(options, &mut source)?,
        bytes: measure(&source.tree)?,
        archiving: source.session.as_mut().map(Session::archiving).transpose()?,
        system_identifier: source.control.system_identifier(),
        data_directory: source.root,
        pg_version: source.pg_version,
    })
}
