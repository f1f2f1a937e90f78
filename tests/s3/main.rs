//! pgv-s3 on real S3 servers, by its command line; and with a proxy in between that does all that a network and a
//! service can do to it.

#![allow(clippy::unwrap_used, clippy::panic)] // a failing step of a test may stop it

mod answers;
mod cache;
mod expiry;
mod faults;
mod harness;
mod proxy;
mod records;
mod requests;
mod services;
mod signals;
mod verbs;
