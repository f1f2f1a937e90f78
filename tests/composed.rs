//! What scripts compose of the tools: readers of a command's output, a command for every line, and what pgv-info decides of
//! what is verified, copied and checked.

#![allow(clippy::unwrap_used, clippy::panic)] // a failing step of a test may stop it

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ID: &str = "7711175703245852542";
const FULL: &str = "20261101-010000F";
const INCR: &str = "20261101-010000F_20261102-010000I";
const SEGMENT: &str = "000000010000000000000001";

/// The directory with all tools first in PATH, as a script has it.
fn tool(name: &str, arguments: &[&str], input: &str) -> Output {
    let tools = Path::new(env!("CARGO_BIN_EXE_pgv-info")).parent().unwrap();
    let mut command = Command::new(tools.join(name));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("PGV_")) {
        command.env_remove(key);
    }
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    command.args(arguments).env("PATH", path).env("PGV_CONFIG_DIR", "/nowhere");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who refuses does not read.
    let _refused = child.stdin.take().unwrap().write_all(input.as_bytes()).is_err();
    child.wait_with_output().unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn url(&self, name: &str) -> String {
        format!("file://{}", self.path(name))
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A complete backup that ended at segment 1.
    fn add(&self, label: &str, parent: Option<&str>) {
        let set = format!("repo/demo/{ID}/backup/{label}");
        for name in ["data.pgv", "manifest.pgv", "claim.json"] {
            self.write(&format!("{set}/{name}"), "0123456789");
        }
        let (kind, mode) = if parent.is_some() { ("incr", "\"blocks\"") } else { ("full", "null") };
        let parent = parent.map_or("null".to_owned(), |parent| format!("\"{parent}\""));
        let record = format!(
            r#"{{"format":"pgv-record/1","label":"{label}","type":"{kind}","mode":{mode},"parent":{parent},"system_identifier":"{ID}",
            "pg_version":"15.20","host":"h","started_at":"2026-11-01T01:00:00Z","stopped_at":"2026-11-01T01:00:59Z","start_lsn":"0/1000028",
            "stop_lsn":"0/1000100","timeline":1,"wal_first":"{SEGMENT}","wal_last":"{SEGMENT}","wal_included":true,"tablespaces":[],
            "database_bytes":1000,"stream_bytes":1000,"files":{{"total":1,"whole":1,"blocks":0,"same":0,"removed":0}},
            "blocks":{{"read":0,"sent":0}},"findings":{{"bad_pages":0,"links":0}},"tool_version":"0.1.0","cluster":"demo",
            "objects":[{{"name":"data.pgv","bytes":10,"sha256":"00"}},{{"name":"manifest.pgv","bytes":10,"sha256":"11"}}],
            "key_name":null,"annotations":{{}}}}"#
        );
        self.write(&format!("{set}/record.json"), &record);
    }

    fn add_wal(&self, name: &str) {
        self.write(&format!("repo/demo/{ID}/wal/{}/{name}.pgv", &name[..8]), "sealed");
    }

    fn info(&self, arguments: &[&str]) -> Output {
        let repository = self.url("repo");
        tool("pgv-info", &[arguments, &["--repo", &repository]].concat(), "")
    }
}

#[test]
fn the_end_of_a_command_that_failed_is_no_end() {
    let place = Place::new();
    let key = place.write("key", "a passphrase");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (key, sealed) = (place.path("key"), place.path("sealed"));
    assert_eq!(status(&tool("pgv-crypt", &["-e", "-k", &key, "-o", &sealed], "plain")), 0);
    let open =
        |script: &str| tool("pgv-crypt", &["-d", "-k", &key, "--", "sh", "-c", script, "sh", &sealed], "");
    let opened = open("cat \"$1\"");
    assert_eq!((status(&opened), &opened.stdout[..]), (0, &b"plain"[..]), "{}", said(&opened));
    for (script, wanted) in [
        ("cat \"$1\"; exit 5", 5),
        ("cat \"$1\"; exit 75", 75),
        ("cat \"$1\"; exit 3", 3),
        ("cat \"$1\"; kill -9 $$", 1),
        // Cut short by a failure, and not damaged.
        ("head -c 100 \"$1\"; exit 2", 2),
        ("head -c 100 \"$1\"", 5),
    ] {
        let opened = open(script);
        assert_eq!(status(&opened), wanted, "{script}: {}", said(&opened));
    }
    let segment = format!("{ID}/wal/00000001/{SEGMENT}.pgv");
    let readers: [&[&str]; 3] =
        [&["pgv-apply", "--check-only"], &["pgv-peek", "archived", &segment], &["pgv-info", "manifest"]];
    for reader in readers {
        let run = |script| tool(reader[0], &[&reader[1..], &["--", "sh", "-c", script]].concat(), "");
        let (failed, short) = (run("exit 75"), run("exit 0"));
        assert_eq!(
            (status(&failed), status(&short)),
            (75, 5),
            "{reader:?}: {}{}",
            said(&failed),
            said(&short)
        );
    }
}

#[test]
fn an_object_is_the_one_that_was_stored() {
    let place = Place::new();
    place.write("object", "abc");
    let get = |sum: &str| tool("pgv-s3", &["--quiet", "get", "--sha256", sum, &place.url("object")], "");
    let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!((status(&get(right)), get(right).stdout), (0, b"abc".to_vec()));
    let wrong = get("00");
    assert_eq!(status(&wrong), 5);
    assert!(said(&wrong).contains("not the object that was stored"), "{}", said(&wrong));
}

#[test]
fn an_object_is_waited_for() {
    let place = Place::new();
    let stat =
        |wait: &str| tool("pgv-s3", &["--quiet", "stat", "--lines", "--wait", wait, &place.url("late")], "");
    assert_eq!(status(&stat("1s")), 3);
    let found = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| stat("30s"));
        std::thread::sleep(std::time::Duration::from_millis(600));
        place.write("late", "abc");
        waiting.join().unwrap()
    });
    let facts = lines(&found);
    assert_eq!((status(&found), facts[0].as_str()), (0, "bytes 3"), "{}", said(&found));
    let age = facts.iter().find_map(|line| line.strip_prefix("age_seconds ")).unwrap();
    assert!((-5..60).contains(&age.parse::<i64>().unwrap()), "{age}");
}

#[test]
fn every_line_has_its_command() {
    let script = "case $1 in bad*) echo 'x: error: no such thing' >&2; exit 3 ;; worse*) exit 75 ;; six*) exit 6 ;; esac; [ \"$2\" = 'b c' ]";
    let each = |input: &str, accept: &[&str]| {
        let arguments = [&["--each", "2"], accept, &["--", "sh", "-c", script, "sh", "{1}", "{2}"]].concat();
        tool("pgv-env", &arguments, input)
    };
    let mut ended = lines(&each("a b c\nbad b c\n", &["--accept", "3,4"]));
    ended.sort();
    assert_eq!(ended, ["ended 0 a b c", "ended 3 bad b c", "why no such thing"]);
    for (line, wanted) in [("bad b c\n", 3), ("worse b c\n", 75), ("six b c\n", 6), ("a other\n", 1)] {
        let output = each(line, &[]);
        assert_eq!(status(&output), wanted, "{line}: {}", said(&output));
    }
    assert_eq!((status(&each("", &[])), lines(&each("", &[])).len()), (0, 0));
    // Once more: what was wrong the first time only is not wrong.
    let scratch = tempfile::tempdir().unwrap();
    let script = r#"[ -e "$1/$2" ] && exit "${2%x}"; : >"$1/$2"; echo "t: error: first" >&2; exit 5"#;
    let place = scratch.path().to_str().unwrap();
    let arguments =
        ["--each", "1", "--accept", "3,5", "--twice", "--", "sh", "-c", script, "sh", place, "{}"];
    assert_eq!(
        lines(&tool("pgv-env", &arguments, "0\n3\n5\n")),
        ["again first", "ended 0 0", "why it ended with 3", "ended 3 3", "why it ended with 5", "ended 5 5"]
    );
}

#[test]
fn what_is_temporary_is_tried_again() {
    let scratch = tempfile::tempdir().unwrap();
    let tries = scratch.path().join("tries");
    let script = r#"echo x >>"$1"; [ "$(wc -l <"$1")" -ge 2 ] || exit 75; echo done; exit "$2""#;
    let retried = |limit: &str, status: &str| {
        let arguments = ["--retry", limit, "--", "sh", "-c", script, "sh", tries.to_str().unwrap(), status];
        tool("pgv-env", &arguments, "")
    };
    assert_eq!(status(&retried("0s", "0")), 75);
    let output = retried("20s", "42");
    assert_eq!((status(&output), lines(&output)), (42, vec!["done".to_owned()]), "{}", said(&output));
    fs::remove_file(&tries).unwrap();
    let output = retried("20s", "0");
    assert_eq!((status(&output), lines(&output)), (0, vec!["done".to_owned()]), "{}", said(&output));
}

#[test]
fn a_verification_reads_what_is_complete() {
    let place = Place::new();
    place.add(FULL, None);
    place.add(INCR, Some(FULL));
    place.add_wal(SEGMENT);
    place.add_wal("00000002.history");
    let all = lines(&place.info(&["checks", "demo"]));
    let sealed = format!("{ID}/wal/00000001/{SEGMENT}.pgv");
    let history = format!("{ID}/wal/00000002/00000002.history.pgv");
    let stored = place.info(&["sets", "demo"]);
    let bytes = lines(&stored)[0].split(' ').nth(6).unwrap().to_owned();
    assert_eq!(all[0], format!("backup {ID} {FULL} - 1000 {bytes} 00 11"));
    assert!(all[1].starts_with(&format!("backup {ID} {INCR} {FULL} 1000 ")), "{all:?}");
    assert_eq!(
        all[2..],
        [
            format!("wal {ID} {INCR}"),
            format!("history {history}"),
            format!("file {sealed}"),
            format!("file {history}")
        ]
    );
    assert_eq!(lines(&place.info(&["checks", "demo", "--label", FULL])).len(), 1);
    let sample = lines(&place.info(&["checks", "demo", "--sample", "1"]));
    assert_eq!(sample.iter().filter(|line| line.starts_with("backup ")).count(), 1);
    assert_eq!(sample.iter().filter(|line| line.starts_with("unchosen ")).count(), 1);
    assert_eq!(sample.iter().filter(|line| line.starts_with("file ")).count(), 1);
    for wrong in [["--sample", "0"], ["--sample", "101"], ["--wal", "--no-wal"]] {
        assert_eq!(status(&place.info(&[&["checks", "demo"], &wrong[..]].concat())), 2, "{wrong:?}");
    }
    // Without its parent, and without its record.
    fs::remove_file(place.path(&format!("repo/demo/{ID}/backup/{FULL}/record.json"))).unwrap();
    let all = lines(&place.info(&["checks", "demo", "--no-wal"]));
    assert_eq!(all[..2], [format!("incomplete {FULL}"), format!("orphan {INCR} {FULL}")]);
    assert!(all[2].starts_with(&format!("backup {ID} {INCR} - ")), "{all:?}");
}

#[test]
fn a_copy_has_wal_before_backups_and_records_last() {
    let place = Place::new();
    place.add(FULL, None);
    place.add(INCR, Some(FULL));
    place.add_wal(SEGMENT);
    place.add_wal("000000010000000000000002");
    place.write("repo/RESTORE-1.txt", "how to");
    let copy = place.url("copy");
    let plan = |there: &str, more: &[&str]| {
        let there = place.write("there", there).display().to_string();
        place.info(&[&["transfer", "demo", "--to", &copy, "--there", &there], more].concat())
    };
    let steps = lines(&plan("", &[]));
    let at = |step: &str| {
        steps.iter().position(|line| line.contains(step)).unwrap_or_else(|| panic!("{step}: {steps:#?}"))
    };
    assert!(at("000000010000000000000002.pgv") < at(&format!("backup {FULL}")));
    let record = at(&format!("/{FULL}/record.json"));
    assert!(at(&format!("/{FULL}/data.pgv")) < record && record < at(&format!("/{INCR}/data.pgv")));
    assert_eq!((steps[record - 1].trim_end(), steps[record + 1].trim_end()), ("then", "then"));
    assert_eq!(steps.last().unwrap(), "complete 2");
    assert!(steps.iter().any(|line| line == "object 6 RESTORE-1.txt"));
    // What is there is not copied again; with another length it is no copy.
    let data = format!("{copy}/demo/{ID}/backup/{FULL}/data.pgv");
    let known = plan(&format!("10 2026-11-29T00:00:00Z {data}\n"), &[]);
    assert!(!lines(&known).iter().any(|line| line.ends_with(&format!("/{FULL}/data.pgv"))));
    let other = plan(&format!("11 2026-11-29T00:00:00Z {data}\n"), &[]);
    assert_eq!((status(&other), lines(&other).len()), (6, 0));
    // One backup, and the WAL that it needs.
    let one = lines(&plan("", &["--label", FULL]));
    assert!(
        one.iter().any(|line| line.contains(SEGMENT)) && !one.iter().any(|line| line.contains("0002.pgv"))
    );
    assert_eq!(status(&plan("", &["--label", "20260101-010000F"])), 3);
    assert_eq!(status(&plan("", &["--wal-since", "nonsense"])), 2);
}

#[test]
fn what_is_wrong_with_a_repository_is_said() {
    let place = Place::new();
    let doctor = |more: &[&str]| {
        let output = place.info(&[&["doctor", "demo", "--system-id", ID], more].concat());
        assert_eq!(status(&output), 0, "{}", said(&output));
        lines(&output)
    };
    assert!(
        doctor(&[])[0].starts_with("bad repository: ") && doctor(&[])[1].starts_with("advice check PGV_REPO")
    );
    place.write("repo/RESTORE-1.txt", "how to");
    assert!(doctor(&[])[0].ends_with(" exists, and has no backup of demo yet"));
    place.add(FULL, None);
    place.add_wal(SEGMENT);
    let found = doctor(&["--max-age", "9000d"]);
    assert!(
        found[0].ends_with("can be listed")
            && found[1] == "ok backups: the newest backup is younger than 9000d",
        "{found:?}"
    );
    assert_eq!(found[2..], [format!("newest {}/demo/{ID}/backup/{FULL}", place.url("repo"))]);
    // Too old, another cluster's, and without its last segment.
    fs::remove_file(place.path(&format!("repo/demo/{ID}/wal/00000001/{SEGMENT}.pgv"))).unwrap();
    place.add_wal("000000010000000000000002");
    place.write("repo/demo/12345/wal/x", "");
    let found = doctor(&["--max-age", "1s"]).join("\n");
    for wanted in [
        "also has backups of another cluster: ",
        "the newest backup, 20261101-010000F, is ",
        "is not in the archive",
    ] {
        assert!(found.contains(wanted), "{wanted}: {found}");
    }
    assert_eq!(status(&place.info(&["doctor", "demo", "--max-age", "x"])), 2);
}

#[test]
fn a_verdict_is_written_under_its_name() {
    let place = Place::new();
    let findings = place.write("findings", "data.pgv: bad\n\nmanifest.pgv: bad\n").display().to_string();
    let below = place.path("verdicts");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let began = (now - 7).to_string();
    let arguments = [
        "verdict",
        "--kind",
        "verify",
        "--bytes",
        "5",
        "--began",
        &began,
        "--findings",
        &findings,
        "--below",
        &below,
    ];
    let output = tool("pgv-info", &arguments, "");
    assert_eq!(status(&output), 0, "{}", said(&output));
    let name = &lines(&output)[0];
    assert!(name.starts_with("check/20") && name.ends_with("-verify.json"), "{name}");
    let text = fs::read_to_string(place.path(&format!("verdicts/{name}"))).unwrap();
    assert!(text.contains(r#""ok":false,"findings":["data.pgv: bad","manifest.pgv: bad"]"#), "{text}");
    assert_eq!(status(&tool("pgv-info", &["verdict", "--kind", "verify", "--bytes", "5"], "")), 2);
}
