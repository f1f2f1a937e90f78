//! Random histories of files come back from a full and its increments exactly, in blocks and in files.
//!
//! A real server runs, because pgv-snap asks one; the files that change are beside its own, in database
//! directories that it does not know.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

mod common;
#[path = "common/histories.rs"]
mod histories;

use common::Cluster;
use histories::{DIRECTORIES, Step, histories, take_step, tree};
use proptest::test_runner::{Config, TestRunner};
use std::fs::{self, File};

fn label(index: usize) -> String {
    match index {
        0 => "20260101-000000F".to_owned(),
        _ => format!("20260101-000000F_20260101-00000{index}I"),
    }
}

fn check(cluster: &Cluster, history: &[Vec<Step>], mode: &str) {
    let data = cluster.path("data");
    for directory in DIRECTORIES {
        let _was_not_there = fs::remove_dir_all(data.join(directory)).is_err();
    }
    cluster.ok("rm -rf laid [0-9]*.tar [0-9]*.manifest");
    for (index, steps) in history.iter().enumerate() {
        steps.iter().for_each(|step| take_step(&data, step));
        let since: String = (0..index).map(|older| format!("--since {}.manifest ", label(older))).collect();
        let mode = if index == 0 { "" } else { mode };
        let name = label(index);
        cluster.ok(&format!(
            "pgv-snap --label {name} --manifest {name}.manifest {since} {mode} data > {name}.tar"
        ));
        // Every link is what the source was then.
        let expected = tree(&data);
        let hold = if index % 2 == 1 { "--hold" } else { "" };
        cluster.ok(&format!("pgv-apply {hold} laid < {name}.tar"));
        let laid = tree(&cluster.path("laid"));
        assert_eq!(laid.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (path, content) in &expected {
            assert!(laid[path] == *content, "{path} differs after {name}");
        }
    }
}

fn run(mode: &str) {
    let cluster = Cluster::start_with("");
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let result = runner.run(&histories(2..5), |history| {
        check(&cluster, &history, mode);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn random_histories_come_back_in_blocks() {
    run("");
}

#[test]
fn random_histories_come_back_in_files() {
    run("--files");
}

/// What a parent cannot be is refused, and nothing is on stdout that could be taken for a backup.
#[test]
fn what_is_no_parent_is_refused() {
    let cluster = Cluster::start_with("");
    let take = |name: &str, options: &str| {
        cluster
            .run(&format!("pgv-snap --label {name} --manifest {name}.manifest {options} data > {name}.tar"))
    };
    let (full, one, two) = (label(0), label(1), label(2));
    assert!(take(&full, "").status.success());
    assert!(take(&one, &format!("--since {full}.manifest")).status.success());
    let both = format!("--since {full}.manifest --since {one}.manifest");
    assert!(take(&two, &both).status.success());

    let refused = |options: &str, status: i32, message: &str| {
        let output = take("20260101-000000F_20260101-000009I", options);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{options}: {text}");
        assert!(text.contains(message), "{options}: {text}");
        let stream = File::open(cluster.path("20260101-000000F_20260101-000009I.tar")).unwrap();
        assert_eq!(stream.metadata().unwrap().len(), 0, "{options}");
    };
    refused(&format!("--since {one}.manifest"), 2, "builds on");
    refused(&format!("--since {full}.manifest --since {two}.manifest"), 2, "does not build on");
    refused(&format!("--since {one}.manifest --since {full}.manifest"), 2, "the chain begins with");
    refused("--since data/PG_VERSION", 5, "manifest");
    refused(&format!("--since {full}.manifest ").repeat(64), 2, "the chain has 64 backups already");
    cluster.ok(&format!("head -n -1 {full}.manifest > cut && sed s/base/bose/ {full}.manifest > changed"));
    refused("--since cut", 5, "checksum");
    refused("--since changed", 5, "checksum");

    // Another cluster, and a timeline that is not in this one's past.
    let other = Cluster::start_with("");
    let manifest = fs::read(cluster.path(&format!("{full}.manifest"))).unwrap();
    fs::write(other.path("m"), manifest).unwrap();
    let output = other.run(&format!("pgv-snap --label {one} --since m data | wc -c"));
    assert!(!output.status.success() && output.stdout == b"0\n");
    let estimate = other.ok("pgv-snap --estimate --json --since m data");
    assert!(estimate.contains("\"refusal\":\"it belongs to another cluster\""), "{estimate}");
    let text = fs::read_to_string(cluster.path(&format!("{full}.manifest"))).unwrap();
    let foreign = text.replacen("\"timeline\":1,", "\"timeline\":7,", 1);
    let (lines, _) = foreign.trim_end().rsplit_once('\n').unwrap();
    let body = format!("{lines}\n");
    let tail: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    use sha2::{Digest, Sha256};
    let sum: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    let last = format!("{{\"files\":{},\"bytes\":{},\"sha256\":\"{sum}\"}}\n", tail["files"], tail["bytes"]);
    fs::write(cluster.path("timeline"), body + &last).unwrap();
    refused("--since timeline", 1, "is not in this server's history");
}
