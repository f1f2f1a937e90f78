//! pgv-wal-receive beside a pg_receivewal and a psql that the test makes up: how it ends.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PSQL: &str = "#!/bin/sh\necho '7711175703245852542 1 0/3000000'\n";
/// The real one ends with 0 when it is told to.
const RECEIVER: &str = "#!/bin/sh
case $* in *--create-slot*) exit 0 ;; esac
trap 'exit 0' TERM
: >\"$TEST_DIRECTORY/runs\"
while :; do sleep 0.1; done
";

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_signal_ends_it_with_success_and_without_a_word() {
    let scratch = tempfile::tempdir().unwrap();
    let at = scratch.path();
    fs::create_dir_all(at.join("bin")).unwrap();
    write_program(&at.join("bin/psql"), PSQL);
    write_program(&at.join("bin/pg_receivewal"), RECEIVER);
    let config = at.join("demo.conf");
    let text = format!("PGV_REPO=file://{0}/repository\nPGV_STATE_DIR={0}/state\n", at.display());
    fs::write(&config, text).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pgv-wal-receive");
    let tools = Path::new(env!("CARGO_BIN_EXE_pgv-s3")).parent().unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", at.join("bin").display(), tools.display());
    let mut receiver = Command::new(script)
        .args(["--config", config.to_str().unwrap()])
        .env("PATH", path)
        .env("TEST_DIRECTORY", at)
        // Run by root it would become the owner of backups, who may not write here.
        .env("PGV_STAYS_ROOT", "yes")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    while !at.join("runs").exists() {
        assert!(Instant::now() < limit, "pg_receivewal was not started");
        std::thread::sleep(Duration::from_millis(20));
    }
    let kill = Command::new("kill").args(["-TERM", &receiver.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let status = receiver.wait().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut receiver.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}
