//! The bash library that the scripts source: each part has a test script in `tests/library`.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::path::Path;
use std::process::Command;

fn run(script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("tests/library").join(script))
        .env("PGV_BIN", Path::new(env!("CARGO_BIN_EXE_pgv-info")).parent().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{said}", output.status);
}

#[test]
fn lines() {
    run("lines.sh");
}

#[test]
fn options() {
    run("options.sh");
}

#[test]
fn configuration() {
    run("config.sh");
}

#[test]
fn places_of_root() {
    run("setup.sh");
}

#[test]
fn the_watch_over_a_recovery() {
    run("server.sh");
}

#[test]
fn the_time_of_a_call_for_wal() {
    run("wal.sh");
}
