//! pgv-info on repositories made by hand: what counts as a backup, what is chosen, what may go.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

const ID: &str = "7711175703245852542";

struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        Repository(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        format!("file://{}/repo", self.0.path().display())
    }

    fn set(&self, cluster: &str, id: &str, label: &str) -> PathBuf {
        self.0.path().join("repo").join(cluster).join(id).join("backup").join(label)
    }

    /// A complete full backup, which ended one minute after its label's time, `stop` bytes into the first segment, or at
    /// LSN 0/`stop` if that is in a later one. All of it is in one segment.
    fn add(&self, label: &str, stop: u32) -> PathBuf {
        self.add_to("15-main", ID, label, stop)
    }

    fn add_to(&self, cluster: &str, id: &str, label: &str, stop: u32) -> PathBuf {
        let set = self.set(cluster, id, label);
        fs::create_dir_all(&set).unwrap();
        fs::write(set.join("claim.json"), "{}").unwrap();
        fs::write(set.join("data.pgv"), [7; 100]).unwrap();
        let (day, time) = label.rsplit('_').next().unwrap().split_at(8);
        let at = format!("{}-{}-{}T{}:{}", &day[..4], &day[4..6], &day[6..], &time[1..3], &time[3..5]);
        let stop = if stop < SEGMENT { SEGMENT + stop } else { stop };
        let (start, segment) = (stop / SEGMENT * SEGMENT, format!("0000000100000000{:08X}", stop / SEGMENT));
        let record = format!(
            r#"{{"format":"pgv-record/1","label":"{label}","type":"full","mode":null,"parent":null,"system_identifier":"{id}",
            "pg_version":"15.20","host":"h","started_at":"{at}:00Z","stopped_at":"{at}:59Z","start_lsn":"0/{start:X}",
            "stop_lsn":"0/{stop:X}","timeline":1,"wal_first":"{segment}","wal_last":"{segment}",
            "wal_included":true,"tablespaces":[],"database_bytes":1000,"stream_bytes":1000,
            "files":{{"total":1,"whole":1,"blocks":0,"same":0,"removed":0}},"blocks":{{"read":0,"sent":0}},
            "findings":{{"bad_pages":0,"links":0}},"tool_version":"0.1.0","cluster":"{cluster}","future":1,
            "objects":[{{"name":"data.pgv","bytes":100,"sha256":"00"}}],"key_name":null,"annotations":{{}}}}"#
        );
        fs::write(set.join("record.json"), record).unwrap();
        set
    }

    fn info(&self, arguments: &[&str]) -> Output {
        info(&[arguments, &["--repo", &self.url()]].concat(), &[])
    }

    fn lines(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.info(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        lines(&output)
    }
}

fn info(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgv-info"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("PGV_")) {
        command.env_remove(key);
    }
    command.env("PGV_CONFIG_DIR", "/nowhere").envs(environment.iter().copied());
    command.args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Bytes of a WAL segment.
const SEGMENT: u32 = 16 << 20;

/// A record whose backup was made in the first segment, as if that had been in another one.
fn in_segment(record: &str, number: u32) -> String {
    record
        .replace("000000010000000000000001", &format!("0000000100000000{number:08X}"))
        .replace(r#"_lsn":"0/1"#, &format!(r#"_lsn":"0/{number:X}"#))
}

const A: &str = "20261101-010000F";
const B: &str = "20261102-010000F";
const C: &str = "20261103-010000F";

#[test]
fn nothing_stored_is_no_error_and_no_repository_is_one() {
    let repository = Repository::new();
    // Somebody mistyped it, or its disk is not mounted; a directory of other things is none either.
    for nothing in ["none", "lost+found", "apt/sources"] {
        let asked: [&[&str]; 7] = [
            &[],
            &["15-main"],
            &["choose", "15-main"],
            &["prune", "--keep-full", "1"],
            &["wal"],
            &["sets"],
            &["recovery", "15-main"],
        ];
        fs::create_dir_all(repository.0.path().join("repo").join(nothing)).unwrap();
        for arguments in asked {
            let output = repository.info(arguments);
            assert_eq!((status(&output), lines(&output).len()), (3, 0), "{arguments:?}: {}", stderr(&output));
            assert!(stderr(&output).contains("no repository at "), "{}", stderr(&output));
        }
    }
    assert_eq!(status(&repository.info(&["next", "15-main"])), 0, "the first backup makes it");
    fs::write(repository.0.path().join("repo/RESTORE-1.txt"), "").unwrap();
    assert!(repository.lines(&["--format", "label"]).is_empty());
    assert_eq!(status(&repository.info(&["--label", A])), 3);
    assert_eq!(status(&repository.info(&["choose", "15-main"])), 3);
    assert_eq!(status(&repository.info(&["--max-age", "1d"])), 7);
}

#[test]
fn formats() {
    let repository = Repository::new();
    let set = repository.add(A, 0x100);
    repository.add(B, 0x200);
    assert_eq!(repository.lines(&["--format", "label"]), [A, B]);
    assert_eq!(repository.lines(&["--format", "url", "--label", A]), [format!("file://{}", set.display())]);
    let tsv = repository.lines(&[]);
    assert_eq!(tsv[0].split('\t').count(), 16);
    let json: serde_json::Value = serde_json::from_str(&repository.lines(&["--json"])[1]).unwrap();
    assert_eq!((json["label"].as_str(), json["state"].as_str()), (Some(B), Some("complete")));
    assert_eq!(json["system_identifier"], ID);
    assert_eq!(json["record"]["stop_lsn"], "0/1000200");
    let table = repository.lines(&["--format", "table"]);
    assert!(table[0].starts_with("BACKUP") && table[1].contains("15-main") && table[2].starts_with(A));
}

#[test]
fn a_backup_exists_iff_its_record_and_its_objects_do() {
    let repository = Repository::new();
    repository.add(A, 1);
    for (label, damage) in
        [("20261104-010000F", "record"), ("20261105-010000F", "object"), ("20261106-010000F", "size")]
    {
        let set = repository.add(label, 1);
        match damage {
            "record" => fs::remove_file(set.join("record.json")).unwrap(),
            "object" => fs::remove_file(set.join("data.pgv")).unwrap(),
            _ => fs::write(set.join("data.pgv"), [7; 99]).unwrap(),
        }
    }
    for format in ["label", "url", "tsv"] {
        let output = repository.info(&["--format", format]);
        assert_eq!((status(&output), lines(&output).len()), (7, 1), "{format}: {}", stderr(&output));
    }
    let table = lines(&repository.info(&["--format", "table"])).join("\n");
    assert!(
        table.contains("no record") && table.contains("data.pgv is missing") && table.contains("99 bytes")
    );
    // What was interrupted long ago goes by itself; what has a record is for a person to judge.
    assert_eq!(repository.lines(&["prune", "--keep-full", "1"]), ["20261104-010000F"]);
    // Its WAL stays with it.
    let lost = repository.set("15-main", ID, "20261106-010000F").join("record.json");
    let record = fs::read_to_string(&lost).unwrap();
    for set in [A, "20261105-010000F"] {
        let path = repository.set("15-main", ID, set).join("record.json");
        fs::write(&path, in_segment(&fs::read_to_string(&path).unwrap(), 5)).unwrap();
    }
    let wal = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
    fs::create_dir_all(&wal).unwrap();
    fs::write(wal.join("000000010000000000000002.pgv"), "x").unwrap();
    let unneeded = || repository.info(&["wal", "15-main", "--unneeded"]);
    assert_eq!((status(&unneeded()), lines(&unneeded()).len()), (7, 0), "{}", stderr(&unneeded()));
    fs::write(&lost, in_segment(&record, 5)).unwrap();
    assert_eq!(lines(&unneeded()).len(), 1);
}

/// A restore gets what was asked for or nothing: an older backup only by its name.
#[test]
fn a_damaged_backup_is_refused_and_another_named() {
    let (increment, later) = (format!("{B}_20261104-010000I"), format!("{C}_20261105-010000I"));
    for damage in ["short", "gone", "longer", "no JSON", "another's record", "a number for a name"] {
        let repository = Repository::new();
        for (label, stop) in [(A, 0x100), (B, 0x200), (C, 0x300)] {
            repository.add(label, stop);
        }
        let set = repository.set("15-main", ID, C);
        match damage {
            "short" => fs::write(set.join("data.pgv"), [7; 99]).unwrap(),
            "gone" => fs::remove_file(set.join("data.pgv")).unwrap(),
            "longer" => fs::write(set.join("data.pgv"), [7; 101]).unwrap(),
            "no JSON" => fs::write(set.join("record.json"), "{").unwrap(),
            "another's record" => {
                drop(fs::copy(repository.set("15-main", ID, B).join("record.json"), set.join("record.json")));
            }
            _ => {
                let text = fs::read_to_string(set.join("record.json")).unwrap();
                fs::write(set.join("record.json"), text.replace("\"bytes\":100", "\"bytes\":\"100\""))
                    .unwrap();
            }
        }
        let refused = |arguments: &[&str]| {
            let output = repository.info(arguments);
            let said = stderr(&output);
            assert_eq!((status(&output), lines(&output).len()), (5, 0), "{damage} {arguments:?}: {said}");
            assert!(said.contains(&format!("backup {C} is damaged")), "{damage} {arguments:?}: {said}");
            assert!(said.contains(&format!("--label {B}")), "{damage} {arguments:?}: {said}");
        };
        for verb in ["choose", "recovery"] {
            refused(&[verb, "15-main"]);
            refused(&[verb, "15-main", "--label", C]);
        }
        refused(&["recovery", "15-main", "--immediate"]);
        refused(&["choose", "15-main", "--time", "2026-11-04 00:00:00Z"]);
        refused(&["choose", "15-main", "--lsn", "0/1000300"]);
        assert_eq!(status(&repository.info(&["15-main"])), 7, "{damage}");
        for format in ["table", "label", "url", "tsv", "json"] {
            let output = repository.info(&["15-main", "--label", C, "--format", format]);
            assert_eq!(status(&output), 7, "{damage} {format}: {}", stderr(&output));
            assert!(stderr(&output).contains(C), "{damage} {format}: {}", stderr(&output));
        }
        // What is asked for by name is there, and so is what it cannot have been in the way of.
        for other in [["--label", B], ["--time", "2026-11-03 00:00:00Z"]] {
            let output = repository.info(&[&["choose", "15-main"][..], &other].concat());
            assert_eq!(status(&output), 0, "{damage} {other:?}: {}", stderr(&output));
            assert!(lines(&output)[0].ends_with(B), "{damage} {other:?}");
        }
        // A chain that it is part of is no better; one that it is not, is.
        build_on(&repository.add(&increment, 0x400), B);
        assert!(lines(&repository.info(&["choose", "15-main"]))[1].ends_with(&increment), "{damage}");
        build_on(&repository.add(&later, 0x500), C);
        let output = repository.info(&["choose", "15-main"]);
        assert_eq!((status(&output), lines(&output).len()), (5, 0), "{damage}: {}", stderr(&output));
        assert!(stderr(&output).contains(&format!("--label {increment}")), "{damage}: {}", stderr(&output));
    }
}

#[test]
fn columns_for_scripts_hold_nobodys_words() {
    let repository = Repository::new();
    let (incr, lost) = (format!("{A}_20261104-010000I"), "20261105-010000F");
    repository.add(A, 1);
    build_on(&repository.add(&incr, 1), A);
    fs::remove_file(repository.add(lost, 1).join("data.pgv")).unwrap();
    let record = repository.set("15-main", ID, &incr).join("record.json");
    let text = fs::read_to_string(&record).unwrap();
    let noted = text
        .replace(
            r#""annotations":{}"#,
            r#""annotations":{"parent":"x\ncomplete","mode":"x","state":"damaged"}"#,
        )
        .replace(r#""host":"h""#, r#""host":"\",\"parent\":\"x\n""#);
    fs::write(&record, noted).unwrap();
    let set = |label: &str| format!("{}/15-main/{ID}/backup/{label}", repository.url());
    let segment = "000000010000000000000001";
    let full = format!(
        "complete {ID} {A} - - 1000 {} {segment} {segment} 15-main {}",
        stored(&repository, A),
        set(A)
    );
    let next = format!(
        "complete {ID} {incr} {A} blocks 1000 {} {segment} {segment} 15-main {}",
        stored(&repository, &incr),
        set(&incr)
    );
    let last = format!(
        "damaged {ID} {lost} - - 1000 {} {segment} {segment} 15-main {}",
        stored(&repository, lost),
        set(lost)
    );
    assert_eq!(repository.lines(&["sets"]), [full.as_str(), &next, &last]);
    assert_eq!(repository.lines(&["sets", "15-main", "--label", &incr]), [full.as_str(), &next]);
    assert_eq!(
        repository.lines(&["sets", "--label", A, "--objects"]),
        [full.as_str(), &format!("object {A} 00 100 data.pgv")]
    );
    assert_eq!(status(&repository.info(&["sets", "--label", B])), 3);
    fs::write(&record, fs::read_to_string(&record).unwrap().replace("data.pgv", "data.pgv\\nx")).unwrap();
    let broken = lines(&repository.info(&["sets", "--label", &incr, "--objects"]));
    assert!(broken.len() == 1 && broken[0].starts_with("damaged "), "{broken:?}");
}

/// Bytes of a set.
fn stored(repository: &Repository, label: &str) -> u64 {
    let files = fs::read_dir(repository.set("15-main", ID, label)).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn the_next_backup() {
    let repository = Repository::new();
    let next = |arguments: &[&str]| {
        let lines = repository.lines(&[&["next", "15-main"], arguments].concat());
        let value = |key: &str| {
            let prefix = format!("{key} ");
            lines.iter().filter_map(|line| line.strip_prefix(&prefix)).collect::<Vec<_>>().join(" ")
        };
        ["type", "parent", "chain", "reason", "label"].map(value)
    };
    let [kind, _, chain, reason, label] = next(&["--type", "incr"]);
    assert_eq!((kind.as_str(), chain.as_str(), reason.as_str()), ("full", "", "there is no full backup yet"));
    assert!(label.ends_with('F'), "{label}");
    assert_eq!(next(&["--type", "full"])[3], "", "it was asked for");
    repository.add(A, 1);
    let first = format!("{A}_20261102-010000I");
    let second = format!("{A}_20261103-010000I");
    build_on(&repository.add(&first, 1), A);
    build_on(&repository.add(&second, 1), &first);
    let [kind, parent, chain, reason, label] = next(&["--type", "incr"]);
    assert_eq!((kind.as_str(), &parent, reason.as_str()), ("incr", &second, ""));
    assert_eq!(chain, format!("{A} {first} {second}"));
    assert!(label.starts_with(&format!("{A}_")) && label.ends_with('I'), "{label}");
    let [kind, parent, ..] = next(&["--type", "diff"]);
    assert_eq!((kind.as_str(), parent.as_str()), ("diff", A));
    // A chain is of one kind: the first of another kind builds on the full.
    assert_eq!(next(&["--type", "incr", "--files"])[1], A);
    assert_eq!(next(&["--type", "auto", "--full-every", "3650d"])[0], "incr");
    let [kind, .., reason, _] = next(&["--type", "auto", "--full-every", "1h"]);
    assert_eq!((kind.as_str(), reason.as_str()), ("full", ""), "it is due");
    // Nothing is built on what was found bad. What was found of the WAL says nothing of the backup.
    for (link, type_wanted) in [(&second, "incr"), (&first, "incr"), (&A.to_owned(), "diff")] {
        for kind in ["verify", "drill"] {
            let link = repository.set("15-main", ID, link);
            judge(&link, kind, false);
            let [made, _, chain, reason, _] = next(&["--type", type_wanted]);
            assert_eq!((made.as_str(), chain.as_str()), ("full", ""), "{link:?} {kind}");
            assert_eq!(reason, "the last verification or drill found its chain bad");
            judge(&link, kind, true);
            judge(&link, "wal", false);
            assert_eq!(next(&["--type", type_wanted])[0], type_wanted);
        }
    }
    // A link that is proved damaged or gone makes a full, whatever an annotation says.
    let record = repository.set("15-main", ID, &first).join("record.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace(r#""annotations":{}"#, r#""annotations":{"parent":"x","mode":"files"}"#))
        .unwrap();
    assert_eq!(next(&["--type", "incr"])[2], chain);
    fs::write(&record, "{").unwrap();
    let [kind, .., reason, _] = next(&["--type", "incr"]);
    assert!(kind == "full" && reason.contains(&first) && reason.contains("damaged"), "{kind} {reason}");
    // An unfinished set is listed, and a label follows it; a clock that went back is an error.
    let running = repository.set("15-main", ID, "20261110-010000F");
    fs::create_dir_all(&running).unwrap();
    fs::write(running.join("claim.json"), "{}").unwrap();
    fs::rename(&running, running.with_file_name("22261110-010000F")).unwrap();
    let output = repository.info(&["next", "15-main"]);
    assert_eq!((status(&output), lines(&output).len()), (1, 0), "{}", stderr(&output));
    assert!(stderr(&output).contains("22261110-010000F"), "{}", stderr(&output));
}

#[test]
fn a_damaged_record_is_reported_and_hides_nothing() {
    for bad in ["{", r#"{"format":"pgv-record/9"}"#] {
        let repository = Repository::new();
        repository.add(A, 1);
        fs::write(repository.add(B, 1).join("record.json"), bad).unwrap();
        let output = repository.info(&["--format", "label"]);
        assert_eq!((status(&output), lines(&output)), (7, vec![A.to_owned()]));
        assert!(stderr(&output).contains(B), "{}", stderr(&output));
    }
    // An edited record: no timeline has this number, and none could follow it.
    for timeline in ["0", "4294967295"] {
        let repository = Repository::new();
        let record = repository.add(A, 1).join("record.json");
        let edited = fs::read_to_string(&record).unwrap();
        fs::write(&record, edited.replace("\"timeline\":1,", &format!("\"timeline\":{timeline},"))).unwrap();
        let output = repository.info(&["recovery", "15-main"]);
        assert_eq!(status(&output), 5, "{timeline}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(&format!("its record says timeline {timeline}")),
            "{}",
            stderr(&output)
        );
    }
    // A record under a name that is not its own is no backup of that name.
    let repository = Repository::new();
    let set = repository.add(A, 1);
    fs::copy(set.join("record.json"), repository.add(B, 1).join("record.json")).unwrap();
    assert_eq!(lines(&repository.info(&["--format", "label"])), [A]);
}

#[test]
fn what_lies_in_the_place_of_a_record_or_a_set_is_damage() {
    for (place, why) in [
        ("record.json", "record.json is a directory"),
        ("record.json/x", "record.json is a directory"),
        ("", "20261102-010000F is a file, not a directory"),
    ] {
        let repository = Repository::new();
        repository.add(A, 1);
        let set = repository.add(B, 1);
        // Where a disk is mounted, nobody but root may look.
        let lost = set.parent().unwrap().join("lost+found");
        fs::create_dir(&lost).unwrap();
        fs::set_permissions(&lost, fs::Permissions::from_mode(0o000)).unwrap();
        fs::remove_file(set.join("record.json")).unwrap();
        match place {
            "" => {
                fs::remove_dir_all(&set).unwrap();
                fs::write(&set, "").unwrap();
            }
            place => {
                fs::create_dir(set.join("record.json")).unwrap();
                if place != "record.json" {
                    fs::write(set.join(place), "").unwrap();
                }
            }
        }
        let output = repository.info(&["--format", "label"]);
        assert_eq!(
            (status(&output), lines(&output)),
            (7, vec![A.to_owned()]),
            "{place}: {}",
            stderr(&output)
        );
        assert!(stderr(&output).contains(B) && stderr(&output).contains(why), "{place}: {}", stderr(&output));
        let output = repository.info(&["choose", "15-main"]);
        assert_eq!(status(&output), 5, "{place}: {}", stderr(&output));
    }
}

#[test]
fn choose_the_newest_that_can_reach_the_target() {
    let repository = Repository::new();
    for (label, stop) in [(A, 0x100), (B, 0x200), (C, 0x300)] {
        repository.add(label, stop);
    }
    let chosen = |target: &[&str]| {
        let lines = repository.lines(&[&["choose", "15-main"], target].concat());
        assert_eq!(lines.len(), 1);
        lines[0].rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(chosen(&[]), C);
    assert_eq!(chosen(&["--label", B]), B);
    assert_eq!(chosen(&["--lsn", "0/10002FF"]), B);
    assert_eq!(chosen(&["--lsn", "0/1000200"]), B);
    assert_eq!(chosen(&["--time", "2026-11-02 12:00:00+00"]), B);
    // At the very second of its end a backup is not yet before it.
    assert_eq!(chosen(&["--time", "2026-11-02T01:00:59Z"]), A);
    for none in [["--lsn", "0/10000FF"], ["--time", "2026-10-01T00:00:00Z"], ["--label", "20200101-000000F"]]
    {
        let output = repository.info(&[&["choose", "15-main"], &none[..]].concat());
        assert_eq!(status(&output), 3);
        assert!(stderr(&output).contains(A), "it says what exists: {}", stderr(&output));
    }
    assert_eq!(status(&repository.info(&["choose", "--time", "2026-11-02 12:00:00"])), 2);
}

#[test]
fn recovery_follows_timelines_or_refuses() {
    let repository = Repository::new();
    repository.add(A, 0x100_0100);
    let wal = repository.set("15-main", ID, A).join("../../wal");
    let archive = |timeline: u32, numbers: &[u32]| {
        let directory = wal.join(format!("{timeline:08X}"));
        fs::create_dir_all(&directory).unwrap();
        for number in numbers {
            fs::write(directory.join(format!("{timeline:08X}00000000{number:08X}.pgv")), "sealed").unwrap();
        }
    };
    archive(1, &[1, 2, 3, 4]);
    archive(2, &[3, 4]);
    fs::write(wal.join("00000002/00000002.history.pgv"), "sealed").unwrap();
    let opened = repository.0.path().join("opened");
    fs::create_dir(&opened).unwrap();
    fs::write(opened.join("00000002.history"), "1\t0/3000100\tno reason\n").unwrap();
    let histories = ["--histories", opened.to_str().unwrap()];
    let goal = |goal: &[&str]| repository.info(&[&["recovery", "15-main"], &histories[..], goal].concat());
    let refused = |arguments: &[&str], status: i32, message: &str| {
        let output = goal(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{arguments:?}: {}", stderr(&output));
    };
    let found = lines(&goal(&[]));
    for line in [
        &format!("label {A}"),
        "timeline 1 0/3000100",
        "timeline 2",
        "wal_segments 4",
        "wal_first 000000010000000000000001",
        "wal_last 000000020000000000000004",
        "recovery_target_timeline latest",
    ] {
        assert!(found.iter().any(|found| found == line), "no {line} in {found:?}");
    }
    // Those of which a restore tries whether a key opens them: without which it cannot reach its target.
    let samples = |output: &Output| -> Vec<String> {
        let found = lines(output);
        found.iter().filter_map(|line| line.strip_prefix("wal_sample ")).map(str::to_owned).collect()
    };
    let on_the_way = |numbers: &[(u32, u32)]| -> Vec<String> {
        numbers.iter().map(|(timeline, number)| format!("{timeline:08X}00000000{number:08X}")).collect()
    };
    assert_eq!(samples(&goal(&[])), on_the_way(&[(1, 1), (1, 2), (2, 3), (2, 4)]));
    assert_eq!(samples(&goal(&["--lsn", "0/2000000"])), on_the_way(&[(1, 1), (1, 2)]));
    assert_eq!(samples(&goal(&["--immediate"])), on_the_way(&[]));
    let own = lines(&goal(&["--time", "2026-11-01 14:00:00.5+02:30"]));
    assert!(own.contains(&"recovery_target_timeline current".to_owned()), "{own:?}");
    assert!(own.contains(&"recovery_target_time 2026-11-01 11:30:00.500000+00".to_owned()), "{own:?}");
    refused(&["--timeline", "7"], 3, "there is no timeline 7");
    refused(&["--lsn", "0/5000000"], 3, "is not before that");
    refused(&["--label", A, "--lsn", "0/1"], 3, "the target is before backup");
    refused(&["--time", "2126-11-02 12:00:00+00"], 3, "the archive ends at about");
    refused(&["--time", "2126-11-02 12:00:00+00"], 3, "--timeline latest");
    fs::remove_file(wal.join("00000001/000000010000000000000002.pgv")).unwrap();
    refused(&[], 3, "a hole at 000000010000000000000002");
    refused(&["--lsn", "0/3000000"], 3, "a hole at");
    assert_eq!(status(&goal(&["--lsn", "0/1FFFFFF"])), 0);
    assert_eq!(status(&goal(&["--immediate"])), 0);
    // What the backup itself holds is no hole; a backup without its WAL needs that too.
    fs::remove_file(wal.join("00000001/000000010000000000000001.pgv")).unwrap();
    fs::write(wal.join("00000001/000000010000000000000002.pgv"), "sealed").unwrap();
    assert_eq!(status(&goal(&[])), 0);
    let record = repository.set("15-main", ID, A).join("record.json");
    let without =
        fs::read_to_string(&record).unwrap().replace("\"wal_included\":true", "\"wal_included\":false");
    fs::write(record, without).unwrap();
    refused(&["--immediate"], 3, "the archive does not have 000000010000000000000001");
}

#[test]
fn strangers_are_not_chosen_among() {
    let repository = Repository::new();
    repository.add(A, 1);
    repository.add_to("15-main", "42", B, 1);
    let output = repository.info(&["choose", "15-main"]);
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("42") && stderr(&output).contains(ID));
    assert_eq!(repository.lines(&["choose", "15-main", "--system-id", "42"]).len(), 1);
    assert_eq!(repository.lines(&["--format", "label"]).len(), 2);
}

#[test]
fn prune_keeps_what_a_rule_keeps() {
    let repository = Repository::new();
    let labels: Vec<String> = (1..=28).map(|day| format!("202610{day:02}-010000F")).collect();
    labels.iter().for_each(|label| drop(repository.add(label, 1)));
    repository.add("20261028-020000F", 1);
    let all: BTreeSet<String> = repository.lines(&["--format", "label"]).into_iter().collect();
    let stays = |rules: &[&str]| {
        let gone: BTreeSet<String> = repository.lines(&[&["prune"], rules].concat()).into_iter().collect();
        all.difference(&gone).cloned().collect::<Vec<_>>()
    };
    assert_eq!(stays(&["--keep-full", "2"]), ["20261028-010000F", "20261028-020000F"]);
    assert_eq!(stays(&["--keep-last", "1"]), ["20261028-020000F"]);
    assert_eq!(stays(&["--keep-daily", "2"]), ["20261027-010000F", "20261028-020000F"]);
    assert_eq!(stays(&["--keep-monthly", "9"]), ["20261028-020000F"]);
    // 2026-10-25 is a Sunday.
    assert_eq!(stays(&["--keep-weekly", "2"]), ["20261025-010000F", "20261028-020000F"]);
    assert_eq!(stays(&["--keep-within", "1s"]), ["20261028-020000F"], "the newest never goes");
    assert_eq!(stays(&["--keep-within", "3650d"]).len(), all.len());
    assert_eq!(stays(&["--keep-full", "99"]).len(), all.len());
    assert_eq!(status(&repository.info(&["prune"])), 2, "no rule");
    assert_eq!(status(&repository.info(&["prune", "--keep-full", "0"])), 2);
}

#[test]
fn a_configuration_gives_the_repository() {
    let repository = Repository::new();
    repository.add(A, 1);
    let etc = repository.0.path().join("etc");
    fs::create_dir(&etc).unwrap();
    let configure = |text: &str, mode: u32| {
        let path = etc.join("15-main.conf");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    let good = format!("# c\nPGV_REPO={}\nPGV_KEEP_FULL=1\nAWS_ACCESS_KEY_ID=x\n", repository.url());
    let directory = etc.to_str().unwrap().to_owned();
    let environment = [("PGV_CONFIG_DIR", directory.as_str())];
    configure(&good, 0o600);
    assert_eq!(lines(&info(&["--format", "label"], &environment)), [A], "the only one");
    assert_eq!(lines(&info(&["15-main", "--format", "label"], &environment)), [A]);
    assert!(lines(&info(&["prune"], &environment)).is_empty());
    assert_eq!(status(&info(&["16-main"], &environment)), 2);
    // The cluster of a configuration of another name, as on a standby's host.
    fs::copy(etc.join("15-main.conf"), etc.join("standby.conf")).unwrap();
    fs::write(etc.join("standby.conf"), format!("{good}PGV_CLUSTER=15-main\n")).unwrap();
    assert_eq!(lines(&info(&["standby", "--format", "label"], &environment)), [A]);
    fs::remove_file(etc.join("standby.conf")).unwrap();
    let elsewhere = [environment[0], ("PGV_REPO", "file:///nowhere")];
    assert_eq!(status(&info(&["--format", "label"], &elsewhere)), 3, "the environment wins");
    for (text, mode) in [
        (good.as_str(), 0o644),
        ("PGV_REPO = x\n", 0o600),
        ("PGV_REPPO=x\n", 0o600),
        ("PGV_REPO=\"$(id)\"\n", 0o600),
        ("PGV_KEEP_FULL=1\n", 0o600),
    ] {
        configure(text, mode);
        assert_eq!(status(&info(&["15-main"], &environment)), 2, "{text}");
    }
    configure(&good, 0o600);
    fs::copy(etc.join("15-main.conf"), etc.join("16-main.conf")).unwrap();
    let output = info(&[], &environment);
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("15-main, 16-main"), "{}", stderr(&output));
}

/// A directory with a configuration of each: its name, and its lines after PGV_REPO.
fn configurations(repository: &Repository, each: &[(&str, &str)]) -> String {
    let etc = repository.0.path().join("etc");
    fs::create_dir_all(&etc).unwrap();
    for (name, lines) in each {
        let path = etc.join(format!("{name}.conf"));
        fs::write(&path, format!("PGV_REPO={}\n{lines}", repository.url())).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    etc.to_str().unwrap().to_owned()
}

#[test]
fn each_cluster_of_a_repository_has_the_rules_of_its_own_configuration() {
    let repository = Repository::new();
    for cluster in ["15-main", "16-shop", "17-lost"] {
        for label in [A, B, C] {
            repository.add_to(cluster, ID, label, 1);
        }
    }
    let etc = configurations(
        &repository,
        &[
            ("15-main", "PGV_KEEP_FULL=1\nPGV_FULL_EVERY=3650d\n"),
            ("shop", "PGV_CLUSTER=16-shop\nPGV_KEEP_FULL=2\n"),
            ("17-lost", "PGV_CLUSTER=other\nPGV_KEEP_FULL=1\n"),
        ],
    );
    let ask = |arguments: &[&str], more: &[(&str, &str)]| {
        let environment = [&[("PGV_CONFIG_DIR", etc.as_str())], more].concat();
        info(&[arguments, &["--repo", &repository.url()]].concat(), &environment)
    };
    let metrics = lines(&ask(&["--metrics"], &[]));
    let expired = |metrics: &[String], cluster: &str| {
        let begin = format!("pgv_expiry_backups{{cluster=\"{cluster}\"");
        let line = metrics.iter().find(|line| line.starts_with(&begin));
        line.map(|line| line.rsplit(' ').next().unwrap().to_owned())
    };
    let all = |metrics: &[String]| {
        ["15-main", "16-shop", "17-lost"].map(|cluster| expired(metrics, cluster).unwrap_or_default())
    };
    assert_eq!(all(&metrics), ["2", "1", ""]);
    assert_eq!(all(&lines(&ask(&["--metrics"], &[("PGV_KEEP_FULL", "3")]))), ["0", "0", "0"]);
    let totals = lines(&ask(&["--totals", "--format", "table"], &[]));
    assert!(totals[1].contains("backups: 2") && totals[2].contains("backups: 1"), "{totals:?}");
    let unknown = "unknown: no rule is configured: no configuration on this host is of this cluster";
    assert!(totals[3].ends_with(unknown) && totals[4].ends_with(unknown), "{totals:?}");
    // Nor do other verbs take what is another's.
    assert_eq!(lines(&ask(&["prune", "16-shop"], &[])), [A]);
    assert_eq!(lines(&ask(&["prune", "15-main"], &[])), [A, B]);
    let output = ask(&["prune", "17-lost"], &[]);
    assert_eq!((status(&output), lines(&output).len()), (2, 0), "{}", stderr(&output));
    let next = |cluster: &str| lines(&ask(&["next", cluster], &[]))[0].clone();
    assert_eq!((next("15-main").as_str(), next("16-shop").as_str()), ("type incr", "type full"));
    // Two that say different things, and one that nobody can read.
    configurations(
        &repository,
        &[("lost", "PGV_CLUSTER=17-lost\n"), ("lost-2", "PGV_CLUSTER=17-lost\nPGV_KEEP_FULL=1\n")],
    );
    let totals = lines(&ask(&["--totals", "--format", "table"], &[]));
    assert!(
        totals[3].contains("/lost-2.conf and ") && totals[3].ends_with("differ in PGV_KEEP_FULL"),
        "{totals:?}"
    );
    for name in ["lost", "lost-2"] {
        fs::remove_file(PathBuf::from(&etc).join(format!("{name}.conf"))).unwrap();
    }
    configurations(&repository, &[("broken", "nonsense\n")]);
    let totals = lines(&ask(&["--totals", "--format", "table"], &[]));
    assert!(
        totals[1].contains("backups: 2")
            && totals[3].contains("unknown: ")
            && totals[3].contains("broken.conf"),
        "{totals:?}"
    );
    // Who may not look knows nothing.
    let program = repository.0.path().join("pgv-info");
    fs::copy(env!("CARGO_BIN_EXE_pgv-info"), &program).unwrap();
    fs::set_permissions(repository.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(&etc, PermissionsExt::from_mode(0o000)).unwrap();
    let mut command = match rustix::process::geteuid().is_root() {
        true => Command::new("setpriv"),
        false => Command::new("env"),
    };
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.env_remove("PGV_REPO").env_remove("PGV_KEEP_FULL").env("PGV_CONFIG_DIR", &etc).arg(&program);
    let output =
        command.args(["--totals", "--format", "table", "--repo", &repository.url()]).output().unwrap();
    fs::set_permissions(&etc, PermissionsExt::from_mode(0o755)).unwrap();
    assert!(lines(&output)[1].ends_with("unknown: this user may not list the configurations"), "{output:?}");
}

#[test]
fn the_window_of_wal_is_that_of_each_cluster() {
    // All before the window went, but what each backup needs itself.
    let repository = three_nights();
    remove_segments(&repository, [1, 3, 4, 5]);
    let archive = repository.0.path().join("repo/16-shop").join(ID).join("wal/00000001");
    fs::create_dir_all(&archive).unwrap();
    for (label, segment) in [(A, 2), (B, 6), (C, 10)] {
        repository.add_to("16-shop", ID, label, segment * SEGMENT + 0x100);
    }
    for entry in fs::read_dir(archive_of(&repository)).unwrap().map(Result::unwrap) {
        let copy = fs::File::create(archive.join(entry.file_name())).unwrap();
        copy.set_modified(entry.metadata().unwrap().modified().unwrap()).unwrap();
    }
    let etc =
        configurations(&repository, &[("15-main", "PGV_KEEP_WAL=1d\nPGV_PGDATA=/nowhere\n"), ("other", "")]);
    let ask = |arguments: &[&str]| {
        info(&[arguments, &["--repo", &repository.url()]].concat(), &[("PGV_CONFIG_DIR", etc.as_str())])
    };
    let missing = |cluster: &str, output: &Output| {
        let begin = format!("pgv_wal_missing_segments{{cluster=\"{cluster}\"");
        let line = lines(output).into_iter().find(|line| line.starts_with(&begin)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let output = ask(&["wal", "--metrics", "--now", "2026-11-03T12:00:00Z"]);
    assert_eq!((missing("15-main", &output).as_str(), missing("16-shop", &output).as_str()), ("0", "3"));
    let said = "16-shop: PGV_KEEP_WAL is unknown, so WAL that an expiry deleted counts as missing: ";
    assert!(stderr(&output).contains(said) && !stderr(&output).contains("15-main: "), "{}", stderr(&output));
    assert_eq!(status(&ask(&["wal", "15-main"])), 0);
    let page = ask(&["--html"]);
    let text = String::from_utf8_lossy(&page.stdout).into_owned();
    let state = |cluster: &str| text.split(&format!("<h2>{cluster} (")).nth(1).unwrap()[..90].to_owned();
    assert_eq!(status(&page), 7);
    assert!(
        state("15-main").contains("nothing to look at") && state("16-shop").contains("1 thing"),
        "{text}"
    );
    assert!(text.contains(said), "{text}");
}

/// What pgv-find has to read: too much rather than too little, and no more than that.
#[test]
fn segments_that_may_hold_what_happened() {
    let repository = Repository::new();
    // Of 02:00:59 and 04:00:59, in segments 3 and 6.
    repository.add("20260101-020000F", 0x300_0100);
    repository.add("20260101-040000F", 0x600_0100);
    let archive = repository.0.path().join("repo/15-main").join(ID).join("wal");
    let at = |hour: u64, minute: u64| {
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_767_225_600 + hour * 3600 + minute * 60)
    };
    let add = |timeline: &str, name: &str, time| {
        fs::create_dir_all(archive.join(timeline)).unwrap();
        let path = archive.join(timeline).join(format!("{timeline}00000000{name}.pgv"));
        fs::write(&path, "x").unwrap();
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
    };
    // One every half hour from 01:00 on.
    for number in 1..=9 {
        add(
            "00000001",
            &format!("{number:08X}"),
            at(1, 0) + std::time::Duration::from_secs(1800 * (number - 1)),
        );
    }
    let found = |arguments: &[&str]| -> Vec<String> {
        let output = repository.info(&[&["segments", "15-main"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let short = |line: String| line.replace("segment 0000000100000000000000", "");
        let shown = |line: &String| line.starts_with("stretch") || line.starts_with("segment");
        lines(&output).into_iter().filter(shown).map(short).collect()
    };
    // Segment 4 was stored at 02:30, so what happened at 02:20 is in it or in a later one; the backup of 04:00 came later.
    let between = |from: &str, to: &str| {
        found(&["--from", &format!("2026-01-01T{from}:00Z"), "--to", &format!("2026-01-01T{to}:00Z")])
    };
    assert_eq!(between("02:20", "02:25"), ["stretch 1 0/0 whole", "04", "05", "06"]);
    // What a clock ten minutes off would hide.
    assert_eq!(between("02:35", "02:40"), ["stretch 1 0/0 whole", "04", "05", "06"]);
    // Where a copy made all of them young, the backups tell.
    for number in 1..=9 {
        add("00000001", &format!("{number:08X}"), at(9, 0));
    }
    assert_eq!(between("02:20", "02:25"), ["stretch 1 0/0 whole", "03", "04", "05", "06"]);
    // A hole, what is there only in part, and another timeline, of which the history tells where it begins.
    fs::remove_file(archive.join("00000001/000000010000000000000004.pgv")).unwrap();
    add("00000001", "00000009.partial", at(9, 0));
    add("00000001", "0000000A.partial", at(9, 0));
    add("00000002", "0000000A", at(9, 0));
    add("00000002", "0000000B.partial", at(9, 0));
    add("00000002", "0000000C", at(9, 0));
    let histories = repository.0.path().join("histories");
    fs::create_dir(&histories).unwrap();
    fs::write(histories.join("00000002.history"), "1\t0/A000100\tno recovery target specified\n").unwrap();
    let all = found(&["--from", "2026-01-01T00:00:00Z", "--histories", histories.to_str().unwrap()]);
    assert_eq!(
        all.join(" ").replace("segment 0000000200000000000000", "2:"),
        "stretch 1 0/0 whole 01 02 03 stretch 1 0/0 hole 05 06 07 08 09 0A.partial \
         stretch 2 0/A000100 whole 2:0A 2:0B.partial stretch 2 0/A000100 hole 2:0C"
    );
    let output = repository.info(&["segments", "nothing"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn windows_and_gaps_of_the_archive() {
    let repository = Repository::new();
    repository.add("20260101-010000F", 0x100_0100);
    let archive = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
    fs::create_dir_all(&archive).unwrap();
    let add = |name: &str| fs::write(archive.join(format!("{name}.pgv")), "x").unwrap();
    for number in [1, 2, 3, 0x14] {
        add(&format!("0000000100000000000000{number:02X}"));
    }
    add("000000010000000000000002.00000028.backup");
    add("000000010000000000000015.partial");
    let output = repository.info(&["wal", "15-main", "--format", "tsv"]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    let fields: Vec<Vec<String>> =
        lines(&output).iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    let of = |line: &[String]| [0, 3, 7, 8, 9].map(|field| line[field].clone());
    assert_eq!(
        of(&fields[0]),
        ["window", "1", "000000010000000000000001", "000000010000000000000003", "3"].map(str::to_owned)
    );
    assert_eq!(
        of(&fields[1]),
        ["gap", "1", "000000010000000000000004", "000000010000000000000013", "16"].map(str::to_owned)
    );
    assert_eq!(fields.len(), 2);
    let metrics = String::from_utf8(repository.info(&["wal", "--metrics"]).stdout).unwrap();
    assert!(metrics.contains("\npgv_wal_missing_segments{cluster=\"15-main\","), "{metrics}");
    assert!(
        metrics.lines().any(|line| line.starts_with("pgv_wal_missing_segments{") && line.ends_with("} 16"))
    );
    assert!(metrics.contains("timeline=\"1\"} "), "{metrics}");
    fs::remove_file(archive.join("000000010000000000000014.pgv")).unwrap();
    let output = repository.info(&["wal", "15-main", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line: serde_json::Value = serde_json::from_str(&lines(&output)[0]).unwrap();
    assert_eq!(line["format"], "pgv-wal/1");
    assert_eq!(line["label"], "20260101-010000F");
    assert_eq!(line["from"], "2026-01-01T01:00:59Z");
    // A segment's time is another clock's than the backup's end: the window never ends before it begins.
    let early = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_767_229_230);
    fs::File::open(archive.join("000000010000000000000003.pgv")).unwrap().set_modified(early).unwrap();
    let output = repository.info(&["wal", "15-main", "--format", "json"]);
    let line: serde_json::Value = serde_json::from_str(&lines(&output)[0]).unwrap();
    assert_eq!((&line["from"], &line["to"]), (&line["to"], &"2026-01-01T01:00:59Z".into()));
    let metrics = String::from_utf8(repository.info(&["wal", "--metrics"]).stdout).unwrap();
    assert_eq!(metrics.matches("} 1767229259\n").count(), 2, "{metrics}");
    assert!(
        String::from_utf8_lossy(&repository.info(&["wal", "15-main", "--format", "table"]).stdout)
            .contains("timeline 1  from")
    );
}

/// The first backup of a cluster whose archive_mode waits for a restart has all that it needs.
#[test]
fn an_archive_that_begins_after_a_backup_has_no_gap_before_it() {
    let repository = Repository::new();
    repository.add("20260101-010000F", 0x100_0100);
    repository.add("20260102-010000F", 0x600_0100);
    let tree = repository.0.path().join("repo/15-main").join(ID);
    let archive = tree.join("wal/00000001");
    fs::create_dir_all(&archive).unwrap();
    for number in 5..9 {
        fs::write(archive.join(format!("0000000100000000000000{number:02X}.pgv")), "x").unwrap();
    }
    let wal = || repository.info(&["wal", "15-main", "--format", "tsv"]);
    assert_eq!(status(&wal()), 7, "the archive had it, and lost it");
    let record = tree.join("backup/20260101-010000F/record.json");
    let before = fs::read_to_string(&record).unwrap();
    let change = |to: &str| fs::write(&record, before.replace("\"wal_included\":true", to)).unwrap();
    change("\"wal_included\":true,\"archiving\":false");
    let output = wal();
    let kinds: Vec<String> =
        lines(&output).iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect();
    assert_eq!((status(&output), kinds), (0, vec!["point".to_owned(), "window".to_owned()]));
    change("\"wal_included\":false,\"archiving\":false");
    assert_eq!(status(&wal()), 7, "nobody has its WAL");
}

/// Three nights, and their WAL: backups in segments 2, 6 and 10 of 1 to 12, each stored six hours after the one before.
fn three_nights() -> Repository {
    let repository = Repository::new();
    for (label, segment) in [(A, 2), (B, 6), (C, 10)] {
        repository.add(label, segment * SEGMENT + 0x100);
    }
    // 2026-11-01T00:00:00Z
    for number in 1..=12 {
        store_segment(&repository, number, 1_793_491_200 + (number - 1) * 6 * 3_600);
    }
    repository
}

fn archive_of(repository: &Repository) -> PathBuf {
    repository.0.path().join("repo/15-main").join(ID).join("wal/00000001")
}

fn store_segment(repository: &Repository, number: u64, stored_at: u64) {
    let archive = archive_of(repository);
    fs::create_dir_all(&archive).unwrap();
    let path = archive.join(format!("0000000100000000{number:08X}.pgv"));
    fs::write(&path, "sealed").unwrap();
    let stored_at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(stored_at);
    fs::File::open(&path).unwrap().set_modified(stored_at).unwrap();
}

/// The numbers of what `wal --unneeded` prints.
fn unneeded_segments(repository: &Repository, more: &[&str]) -> Vec<u32> {
    let urls = repository.lines(&[&["wal", "15-main", "--unneeded"], more].concat());
    let number =
        |url: &String| url.trim_end_matches(".pgv").rsplit('/').next().map(|name| name[16..].to_owned());
    urls.iter().map(|url| u32::from_str_radix(&number(url).unwrap(), 16).unwrap()).collect()
}

fn remove_segments(repository: &Repository, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        fs::remove_file(archive_of(repository).join(format!("0000000100000000{number:08X}.pgv"))).unwrap();
    }
}

#[test]
fn wal_older_than_its_window_goes_and_what_backups_need_stays() {
    let repository = three_nights();
    let now = ["--now", "2026-11-03T12:00:00Z"];
    let gone = |rules: &[&str]| repository.lines(&[&["prune", "15-main"], &now[..], rules].concat());
    // The second reaches the first moment of the day.
    assert_eq!(gone(&["--keep-last", "1"]), [A, B]);
    assert_eq!(gone(&["--keep-last", "1", "--keep-wal", "1d"]), [A]);
    assert_eq!(gone(&["--keep-last", "1", "--keep-wal", "3d"]), [A, B], "nothing reaches so far back");
    assert!(gone(&["--keep-wal", "1d"]).is_empty(), "alone it is no rule for backups");
    let why = repository
        .lines(&[&["prune", "--format", "json", "--keep-last", "1", "--keep-wal", "1d"], &now[..]].concat());
    assert!(why[1].contains("start of the WAL window"), "{why:?}");
    let unneeded = |more: &[&str]| unneeded_segments(&repository, &[&now[..], more].concat());
    assert_eq!(unneeded(&[]), [1]);
    assert_eq!(unneeded(&["--keep-wal", "1d"]), [1, 3, 4, 5]);
    assert_eq!(unneeded(&["--keep-wal", "58h"]), [1], "the oldest begins it");
    assert_eq!(unneeded(&["--keep-wal", "30d"]), [1], "nothing begins it");
    let by_key = info(
        &[&["wal", "15-main", "--unneeded", "--repo", &repository.url()], &now[..]].concat(),
        &[("PGV_KEEP_WAL", "1d")],
    );
    assert_eq!(lines(&by_key).len(), 4);
    // Stored within the window, whatever the records say of it.
    store_segment(&repository, 4, 1_793_491_200 + 58 * 3_600);
    assert_eq!(unneeded(&["--keep-wal", "1d"]), [1, 3, 5]);
    store_segment(&repository, 4, 1_793_491_200 + 18 * 3_600);
    for zero in [&["wal", "--unneeded", "--keep-wal", "0s"][..], &["prune", "--keep-wal", "0s"]] {
        assert_eq!(status(&repository.info(zero)), 2);
    }
    // A bad one stands for nothing, and one that lost an object keeps its own.
    let check = repository.set("15-main", ID, B).join("check");
    fs::create_dir_all(&check).unwrap();
    let bad = r#"{"format":"pgv-verdict/1","kind":"verify","started_at":"2026-11-03T02:00:00Z","seconds":1,"bytes":1,"ok":false,"findings":["x"]}"#;
    let verdict = check.join("20261103-020000.000000-verify.json");
    fs::write(&verdict, bad).unwrap();
    assert_eq!(unneeded(&["--keep-wal", "1d"]), [1]);
    assert_eq!(gone(&["--keep-last", "1", "--keep-wal", "1d"]), [B]);
    fs::remove_file(&verdict).unwrap();
    fs::remove_file(repository.set("15-main", ID, A).join("data.pgv")).unwrap();
    let output = repository.info(&[&["wal", "15-main", "--unneeded", "--keep-wal", "1d"], &now[..]].concat());
    assert_eq!((status(&output), lines(&output).len()), (7, 4), "{}", stderr(&output));
    assert!(!lines(&output).iter().any(|url| url.ends_with("02.pgv")));
}

/// What prune says of the WAL is what `wal --unneeded` says when the backups have gone.
#[test]
fn wal_that_is_unneeded_after_an_expiry_is_known_before() {
    for more in [&[][..], &["--keep-wal", "1d"]] {
        let repository = three_nights();
        let file = repository.0.path().join("unneeded");
        let now = ["--now", "2026-11-03T12:00:00Z"];
        let named = file.to_str().unwrap();
        let prune =
            &[&["prune", "15-main", "--keep-last", "1", "--unneeded-wal", named], &now[..], more].concat();
        let may_go = repository.lines(prune);
        assert!(!may_go.is_empty() && !may_go.iter().any(|label| label == C));
        for label in &may_go {
            fs::remove_dir_all(repository.set("15-main", ID, label)).unwrap();
        }
        let told = fs::read_to_string(&file).unwrap();
        let after = repository.lines(&[&["wal", "15-main", "--unneeded"], &now[..], more].concat());
        assert_eq!(told.lines().collect::<Vec<_>>(), after);
        assert!(after.len() > 1, "{after:?}");
        // Nothing more goes.
        assert!(repository.lines(prune).is_empty());
        assert_eq!(fs::read_to_string(&file).unwrap(), told);
    }
}

#[test]
fn holes_that_expiry_made_are_no_findings_and_others_are() {
    let repository = three_nights();
    let wal = |more: &[&str]| {
        let output = repository
            .info(&[&["wal", "15-main", "--format", "tsv", "--now", "2026-11-03T12:00:00Z"], more].concat());
        let fields = |line: &String| {
            let fields: Vec<&str> = line.split('\t').collect();
            format!("{} {} {}", fields[0], &fields[7][20..], &fields[8][20..])
        };
        (status(&output), lines(&output).iter().map(fields).collect::<Vec<_>>())
    };
    let found =
        |status: i32, lines: &[&str]| (status, lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>());
    // Before expiry, with the key and without.
    for keep in [&[][..], &["--keep-wal", "1d"]] {
        assert_eq!(wal(keep), found(0, &["window 0001 000C"]), "{keep:?}");
    }
    remove_segments(&repository, [1, 3, 4, 5]);
    let expired = found(0, &["point 0002 0002", "window 0006 000C"]);
    assert_eq!(wal(&["--keep-wal", "1d"]), expired);
    // Without the key nobody knows what made the hole.
    assert_eq!(wal(&[]), found(7, &["point 0002 0002", "window 0006 000C", "gap 0003 0005"]));
    let kept = ["--keep-wal", "1d", "--now", "2026-11-03T12:00:00Z"];
    let show = |format: &[&str]| repository.lines(&[&["wal", "15-main"], format, &kept].concat());
    let said = show(&["--format", "lines"]);
    assert!(
        said[0].starts_with(&format!(
            "ok timeline 1: backup {A} can be restored to its end, 2026-11-01T01:00:59Z"
        )),
        "{said:?}"
    );
    let table = show(&["--format", "table"]);
    assert!(table[1].contains(&format!("only the end of backup {A}")), "{table:?}");
    let json: serde_json::Value = serde_json::from_str(&show(&["--format", "json"])[0]).unwrap();
    assert_eq!(
        (&json["kind"], &json["from"], &json["to"]),
        (&"point".into(), &"2026-11-01T01:00:59Z".into(), &json["from"])
    );
    let metrics = show(&["--metrics"]);
    for family in ["pgv_wal_points{", "pgv_wal_missing_segments{"] {
        let wanted = if family == "pgv_wal_points{" { "} 1" } else { "} 0" };
        assert!(metrics.iter().any(|line| line.starts_with(family) && line.ends_with(wanted)), "{metrics:?}");
    }
    // So is a window that is to be longer than what is there.
    assert_eq!(wal(&["--keep-wal", "58h"]).0, 7);
    // Lost in the window, and lost of what a backup needs itself.
    remove_segments(&repository, [8]);
    for keep in [&[][..], &["--keep-wal", "1d"]] {
        assert_eq!(wal(keep).1.last().unwrap(), "gap 0008 0008", "{keep:?}");
    }
    store_segment(&repository, 8, 1_793_491_200 + 7 * 6 * 3_600);
    remove_segments(&repository, [6]);
    for keep in [&[][..], &["--keep-wal", "1d"]] {
        let (status, said) = wal(keep);
        assert!(status == 7 && said.last().unwrap().ends_with("0006"), "{keep:?}: {said:?}");
    }
}

/// Whatever is lost, wherever backups are.
#[test]
fn without_the_key_a_lost_segment_is_a_finding() {
    let repository = three_nights();
    let gap = || repository.info(&["wal", "15-main", "--format", "tsv"]);
    assert_eq!(status(&gap()), 0);
    for (lost, what) in
        [(&[3][..], "right after the oldest backup"), (&[4, 5], "all up to the next"), (&[8], "more")]
    {
        remove_segments(&repository, lost.iter().copied());
        assert_eq!(status(&gap()), 7, "{what}");
    }
}

#[test]
fn a_backup_before_the_window_is_restored_to_its_end_only() {
    let repository = three_nights();
    remove_segments(&repository, [1, 3, 4, 5]);
    let recovery = |goal: &[&str]| repository.info(&[&["recovery", "15-main"], goal].concat());
    assert_eq!(status(&recovery(&["--label", A, "--immediate"])), 0);
    let refused = |goal: &[&str], words: &[&str]| {
        let output = recovery(goal);
        assert_eq!((status(&output), lines(&output).len()), (3, 0), "{goal:?}: {}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "{goal:?}: no \"{word}\" in {}", stderr(&output));
        }
    };
    let hole = "a hole at 000000010000000000000003 to 000000010000000000000005";
    let only = format!("2026-11-01T01:00:59Z: --label {A} --immediate");
    refused(&["--label", A], &[hole, &only, &format!("backup {C} reaches the target")]);
    refused(
        &["--label", A, "--time", "2026-11-03T00:00:00Z"],
        &[hole, &only, &format!("backup {B} reaches the target")],
    );
    refused(&["--label", A, "--lsn", "0/8000000"], &[hole, &format!("backup {B} reaches the target")]);
    // Between the two nobody can go; where a transaction is nobody knows, but not there.
    let next = format!("the end of backup {B}, 2026-11-02T01:00:59Z: --label {B} --immediate");
    refused(&["--time", "2026-11-01T20:00:00Z"], &[hole, &only, &next]);
    refused(&["--lsn", "0/4000000"], &[hole, &next]);
    refused(&["--label", A, "--xid", "7"], &[hole, &format!("can be recovered from backup {C}")]);
    assert_eq!(status(&recovery(&["--time", "2026-11-03T00:00:00Z"])), 0);
    assert_eq!(status(&recovery(&[])), 0);
}

/// Of PostgreSQL 15, in production, on timeline 3.
fn control_file() -> Vec<u8> {
    let mut bytes = vec![0u8; 8192];
    bytes[..8].copy_from_slice(&7_711_175_703_245_852_542_u64.to_le_bytes());
    bytes[8..12].copy_from_slice(&1300u32.to_le_bytes());
    bytes[16] = 6;
    bytes[48] = 3;
    bytes[228..232].copy_from_slice(&(16u32 << 20).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..288]);
    bytes[288..292].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn control_files_are_told_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("global")).unwrap();
    let path = directory.path().join("global/pg_control");
    let mut bytes = control_file();
    fs::write(&path, &bytes).unwrap();
    let control = || info(&["control", directory.path().to_str().unwrap()], &[]);
    let text = String::from_utf8(control().stdout).unwrap();
    for line in [format!("system_identifier {ID}"), "state in production".to_owned(), "timeline 3".to_owned()]
    {
        assert!(text.lines().any(|own| own == line), "no \"{line}\" in {text}");
    }
    bytes[48] = 4;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(control().status.code(), Some(5));
}

#[test]
fn what_a_running_backup_is_built_on_stays() {
    let repository = Repository::new();
    for day in 1..=4 {
        repository.add(&format!("2026010{day}-010000F"), 0x100);
    }
    assert_eq!(repository.lines(&["prune", "--keep-full", "1"]).len(), 3);
    let now = time::OffsetDateTime::now_utc();
    let format = time::macros::format_description!("[year][month][day]-[hour][minute][second]");
    let running = format!("20260102-010000F_{}I", now.format(format).unwrap());
    let set = repository.set("15-main", ID, &running);
    fs::create_dir_all(&set).unwrap();
    fs::write(set.join("claim.json"), "{}").unwrap();
    assert_eq!(
        repository.lines(&["prune", "--keep-full", "1"]),
        ["20260101-010000F", "20260103-010000F"].map(str::to_owned)
    );
    // One that was interrupted long ago keeps nothing, and goes itself.
    fs::rename(&set, set.with_file_name("20260102-010000F_20260103-020000I")).unwrap();
    assert_eq!(repository.lines(&["prune", "--keep-full", "1"]).len(), 4);
}

/// A verdict on a set, found at noon of its day.
fn judge(set: &std::path::Path, kind: &str, ok: bool) {
    let day = &set.file_name().unwrap().to_str().unwrap()[..8];
    let at = format!("{}-{}-{}T12:00:00Z", &day[..4], &day[4..6], &day[6..]);
    let verdict = format!(
        r#"{{"format":"pgv-verdict/1","kind":"{kind}","started_at":"{at}","seconds":9,"bytes":1,"ok":{ok},"findings":[]}}"#
    );
    fs::create_dir_all(set.join("check")).unwrap();
    fs::write(set.join(format!("check/{day}-120000-{kind}.json")), verdict).unwrap();
}

/// Turns a full into an increment on `parent`.
fn build_on(set: &std::path::Path, parent: &str) {
    let path = set.join("record.json");
    let kind = if set.to_str().unwrap().ends_with('I') { "incr" } else { "diff" };
    let record = fs::read_to_string(&path).unwrap();
    let record = record.replace(
        r#""type":"full","mode":null,"parent":null"#,
        &format!(r#""type":"{kind}","mode":"blocks","parent":"{parent}""#),
    );
    fs::write(&path, record).unwrap();
}

#[test]
fn each_system_identifier_is_pruned_by_itself() {
    let repository = Repository::new();
    // The old one's backups are all younger in days than the new one's count would leave.
    for label in [A, B, C] {
        repository.add_to("15-main", "42", label, 1);
    }
    for day in 4..=8 {
        repository.add(&format!("2026110{day}-010000F"), 1);
    }
    let gone = repository.lines(&["prune", "15-main", "--keep-full", "2"]);
    assert_eq!(gone, [A, "20261104-010000F", "20261105-010000F", "20261106-010000F"]);
    let gone = repository.lines(&["prune", "15-main", "--keep-within", "1s"]);
    assert!(!gone.contains(&C.to_owned()), "the newest of a system identifier went: {gone:?}");
    assert_eq!(repository.lines(&["prune", "--system-id", "42", "--keep-full", "1"]), [A, B]);
    repository.add_to("16-main", "43", C, 1);
    assert_eq!(status(&repository.info(&["prune", "--keep-full", "1"])), 2, "two names");
}

#[test]
fn only_good_backups_count() {
    let repository = Repository::new();
    let sets: Vec<PathBuf> = [A, B, C].iter().map(|label| repository.add(label, 1)).collect();
    let stays = |rules: &[&str]| {
        let all = lines(&repository.info(&["--format", "label"]));
        let gone = repository.lines(&[&["prune"], rules].concat());
        all.into_iter().filter(|label| !gone.contains(label)).collect::<Vec<_>>()
    };
    assert_eq!(stays(&["--keep-full", "1"]), [C]);
    for kind in ["verify", "drill"] {
        judge(&sets[2], kind, false);
        assert_eq!(stays(&["--keep-full", "1"]), [B, C], "{kind}");
        assert_eq!(stays(&["--keep-last", "1"]), [B, C], "{kind}");
        assert_eq!(stays(&["--keep-monthly", "1"]), [B, C], "{kind}");
        assert_eq!(stays(&["--keep-within", "1s"]), [B, C], "{kind}");
        judge(&sets[2], kind, true);
        assert_eq!(stays(&["--keep-full", "1"]), [C], "looked at again, and good: {kind}");
    }
    // The WAL's verdict says nothing of the backup beside which it lies.
    judge(&sets[2], "wal", false);
    assert_eq!(stays(&["--keep-full", "1"]), [C]);
    // An increment is no better than what it is built on.
    let on_c = format!("{C}_20261104-010000I");
    build_on(&repository.add(&on_c, 1), C);
    judge(&sets[2], "verify", false);
    assert_eq!(stays(&["--keep-last", "1"]), [B, C, &on_c]);
    fs::write(sets[2].join("record.json"), "{").unwrap();
    assert_eq!(stays(&["--keep-last", "1"]), [B, on_c.as_str()]);
    // All bad: nothing is good enough to let another one go.
    judge(&sets[0], "verify", false);
    judge(&sets[1], "verify", false);
    assert_eq!(stays(&["--keep-full", "1"]), [A, B, on_c.as_str()]);
}

/// `prune --labels -` with this on stdin.
fn condemn(repository: &Repository, labels: &str, more: &[&str]) -> Output {
    let file = repository.0.path().join("labels");
    fs::write(&file, labels).unwrap();
    repository.info(&[&["prune", "15-main", "--labels", file.to_str().unwrap()], more].concat())
}

#[test]
fn labels_take_with_them_what_is_built_on_them_and_nothing_good_that_is_the_last() {
    let repository = Repository::new();
    let a = repository.add(A, 1);
    let incr = format!("{A}_20261101-020000I");
    let later = format!("{A}_20261101-030000I");
    build_on(&repository.add(&incr, 1), A);
    build_on(&repository.add(&later, 1), &incr);
    repository.add(B, 1);
    let c = repository.add(C, 1);
    repository.add_to("15-main", "42", "20261009-010000F", 1);
    let interrupted = repository.set("15-main", ID, "20261001-000000F");
    fs::create_dir_all(&interrupted).unwrap();
    fs::write(interrupted.join("claim.json"), "{}").unwrap();
    let gone = |labels: &str| {
        let output = condemn(&repository, labels, &[]);
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        lines(&output)
    };
    let swept = "20261001-000000F";
    assert_eq!(gone(&format!("{A}\n")), [swept, A, &incr, &later]);
    assert_eq!(gone(&incr), [swept, incr.as_str(), &later]);
    assert_eq!(gone(""), [swept]);
    let refused = |labels: &str, wanted: i32, why: &str| {
        let output = condemn(&repository, labels, &[]);
        assert_eq!((status(&output), lines(&output).len()), (wanted, 0), "{labels}: {}", stderr(&output));
        assert!(stderr(&output).contains(why), "{labels}: {}", stderr(&output));
    };
    for empty in ["\n", "\n\n", &format!("{A}\n\n"), &format!("\n{A}\n"), " "] {
        refused(empty, 2, "is not a backup label");
    }
    refused("20200101-000000F\n", 3, "there is no backup 20200101-000000F");
    refused(C, 1, &format!("this would delete {C}, the newest good full backup of 15-main {ID}"));
    refused("20261009-010000F", 1, "every complete backup of 15-main 42");
    refused(&format!("{A}\n{B}\n{C}"), 1, "every complete backup of 15-main");
    judge(&c, "drill", false);
    refused(B, 1, &format!("this would delete {B}, the newest good full"));
    assert_eq!(gone(C), [swept, C]);
    repository.add_to("15-main", "42", A, 1);
    refused(A, 2, "several system identifiers");
    fs::remove_dir_all(repository.set("15-main", "42", A)).unwrap();
    // Somebody may be building on one of the chain just now; two days later it was interrupted.
    let young = a.with_file_name(format!("{A}_20261110-000000I"));
    fs::create_dir_all(&young).unwrap();
    fs::write(young.join("claim.json"), "{}").unwrap();
    for label in [A, &later, young.file_name().unwrap().to_str().unwrap()] {
        let output = condemn(&repository, label, &["--now", "2026-11-11T23:59:59Z"]);
        assert_eq!(status(&output), 1);
        assert!(
            stderr(&output).contains(young.file_name().unwrap().to_str().unwrap()),
            "{}",
            stderr(&output)
        );
    }
    let output = condemn(&repository, &later, &["--now", "2026-11-12T00:00:00Z"]);
    assert_eq!(lines(&output), [swept, &later, young.file_name().unwrap().to_str().unwrap()]);
    let output = condemn(&repository, B, &["--now", "2026-11-11T00:00:00Z"]);
    assert_eq!(status(&output), 1, "still the newest good full");
}

#[test]
fn the_last_backup_without_bad_pages_stays() {
    let repository = Repository::new();
    for label in [A, B, C] {
        let record = repository.add(label, 1).join("record.json");
        if label != A {
            let edited = fs::read_to_string(&record).unwrap().replace("\"bad_pages\":0", "\"bad_pages\":3");
            fs::write(&record, edited).unwrap();
        }
    }
    let gone = repository.lines(&["prune", "15-main", "--keep-last", "1", "--format", "label"]);
    assert_eq!(gone, [B]);
    let output = condemn(&repository, A, &[]);
    assert_eq!(status(&output), 1);
    assert!(stderr(&output).contains("the last backup of 15-main"), "{}", stderr(&output));
    // Another one is no reason to keep it.
    let record = repository.set("15-main", ID, B).join("record.json");
    let mended = fs::read_to_string(&record).unwrap().replace("\"bad_pages\":3", "\"bad_pages\":0");
    fs::write(&record, mended).unwrap();
    assert_eq!(lines(&condemn(&repository, A, &[])), [A]);
}

#[test]
fn ages_have_an_hour_of_grace_and_a_window_has_a_base() {
    let repository = Repository::new();
    for label in [A, B, C] {
        repository.add(label, 1); // complete at 01:00:59
    }
    let at = |now: &str, more: &[&str]| {
        let gone = repository.lines(&[&["prune", "--keep-within", "1d", "--now", now], more].concat());
        [A, B, C].into_iter().filter(|label| !gone.contains(&(*label).to_owned())).collect::<Vec<_>>()
    };
    // B is 1 d old, with nearly an hour of grace, and older than the window: it is its base as well.
    assert_eq!(at("2026-11-03T02:00:00Z", &[]), [B, C]);
    // Before B is a day old, only A reaches the oldest moment.
    assert_eq!(at("2026-11-03T01:00:58Z", &[]), [A, B, C]);
    assert_eq!(at("2026-11-03T01:00:59Z", &[]), [B, C]);
    // Both older than the window, and only the newer one its base; by grace both are young.
    repository.add("20261103-013000F", 1);
    assert_eq!(at("2026-11-04T02:00:00Z", &[]).len(), 1);
    assert!(at("2026-11-04T02:00:58Z", &[]).contains(&C), "an hour's grace");
    assert!(!at("2026-11-04T02:00:59Z", &[]).contains(&C), "and no more");
    let line = |label: &str, now: &str| {
        let all = repository.lines(&["prune", "--keep-within", "1d", "--now", now, "--format", "json"]);
        let values: Vec<serde_json::Value> =
            all.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        values.into_iter().find(|value| value["label"] == label).unwrap()
    };
    let value = line(A, "2026-11-03T01:00:58Z");
    assert_eq!(value["format"], "pgv-prune/1");
    assert_eq!(
        (&value["may_go"], &value["reasons"][0]),
        (&false.into(), &"start of the recovery window".into())
    );
    let value = line(A, "2026-11-04T03:00:00Z");
    assert_eq!((&value["may_go"], value["reasons"].as_array().unwrap().len()), (&true.into(), 0));
    let table = repository.lines(&["prune", "--keep-full", "1", "--format", "table"]).join("\n");
    assert!(
        table.contains(&format!("{A}  may go")) && table.contains("20261103-013000F  stays: newest,"),
        "{table}"
    );
}

#[test]
fn hours_years_and_differentials() {
    let repository = Repository::new();
    for label in ["20241231-230000F", "20251231-230000F", "20261101-000000F", "20261101-003000F"] {
        repository.add(label, 1);
    }
    let diff = "20261101-003000F_20261101-013000D";
    let (first, second) = ("20261101-003000F_20261101-010000I", "20261101-003000F_20261101-020000I");
    build_on(&repository.add(first, 1), "20261101-003000F");
    build_on(&repository.add(diff, 1), "20261101-003000F");
    build_on(&repository.add(second, 1), diff);
    let stays = |rules: &[&str]| {
        let all = repository.lines(&["--format", "label"]);
        let gone = repository.lines(&[&["prune"], rules].concat());
        all.into_iter().filter(|label| !gone.contains(label)).collect::<Vec<_>>()
    };
    assert_eq!(
        stays(&["--keep-yearly", "3"]),
        ["20241231-230000F", "20251231-230000F", "20261101-003000F", diff, second]
    );
    // 02, 01 (the differential), 00 (the later of both).
    assert_eq!(stays(&["--keep-hourly", "3"]), ["20261101-003000F", diff, second]);
    assert_eq!(stays(&["--keep-hourly", "4"]), ["20251231-230000F", "20261101-003000F", diff, second]);
    assert_eq!(stays(&["--keep-diff", "1"]), ["20261101-003000F", diff, second]);
    assert_eq!(stays(&["--keep-diff", "2"]), ["20261101-003000F", first, diff, second]);
    assert_eq!(
        stays(&["--keep-full", "2", "--keep-diff", "1"]),
        ["20261101-000000F", "20261101-003000F", diff, second]
    );
    assert_eq!(stays(&["--keep-full", "1"]), ["20261101-003000F", first, diff, second]);
}

#[test]
fn metrics_hide_nothing_bad_behind_something_newer() {
    let repository = Repository::new();
    let (a, b) = (repository.add(A, 1), repository.add(B, 1));
    let metric = |name: &str, more: &str| {
        let output = repository.info(&["--metrics"]);
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        let line = lines(&output)
            .into_iter()
            .find(|line| line.starts_with(&format!("{name}{{")) && line.contains(more));
        line.map(|line| line.rsplit(' ').next().unwrap().to_owned())
    };
    assert_eq!(metric("pgv_last_check_ok", "verify"), None);
    judge(&a, "verify", false);
    judge(&b, "verify", true);
    assert_eq!(metric("pgv_last_check_ok", "verify").as_deref(), Some("0"));
    assert_eq!(metric("pgv_bad_backups", "").as_deref(), Some("1"));
    let noon = "1793620800"; // 2026-11-02T12:00:00Z
    assert_eq!(metric("pgv_last_check_timestamp_seconds", "verify").as_deref(), Some(noon));
    judge(&a, "verify", true);
    judge(&a, "wal", false);
    assert_eq!(metric("pgv_last_check_ok", "wal").as_deref(), Some("0"));
    judge(&b, "wal", true);
    assert_eq!(metric("pgv_last_check_ok", "wal").as_deref(), Some("1"), "the WAL is one thing");
    assert_eq!(metric("pgv_bad_backups", "").as_deref(), Some("0"));
    assert!(repository.lines(&["--format", "table"]).join("|").contains("wal 2026-11-02"));
    // It is told, so it was printed: the file is to be published.
    fs::write(a.join("record.json"), "{").unwrap();
    assert_eq!(metric("pgv_damaged_records", "").as_deref(), Some("1"));
    assert_eq!(status(&repository.info(&["wal", "--metrics"])), 0);
    assert_eq!(status(&repository.info(&["--metrics", "--max-age", "1d"])), 2);
}

/// After initdb or an upgrade under the same name; and where two clusters share one by mistake.
#[test]
fn metrics_say_which_system_identifier_is_current() {
    let repository = Repository::new();
    let current = || {
        let found = repository.lines(&["--metrics"]);
        let found = found.into_iter().filter_map(|line| {
            let rest = line.strip_prefix("pgv_current_system{")?;
            Some(format!("{}{}", rest.split('"').nth(3)?, rest.split('}').nth(1)?))
        });
        found.collect::<Vec<_>>()
    };
    repository.add_to("15-main", "6", A, 1);
    repository.add_to("16-shop", "5", A, 1);
    assert_eq!(current(), ["6 1", "5 1"]);
    repository.add_to("15-main", "7", C, 1);
    assert_eq!(current(), ["6 0", "7 1", "5 1"]);
    repository.add_to("15-main", "7", "20261031-010000F", 1);
    assert_eq!(current(), ["6 1", "7 1", "5 1"], "both have gone on");
}

/// What a cron job writes to a web directory: it says all that the list says, and what it could not read.
#[test]
fn a_page_shows_everything_and_what_cannot_be_read() {
    let repository = Repository::new();
    let page = |repository: &Repository, more: &[&str]| {
        let output = repository.info(&[&["--html"], more].concat());
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(text.starts_with("<!DOCTYPE html>") && text.ends_with("</html>\n"), "{}", stderr(&output));
        (status(&output), text)
    };
    let (missing, text) = page(&repository, &[]);
    assert_eq!(missing, 3, "{text}");
    assert!(text.contains("the repository cannot be read: no repository at file://"));
    fs::create_dir_all(repository.0.path().join("repo")).unwrap();
    fs::write(repository.0.path().join("repo/RESTORE-1.txt"), "").unwrap();
    assert!(page(&repository, &[]).1.contains("There are no backups."));
    let (old, text) = page(&repository, &["--max-age", "1d"]);
    assert!(old == 7 && text.contains("<li>there is no backup</li>"), "{text}");

    let set = repository.add(A, 1);
    let other = repository.add_to("16-shop", "7711175703245852543", B, 1);
    mark(&repository, &["annotate", "15-main", "--label", A, "--annotation", "why=<script>\"&'"]);
    let (good, text) = page(&repository, &[]);
    assert_eq!(good, 0);
    assert!(text.contains("why=&lt;script&gt;&quot;&amp;&#39;") && !text.contains("<script"), "{text}");
    assert!(text.contains("15-main (7711175703245852542)") && text.contains("16-shop (7711175703245852543)"));
    let by_format = String::from_utf8(repository.info(&["--format", "html"]).stdout).unwrap();
    assert_eq!(by_format.lines().count(), text.lines().count());
    assert_eq!(page(&repository, &["16-shop"]).1.matches("<section").count(), 1);
    for more in [&["--label", A][..], &["--type", "full"], &["--unpinned"], &["--totals"]] {
        assert_eq!(status(&repository.info(&[&["--html"], more].concat())), 2, "{more:?}");
    }

    // Segments of which one is missing.
    let archive = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
    fs::create_dir_all(&archive).unwrap();
    for number in [1, 2, 4] {
        fs::write(archive.join(format!("0000000100000000{number:08X}.pgv")), "x").unwrap();
    }
    let (gap, text) = page(&repository, &[]);
    assert!(
        gap == 7 && text.contains("WAL is missing, 000000010000000000000003 to 000000010000000000000003")
    );
    fs::remove_file(other.join("data.pgv")).unwrap();
    judge(&set, "drill", false);
    let (damaged, text) = page(&repository, &[]);
    assert_eq!(damaged, 7);
    assert!(
        text.contains(&format!("backup {B} is damaged: ")) && text.contains(&format!("drill of backup {A}")),
        "{text}"
    );
}

#[test]
fn what_waits_to_be_archived_is_told_where_it_can_be_known() {
    let repository = Repository::new();
    repository.add("20260101-010000F", 0x100_0100);
    let archive = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
    fs::create_dir_all(&archive).unwrap();
    fs::write(archive.join("000000010000000000000001.pgv"), "x").unwrap();
    let newest = |output: &Output| {
        lines(output).into_iter().find(|line| line.starts_with("pgv_wal_newest_segment_timestamp_seconds{"))
    };
    let output = repository.info(&["wal", "--metrics"]);
    assert!(newest(&output).unwrap().contains("timeline=\"1\"} "), "{:?}", lines(&output));
    let data = repository.0.path().join("data");
    let status_directory = data.join("pg_wal/archive_status");
    fs::create_dir_all(&status_directory).unwrap();
    fs::create_dir(data.join("global")).unwrap();
    fs::write(data.join("global/pg_control"), control_file()).unwrap();
    for name in ["1.ready", "2.ready", "3.done"] {
        fs::write(status_directory.join(name), "").unwrap();
    }
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    fs::File::open(status_directory.join("2.ready")).unwrap().set_modified(then).unwrap();
    let own = [
        format!("pgv_wal_ready_files{{cluster=\"15-main\",system_identifier=\"{ID}\"}} 2"),
        format!(
            "pgv_wal_oldest_ready_timestamp_seconds{{cluster=\"15-main\",system_identifier=\"{ID}\"}} 1700000000"
        ),
    ];
    let by_option =
        lines(&repository.info(&["wal", "--metrics", "--data-directory", data.to_str().unwrap()]));
    let url = repository.url();
    let by_setting =
        lines(&info(&["wal", "--metrics", "--repo", &url], &[("PGV_PGDATA", data.to_str().unwrap())]));
    for line in own {
        assert!(
            by_option.contains(&line) && by_setting.contains(&line),
            "no {line} in {by_option:?} {by_setting:?}"
        );
    }
    let has = |lines: &[String], name: &str| {
        lines.iter().any(|line| line.starts_with(&format!("{name}{{cluster=\"15-main\"")))
    };
    for name in ["pgv_wal_ready_bytes", "pgv_wal_disk_bytes", "pgv_wal_disk_free_bytes"] {
        assert!(has(&by_option, name), "no {name} in {by_option:?}");
    }
    let elsewhere = info(&["wal", "--metrics", "--repo", &url], &[("PGV_PGDATA", "/nowhere")]);
    assert_eq!(status(&elsewhere), 0, "the setting is that of another host");
    // One that is here and cannot be read is neither empty nor another host's.
    let unread = repository.0.path().join("unread");
    fs::create_dir(&unread).unwrap();
    let unread = info(&["wal", "--metrics", "--repo", &url], &[("PGV_PGDATA", unread.to_str().unwrap())]);
    assert!(status(&unread) == 1 && newest(&unread).is_some(), "{:?}", lines(&unread));
    assert_eq!(status(&repository.info(&["wal", "--metrics", "--data-directory", "/nowhere"])), 1);
    // It waits because the archive is down: then it is told all the same.
    let down = format!("file://{}/down", repository.0.path().display());
    fs::write(repository.0.path().join("down"), "").unwrap();
    let output = info(
        &["wal", "15-main", "--metrics", "--repo", &down, "--data-directory", data.to_str().unwrap()],
        &[],
    );
    assert!(status(&output) != 0 && has(&lines(&output), "pgv_wal_ready_files"), "{:?}", lines(&output));
    let output = info(&["--metrics", "--repo", &down], &[]);
    let line = format!("pgv_repository_readable{{repository=\"{down}\"}} 0");
    assert!(status(&output) != 0 && lines(&output).contains(&line), "{:?}", lines(&output));
    let line = format!("pgv_repository_readable{{repository=\"{url}\"}} 1");
    assert!(lines(&repository.info(&["--metrics"])).contains(&line));
    // A file of each cluster, and one repository: two samples with the same labels would stop node_exporter.
    for (cluster, url, value) in [("15-main", &url, 1), ("17-main", &url, 1), ("15-main", &down, 0)] {
        let line = format!("pgv_repository_readable{{cluster=\"{cluster}\",repository=\"{url}\"}} {value}");
        let output = info(&[cluster, "--metrics", "--repo", url], &[]);
        assert!(lines(&output).contains(&line), "{:?}", lines(&output));
    }
}

#[test]
fn wal_that_no_backup_needs() {
    let repository = Repository::new();
    let a = repository.add(A, 1);
    let record = fs::read_to_string(a.join("record.json")).unwrap();
    fs::write(a.join("record.json"), in_segment(&record, 5)).unwrap();
    let wal = repository.0.path().join("repo/15-main").join(ID).join("wal");
    let names = [
        "000000010000000000000004",
        "000000010000000000000005",
        "000000010000000000000003.00000028.backup",
        "000000020000000000000004",
        "000000020000000000000004.partial",
        "00000002.history",
        "000000020000000000000006",
    ];
    for name in names {
        fs::create_dir_all(wal.join(&name[..8])).unwrap();
        fs::write(wal.join(&name[..8]).join(format!("{name}.pgv")), "x").unwrap();
    }
    let unneeded = |more: &[&str]| {
        let output = repository.info(&[&["wal", "15-main", "--unneeded"], more].concat());
        let names: Vec<String> = lines(&output)
            .iter()
            .map(|url| url.rsplit('/').next().unwrap().trim_end_matches(".pgv").to_owned())
            .collect();
        (status(&output), names, stderr(&output))
    };
    let old = [names[2], names[0], names[4], names[3]].map(str::to_owned).to_vec();
    assert_eq!(unneeded(&[]).1, old);
    // One that was begun less than two days ago may need it, and one that was interrupted does not.
    let young = repository.set("15-main", ID, "20261110-000000F");
    fs::create_dir_all(&young).unwrap();
    fs::write(young.join("claim.json"), "{}").unwrap();
    let (code, held, why) = unneeded(&["--now", "2026-11-11T23:59:59Z"]);
    assert!((code, held.len()) == (0, 0) && why.contains("20261110-000000F may be running"), "{why}");
    assert_eq!(unneeded(&["--now", "2026-11-12T00:00:00Z"]).1, old);
    fs::write(repository.add(B, 1).join("record.json"), "{").unwrap();
    let (code, held, why) = unneeded(&["--now", "2026-11-12T00:00:00Z"]);
    assert!((code, held.len()) == (7, 0) && why.contains("damaged"), "{why}");
}

#[test]
fn a_hundred_thousand_segments_are_one_window() {
    let repository = Repository::new();
    repository.add("20260101-010000F", 0x100_0100);
    let archive = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
    fs::create_dir_all(&archive).unwrap();
    for number in 1..=100_000u32 {
        fs::write(archive.join(format!("00000001{:08X}{:08X}.pgv", number >> 8, number & 0xFF)), "").unwrap();
    }
    let output = repository.info(&["wal", "15-main", "--format", "tsv"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line = lines(&output).join("|");
    assert!(line.ends_with("\t000000010000000000000001\t0000000100000186000000A0\t100000"), "{line}");
}

/// A record is not authenticated: what it says must at least be possible, or nothing is chosen and removed by it.
#[test]
fn a_record_that_contradicts_itself_is_damaged() {
    let incr = format!("{B}_20261104-010000I");
    let lies = [
        (B, r#""wal_first":"000000010000000000000001""#, r#""wal_first":"000000010000000000000002""#),
        (B, r#""wal_last":"000000010000000000000001""#, r#""wal_last":"000000010000000000000009""#),
        (B, r#""timeline":1"#, r#""timeline":2"#),
        (B, r#""start_lsn":"0/1000000""#, r#""start_lsn":"0/3000000""#),
        (B, r#""parent":null"#, &format!(r#""parent":"{A}""#)),
        (B, r#""mode":null"#, r#""mode":"blocks""#),
        (&incr, &format!(r#""parent":"{B}""#), r#""parent":null"#),
        (&incr, &format!(r#""parent":"{B}""#), &format!(r#""parent":"{incr}""#)),
        (&incr, &format!(r#""parent":"{B}""#), &format!(r#""parent":"{A}""#)),
        (&incr, r#""mode":"blocks""#, r#""mode":null"#),
    ];
    for (label, was, lie) in lies {
        let repository = Repository::new();
        repository.add(A, 1);
        repository.add(B, 0x100);
        build_on(&repository.add(&incr, 0x200), B);
        let wal = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
        fs::create_dir_all(&wal).unwrap();
        fs::write(wal.join("000000010000000000000001.pgv"), "x").unwrap();
        let record = repository.set("15-main", ID, label).join("record.json");
        let text = fs::read_to_string(&record).unwrap();
        assert!(text.contains(was), "{was} is not in {text}");
        fs::write(&record, text.replace(was, lie)).unwrap();
        for (arguments, expected) in [(&["15-main"][..], 7), (&["choose", "15-main", "--label", label], 5)] {
            let output = repository.info(arguments);
            assert_eq!(status(&output), expected, "{lie} {arguments:?}: {}", stderr(&output));
        }
        let output = repository.info(&["wal", "15-main", "--unneeded"]);
        assert_eq!((status(&output), lines(&output).len()), (7, 0), "{lie}: {}", stderr(&output));
    }
}

#[test]
fn a_backup_whose_parent_is_not_there_is_damaged() {
    let repository = Repository::new();
    let incr = format!("{B}_20261104-010000I");
    repository.add(A, 1);
    build_on(&repository.add(&incr, 0x200), B);
    let output = repository.info(&["15-main"]);
    assert_eq!(status(&output), 7);
    assert!(stderr(&output).contains(&format!("builds on {B}, which does not exist")), "{}", stderr(&output));
    let output = repository.info(&["choose", "15-main"]);
    assert_eq!(status(&output), 5, "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("--label {A}")), "{}", stderr(&output));
    assert_eq!(status(&repository.info(&["15-main", "--label", A])), 0);
}

/// What pgv-pin and pgv-annotate do: the verb's object lands beside the backup. Its lines are of `name value`.
fn mark(repository: &Repository, arguments: &[&str]) -> String {
    let lines = repository.lines(arguments);
    let value = |key: &str| lines.iter().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
    let path = value("url file://");
    assert!(path.ends_with(&value("name ")), "{lines:?}");
    assert!(value("record file://").ends_with("/record.json"));
    assert!(!fs::exists(&path).unwrap(), "{path} would be overwritten");
    fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
    // No value here has anything that lines escape but backslashes.
    fs::write(&path, value("content ").replace(r"\\", r"\")).unwrap();
    path
}

fn json(repository: &Repository, label: &str) -> serde_json::Value {
    serde_json::from_str(&repository.lines(&["15-main", "--json", "--label", label])[0]).unwrap()
}

#[test]
fn a_pinned_backup_stays_until_its_pin_ends_or_is_removed() {
    let repository = Repository::new();
    let incr = format!("{A}_20261101-020000I");
    repository.add(A, 1);
    build_on(&repository.add(&incr, 1), A);
    repository.add(B, 1);
    repository.add(C, 1);
    let prune = |more: &[&str]| repository.lines(&[&["prune", "15-main", "--keep-full", "1"], more].concat());
    assert_eq!(prune(&[]), [A, &incr, B]);
    let tsv = repository.lines(&["15-main"]);
    assert!(!repository.lines(&["--format", "table"])[0].contains("PINNED"));
    let until = ["--until", "2126-01-31 01:00:00+01", "--note", "audit"];
    mark(&repository, &[&["pin", "15-main", "--label", &incr][..], &until].concat());
    assert_eq!(prune(&[]), [B]);
    assert_eq!(prune(&["--now", "2126-01-31 00:00:00Z"]), [A, &incr, B]);
    let why = prune(&["--format", "table"]);
    assert_eq!(
        why[..2],
        [
            format!("{A}  stays: pinned {incr} is built on it, parent of {incr}"),
            format!("{incr}  stays: pinned until 2126-01-31T00:00:00Z")
        ]
    );
    // Old readers' columns are as they were, and others have more.
    let columns = |lines: &[String]| lines.iter().map(|l| l.matches('\t').count()).collect::<Vec<_>>();
    assert_eq!(columns(&repository.lines(&["15-main"])), columns(&tsv));
    let table = repository.lines(&["--format", "table"]);
    assert!(table[0].contains("PINNED") && table[3].contains("until 2126-01-31"), "{table:?}");
    let shown = repository.lines(&["15-main", "--label", &incr, "--format", "table"]);
    assert_eq!(shown[3..], ["pinned until 2126-01-31T00:00:00Z: audit"]);
    let facts = json(&repository, &incr);
    assert_eq!((&facts["pinned"], &facts["pin"]["until"]), (&true.into(), &"2126-01-31T00:00:00Z".into()));
    assert_eq!((&facts["pin"]["note"], &json(&repository, B)["pin"]), (&"audit".into(), &().into()));
    assert_eq!(repository.lines(&["15-main", "--format", "label", "--unpinned"]), [B, C]);
    assert_eq!(repository.lines(&["15-main", "--format", "label", "--unpinned", "--type", "full"]), [B, C]);
    // Labels cannot take it, nor what it is built on; others they can.
    for named in [A, incr.as_str()] {
        let output = condemn(&repository, named, &[]);
        assert_eq!((status(&output), lines(&output).len()), (1, 0), "{named}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(&format!("would delete {incr}: pinned until 2126")),
            "{}",
            stderr(&output)
        );
        assert!(stderr(&output).contains(&format!("pgv-pin 15-main {incr} --remove")), "{}", stderr(&output));
    }
    assert_eq!(lines(&condemn(&repository, B, &[])), [B]);
    // Newer ones decide: without an end, taken back, and again.
    mark(&repository, &["pin", "15-main", "--label", &incr]);
    assert_eq!(prune(&["--now", "2126-01-31 00:00:00Z"]), [B]);
    mark(&repository, &["pin", "15-main", "--label", &incr, "--remove"]);
    assert_eq!(prune(&[]), [A, &incr, B]);
    assert_eq!(
        (&json(&repository, &incr)["pinned"], lines(&condemn(&repository, A, &[])).len()),
        (&false.into(), 2)
    );
}

#[test]
fn a_pin_that_nobody_understands_holds_until_a_newer_one() {
    let repository = Repository::new();
    let set = repository.add(A, 1);
    repository.add(B, 1);
    fs::create_dir(set.join("check")).unwrap();
    // By a clock that is ahead.
    let pin = set.join("check/21260101-000000.000000-pin.json");
    for content in ["", "{", r#"{"format":"pgv-pin/2","pinned":false}"#, r#"{"format":"pgv-pin/1"}"#] {
        fs::write(&pin, content).unwrap();
        let prune = || repository.lines(&["prune", "15-main", "--keep-full", "1", "--format", "table"]);
        assert!(
            prune()[0].starts_with(&format!("{A}  stays: its pin is damaged: ")),
            "{content}: {:?}",
            prune()
        );
        assert_eq!(status(&condemn(&repository, A, &[])), 1, "{content}");
        let output = repository.info(&["15-main", "--format", "table"]);
        assert_eq!(status(&output), 7, "{content}: {}", stderr(&output));
        assert!(stderr(&output).contains("000000.000000-pin.json: "), "{}", stderr(&output));
        let newer = mark(&repository, &["pin", "15-main", "--label", A, "--remove"]);
        assert!(newer.ends_with("/21260101-000000.000001-pin.json"), "{newer}");
        assert_eq!(prune()[0], format!("{A}  may go"), "{content}");
        fs::remove_file(newer).unwrap();
    }
    // What is no pin by its name is none: nor by that of a verdict's reader.
    fs::rename(&pin, set.join("check/21260101-000000.000000-thing.json")).unwrap();
    assert_eq!(repository.lines(&["prune", "15-main", "--keep-full", "1"]), [A]);
    assert_eq!(status(&repository.info(&["15-main"])), 0);
}

#[test]
fn only_complete_backups_are_pinned_until_a_time_to_come() {
    let repository = Repository::new();
    repository.add(A, 1);
    fs::remove_file(repository.add(B, 1).join("record.json")).unwrap();
    fs::remove_file(repository.add(C, 1).join("data.pgv")).unwrap();
    for (label, wanted) in [(A, 0), (B, 3), (C, 5), ("20261109-010000F", 3)] {
        for verb in [&["pin", "15-main"][..], &["annotate", "15-main", "--annotation", "a=b"]] {
            let output = repository.info(&[verb, &["--label", label]].concat());
            assert_eq!(status(&output), wanted, "{verb:?} {label}: {}", stderr(&output));
            assert_eq!(lines(&output).is_empty(), wanted != 0, "{verb:?} {label}");
        }
    }
    for time in ["2020-01-01 00:00:00Z", "2126-01-01 00:00:00", "9999-12-31 23:59:59-05"] {
        let output = repository.info(&["pin", "15-main", "--label", A, "--until", time]);
        assert_eq!((status(&output), lines(&output).len()), (2, 0), "{time}: {}", stderr(&output));
    }
    // Of one that is being made nothing is read.
    let made = lines(&info(&["pin"], &[]));
    assert!(made.len() == 2 && made[0].starts_with("name check/20"), "{made:?}");
    assert_eq!(status(&repository.info(&["pin", "--remove"])), 2);
    // A label that two clusters have is nobody's.
    repository.add_to("15-main", "12345", A, 1);
    assert_eq!(status(&repository.info(&["pin", "15-main", "--label", A])), 2);
    assert_eq!(status(&repository.info(&["pin", "15-main", "--label", A, "--system-id", ID])), 0);
}

#[test]
fn notes_lie_over_the_annotations_of_the_record() {
    let repository = Repository::new();
    let record = repository.add(A, 1).join("record.json");
    let text = fs::read_to_string(&record).unwrap();
    let noted = text.replace(r#""annotations":{}"#, r#""annotations":{"reason":"upgrade","by":"me"}"#);
    fs::write(&record, noted).unwrap();
    let annotate = |changes: &[&str]| {
        let changes = changes.iter().flat_map(|change| ["--annotation", change]).collect::<Vec<_>>();
        mark(&repository, &[&["annotate", "15-main", "--label", A][..], &changes].concat())
    };
    let shown = || json(&repository, A)["annotations"].to_string();
    assert_eq!(shown(), r#"{"by":"me","reason":"upgrade"}"#);
    annotate(&["ticket=12=3", "reason=test"]);
    assert_eq!(shown(), r#"{"by":"me","reason":"test","ticket":"12=3"}"#);
    annotate(&["by=", "ticket=", "nothing=", "z=1"]);
    assert_eq!(shown(), r#"{"reason":"test","z":"1"}"#);
    annotate(&["by=you"]);
    let last = annotate(&["z="]);
    assert_eq!(shown(), r#"{"by":"you","reason":"test"}"#);
    let stored: serde_json::Value = serde_json::from_str(&fs::read_to_string(&last).unwrap()).unwrap();
    assert_eq!(stored.to_string(), r#"{"annotations":{"by":"you","reason":"test"},"format":"pgv-note/1"}"#);
    assert_eq!(json(&repository, A)["record"]["annotations"]["reason"], "upgrade", "the record is as it was");
    assert_eq!(
        repository.lines(&["15-main", "--label", A, "--format", "table"])[3..],
        ["annotation by=you", "annotation reason=test"]
    );
    assert_eq!(status(&repository.info(&["annotate", "15-main", "--label", A, "--annotation", "=x"])), 2);
    // Nothing in it commands a terminal.
    let evil = r#"{"format":"pgv-note/1","annotations":{"a\nb":"\u001b[2J\u009b\u202e"}}"#;
    fs::write(&last, evil).unwrap();
    assert_eq!(
        repository.lines(&["15-main", "--label", A, "--format", "table"])[3..][..1],
        [r"annotation a\nb=\x1b[2J\xc2\x9b\xe2\x80\xae"]
    );
    // One that is damaged is a finding, no change is put over it, and expiry does not ask for it.
    fs::write(&last, "{").unwrap();
    let output = repository.info(&["15-main", "--json"]);
    assert_eq!(status(&output), 7, "{}", stderr(&output));
    assert!(lines(&output)[0].contains(r#""annotations":null"#), "{:?}", lines(&output));
    assert_eq!(status(&repository.info(&["annotate", "15-main", "--label", A, "--annotation", "a=b"])), 5);
    assert_eq!(status(&repository.info(&["prune", "15-main", "--keep-full", "1"])), 0);
}

#[test]
fn totals_of_each_cluster_and_of_all() {
    let repository = Repository::new();
    let totals = |environment: &[(&str, &str)], more: &[&str]| {
        let output = info(&[&["--totals", "--repo", &repository.url()], more].concat(), environment);
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        lines(&output)
    };
    let keep = [("PGV_KEEP_FULL", "1")];
    repository.add(A, 1);
    let bytes = stored(&repository, A);
    assert_eq!(totals(&[], &[])[0], format!("cluster\t15-main\t{ID}\t1\t0\t{bytes}\t0\t0\t\t\t\t\t"));
    // Three of one size on three days, of which the first begins the window; one of years ago is before it.
    for label in [B, C, "20161101-010000F"] {
        assert_eq!(repository.add(label, 1).file_name().unwrap(), label);
    }
    mark(&repository, &["pin", "15-main", "--label", A]);
    let wal = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
    fs::create_dir_all(&wal).unwrap();
    fs::write(wal.join("000000010000000000000002.pgv"), "12345").unwrap();
    fs::write(wal.join("00000002.history.pgv"), "123").unwrap();
    let pin = fs::read_dir(repository.set("15-main", ID, A).join("check")).unwrap().next().unwrap().unwrap();
    let all = 4 * bytes + pin.metadata().unwrap().len();
    let growth = format!("{bytes}\t2026-11-01T01:00:59Z\t2026-11-03T01:00:59Z");
    // Neither the newest nor the pinned one goes.
    let mine = format!("15-main\t{ID}\t4\t1\t{all}\t2\t8\t{growth}\t2\t{}", 2 * bytes);
    assert_eq!(totals(&keep, &["15-main"])[0], format!("cluster\t{mine}"));
    let other = repository.add_to("16-main", "12345", C, 1);
    let other = fs::read_dir(other).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    let found = totals(&keep, &[]);
    assert_eq!(found.len(), 3);
    assert_eq!(found[2], format!("all\t\t\t5\t1\t{}\t2\t8\t{growth}\t2\t{}", all + other, 2 * bytes));
    let json: serde_json::Value = serde_json::from_str(&totals(&keep, &["--json"])[0]).unwrap();
    assert_eq!((&json["format"], &json["cluster"]), (&"pgv-totals/1".into(), &"15-main".into()));
    assert_eq!(json["wal"].to_string(), r#"{"bytes":8,"files":2}"#);
    assert_eq!(json["expiry"]["bytes"], 2 * bytes);
    let labels = info(&["--totals", "--repo", &repository.url(), "--format", "label"], &[]);
    assert_eq!((status(&labels), lines(&labels).len()), (2, 0), "{}", stderr(&labels));
    // Without rules, and with wrong ones, nothing is said about what goes.
    for (environment, why) in
        [(&[][..], "no rule is configured"), (&[("PGV_KEEP_FULL", "0")], "a rule cannot keep zero backups")]
    {
        let json: serde_json::Value = serde_json::from_str(&totals(environment, &["--json"])[2]).unwrap();
        assert!(
            json["expiry"].is_null() && json["expiry_unknown"].as_str().unwrap().starts_with(why),
            "{json}"
        );
        let table = totals(environment, &["--format", "table"]);
        assert!(
            table[1].ends_with(&format!("unknown: {}", json["expiry_unknown"].as_str().unwrap())),
            "{table:?}"
        );
    }
    // Under a table of all, and in no other format.
    let output = info(&["--repo", &repository.url(), "--format", "table"], &keep);
    let table = lines(&output);
    let at = table.iter().position(String::is_empty).unwrap();
    assert!(table[at + 1].starts_with("TOTALS") && table[at + 2].contains("4 (1 pinned)"), "{table:?}");
    assert!(table[at + 2].contains("8 B") && table[at + 2].contains("  backups: 2, "), "{table:?}");
    assert!(table[at + 4].starts_with("all "), "{table:?}");
    for more in [
        &["15-main", "--label", A, "--format", "table"][..],
        &["--type", "full", "--format", "table"],
        &["--json"],
    ] {
        assert!(
            !repository.lines(more).iter().any(|line| line.contains("TOTALS") || line.contains("totals")),
            "{more:?}"
        );
    }
    // Under a table the WAL is counted up to a bound; by itself all of it.
    for number in 0..10_000 {
        fs::write(wal.join(format!("0000000200000000{number:08X}.pgv")), "1").unwrap();
    }
    let table = repository.lines(&["15-main", "--format", "table"]);
    assert!(table.last().unwrap().contains("over 9.8 KiB"), "{table:?}");
    assert!(totals(&[], &["15-main"])[0].contains("\t10002\t10008\t"));
    let metrics = lines(&info(&["--repo", &repository.url(), "--metrics"], &keep));
    let labels = format!(r#"cluster="15-main",system_identifier="{ID}""#);
    for (name, value) in [
        ("pinned_backups", 1),
        ("new_bytes_per_day", bytes),
        ("expiry_backups", 2),
        ("expiry_bytes", 2 * bytes),
    ] {
        assert!(metrics.contains(&format!("pgv_{name}{{{labels}}} {value}")), "{name}: {metrics:?}");
    }
    assert!(
        !lines(&repository.info(&["--metrics"])).iter().any(|line| line.starts_with("pgv_expiry_bytes{"))
    );
}

#[test]
fn the_last_good_drill_says_how_long_a_restore_takes() {
    let repository = Repository::new();
    let (a, b) = (repository.add(A, 0x100), repository.add(B, 0x200));
    let recovery = || repository.lines(&["recovery", "15-main"]);
    let drills = || recovery().into_iter().filter(|line| line.starts_with("drill_")).collect::<Vec<_>>();
    assert!(drills().is_empty());
    let store = |set: &PathBuf, name: &str, arguments: &[&str]| {
        let verdict = info(&[&["verdict", "--kind", "drill"], arguments].concat(), &[]);
        assert_eq!(status(&verdict), 0, "{}", stderr(&verdict));
        fs::create_dir_all(set.join("check")).unwrap();
        fs::write(set.join("check").join(name), &verdict.stdout).unwrap();
    };
    let at = |time| ["--started-at", time, "--bytes", "2000", "--seconds"];
    store(&b, "20261104-000000-drill.json", &[&at("2026-11-04T00:00:00Z")[..], &["90"]].concat());
    let old = ["drill_at 2026-11-04T00:00:00Z", "drill_bytes 2000", "drill_seconds 90"];
    assert_eq!(drills(), old);
    // Of another backup, and newer; then one that found something, and may have ended early.
    let newer = &[&at("2026-11-05T00:00:00Z")[..], &["95", "--restore-seconds", "40"]].concat();
    store(&a, "20261105-000000-drill.json", newer);
    let bad = &[&at("2026-11-06T00:00:00Z")[..], &["1", "--restore-seconds", "1", "--finding", "x"]].concat();
    store(&b, "20261106-000000-drill.json", bad);
    let new =
        ["drill_at 2026-11-05T00:00:00Z", "drill_bytes 2000", "drill_seconds 95", "drill_restore_seconds 40"];
    assert_eq!(drills(), new);
    // A restore of half as many bytes.
    let (way, places) = (repository.0.path().join("way"), repository.0.path().join("places"));
    fs::write(&way, recovery().join("\n")).unwrap();
    fs::write(&places, "directory /d\ndevice 7\nfree 2000\nstate absent\n").unwrap();
    let plan = |more: &[&str]| {
        let places = places.to_str().unwrap();
        let own = ["plan", way.to_str().unwrap(), "--places", places, "--directory", "/d", "--print"];
        let output = info(&[&own, more].concat(), &[]);
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        lines(&output)
    };
    let takes = "takes        about 20 s for the backup, as in the drill of 2026-11-05".to_owned();
    assert!(plan(&[]).contains(&takes), "{:?}", plan(&[]));
    let json: serde_json::Value = serde_json::from_str(&plan(&["--as-json"])[0]).unwrap();
    assert_eq!((&json["seconds"], &json["seconds_from"]), (&20.into(), &"drill".into()));
    assert_eq!(json["drill_at"], "2026-11-05T00:00:00Z");
}

#[test]
fn bad_pages_of_every_link_are_told() {
    let repository = Repository::new();
    let record = repository.add(A, 0x100).join("record.json");
    let edited = fs::read_to_string(&record).unwrap().replace("\"bad_pages\":0", "\"bad_pages\":3");
    fs::write(&record, edited).unwrap();
    let told = repository.lines(&["recovery", "15-main"]);
    assert!(told.contains(&"bad_pages 3".to_owned()), "{told:?}");
}

#[test]
fn a_connection_string_becomes_settings_and_shows_no_password() {
    let primary = |text: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgv-info"));
        let mut child = command.arg("primary").args(arguments);
        child = child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = child.stderr(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = primary("host=db1 password='a b'\n", &["--slot", "node_2"]);
    let wanted = [
        "primary_conninfo host=db1 password='a b'",
        "primary_slot_name node_2",
        "primary_shown host=db1 password=********",
        "primary_probe host=db1 password='a b' dbname=replication replication=true connect_timeout=5",
    ];
    assert_eq!(lines(&output), wanted);
    for (text, arguments) in [("host=db1 passwort=secret\n", &[][..]), ("host=db1\n", &["--slot", "a-b"])] {
        let output = primary(text, arguments);
        assert_eq!((status(&output), lines(&output).len()), (2, 0));
        assert!(!stderr(&output).contains("secret"), "{}", stderr(&output));
    }
}

const MERGED: &str = "20261104-010000F";

/// A chain of three, A first; its labels, oldest first.
fn add_chain(repository: &Repository) -> [String; 3] {
    let labels = [A.to_owned(), format!("{A}_20261102-010000I"), format!("{A}_20261103-010000I")];
    repository.add(A, 0x100);
    build_on(&repository.add(&labels[1], 0x100_0200), A);
    build_on(&repository.add(&labels[2], 0x200_0300), &labels[1]);
    labels
}

/// What these became, oldest first, under `label`: its record is that of the last of them.
fn merge(repository: &Repository, label: &str, links: &[String]) -> PathBuf {
    let set = repository.add(label, 1);
    let newest = repository.set("15-main", ID, links.last().unwrap()).join("record.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(newest).unwrap()).unwrap();
    record["label"] = label.into();
    record["type"] = "full".into();
    record["mode"] = serde_json::Value::Null;
    record["parent"] = serde_json::Value::Null;
    record["merged_from"] = links.into();
    fs::write(set.join("record.json"), record.to_string()).unwrap();
    set
}

fn labels(repository: &Repository) -> Vec<String> {
    repository.lines(&["15-main", "--format", "label"])
}

#[test]
fn a_synthetic_full_is_listed_as_one_and_stands_where_its_content_does() {
    let repository = Repository::new();
    let links = add_chain(&repository);
    let set = merge(&repository, MERGED, &links);
    // An increment that ran meanwhile has newer content, and an older label.
    let beside = format!("{A}_20261103-230000I");
    build_on(&repository.add(&beside, 0x300_0400), &links[2]);
    assert_eq!(labels(&repository), [&links[0], &links[1], &links[2], MERGED, &beside]);
    let of_type = |kind: &str| repository.lines(&["--format", "label", "--type", kind]);
    assert_eq!((of_type("full"), of_type("synthetic")), (vec![A.to_owned()], vec![MERGED.to_owned()]));
    let tsv = repository.lines(&["--label", MERGED]);
    assert_eq!(tsv[0].split('\t').nth(3), Some("synthetic"));
    assert!(repository.lines(&["--label", MERGED, "--format", "table"])[2].contains("synthetic"));
    let json: serde_json::Value =
        serde_json::from_str(&repository.lines(&["--label", MERGED, "--json"])[0]).unwrap();
    assert_eq!(
        (json["type"].as_str(), json["merged_from"].as_array().map(Vec::len)),
        (Some("synthetic"), Some(3))
    );
    // The record is what a reader of before knows.
    assert_eq!(json["record"]["type"], "full");
    let metrics = repository.lines(&["--metrics"]).join("\n");
    assert!(metrics.contains(r#"type="synthetic"} 1"#) && metrics.contains(r#"type="full"} 1"#), "{metrics}");
    // It is taken for what is in it, and for no later moment; alone it is as good as the whole chain.
    let chosen = |target: &[&str]| {
        let urls = repository.lines(&[&["choose", "15-main"], target].concat());
        urls.iter().map(|url| url.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(&["--time", "2026-11-03 12:00:00Z"]), [MERGED]);
    assert_eq!(chosen(&["--time", "2026-11-02 12:00:00Z"]), links[..2]);
    assert_eq!(
        chosen(&["--time", "2026-11-04 12:00:00Z"]),
        [links.as_slice(), std::slice::from_ref(&beside)].concat()
    );
    assert_eq!(chosen(&[]).last(), Some(&beside));
    assert_eq!(chosen(&["--lsn", "0/2000300"]), [MERGED]);
    let recovery = repository.lines(&["recovery", "15-main", "--label", MERGED]);
    assert!(recovery.contains(&"backup_wal_last 000000010000000000000002".to_owned()), "{recovery:?}");
    // How old the backups are is the age of their content.
    fs::remove_dir_all(repository.set("15-main", ID, &beside)).unwrap();
    let old = repository.info(&["15-main", "--max-age", "1s"]);
    assert!(stderr(&old).contains(MERGED) && status(&old) == 7, "{}", stderr(&old));
    // A record that names what cannot be in it is damaged.
    let path = set.join("record.json");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in [(&links[1], C), (&links[2], "20261105-010000F"), (&links[0], &links[1])] {
        fs::write(&path, text.replacen(&format!("{from}\""), &format!("{to}\""), 1)).unwrap();
        let output = repository.info(&["15-main", "--format", "label"]);
        assert_eq!((status(&output), lines(&output).len()), (7, 3), "{from} {to}: {}", stderr(&output));
        assert!(stderr(&output).contains("merged into it"), "{}", stderr(&output));
    }
}

/// Values of "key value" lines.
fn values<'a>(lines: &'a [String], key: &str) -> Vec<&'a str> {
    lines.iter().filter_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).collect()
}

#[test]
fn the_next_backup_builds_on_the_chain_of_the_newest_full() {
    let repository = Repository::new();
    let links = add_chain(&repository);
    let next = |arguments: &[&str]| {
        let lines = repository.lines(&[&["next", "15-main", "--full-every", "3650d"], arguments].concat());
        ["type", "chain", "parent", "label", "newest"].map(|key| values(&lines, key).join(" "))
    };
    // Whoever asked before the full was there keeps label and parent of one chain.
    let [kind, chain, parent, label, _] = next(&[]);
    assert_eq!((kind.as_str(), &parent, chain), ("incr", &links[2], links.join(" ")));
    assert!(label.starts_with(&format!("{A}_")), "{label}");
    merge(&repository, MERGED, &links);
    for kind in ["incr", "diff"] {
        let [made, chain, parent, label, newest] = next(&["--type", kind]);
        assert_eq!(
            (made.as_str(), chain.as_str(), parent.as_str(), newest.as_str()),
            (kind, MERGED, MERGED, MERGED)
        );
        assert!(label.starts_with(&format!("{MERGED}_")), "{label}");
    }
    // Its increment ends, with the chain that it has; the next one builds on the newest full all the same.
    let beside = format!("{A}_20261104-020000I");
    build_on(&repository.add(&beside, 0x300_0400), &links[2]);
    let [_, chain, parent, label, newest] = next(&[]);
    assert_eq!((chain.as_str(), parent.as_str(), &newest), (MERGED, MERGED, &beside));
    assert!(label.starts_with(&format!("{MERGED}_")), "{label}");
    let own = format!("{MERGED}_20261105-010000I");
    build_on(&repository.add(&own, 0x400_0400), MERGED);
    assert_eq!(next(&[])[1], format!("{MERGED} {own}"));
    // A later full of the server, which ran while that was made, has newer content.
    repository.add("20261103-120000F", 0x250_0000);
    assert_eq!(next(&[])[1], "20261103-120000F");
}

#[test]
fn a_synthetic_full_puts_off_no_periodic_one() {
    let repository = Repository::new();
    let links = add_chain(&repository);
    merge(&repository, MERGED, &links);
    let kind = |every: &str| {
        let lines = repository.lines(&["next", "15-main", "--full-every", every]);
        values(&lines, "type").join(" ")
    };
    let days = |day: &str| {
        let begun = time::macros::datetime!(2026-11-01 01:00 UTC);
        let age = (time::OffsetDateTime::now_utc() - begun).whole_days();
        format!("{}d", age + day.parse::<i64>().unwrap())
    };
    // The age is that of the full that was read, also when that is gone.
    for _ in 0..2 {
        assert_eq!(
            (kind(&days("0")).as_str(), kind(&days("2")).as_str(), kind("never").as_str()),
            ("full", "incr", "incr")
        );
        let _gone = fs::remove_dir_all(repository.set("15-main", ID, A)).is_err();
    }
    // The first backup is a full, and so is one for which there is a reason.
    let empty = Repository::new();
    let first = empty.lines(&["next", "15-main", "--full-every", "never"]);
    assert_eq!(
        (values(&first, "type"), values(&first, "reason")),
        (vec!["full"], vec!["there is no full backup yet"])
    );
    judge(&repository.set("15-main", ID, MERGED), "verify", false);
    assert_eq!(kind("never"), "full");
    let arguments = ["next", "15-main", "--repo", &repository.url()];
    for (every, wanted) in [("never", 0), ("Never", 2), ("7", 2)] {
        let output = info(&arguments, &[("PGV_FULL_EVERY", every)]);
        assert_eq!(status(&output), wanted, "{every}: {}", stderr(&output));
    }
}

#[test]
fn what_can_be_merged() {
    let repository = Repository::new();
    let merging = |arguments: &[&str]| repository.info(&[&["merging", "15-main"], arguments].concat());
    fs::create_dir_all(repository.0.path().join("repo")).unwrap();
    fs::write(repository.0.path().join("repo/RESTORE-1.txt"), "").unwrap();
    assert_eq!(status(&merging(&[])), 3, "there is no backup");
    repository.add(A, 1);
    let nothing = lines(&merging(&[]));
    assert_eq!(values(&nothing, "nothing"), [format!("backup {A} is a full backup already")]);
    assert!(values(&nothing, "label").is_empty() && values(&nothing, "backup").is_empty(), "{nothing:?}");
    let links = add_chain(&repository);
    let records = repository.0.path().join("records");
    fs::create_dir(&records).unwrap();
    let found = lines(&merging(&["--records", records.to_str().unwrap()]));
    assert_eq!(values(&found, "link"), links);
    let urls: Vec<_> =
        links.iter().map(|link| format!("{}/15-main/{ID}/backup/{link}", repository.url())).collect();
    assert_eq!(values(&found, "backup"), urls);
    assert_eq!(
        (values(&found, "newest"), values(&found, "system_identifier")),
        (vec![links[2].as_str()], vec![ID])
    );
    assert_eq!((values(&found, "read_bytes"), values(&found, "stream_bytes")), (vec!["300"], vec!["3000"]));
    assert_eq!((values(&found, "write_bytes"), values(&found, "wal_included")), (vec!["100"], vec!["true"]));
    let label = values(&found, "label").join(" ");
    assert!(label.ends_with('F') && label.as_str() > MERGED, "{label}");
    let written = fs::read_to_string(records.join(&links[1])).unwrap();
    assert!(written.contains(&format!(r#""label":"{}""#, links[1])), "{written}");
    // Up to one of the chain, and of no other.
    assert_eq!(values(&lines(&merging(&["--label", &links[1]])), "link"), links[..2]);
    assert!(stderr(&merging(&["--label", B])).contains(&format!("there is no backup {B}")));
    repository.add("20261030-010000F", 1);
    assert_eq!(["20261030-010000F", B].map(|label| status(&merging(&["--label", label]))), [2, 3]);
    // Whatever is wrong with a link is wrong with all.
    for (at, kind) in [(0, "verify"), (1, "drill"), (2, "verify")] {
        let set = repository.set("15-main", ID, &links[at]);
        judge(&set, kind, false);
        let output = merging(&[]);
        assert_eq!((status(&output), lines(&output).len()), (5, 0), "{kind}: {}", stderr(&output));
        assert!(stderr(&output).contains(&links[at]), "{}", stderr(&output));
        judge(&set, kind, true);
        let data = set.join("data.pgv");
        fs::rename(&data, set.join("moved")).unwrap();
        let output = merging(&[]);
        assert_eq!((status(&output), lines(&output).len()), (5, 0), "{at}: {}", stderr(&output));
        fs::rename(set.join("moved"), &data).unwrap();
        let record = set.join("record.json");
        fs::rename(&record, repository.0.path().join("moved")).unwrap();
        if at < 2 {
            assert_eq!(status(&merging(&[])), 5, "a link is incomplete");
        } else {
            assert_eq!(values(&lines(&merging(&[])), "link"), links[..2], "what runs is no backup yet");
        }
        fs::rename(repository.0.path().join("moved"), &record).unwrap();
    }
    // A second time there is nothing to do, until the next increment.
    merge(&repository, MERGED, &links);
    let nothing = lines(&merging(&[]));
    assert_eq!(values(&nothing, "nothing"), [format!("backup {MERGED} is a synthetic full backup already")]);
    let own = format!("{MERGED}_20261105-010000I");
    build_on(&repository.add(&own, 0x400_0400), MERGED);
    assert_eq!(values(&lines(&merging(&[])), "link"), [MERGED, &own]);
    // A label follows all that are there, whatever became of them.
    fs::create_dir_all(repository.set("15-main", ID, "22261110-010000F")).unwrap();
    fs::write(repository.set("15-main", ID, "22261110-010000F").join("claim.json"), "{}").unwrap();
    assert_eq!(status(&merging(&[])), 1, "the clock went back");
}

#[test]
fn what_was_merged_is_copied_and_expires_like_a_full() {
    let repository = Repository::new();
    let links = add_chain(&repository);
    merge(&repository, MERGED, &links);
    let own = format!("{MERGED}_20261105-010000I");
    build_on(&repository.add(&own, 0x400_0400), MERGED);
    let there = repository.0.path().join("there");
    fs::write(&there, "").unwrap();
    let copied = repository.lines(&[
        "transfer",
        "15-main",
        "--label",
        &own,
        "--to",
        "file:///elsewhere",
        "--there",
        there.to_str().unwrap(),
    ]);
    assert_eq!(values(&copied, "backup"), [MERGED, &own]);
    let gone = |rule: &[&str]| repository.lines(&[&["prune", "15-main"], rule].concat());
    assert_eq!(gone(&["--keep-last", "1"]), links);
    assert_eq!(gone(&["--keep-full", "1"]), Vec::<String>::new());
    assert_eq!(gone(&["--keep-daily", "3"]), links[2..]);
    assert_eq!(gone(&["--keep-daily", "2"]), links);
    // Its WAL stays, and that of what went does not.
    let wal = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
    fs::create_dir_all(&wal).unwrap();
    for number in 1..=4 {
        fs::write(wal.join(format!("0000000100000000{number:08X}.pgv")), "x").unwrap();
    }
    for link in &links {
        fs::remove_dir_all(repository.set("15-main", ID, link)).unwrap();
    }
    let unneeded = repository.lines(&["wal", "15-main", "--unneeded"]);
    assert!(unneeded.len() == 1 && unneeded[0].ends_with("000000010000000000000001.pgv"), "{unneeded:?}");
}
