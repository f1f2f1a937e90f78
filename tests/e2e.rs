//! End-to-end: a real server of each major, backed up under load and restored. The work is done by the
//! bash scripts in `tests/e2e`, because a shell is how people use pgv; what they need is installed by
//! `make test-tools`, and a missing piece fails the test.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use common::debian_postgres;

/// Scripts run side by side, as many as the test runner has threads. Of those that use what there is once on this machine
/// (Debian's clusters, /etc, the port 5432 of 127.0.0.1) one runs at a time; the others see none of it (`begin` in lib.sh).
static MACHINE: Mutex<()> = Mutex::new(());

fn run_on_machine(script: &str, argument: &str) {
    let _mine = MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    run(script, argument);
}

/// Past the capture of a passing test's output.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn run(script: &str, argument: &str) {
    let began = Instant::now();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binaries = PathBuf::from(env!("CARGO_BIN_EXE_pgv-snap"));
    let tools =
        std::env::var_os("PGV_TEST_TOOLS").map_or_else(|| root.join("target/test-tools"), PathBuf::from);
    let output = Command::new(root.join("tests/e2e").join(script))
        .arg(argument)
        .env("PGV_BIN", binaries.parent().unwrap())
        .env("PGV_TEST_TOOLS", tools)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script} {argument}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    say(&format!("{script} {argument}: {} s", began.elapsed().as_secs()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for line in said.lines().filter(|line| line.contains("NOT run")) {
        say(line);
    }
}

#[test]
fn postgresql_13() {
    run("roundtrip.sh", "13");
}

#[test]
fn postgresql_14() {
    run("roundtrip.sh", "14");
}

#[test]
fn postgresql_15() {
    run("roundtrip.sh", "15");
}

#[test]
fn postgresql_16() {
    run("roundtrip.sh", "16");
}

#[test]
fn postgresql_17() {
    run("roundtrip.sh", "17");
}

#[test]
fn postgresql_18() {
    run("roundtrip.sh", "18");
}

#[test]
fn postgresql_19() {
    run("roundtrip.sh", "19");
}

#[test]
fn the_real_client_tools() {
    run("stock.sh", "19");
}

#[test]
fn increments_on_15() {
    run("increments.sh", "15");
}

#[test]
fn increments_on_19() {
    run("increments.sh", "19");
}

#[test]
fn increments_over_changes_of_shape() {
    run("shapes.sh", debian_postgres());
}

#[test]
fn a_copy_is_refreshed_with_what_differs() {
    run("delta.sh", debian_postgres());
}

#[test]
fn chains_become_synthetic_fulls() {
    run("consolidate.sh", debian_postgres());
}

#[test]
fn wal_and_points_in_time() {
    run("wal.sh", debian_postgres());
}

#[test]
fn every_moment() {
    run("moments.sh", debian_postgres());
}

#[test]
fn only_recipients_open_backups() {
    run("recipients.sh", debian_postgres());
}

#[test]
fn what_fails_around_the_keys_of_recipients() {
    run("recipients-edges.sh", debian_postgres());
}

#[test]
fn the_wrong_key_is_noticed_at_once() {
    run("keys.sh", "");
}

#[test]
fn copies_beside_their_original() {
    run("copies.sh", debian_postgres());
}

#[test]
fn set_up_from_nothing() {
    run_on_machine("setup.sh", "");
}

#[test]
fn from_pgbackrest_and_back() {
    run_on_machine("migrate.sh", "");
}

#[test]
fn two_archivers_under_one_command() {
    run("beside.sh", "");
}

#[test]
fn a_major_upgrade() {
    run_on_machine("upgrade.sh", "");
}

#[test]
fn a_backup_host_pulls() {
    run("pull.sh", "");
}

#[test]
fn a_cluster_as_in_a_container() {
    run("container.sh", "");
}

#[test]
fn verification_and_drill() {
    run("trust.sh", "");
}

#[test]
fn what_is_watched() {
    run("watching.sh", "");
}

#[test]
fn nothing_acts_in_a_drill() {
    run_on_machine("drill.sh", debian_postgres());
}

#[test]
fn nothing_acts_in_a_drill_of_the_oldest_major() {
    run_on_machine("drill.sh", "13");
}

#[test]
fn mistakes_are_found() {
    run("find.sh", "19");
}

#[test]
fn timelines_and_failover() {
    run("timelines.sh", "");
}

#[test]
fn histories_that_were_never_archived() {
    run("histories.sh", "");
}

#[test]
fn files_of_a_backup() {
    run("files.sh", "");
}

#[test]
fn some_databases_of_a_backup() {
    run("database.sh", "");
}

#[test]
fn wal_by_workers_in_a_directory() {
    run("async.sh", "file");
}

#[test]
fn wal_by_workers_on_s3() {
    run("async.sh", "s3");
}

#[test]
fn a_standby_is_backed_up() {
    run("standby.sh", debian_postgres());
}

#[test]
fn replicas_from_the_backup() {
    run("replica.sh", debian_postgres());
}

#[test]
fn scripts_on_a_directory() {
    run("scripts.sh", "file");
}

#[test]
fn scripts_on_s3() {
    run("scripts.sh", "s3");
}

#[test]
fn debian_clusters() {
    run_on_machine("debian.sh", "");
}

#[test]
fn policies_that_a_service_enforces() {
    run("policies.sh", "");
}

#[test]
fn expiry_killed_and_over_years() {
    run("expire.sh", "");
}

#[test]
fn requests_of_a_night() {
    run("requests.sh", "");
}

#[test]
fn wal_is_kept_for_a_window() {
    run("window.sh", "");
}

#[test]
fn retention_of_your_own() {
    run("retention.sh", "");
}

#[test]
fn a_repository_of_an_older_release() {
    run("compatibility.sh", "");
}

#[test]
fn runbooks_as_typed() {
    run_on_machine("runbooks.sh", "");
}
