//! The S3 service of the scale tests, with its large repository, started by hand until it is killed:
//!
//! ```text
//! cargo run --release --example fake-s3 -- [port=N] [backups=N] [segments=N] [verdicts=N] [delay=MS] [counts=FILE]
//!     [cluster=NAME] [system-id=ID]
//! ```
//!
//! It prints the environment that reaches it. FILE gets the number of requests of each kind, a fifth of a second after
//! they change; `curl $PGV_S3_ENDPOINT_URL/-/counts` prints the same, `…/-/requests` all requests, and
//! `curl --request DELETE …/-/counts` begins anew. `delay` is before each answer, and once more for each connection.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic)] // a program for developers

mod http;
mod objects;
#[allow(dead_code)] // the tests ask for more
mod repository;
#[allow(dead_code)]
mod server;
mod xml;

use repository::{PREFIX, Sizes};
use server::{BUCKET, Server};
use std::sync::{Arc, RwLock};
use std::time::Duration;

fn main() {
    let mut sizes = Sizes::new(2_000, 200_000);
    let (mut port, mut delay, mut counts) = (0, 0, None);
    for argument in std::env::args().skip(1) {
        let (name, value) = argument.split_once('=').unwrap_or((&argument, ""));
        match name {
            "port" => port = value.parse().unwrap(),
            "backups" => sizes.backups = value.parse().unwrap(),
            "segments" => sizes.segments = value.parse().unwrap(),
            "verdicts" => sizes.verdicts = value.parse().unwrap(),
            "delay" => delay = value.parse().unwrap(),
            "counts" => counts = Some(value.to_owned()),
            "cluster" => value.clone_into(&mut sizes.cluster),
            "system-id" => sizes.system_id = value.parse().unwrap(),
            _ => panic!("unknown argument {argument}: see tests/scale/serve.rs"),
        }
    }
    let objects = Arc::new(RwLock::new(sizes.build()));
    let server = Server::start(objects, port, Duration::from_millis(delay));
    println!("PGV_REPO=s3://{BUCKET}/{PREFIX}\nPGV_S3_ENDPOINT_URL={}", server.url);
    println!("AWS_ACCESS_KEY_ID=any\nAWS_SECRET_ACCESS_KEY=any\nAWS_EC2_METADATA_DISABLED=true");
    let mut written = None;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = server.counts();
        if let Some(file) = counts.as_ref().filter(|_| written.as_ref() != Some(&now)) {
            let lines: String = now.iter().map(|(kind, count)| format!("{kind} {count}\n")).collect();
            std::fs::write(format!("{file}.new"), lines).unwrap();
            std::fs::rename(format!("{file}.new"), file).unwrap();
        }
        written = Some(now);
    }
}
