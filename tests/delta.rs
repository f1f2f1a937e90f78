//! A restore over a directory that has most of a backup: only what it lacks is opened, and the result is that of the whole
//! streams, whatever lay there.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

mod common;
#[path = "common/histories.rs"]
mod histories;

use common::Cluster;
use histories::{Change, DIRECTORIES, Step, histories, take_step, tree};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::fs;
use std::process::Command;

const FULL: &str = "20260101-000000F";
const PAGE: u64 = 8192;
/// Each link's stream, put together from its parts and what `copy` has.
const COMPLETE: &str = "bash -c 'exec pgv-apply --quiet --complete parts/$0.steps copy -- \
    pgv-crypt --quiet --decrypt --index parts/$0.index --ranges parts/$0.ranges parts/$0.sealed'";

fn start() -> Cluster {
    let cluster = Cluster::start_with("");
    fs::copy(env!("CARGO_BIN_EXE_pgv-crypt"), cluster.path("pgv-crypt")).unwrap();
    cluster.ok("umask 077; pgv-crypt --generate-key > key");
    cluster
}

fn step(name: usize, change: Change) -> Step {
    Step { directory: 0, name, change }
}

fn label(index: usize) -> String {
    match index {
        0 => FULL.to_owned(),
        _ => format!("{FULL}_20260101-0000{index:02}I"),
    }
}

/// `files[n]`: whether link n, if it is an increment, has whole files instead of blocks. Of each there is the stream, sealed,
/// with its index, members and manifest, by its number.
fn take_chain(cluster: &Cluster, history: &[Vec<Step>], files: &[bool]) {
    let data = cluster.path("data");
    for directory in DIRECTORIES {
        let _was_not_there = fs::remove_dir_all(data.join(directory)).is_err();
    }
    cluster.ok("rm -rf copy* other parts *.tar && mkdir parts");
    for (index, steps) in history.iter().enumerate() {
        steps.iter().for_each(|step| take_step(&data, step));
        let since: String = (0..index).map(|older| format!("--since parts/{older}.manifest ")).collect();
        let mode = if index > 0 && files[index] { "--files" } else { "" };
        let label = label(index);
        cluster.ok(&format!(
            "pgv-snap --label {label} --manifest parts/{index}.manifest --members parts/{index}.members {since} \
             {mode} data > {index}.tar && PGV_KEY_FILE=key pgv-crypt -e --iter 1000 --level 1 \
             --index parts/{index}.index -o parts/{index}.sealed {index}.tar"
        ));
    }
}

fn numbers(links: usize, after: &str) -> String {
    (0..links).map(|number| format!("{number}{after} ")).collect()
}

/// What of the chain `copy` lacks, in bytes.
fn wanted(cluster: &Cluster) -> u64 {
    let text = cluster.ok("pgv-apply --compare parts copy");
    let line = text.lines().find_map(|line| line.strip_prefix("wanted_bytes ")).unwrap();
    line.parse().unwrap()
}

/// Over `copy` from the parts, and over the same in `other` from the whole streams.
fn restore_both(cluster: &Cluster, links: usize) {
    cluster.ok("rm -rf other && cp -a copy other");
    wanted(cluster);
    // Merged and opened in one process, and by one process for each.
    let newest = label(links - 1);
    cluster.ok(&format!(
        "PGV_KEY_FILE=key pgv-apply --delta --hold --expect {newest} other --merge --open --jobs 1 -- {} -- cat",
        (0..links).map(|number| format!("parts/{number}.sealed ")).collect::<String>()
    ));
    cluster.ok(&format!(
        "export PGV_KEY_FILE=$PWD/key; pgv-merge {} -- {COMPLETE} | \
         pgv-apply --delta --hold --expect {newest} copy",
        numbers(links, "")
    ));
    cluster.ok("diff -r --no-dereference copy other");
    let listed = "find . -printf '%p %y %m\\n' | sort";
    cluster.ok(&format!("cmp <(cd copy && {listed}) <(cd other && {listed})"));
    assert!(tree(&cluster.path("copy")) == tree(&cluster.path("data")));
    cluster.ok("pgv-apply --commit copy");
}

/// What happens to `copy`; its files stay those of one user.
fn take_copy_step(cluster: &Cluster, step: &Step) {
    take_step(&cluster.path("copy"), step);
    let status = Command::new("chown")
        .arg("--recursive")
        .arg(format!("--reference={}", cluster.path("data").display()))
        .arg(cluster.path("copy/base"))
        .status();
    assert!(status.unwrap().success());
}

fn check(cluster: &Cluster, history: &[Vec<Step>], (files, at, changes): (&[bool], usize, &[Step])) {
    take_chain(cluster, history, files);
    let at = at % history.len() + 1;
    cluster.ok(&format!("pgv-merge {} | pgv-apply --hold copy", numbers(at, ".tar")));
    changes.iter().for_each(|change| take_copy_step(cluster, change));
    restore_both(cluster, history.len());
}

/// More of them in make test-long.
fn cases() -> u32 {
    std::env::var("PGV_TEST_CASES").map_or(4, |text| text.parse().unwrap())
}

#[test]
fn whatever_lies_there_becomes_the_backup() {
    let cluster = start();
    let long = (cases() / 4).max(1);
    for (cases, links) in [(cases() - long, 1..7), (long, 20..21)] {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let over = (prop::collection::vec(any::<bool>(), 21), 0..20usize, histories(1..2));
        let result = runner.run(&(histories(links), over), |(history, (files, at, changes))| {
            check(&cluster, &history, (&files, at, &changes[0]));
            Ok(())
        });
        result.unwrap();
    }
}

/// A chain in both modes whose files lie in several links.
fn chain(cluster: &Cluster) -> usize {
    let history = [
        vec![
            step(0, Change::Replace(200, 1)),
            step(2, Change::Replace(50, 2)),
            step(6, Change::Odd(90_000)),
            step(3, Change::Replace(3, 2)),
        ],
        vec![step(0, Change::Write(7, 3)), step(0, Change::Write(8, 4)), step(3, Change::Remove)],
        vec![step(5, Change::Replace(2, 5)), step(1, Change::Replace(4, 9))],
        vec![step(2, Change::Resize(40)), step(0, Change::Write(210, 6))],
    ];
    take_chain(cluster, &history, &[false, false, true, false]);
    history.len()
}

#[test]
fn only_what_is_missing_is_wanted() {
    let cluster = start();
    let links = chain(&cluster);
    cluster.ok(&format!("pgv-merge {} | pgv-apply --hold copy", numbers(links, ".tar")));
    let data = |name: &str| cluster.path("copy/base/77777").join(name);
    let least = wanted(&cluster);
    let changed = |change: &Step| {
        take_copy_step(&cluster, change);
        let found = wanted(&cluster) - least;
        restore_both(&cluster, links);
        found
    };
    // Of the full, of one increment and of another; each once.
    assert_eq!(changed(&step(0, Change::Write(3, 77))), PAGE);
    assert_eq!(changed(&step(0, Change::Write(7, 77))), PAGE);
    assert_eq!(changed(&step(0, Change::Write(8, 77))), PAGE);
    assert_eq!(changed(&step(0, Change::Write(210, 77))), PAGE);
    // Longer than it must be, shorter, and away.
    assert_eq!(changed(&step(2, Change::Resize(60))), 0);
    assert_eq!(changed(&step(2, Change::Resize(30))), 10 * PAGE);
    assert_eq!(changed(&step(1, Change::Remove)), 4 * PAGE);
    // A file with one hash for all of it.
    assert_eq!(changed(&step(6, Change::Odd(80_000))), 90_000);
    // What the backup does not have.
    assert_eq!(changed(&step(3, Change::Replace(9, 9))), 0);
    // Something else in its place: neither followed nor waited for.
    for other in ["ln -s /dev/zero", "mkfifo", "mkdir"] {
        fs::remove_file(data("1000.1")).unwrap();
        cluster.ok(&format!("{other} copy/base/77777/1000.1"));
        assert_eq!(wanted(&cluster) - least, 4 * PAGE, "{other}");
        restore_both(&cluster, links);
    }
    // Nothing of the cluster's own files, only what comes last and what tells of directories.
    let tail: u64 = cluster
        .ok(&format!("tail -n 1 parts/{}.members | sed 's/.*\"tail\":\\([0-9]*\\),.*\"stream_bytes\":\\([0-9]*\\).*/\\1 \\2/'", links - 1))
        .split_whitespace()
        .map(|number| number.parse::<u64>().unwrap())
        .reduce(|from, to| to - from)
        .unwrap();
    assert!(least < tail + (100 << 10), "{least} bytes, of which {tail} are the end of the newest stream");
    // A cluster of its own is all there is.
    cluster.ok("rm -rf copy/base copy/global/[0-9]* copy/pg_xact");
    let text = cluster.ok("pgv-apply --compare parts copy");
    assert!(wanted(&cluster) > 10 << 20, "{text}");
    restore_both(&cluster, links);
}

/// Interrupted anywhere it can be given again; until it is done no server can start.
#[test]
fn a_part_that_is_cut_short_or_changed_leaves_nothing_that_starts() {
    let cluster = start();
    let links = chain(&cluster);
    cluster.ok("pgv-apply --hold copy < 0.tar && pgv-apply --commit copy");
    let streams = numbers(links, "");
    let restore = |inner: &str| {
        cluster.run(&format!(
            "export PGV_KEY_FILE=$PWD/key; pgv-merge --quiet {streams} -- bash -c 'exec pgv-apply --quiet \
             --complete parts/$0.steps copy -- {inner}' | pgv-apply --quiet --delta --hold copy"
        ))
    };
    let opened =
        "pgv-crypt --quiet --decrypt --index parts/$0.index --ranges parts/$0.ranges parts/$0.sealed";
    for cut in [0, 511, 20_000, 200_000] {
        wanted(&cluster);
        let output = restore(&format!("bash -c \"{opened} | head -c {cut}\" $0").replace("$0.", "\\$0."));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{cut}: {text}");
        assert!(text.contains("end too early") || text.contains("ends too early"), "{cut}: {text}");
        // Before its head was read the directory is as it was.
        assert!(cut == 0 || cut == 511 || !cluster.path("copy/global/pg_control").exists(), "{cut}");
    }
    // More than was asked for.
    wanted(&cluster);
    let output = restore(&format!("bash -c \"{opened}; echo x\" $0").replace("$0.", "\\$0."));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("more parts came"), "{text}");
    assert!(!cluster.path("copy/global/pg_control").exists());
    // Something changed since it was compared: the stream's own checksums tell.
    wanted(&cluster);
    take_copy_step(&cluster, &step(0, Change::Write(100, 99)));
    let output = restore(opened);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("its checksum"), "{text}");
    assert!(!cluster.path("copy/global/pg_control").exists());
    // Or became shorter, or went.
    for change in [Change::Resize(20), Change::Remove] {
        wanted(&cluster);
        take_copy_step(&cluster, &step(0, change));
        let output = restore(opened);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("changed while it was restored"), "{text}");
    }
    restore_both(&cluster, links);
}

/// Lists and manifests of other backups, and what is none.
#[test]
fn what_does_not_belong_together_is_refused() {
    let cluster = start();
    let links = chain(&cluster);
    cluster.ok(&format!("pgv-merge {} | pgv-apply --hold copy", numbers(links, ".tar")));
    let refused = |change: &str, status: i32, said: &str| {
        cluster.ok(&format!("rm -rf parts.good && cp -a parts parts.good && cd parts && {change}"));
        let output = cluster.run("pgv-apply --compare parts copy");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(status) && text.contains(said), "{change}: {text}");
        cluster.ok("rm -rf parts && mv parts.good parts");
    };
    refused("cp 1.members 2.members", 5, "the members are those of backup");
    refused("cp 1.manifest 2.manifest", 2, "does not build on");
    refused("rm 3.manifest", 1, "3.manifest");
    refused("rm *.members", 2, "0 lists of members");
    refused("head -c 5000 0.members > x && mv x 0.members", 5, "0.members");
    refused("sed -i 's#base/#bese/#' 0.manifest", 5, "checksum");
}

/// Of a chain that is opened in one process every stream must be whole, and its command must say so.
#[test]
fn each_link_that_is_opened_in_one_process_counts() {
    let cluster = start();
    let links = chain(&cluster);
    let merge = |get: &str| {
        let numbers = numbers(links, "");
        let output = cluster.run(&format!(
            "rm -rf new; PGV_KEY_FILE=key pgv-apply new --merge --open --jobs 1 -- {numbers} -- bash -c '{get}'"
        ));
        assert_eq!(cluster.path("new/global/pg_control").exists(), output.status.success(), "{get}");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(merge("exec cat parts/$0.sealed").0, Some(0));
    cluster.ok("echo other > other && chmod 600 other && for n in parts/*.sealed; do pgv-crypt -d -k key $n | pgv-crypt -e -k other --iter 1000 > $n.other; done");
    for link in 0..links {
        let only = |command: &str| format!("[ $0 != {link} ] || {{ {command}; }}; exec cat parts/$0.sealed");
        for (command, status) in [
            ("exit 75", 75),
            ("cat parts/$0.sealed; exit 1", 1),
            ("kill -9 $$", 1),
            ("exec head -c -1 parts/$0.sealed", 5),
            ("exec head -c 300 parts/$0.sealed", 5),
            ("exec cat parts/$0.sealed.other", 4),
            ("cat parts/$0.sealed; echo", 5),
        ] {
            let (found, text) = merge(&only(command));
            assert_eq!(found, Some(status), "link {link}: {command}: {text}");
        }
    }
    let (status, text) = merge("exec cat parts/$((3 - $0)).sealed");
    assert!(status == Some(5) && text.contains("is not a full backup"), "{status:?}: {text}");
    let output = cluster
        .run("PGV_KEY_FILE=key pgv-apply new --merge --open -- --facts f --record r parts/0.sealed -- cat");
    assert_eq!(output.status.code(), Some(2));
}
