//! Records, verdicts and marks that pgv-info keeps in PGV_STATE_DIR: they save requests, and change nothing that is said.

use crate::harness::{Server, code, errors, lines, moto};
use crate::proxy::{Fault, Proxy, Request};
use crate::records::{A, B, C, ID, command, record, repository, store_set};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A repository, and a directory that keeps what was read of it.
struct Kept {
    server: &'static Server,
    repository: String,
    state: tempfile::TempDir,
    /// What is kept counts for the address of the service, too.
    proxy: Proxy,
}

/// What a run said, and how many listings and objects it asked for.
#[derive(Debug, PartialEq)]
struct Run {
    sets: Vec<String>,
    lists: usize,
    gets: usize,
}

fn is_list(request: &Request) -> bool {
    request.head.contains("list-type=2")
}

impl Kept {
    fn new(test: &str) -> Self {
        Self::through(test, |_| Fault::Nothing)
    }

    fn through(test: &str, plan: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Self {
        let server = moto();
        let (repository, state) = (repository(server, test), tempfile::tempdir().unwrap());
        Kept { server, repository, state, proxy: Proxy::start(server.address(), plan) }
    }

    fn set(&self, label: &str) -> String {
        format!("{}/15-main/{ID}/backup/{label}", self.repository)
    }

    /// `LABEL ANNOTATION STATE` of each backup.
    fn run(&self) -> Run {
        self.run_in(Some(self.state.path()), 0)
    }

    fn run_in(&self, state: Option<&Path>, status: i32) -> Run {
        let before = self.proxy.seen().len();
        let arguments = ["15-main", "--system-id", ID, "--repo", &self.repository, "--format", "json"];
        let mut command = command(self.server, &self.proxy, &arguments);
        state.map(|state| command.env("PGV_STATE_DIR", state));
        let output = command.output().unwrap();
        assert_eq!(code(&output), status, "{}", errors(&output));
        assert!(status != 0 || errors(&output).is_empty(), "{}", errors(&output));
        let seen = self.proxy.seen().split_off(before);
        let set = |line: &String| {
            let set: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| set[key].as_str().unwrap_or("?").to_owned();
            format!(
                "{} {} {}",
                text("label"),
                set["annotations"]["by"].as_str().unwrap_or("?"),
                text("state")
            )
        };
        let lists = seen.iter().filter(|request| is_list(request)).count();
        Run { sets: lines(&output).iter().map(set).collect(), lists, gets: seen.len() - lists }
    }

    fn file(&self) -> PathBuf {
        let mut files = fs::read_dir(self.state.path().join("records")).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none());
        file
    }
}

fn complete(by: [&str; 3]) -> Vec<String> {
    [A, B, C].iter().zip(by).map(|(label, by)| format!("{label} {by} complete")).collect()
}

#[test]
fn what_was_read_once_is_not_read_again() {
    let kept = Kept::new("kept");
    for (kind, content) in [
        (
            "verify",
            r#"{"format":"pgv-verdict/1","kind":"verify","started_at":"2026-11-04T01:00:00Z","seconds":1,"bytes":4,"ok":true,"findings":[]}"#,
        ),
        ("pin", r#"{"format":"pgv-pin/1","until":null,"pinned":true,"note":null}"#),
        ("note", r#"{"format":"pgv-note/1","annotations":{"a":"b"}}"#),
    ] {
        let url = format!("{}/check/20261104-010000.000000-{kind}.json", kept.set(C))
            .replace(".000000-verify", "-verify");
        kept.server.done(&["put", "--replace", &url], content.as_bytes());
    }
    let all = complete(["h", "h", "h"]);
    assert_eq!(kept.run(), Run { sets: all.clone(), lists: 1, gets: 6 });
    assert_eq!(kept.run(), Run { sets: all.clone(), lists: 1, gets: 0 });
    let mode = fs::metadata(kept.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Without a place nothing is kept.
    assert_eq!(kept.run_in(None, 0), Run { sets: all.clone(), lists: 1, gets: 6 });
    assert_eq!(kept.run_in(Some("".as_ref()), 0).gets, 6);
    // Whatever became of the file.
    let file = kept.file();
    let whole = fs::read(&file).unwrap();
    for damaged in [Vec::new(), b"x".to_vec(), whole[..whole.len() / 2].to_vec(), {
        let mut flipped = whole.clone();
        let at = flipped.len() / 2;
        flipped[at] ^= 1;
        flipped
    }] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(kept.run(), Run { sets: all.clone(), lists: 1, gets: 6 });
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
    // Another repository of the same clusters has a file of its own.
    let other = repository(kept.server, "kept-other");
    let output = command(kept.server, &kept.proxy, &["15-main", "--repo", &other])
        .env("PGV_STATE_DIR", kept.state.path())
        .output()
        .unwrap();
    assert_eq!(code(&output), 0);
    assert_eq!(kept.run(), Run { sets: all, lists: 1, gets: 0 });
}

#[test]
fn what_the_listing_shows_decides() {
    let kept = Kept::new("listed");
    assert_eq!(kept.run().gets, 3);
    // Of the same length.
    store_set(kept.server, &kept.repository, B, None, "i");
    assert_eq!(kept.run(), Run { sets: complete(["h", "i", "h"]), lists: 1, gets: 1 });
    assert_eq!(kept.run(), Run { sets: complete(["h", "i", "h"]), lists: 1, gets: 0 });
    // Another repository in its place.
    for label in [A, B, C] {
        store_set(kept.server, &kept.repository, label, None, "j");
    }
    assert_eq!(kept.run(), Run { sets: complete(["j", "j", "j"]), lists: 1, gets: 3 });
    // One that is gone is not shown, and not kept.
    kept.server.done(&["rm", "--recursive", &format!("{}/", kept.set(B))], b"");
    let two = vec![format!("{A} j complete"), format!("{C} j complete")];
    assert_eq!(kept.run(), Run { sets: two, lists: 1, gets: 0 });
    assert!(!fs::read_to_string(kept.file()).unwrap().contains(B));
    // Nor does a record make a backup of what has none.
    kept.server.done(&["rm", &format!("{}/record.json", kept.set(C))], b"");
    let two = vec![format!("{A} j complete"), format!("{C} ? incomplete")];
    assert_eq!(kept.run(), Run { sets: two, lists: 1, gets: 0 });
    assert!(!fs::read_to_string(kept.file()).unwrap().contains(C));
}

#[test]
fn what_seems_damaged_is_always_read() {
    let kept = Kept::new("condemned");
    assert_eq!(kept.run().gets, 3);
    kept.server.done(&["rm", &format!("{}/data.pgv", kept.set(C))], b"");
    // First by what was kept, then by what is read; and from then on by what is read alone.
    for gets in [1, 2, 2] {
        let found = kept.run_in(Some(kept.state.path()), 7);
        assert_eq!((found.lists, found.gets), (2, gets), "{found:?}");
        assert!(found.sets[2].starts_with(C) && found.sets[2].ends_with("damaged"), "{found:?}");
    }
    store_set(kept.server, &kept.repository, C, None, "h");
    assert_eq!(kept.run().gets, 1);
    assert_eq!(kept.run().gets, 0);
}

#[test]
fn what_could_not_be_read_stays_kept() {
    let kept =
        Kept::through("partly", |request| match request.head.contains("-note.json") && !is_list(request) {
            true => Fault::Answer(
                "403 Forbidden",
                "<Error><Code>AccessDenied</Code><Message>no</Message></Error>",
            ),
            false => Fault::Nothing,
        });
    assert_eq!(kept.run().gets, 3);
    let note = format!("{}/check/20261104-010000.000000-note.json", kept.set(C));
    kept.server.done(&["put", "--replace", &note], br#"{"format":"pgv-note/1","annotations":{}}"#);
    // No note, and the records are not read again.
    for _ in 0..2 {
        assert_eq!(kept.run_in(Some(kept.state.path()), 1).gets, 1);
    }
}

#[test]
fn without_etags_nothing_is_kept() {
    let server = moto();
    let url = server.url("unnamed", "repo");
    let key = url.splitn(4, '/').nth(3).unwrap();
    let entry = |label: &str, name: &str, bytes: usize| {
        format!(
            "<Contents><Key>{key}/15-main/{ID}/backup/{label}/{name}</Key><Size>{bytes}</Size>\
             <LastModified>2026-11-04T01:00:00.000Z</LastModified></Contents>"
        )
    };
    let entries: String = [A, B, C]
        .iter()
        .map(|label| {
            entry(label, "data.pgv", 4) + &entry(label, "record.json", record(label, None, "h").len())
        })
        .collect();
    let listing: &'static str = Box::leak(
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>").into(),
    );
    let kept = Kept::through("unnamed", move |request| match is_list(request) {
        true => Fault::Answer("200 OK", listing),
        false => Fault::Nothing,
    });
    for _ in 0..2 {
        assert_eq!(kept.run(), Run { sets: complete(["h", "h", "h"]), lists: 1, gets: 3 });
    }
    assert!(!kept.state.path().join("records").exists());
}

/// As when another user looks, who may not write there.
#[test]
fn a_directory_that_cannot_be_written_is_no_fault() {
    let kept = Kept::new("unwritable");
    let state = kept.state.path();
    fs::set_permissions(state, fs::Permissions::from_mode(0o500)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(state, Some(65_534), Some(65_534)).unwrap();
    }
    for state in [state.to_owned(), state.join("none"), "/proc/version".into()] {
        assert_eq!(kept.run_in(Some(&state), 0), Run { sets: complete(["h", "h", "h"]), lists: 1, gets: 3 });
    }
    assert!(!state.join("records").exists());
}

#[test]
fn two_at_once_do_no_harm() {
    let kept = Kept::new("together");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let run = || {
                command(kept.server, &kept.proxy, &["15-main", "--repo", &kept.repository])
                    .env("PGV_STATE_DIR", kept.state.path())
                    .output()
                    .unwrap()
            };
            scope.spawn(move || assert_eq!(code(&run()), 0));
        }
    });
    assert_eq!(kept.run(), Run { sets: complete(["h", "h", "h"]), lists: 1, gets: 0 });
}

/// What is built on others is recorded by one listing, however long the chain is.
#[test]
fn the_parents_of_a_backup_are_seen_by_one_listing() {
    let kept = Kept::new("parents");
    let label = |day: usize| format!("{C}_202611{day:02}-010000I");
    let mut parent = C.to_owned();
    for day in 4..10 {
        store_set(kept.server, &kept.repository, &label(day), Some(&parent), "h");
        parent = label(day);
    }
    assert_eq!(kept.run().gets, 9);
    let facts = record(&label(10), Some(&parent), "h").replace("pgv-record/1", "pgv-facts/1");
    let (facts_file, put) = (kept.state.path().join("facts"), kept.state.path().join("put"));
    fs::write(&facts_file, facts).unwrap();
    let url = format!("{}/data.pgv", kept.set(&label(10)));
    fs::write(&put, format!(r#"{{"url":"{url}","bytes":4,"sha256":"00"}}"#)).unwrap();
    let run = || {
        let before = kept.proxy.seen().len();
        let object = format!("data.pgv={}", put.display());
        let arguments =
            ["record", "15-main", "--repo", &kept.repository, "--wait", "0s", "--object", &object];
        let mut command = command(kept.server, &kept.proxy, &arguments);
        let output =
            command.arg("--facts").arg(&facts_file).env("PGV_STATE_DIR", kept.state.path()).output().unwrap();
        (output, kept.proxy.seen().len() - before)
    };
    let (output, asked) = run();
    assert_eq!((code(&output), asked), (0, 1), "{}", errors(&output));
    // One that is gone, or lost its data, in the midst of it.
    for (lost, said) in [("data.pgv", "is damaged"), ("record.json", "is gone")] {
        kept.server.done(&["rm", &format!("{}/{lost}", kept.set(&label(6)))], b"");
        let (output, _) = run();
        assert_eq!(code(&output), 1);
        let message = format!("backup {}, on which this one is built, {said}", label(6));
        assert!(errors(&output).contains(&message), "{}", errors(&output));
    }
}
