//! `pgv-merge`: the streams of a chain, side by side, become the one full stream that laying them down one after the other
//! would give. Streams are sorted by path, so they are merged as `sort -m` merges: nothing is kept but where each stands.
//!
//! Memory: what each link reads ahead (128 KiB of a pipe), and for a relation segment of 1 GiB at most 0.5 MiB for each link,
//! whatever the size of the database. Of each increment of files also the names of the directory that is being read.

mod bad_pages;
mod body;
mod facts;
mod file;
mod link;
mod names;
mod output;
mod partial;
mod run;
mod tail;

pub use partial::run_partial;
pub use run::{Input, Options, run};
