//! What pgv asks a service when the repository is large: 2,000 backups and 200,000 WAL segments in `make test-long`, a
//! twentieth of that in `make test`. Requests are counted, and no time is measured.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

mod http;
mod objects;
mod parts;
mod repository;
mod requests;
mod server;
mod service;
mod xml;
