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

    /// A complete full backup, which ended one minute after its label's time at LSN 0/`stop`.
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
        let record = format!(
            r#"{{"format":"pgv-record/1","label":"{label}","type":"full","mode":null,"parent":null,"system_identifier":"{id}",
            "pg_version":"15.20","host":"h","started_at":"{at}:00Z","stopped_at":"{at}:59Z","start_lsn":"0/28",
            "stop_lsn":"0/{stop:X}","timeline":1,"wal_first":"000000010000000000000001","wal_last":"000000010000000000000001",
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
            assert!(stderr(&output).contains("there is no repository"), "{}", stderr(&output));
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
    assert_eq!(json["record"]["stop_lsn"], "0/200");
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
    let (old, new) = ("000000010000000000000001", "000000010000000000000005");
    for (set, first) in [(A, new), ("20261105-010000F", new), ("20261106-010000F", old)] {
        let path = repository.set("15-main", ID, set).join("record.json");
        fs::write(&path, fs::read_to_string(&path).unwrap().replace(old, first)).unwrap();
    }
    let wal = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
    fs::create_dir_all(&wal).unwrap();
    fs::write(wal.join("000000010000000000000002.pgv"), "x").unwrap();
    let unneeded = || repository.info(&["wal", "15-main", "--unneeded"]);
    assert_eq!((status(&unneeded()), lines(&unneeded()).len()), (7, 0), "{}", stderr(&unneeded()));
    fs::write(&lost, record.replace(old, new)).unwrap();
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
        refused(&["choose", "15-main", "--lsn", "0/300"]);
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
        .replace(r#""host":"h""#, r#""host":"\",\"parent\":\"x\n""#)
        .replace(r#""wal_last":"000000010000000000000001""#, r#""wal_last":"x y\nz""#);
    fs::write(&record, noted).unwrap();
    let set = |label: &str| format!("{}/15-main/{ID}/backup/{label}", repository.url());
    let segment = "000000010000000000000001";
    let full = format!(
        "complete {ID} {A} - - 1000 {} {segment} {segment} 15-main {}",
        stored(&repository, A),
        set(A)
    );
    let next = format!(
        "complete {ID} {incr} {A} blocks 1000 {} {segment} - 15-main {}",
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
    assert_eq!((kind.as_str(), chain.as_str(), reason.as_str()), ("full", "", "there is none yet"));
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
            assert_eq!(reason, "the chain was found bad when it was last verified or drilled");
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
    assert!(repository.lines(&["next", "15-main"]).contains(&"unfinished 20261110-010000F".to_owned()));
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
            stderr(&output).contains(&format!("its record has the timeline {timeline}")),
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
    assert_eq!(chosen(&["--lsn", "0/2FF"]), B);
    assert_eq!(chosen(&["--lsn", "0/200"]), B);
    assert_eq!(chosen(&["--time", "2026-11-02 12:00:00+00"]), B);
    // At the very second of its end a backup is not yet before it.
    assert_eq!(chosen(&["--time", "2026-11-02T01:00:59Z"]), A);
    for none in [["--lsn", "0/FF"], ["--time", "2026-10-01T00:00:00Z"], ["--label", "20200101-000000F"]] {
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
    let own = lines(&goal(&["--time", "2026-11-01 14:00:00.5+02:30"]));
    assert!(own.contains(&"recovery_target_timeline current".to_owned()), "{own:?}");
    assert!(own.contains(&"recovery_target_time 2026-11-01 11:30:00.500000+00".to_owned()), "{own:?}");
    refused(&["--timeline", "7"], 3, "there is no timeline 7");
    refused(&["--lsn", "0/5000000"], 3, "is beyond it");
    refused(&["--label", A, "--lsn", "0/1"], 3, "the target is before that");
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
    refused(&["--immediate"], 3, "the archive lacks 000000010000000000000001");
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
    let second = repository.add("20260102-010000F", 0x600_0100).join("record.json");
    let moved = fs::read_to_string(&second).unwrap().replace("0000000000000001\"", "0000000000000006\"");
    fs::write(&second, moved).unwrap();
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
    assert_eq!((status(&output), lines(&output).len()), (0, 1), "{:?}", lines(&output));
    change("\"wal_included\":false,\"archiving\":false");
    assert_eq!(status(&wal()), 7, "nobody has its WAL");
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
    refused(C, 1, &format!("that would remove {C}, the newest good full backup of 15-main {ID}"));
    refused("20261009-010000F", 1, "every complete backup of 15-main 42");
    refused(&format!("{A}\n{B}\n{C}"), 1, "every complete backup of 15-main");
    judge(&c, "drill", false);
    refused(B, 1, &format!("that would remove {B}, the newest good full"));
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
    let elsewhere = info(&["wal", "--metrics", "--repo", &url], &[("PGV_PGDATA", "/nowhere")]);
    assert_eq!(status(&elsewhere), 0, "the setting is that of another host");
    assert_eq!(status(&repository.info(&["wal", "--metrics", "--data-directory", "/nowhere"])), 1);
}

#[test]
fn wal_that_no_backup_needs() {
    let repository = Repository::new();
    let a = repository.add(A, 1);
    let record = fs::read_to_string(a.join("record.json")).unwrap();
    fs::write(a.join("record.json"), record.replace("000000010000000000000001", "000000010000000000000005"))
        .unwrap();
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
