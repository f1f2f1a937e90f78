//! What a backup would be, without one.

use crate::error::Result;
use crate::snap::base;
use crate::snap::options::Options;
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
}

/// Looks, and starts nothing.
pub fn estimate(options: &Options) -> Result<Estimate> {
    let mut source = source::open(options)?;
    Ok(Estimate {
        refusal: base::refusal(options, &mut source)?,
        bytes: measure(&source.tree)?,
        system_identifier: source.control.system_identifier(),
        data_directory: source.root,
        pg_version: source.pg_version,
    })
}
