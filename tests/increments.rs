//! Random histories of files come back from a full and its increments exactly, in blocks and in files.
//!
//! A real server runs, because pgv-snap asks one; the files that change are beside its own, in database
//! directories that it does not know.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

mod common;

use common::Cluster;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

const PAGE: usize = 8192;
const DIRECTORIES: [&str; 2] = ["base/77777", "base/77778"];
const NAMES: [&str; 7] = ["1000", "1000.1", "2000", "2000_vm", "2000_fsm", "3000_init", "no_relation"];

#[derive(Clone, Debug)]
enum Change {
    /// Page and content, behind the end as well.
    Write(u64, u8),
    /// The same, and then the old time of change again.
    Stealthily(u64, u8),
    Resize(u64),
    /// Another file of that many pages takes the name.
    Replace(u64, u8),
    /// A length that is no multiple of a page.
    Odd(u64),
    Remove,
    RemoveDirectory,
    /// Nothing but a time of change in the past or the future.
    Touch(bool),
}

#[derive(Clone, Debug)]
struct Step {
    directory: usize,
    name: usize,
    change: Change,
}

fn step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        5 => (0..40u64, any::<u8>()).prop_map(|(page, fill)| Change::Write(page, fill)),
        2 => (0..40u64, any::<u8>()).prop_map(|(page, fill)| Change::Stealthily(page, fill)),
        2 => (0..40u64).prop_map(Change::Resize),
        2 => (0..40u64, any::<u8>()).prop_map(|(pages, fill)| Change::Replace(pages, fill)),
        1 => (1..100_000u64).prop_map(Change::Odd),
        1 => Just(Change::Remove),
        1 => Just(Change::RemoveDirectory),
        1 => any::<bool>().prop_map(Change::Touch),
    ];
    (0..DIRECTORIES.len(), 0..NAMES.len(), change).prop_map(|(directory, name, change)| Step {
        directory,
        name,
        change,
    })
}

/// For each backup what happens before it.
fn histories() -> impl Strategy<Value = Vec<Vec<Step>>> {
    prop::collection::vec(prop::collection::vec(step(), 0..14), 2..5)
}

fn page(fill: u8) -> Vec<u8> {
    (0..PAGE).map(|at| (at % 239) as u8 ^ fill).collect()
}

fn take_step(data: &Path, step: &Step) {
    let directory = data.join(DIRECTORIES[step.directory]);
    if matches!(step.change, Change::RemoveDirectory) {
        let _was_not_there = fs::remove_dir_all(directory).is_err();
        return;
    }
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(NAMES[step.name]);
    let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&path).unwrap();
    match step.change {
        Change::Write(at, fill) => open().write_all_at(&page(fill), at * PAGE as u64).unwrap(),
        Change::Stealthily(at, fill) => {
            let file = open();
            let before = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(&page(fill), at * PAGE as u64).unwrap();
            file.set_modified(before).unwrap();
        }
        Change::Resize(pages) => open().set_len(pages * PAGE as u64).unwrap(),
        Change::Replace(pages, fill) => {
            let other = directory.join("other");
            fs::write(&other, page(fill).repeat(pages as usize)).unwrap();
            fs::rename(&other, &path).unwrap();
        }
        Change::Odd(length) => open().set_len(length).unwrap(),
        Change::Remove => {
            let _was_not_there = fs::remove_file(&path).is_err();
        }
        Change::RemoveDirectory => {}
        Change::Touch(future) => {
            let hour = Duration::from_secs(3600);
            let time = if future { SystemTime::now() + hour } else { SystemTime::now() - hour };
            open().set_modified(time).unwrap();
        }
    }
}

/// Everything in the two directories; an absent one differs from an empty one.
fn tree(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for directory in DIRECTORIES {
        let Ok(entries) = fs::read_dir(data.join(directory)) else { continue };
        found.insert(format!("{directory}/"), Vec::new());
        for entry in entries {
            let entry = entry.unwrap();
            let name = format!("{directory}/{}", entry.file_name().to_str().unwrap());
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    // Of what has an init fork only that is backed up; none of these names has one and another.
    found
}

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
    let result = runner.run(&histories(), |history| {
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
