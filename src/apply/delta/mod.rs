//! A restore over a directory that has most of a backup: only what differs is fetched. [`compare`] reads the directory
//! beside the manifests of the chain, and says for each stream which bytes are missing and how to put the stream together
//! again; [`complete`] does so, from those bytes and the directory. What reads the streams afterwards, pgv-merge and
//! pgv-apply, checks them as if they had been fetched whole.
//!
//! Memory: one line of each manifest, which is 2.1 MiB for a relation segment of 1 GiB, one byte for each page of a
//! segment, and a buffer of 1 MiB.

mod compare;
mod complete;
mod link;
mod present;
mod steps;

pub use compare::compare;
pub use complete::complete;
