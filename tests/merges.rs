//! Merging the streams of a chain gives what laying them down one after the other gives, and refuses what is no chain.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

mod common;
#[path = "common/histories.rs"]
mod histories;

use common::Cluster;
use histories::{Change, DIRECTORIES, Step, histories, take_step};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::fs;

const FULL: &str = "20260101-000000F";

fn label(index: usize) -> String {
    match index {
        0 => FULL.to_owned(),
        _ => format!("{FULL}_20260101-0000{index:02}I"),
    }
}

/// `files[n]`: whether link n, if it is an increment, has whole files instead of blocks.
fn take_chain(cluster: &Cluster, history: &[Vec<Step>], files: &[bool]) -> Vec<String> {
    let data = cluster.path("data");
    for directory in DIRECTORIES {
        let _was_not_there = fs::remove_dir_all(data.join(directory)).is_err();
    }
    cluster.ok("rm -rf laid* merged* piped* [0-9]*.tar [0-9]*.manifest");
    let mut chain = Vec::new();
    for (index, steps) in history.iter().enumerate() {
        steps.iter().for_each(|step| take_step(&data, step));
        let since: String = chain.iter().map(|older| format!("--since {older}.manifest ")).collect();
        let mode = if index > 0 && files[index] { "--files" } else { "" };
        let name = label(index);
        cluster.ok(&format!(
            "pgv-snap --label {name} --manifest {name}.manifest {since} {mode} data > {name}.tar"
        ));
        chain.push(name);
    }
    chain
}

fn joined(chain: &[String], before: &str, after: &str) -> String {
    chain.iter().map(|label| format!("{before}{label}{after} ")).collect()
}

fn check(cluster: &Cluster, history: &[Vec<Step>], files: &[bool]) {
    let chain = take_chain(cluster, history, files);
    for length in 1..=chain.len() {
        cluster.ok(&format!(
            "pgv-apply {} laid < {}.tar",
            if length % 2 == 1 { "--hold" } else { "" },
            chain[length - 1]
        ));
        // The whole chain, and the half of it.
        if length != chain.len() && length != chain.len() / 2 {
            continue;
        }
        let (links, newest) = (&chain[..length], &chain[length - 1]);
        cluster.ok(&format!("pgv-merge {} > merged.tar", joined(links, "", ".tar")));
        cluster.ok(&format!("pgv-apply --hold --expect {newest} merged-{length} < merged.tar"));
        // By stock tools: what pgv-apply checks on the way, tar does not.
        cluster.ok(&format!("mkdir piped-{length} && tar x -C piped-{length} < merged.tar"));
        cluster.ok(&format!("pgv-apply --commit merged-{length}"));
        let same = |one: &str, other: &str| {
            cluster.ok(&format!(
                "diff -r --no-dereference -x stream.json -x backup_manifest -x held -x pg_control -x unstack -x backup_label {one} {other} && \
                 cmp {one}/backup_label {other}/backup_label"
            ));
        };
        same("laid", &format!("merged-{length}"));
        // Without the pipe.
        cluster.ok(&format!(
            "pgv-apply --expect {newest} threaded --merge -- {} && diff -r --no-dereference merged-{length} threaded && rm -rf threaded",
            joined(links, "", ".tar")
        ));
        same(&format!("merged-{length}"), &format!("piped-{length}"));
        let modes = format!(
            "cd laid && find . -mindepth 1 ! -path './pgv*' -printf '%p %y %m\\n' | grep -v pg_control | sort > ../one && \
             cd ../merged-{length} && find . -mindepth 1 ! -path './pgv*' -printf '%p %y %m\\n' | grep -v pg_control | sort > ../other && cmp ../one ../other"
        );
        cluster.ok(&modes);
        cluster.ok(&format!("rm -rf merged-{length} piped-{length}"));
    }
}

/// More of them in make test-long.
fn cases() -> u32 {
    std::env::var("PGV_TEST_CASES").map_or(3, |text| text.parse().unwrap())
}

#[test]
fn a_merged_chain_is_what_its_links_leave() {
    let cluster = Cluster::start_with("");
    let long = (cases() / 4).max(1);
    for (cases, links) in [(cases() - long, 1..7), (long, 7..21)] {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let chains = (histories(links), prop::collection::vec(any::<bool>(), 21));
        let result = runner.run(&chains, |(history, files)| {
            check(&cluster, &history, &files);
            Ok(())
        });
        result.unwrap();
    }
}

/// The server's own program, of each major that has it, makes the same of a chain in blocks.
#[test]
fn a_merged_chain_is_what_pg_combinebackup_makes() {
    for cluster in ["17", "18", "19"].into_iter().filter_map(Cluster::start_of) {
        let links = if cases() > 3 { 2..21 } else { 2..6 };
        let mut runner = TestRunner::new(Config {
            cases: cases().div_ceil(3),
            failure_persistence: None,
            ..Config::default()
        });
        let result = runner.run(&histories(links), |history| {
            let chain = take_chain(&cluster, &history, &vec![false; history.len()]);
            for link in &chain {
                cluster.ok(&format!("mkdir -m 700 opened-{link} && tar x -C opened-{link} -f {link}.tar"));
            }
            let newest = chain.last().unwrap();
            cluster.ok(&format!(
                "pg_combinebackup --no-sync --output combined {} && \
                 pg_verifybackup --quiet --no-parse-wal combined && \
                 pgv-merge {} | pgv-apply --expect {newest} merged && \
                 diff -r --no-dereference -x pgv -x backup_manifest -x backup_label combined merged && \
                 rm -rf combined merged opened-*",
                joined(&chain, "opened-", ""),
                joined(&chain, "", ".tar")
            ));
            Ok(())
        });
        result.unwrap();
    }
}

/// Status, and what was said.
fn refused(cluster: &Cluster, command: &str) -> (Option<i32>, String) {
    let output = cluster.run(&format!("{command} > out.tar"));
    // What it leaves is no backup, whatever is done with it.
    assert!(!cluster.run("pgv-apply --check-only < out.tar").status.success(), "{command}");
    let listed = cluster.run("tar t -f out.tar 2>&1");
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("pg_control"), "{command}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Without the pipe it is the same refusal.
    let words = command.strip_prefix("pgv-merge ").unwrap();
    let threaded = cluster.run(&format!("pgv-apply --check-only --merge -- {words}"));
    let reason = text.lines().next().unwrap().replace("pgv-merge: ", "pgv-apply: ");
    assert_eq!(threaded.status.code(), output.status.code(), "{words}");
    let said = String::from_utf8_lossy(&threaded.stderr).into_owned();
    assert!(said.contains(&reason), "{words}: {said}, and not {reason}");
    (output.status.code(), text)
}

#[test]
fn what_is_no_chain_is_refused() {
    let cluster = Cluster::start_with("");
    let step = |name, change| Step { directory: 0, name, change };
    let history = [
        vec![step(0, Change::Replace(30, 1)), step(2, Change::Replace(5, 2))],
        vec![step(0, Change::Write(7, 3))],
        vec![step(0, Change::Write(8, 4)), step(2, Change::Remove)],
        vec![step(0, Change::Write(9, 5))],
    ];
    let chain = take_chain(&cluster, &history, &[false, false, true, false]);
    let [full, one, two, three] = &chain[..] else { panic!() };
    let merge = |links: &[&str]| {
        let links: String = links.iter().map(|link| format!("{link}.tar ")).collect();
        refused(&cluster, &format!("pgv-merge {links}"))
    };
    let wrong = [
        (vec![one, two], "is not a full backup"),
        (vec![full, two, three], "does not build on"),
        (vec![full, one, one, two], "does not build on"),
        (vec![full, two, one, three], "does not build on"),
        (vec![full, full], "does not build on"),
        (vec![one, full], "is not a full backup"),
    ];
    for (links, said) in wrong {
        let links: Vec<&str> = links.into_iter().map(String::as_str).collect();
        let (status, text) = merge(&links);
        assert!(status == Some(5) && text.contains(said), "{links:?}: {status:?}: {text}");
        assert_eq!(fs::metadata(cluster.path("out.tar")).unwrap().len(), 0, "{links:?}");
    }

    // Cut short in any link, wherever.
    for link in &chain {
        let size = fs::metadata(cluster.path(&format!("{link}.tar"))).unwrap().len();
        for cut in [0, 512, size / 2, size - 9000, size - 1024, size - 1] {
            cluster.ok(&format!("head -c {cut} {link}.tar > short.tar"));
            let links: Vec<&str> =
                chain.iter().map(|other| if other == link { "short" } else { other.as_str() }).collect();
            let (status, text) = merge(&links);
            assert!(
                status == Some(5) && text.contains("short.tar"),
                "{link} cut at {cut}: {status:?}: {text}"
            );
        }
    }

    // Without its last member, and with its end.
    for link in &chain {
        cluster.ok(&format!(
            "{{ head -c -$((1024 + 512 + 8192)) {link}.tar; head -c 1024 /dev/zero; }} > headless.tar"
        ));
        let links: Vec<&str> =
            chain.iter().map(|other| if other == link { "headless" } else { other.as_str() }).collect();
        let (status, text) = merge(&links);
        assert!(status == Some(5) && text.contains("global/pg_control"), "{link}: {status:?}: {text}");
    }

    // A byte of the file as it was sent whole the last time, and one of a block that was changed after that.
    for (link, page) in [(two, 3), (three, 9)] {
        let fill = if page == 9 { 5 } else { 1 };
        let at = cluster.ok(&format!(
            "python3 -c 'import sys; t = open(sys.argv[1], \"rb\").read(); p = bytes((i % 239) ^ {fill} for i in range(8192)); print(t.find(p))' {link}.tar"
        ));
        let at: u64 = at.trim().parse().unwrap();
        cluster.ok(&format!(
            "cp {link}.tar bad.tar && printf x | dd of=bad.tar bs=1 seek={} conv=notrunc status=none",
            at + 5000
        ));
        let links: Vec<&str> =
            chain.iter().map(|other| if other == link { "bad" } else { other.as_str() }).collect();
        let (status, text) = merge(&links);
        assert!(status == Some(5) && text.contains("base/77777/1000: its checksum"), "{status:?}: {text}");
    }

    // What a command says counts.
    let all = joined(&chain, "", "");
    for (code, wanted) in [(0, None), (7, None), (4, Some(4)), (75, Some(75)), (1, Some(1))] {
        let command = format!("pgv-merge {all} -- sh -c 'cat $0.tar; [ $0 != {one} ] || exit {code}'");
        match wanted {
            None => drop(cluster.ok(&format!("{command} | pgv-apply --check-only"))),
            Some(wanted) => assert_eq!(refused(&cluster, &command).0, Some(wanted)),
        }
    }
}

/// An increment builds on a merged full as on any other.
#[test]
fn increments_go_on_from_a_merged_full() {
    let cluster = Cluster::start_with("");
    let step = |name, change| Step { directory: 0, name, change };
    let history = [
        vec![step(0, Change::Replace(30, 1)), step(2, Change::Replace(5, 2)), step(3, Change::Odd(5000))],
        vec![step(0, Change::Write(7, 3)), step(1, Change::Replace(3, 3))],
        vec![step(0, Change::Resize(20)), step(2, Change::Remove)],
    ];
    let chain = take_chain(&cluster, &history, &[false, false, true]);
    let merged = "20260102-000000F";
    let since = joined(&chain, "--since ", ".manifest");
    cluster.ok(&format!(
        "pgv-merge --label {merged} --manifest merged.manifest {since} {} > merged.tar",
        joined(&chain, "", ".tar")
    ));
    // Without a stream: the same bytes.
    cluster.ok(&format!("pgv-merge --label {merged} --manifest again {since} && cmp again merged.manifest"));
    take_step(&cluster.path("data"), &step(0, Change::Write(2, 9)));
    let next = format!("{merged}_20260102-000001I");
    cluster.ok(&format!(
        "pgv-snap --label {next} --manifest next.manifest --since merged.manifest --facts f data > next.tar"
    ));
    // Nothing is sent again because of the merge.
    assert!(fs::metadata(cluster.path("next.tar")).unwrap().len() < 26 << 20);
    cluster.ok("pgv-apply --hold laid < merged.tar && pgv-apply laid < next.tar");
    assert!(histories::tree(&cluster.path("laid")) == histories::tree(&cluster.path("data")));
    cluster.ok("pgv-merge merged.tar next.tar | pgv-apply --hold twice");
    assert!(histories::tree(&cluster.path("twice")) == histories::tree(&cluster.path("data")));

    let (status, text) = refused(
        &cluster,
        &format!("pgv-merge --manifest m --since {}.manifest {}.tar {}.tar", chain[0], chain[0], chain[1]),
    );
    assert!(status == Some(2) && text.contains("does not belong to the newest stream"), "{text}");
    assert!(!cluster.path("m").exists());
}

/// And the other way round, in every mode; laid down one after the other, merged, and over an old copy.
#[test]
fn a_file_becomes_a_directory() {
    let cluster = Cluster::start_with("");
    let changes = [
        "mkdir -p data/extra && echo 1 > data/extra/a && mkdir data/extra/b && echo 2 > data/extra/b/x",
        "rm data/extra/a && mkdir data/extra/a && echo 3 > data/extra/a/y && rm -r data/extra/b && echo 4 > data/extra/b",
        "rm -r data/extra/a && echo 5 > data/extra/a && rm data/extra/b && mkdir data/extra/b",
    ];
    for modes in [["", "", "--files"], ["", "--files", ""]] {
        cluster.ok("rm -rf laid merged data/extra *.tar");
        let mut chain = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            cluster.ok(change);
            let name = label(index);
            let since = joined(&chain, "--since ", ".manifest");
            let mode = modes[index];
            cluster.ok(&format!(
                "pgv-snap --label {name} --manifest {name}.manifest {since} {mode} data > {name}.tar && \
                 pgv-apply --hold laid < {name}.tar && diff -r data/extra laid/extra"
            ));
            chain.push(name);
            let links = joined(&chain, "", ".tar");
            cluster.ok(&format!(
                "rm -rf merged && pgv-merge {links} | pgv-apply merged && diff -r data/extra merged/extra"
            ));
        }
        cluster.ok(&format!("pgv-apply old < {FULL}.tar && pgv-merge {} | pgv-apply --delta old && diff -r data/extra old/extra && rm -r old", joined(&chain, "", ".tar")));
    }
}

/// Whoever merges increments takes such files for changed blocks, whoever made them.
#[test]
fn names_of_increments_are_left_out() {
    let cluster = Cluster::start_with("");
    let name = "INCREMENTAL.1000";
    let (reserved, harmless) = (["base/77777", "base/77777/mine", "global"], [".", "base", "mine"]);
    let places = [&reserved[..], &harmless].concat().join(" ");
    cluster.ok(&format!(
        "mkdir -p data/base/77777/mine data/mine && head -c 81920 /dev/zero > data/base/77777/1000 && \
         for place in {places}; do echo user > data/$place/{name}; done"
    ));
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pgv-unstack"), cluster.path("unstack")).unwrap();
    let mut chain = Vec::new();
    for (index, mode) in ["", "", "", "--files", ""].into_iter().enumerate() {
        let label = label(index);
        let since = joined(&chain, "--since ", ".manifest");
        let options = format!("--label {label} --manifest {label}.manifest --facts facts {since} {mode}");
        let taken = cluster.run(&format!("pgv-snap {options} data > {label}.tar"));
        let said = String::from_utf8_lossy(&taken.stderr);
        assert_eq!(taken.status.code(), Some(7), "{said}");
        assert_eq!(cluster.facts()["findings"]["reserved"], 3, "{said}");
        for place in reserved {
            assert!(said.contains(&format!("file left out: data/{place}/{name}: ")), "{said}");
        }
        chain.push(label.clone());
        cluster.ok(&format!(
            "pgv-apply --hold laid < {label}.tar && rm -rf merged && pgv-merge {} | pgv-apply --hold merged && \
             mkdir opened-{index} && tar x -C opened-{index} -f {label}.tar",
            joined(&chain, "", ".tar")
        ));
        if index == 2 {
            cluster.ok("perl unstack unstacked opened-0 opened-1 opened-2");
        }
        for result in
            ["laid", "merged", "unstacked"].into_iter().filter(|result| cluster.path(result).exists())
        {
            cluster.ok(&format!("cmp data/base/77777/1000 {result}/base/77777/1000"));
            for place in reserved {
                assert!(!cluster.path(&format!("{result}/{place}/{name}")).exists(), "{result} has {place}");
            }
            for place in harmless {
                cluster.ok(&format!("cmp data/{place}/{name} {result}/{place}/{name}"));
            }
        }
        cluster.ok(&format!(
            "rm -rf unstacked; printf x | dd of=data/base/77777/1000 bs=1 seek=$((8192 * {index})) conv=notrunc status=none && \
             for place in {places}; do echo {index} >> data/$place/{name}; done"
        ));
    }
}

/// Its commands may be waiting for a network, and it for them.
#[test]
fn a_signal_ends_what_it_runs() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    fs::write(path("key"), "a passphrase").unwrap();
    fs::set_permissions(path("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let wait_until = |what: &str, is_so: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !is_so() {
            assert!(begun.elapsed().as_secs() < 60, "never {what}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let pid_of = |name: &str| fs::read_to_string(path(name)).ok()?.strip_suffix('\n')?.parse::<u32>().ok();
    // Of one that has ended, and that nobody has asked for, the list is empty.
    let runs = |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty());
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        // Whoever runs the tests may ignore one of them, as nohup does.
        let mut merge = Command::new("env")
            .args(["--default-signal=TERM,INT,HUP", env!("CARGO_BIN_EXE_pgv-merge")])
            .args(["one", "two", "--", env!("CARGO_BIN_EXE_pgv-crypt"), "-d", "-k", "key", "--"])
            .args(["sh", "-c", "echo $$ > $0.new && mv $0.new $0; exec sleep 600"])
            .current_dir(scratch.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("both run", &|| ["one", "two"].iter().all(|name| pid_of(name).is_some()));
        let pids = ["one", "two"].map(|name| pid_of(name).unwrap());
        assert!(pids.iter().all(|pid| runs(*pid)));
        kill_process(Pid::from_raw(merge.id().cast_signed()).unwrap(), signal).unwrap();
        assert_eq!(merge.wait().unwrap().signal(), Some(signal.as_raw()));
        wait_until("all have ended", &|| !pids.iter().any(|pid| runs(*pid)));
        ["one", "two"].iter().for_each(|name| fs::remove_file(path(name)).unwrap());
    }
}

#[test]
fn what_fails_early_leaves_nothing() {
    let cluster = Cluster::start_with("");
    let history = [vec![Step { directory: 0, name: 0, change: Change::Replace(30, 1) }], vec![]];
    let chain = take_chain(&cluster, &history, &[false, false]);
    let (full, one) = (&chain[0], &chain[1]);
    let merged = "20260102-000000F";
    let run = |command: &str| {
        let output = cluster.run(&format!("{command} > out.tar"));
        let left = cluster.ok("ls -A | grep -c pgv-tmp || true");
        assert_eq!(left.trim(), "0", "{command} leaves something");
        output.status.code()
    };
    // A status within the head of a file's blocks, as any other.
    let cut = format!(
        "pgv-merge {full} {one} -- sh -c 'case $0 in *I) head -c 4200 $0.tar; exit 75;; *) cat $0.tar;; esac'"
    );
    assert_eq!(run(&cut), Some(75));
    cluster.ok(&format!("head -c -2000 {one}.tar > short.tar"));
    let since = joined(&chain, "--since ", ".manifest");
    assert_eq!(
        run(&format!("pgv-merge --manifest m {since} --label {merged} {full}.tar short.tar")),
        Some(5)
    );
    assert!(!cluster.path("m").exists());
    for wrong in [
        format!("--label {full} {full}.tar {one}.tar"),
        format!("--label {one} {full}.tar {one}.tar"),
        format!("--manifest - {since} {full}.tar {one}.tar"),
        "- -".to_owned(),
    ] {
        assert_eq!(run(&format!("pgv-merge {wrong}")), Some(2), "{wrong}");
        assert_eq!(fs::metadata(cluster.path("out.tar")).unwrap().len(), 0, "{wrong}");
    }
    // A device stays one.
    cluster.ok("mkfifo pipe");
    assert_eq!(run(&format!("pgv-snap --label {full} --facts pipe data")), Some(2));
    cluster.ok("[ -p pipe ]");
    // Of another cluster that has a backup of the same name.
    let other = Cluster::start_with("");
    other.ok(&format!("pgv-snap --label {full} --manifest m data > /dev/null"));
    let manifest = fs::read(other.path("m")).unwrap();
    fs::write(cluster.path("foreign"), manifest).unwrap();
    assert_eq!(run(&format!("pgv-merge --manifest m --since foreign --label {merged} {full}.tar")), Some(2));
}
