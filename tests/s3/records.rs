//! pgv-info where a record cannot be read: it is neither absent nor damaged, and nothing is chosen, removed, built on or
//! passed over because of it.

use crate::harness::{Server, code, errors, lines, moto};
use crate::proxy::{Fault, Proxy, Request};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

pub const ID: &str = "7711175703245852542";
pub const A: &str = "20261101-010000F";
pub const B: &str = "20261102-010000F";
pub const C: &str = "20261103-010000F";

fn denied(code: &'static str) -> &'static str {
    match code {
        "expired" => "<Error><Code>ExpiredToken</Code><Message>the token expired</Message></Error>",
        "access" => "<Error><Code>AccessDenied</Code><Message>no</Message></Error>",
        "moved" => "<Error><Code>TemporaryRedirect</Code><Message>elsewhere</Message></Error>",
        _ => "<html>sign in to this network</html>",
    }
}

/// Three complete full backups.
pub fn repository(server: &Server, test: &str) -> String {
    let repository = server.url(test, "repo");
    for label in [A, B, C] {
        store_set(server, &repository, label, None, "h");
    }
    repository
}

/// A backup with all of its objects, and an annotation.
pub fn store_set(server: &Server, repository: &str, label: &str, parent: Option<&str>, by: &str) {
    let set = format!("{repository}/15-main/{ID}/backup/{label}");
    let record = record(label, parent, by);
    for (name, content) in [("claim.json", "{}"), ("data.pgv", "data"), ("record.json", &record)] {
        server.done(&["put", "--replace", &format!("{set}/{name}")], content.as_bytes());
    }
}

pub fn record(label: &str, parent: Option<&str>, by: &str) -> String {
    let (kind, mode) = if parent.is_none() { ("full", "null") } else { ("incr", "\"blocks\"") };
    let parent = parent.map_or("null".to_owned(), |parent| format!("\"{parent}\""));
    let time = label.rsplit('_').next().unwrap();
    let at = format!("{}-{}-{}T01:00", &time[..4], &time[4..6], &time[6..8]);
    format!(
        r#"{{"format":"pgv-record/1","label":"{label}","type":"{kind}","mode":{mode},"parent":{parent},"system_identifier":"{ID}",
        "pg_version":"15.20","host":"h","started_at":"{at}:00Z","stopped_at":"{at}:59Z","start_lsn":"0/1000028",
        "stop_lsn":"0/1000100","timeline":1,"wal_first":"000000010000000000000001","wal_last":"000000010000000000000001",
        "wal_included":true,"tablespaces":[],"database_bytes":1000,"stream_bytes":1000,
        "files":{{"total":1,"whole":1,"blocks":0,"same":0,"removed":0}},"blocks":{{"read":0,"sent":0}},
        "findings":{{"bad_pages":0,"links":0}},"tool_version":"0.1.0","cluster":"15-main",
        "objects":[{{"name":"data.pgv","bytes":4,"sha256":"00"}}],"key_name":null,"annotations":{{"by":"{by}"}}}}"#
    )
}

/// pgv-info through this proxy.
pub fn command(server: &Server, proxy: &Proxy, arguments: &[&str]) -> Command {
    let endpoint = server.command(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgv-info"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PGV_") || name.starts_with("AWS_"))
    {
        command.env_remove(name);
    }
    command.envs(endpoint.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PGV_S3_ENDPOINT_URL", &proxy.url).env("PGV_CONFIG_DIR", "/nowhere");
    command.args(arguments).args(["--timeout", "1s", "--stall", "1s"]);
    command
}

fn info(server: &Server, proxy: &Proxy, arguments: &[&str]) -> Output {
    command(server, proxy, arguments).output().unwrap()
}

/// The first configuration of the repository is of another cluster.
#[test]
fn the_rules_of_a_cluster_are_its_own() {
    let server = moto();
    let repository = repository(server, "own-rules");
    let proxy = Proxy::start(server.address(), |_| Fault::Nothing);
    let etc = tempfile::tempdir().unwrap();
    let configure = |name: &str, rules: &str| {
        let path = etc.path().join(name);
        std::fs::write(
            &path,
            format!("PGV_REPO={repository}\nPGV_STATE_DIR={}\n{rules}", etc.path().display()),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    let run = |arguments: &[&str]| {
        let mut command = command(server, &proxy, &[arguments, &["--repo", &repository]].concat());
        command.env("PGV_CONFIG_DIR", etc.path()).output().unwrap()
    };
    let expired = || {
        let metrics = lines(&run(&["--metrics"]));
        let line = metrics.into_iter().find(|line| line.starts_with("pgv_expiry_backups{"));
        line.map(|line| line.rsplit(' ').next().unwrap().to_owned())
    };
    configure("14-other.conf", "PGV_KEEP_FULL=1\nPGV_FULL_EVERY=3650d\n");
    assert_eq!(expired(), None, "no configuration of it");
    let output = run(&["prune", "15-main"]);
    assert_eq!((code(&output), lines(&output).len()), (2, 0), "{}", errors(&output));
    assert_eq!(lines(&run(&["next", "15-main"]))[0], "type full");
    configure("15-main.conf", "PGV_KEEP_FULL=2\n");
    assert_eq!(expired().as_deref(), Some("1"));
    assert_eq!(lines(&run(&["prune", "15-main"])), [A]);
}

fn is_newest(request: &Request) -> bool {
    request.head.starts_with("GET ") && request.head.contains(&format!("/{C}/record.json"))
}

#[test]
fn a_record_that_cannot_be_read_ends_what_it_might_have_decided() {
    let server = moto();
    let repository = repository(server, "unread");
    let url = repository.as_str();
    let faults = [
        ("400", Fault::Answer("400 Bad Request", denied("expired")), 1),
        ("403", Fault::Answer("403 Forbidden", denied("access")), 1),
        ("307", Fault::Answer("307 Temporary Redirect", denied("moved")), 75),
        ("garbled", Fault::Answer("200 OK", denied("portal")), 75),
        ("503", Fault::Answer("503 Slow Down", ""), 75),
        ("drop", Fault::Drop, 75),
    ];
    for (name, fault, wanted) in faults {
        let proxy = Proxy::start(server.address(), move |request| match is_newest(request) {
            true => fault.clone(),
            false => Fault::Nothing,
        });
        let run = |arguments: &[&str]| info(server, &proxy, &[arguments, &["--repo", url]].concat());
        let decisions = [
            &["choose", "15-main"][..],
            &["prune", "15-main", "--keep-full", "1"],
            &["choose", "15-main", "--time", "2026-11-04 00:00:00Z"],
            &["choose", "15-main", "--lsn", "0/200"],
            &["choose", "15-main", "--label", C],
            &["recovery", "15-main"],
            &["wal", "15-main", "--unneeded"],
            &["next", "15-main", "--type", "incr"],
            &["sets", "15-main"],
            &["--label", C],
        ];
        // A temporary error takes all its time, each time.
        let tried = if wanted == 75 { 2 } else { decisions.len() };
        for decision in &decisions[..tried] {
            let output = run(decision);
            let said = errors(&output);
            assert_eq!((code(&output), lines(&output)), (wanted, vec![]), "{name} {decision:?}: {said}");
            assert!(said.contains(C), "{name} {decision:?}: {said}");
        }
        if wanted == 75 {
            let output = run(&["--format", "label"]);
            assert_eq!((code(&output), lines(&output).len()), (wanted, 2), "{name}: {}", errors(&output));
            continue;
        }
        // What is older is named, and can be had by its name; what did not begin before the moment is not in the way.
        let said = errors(&run(&["choose", "15-main"]));
        assert!(said.contains(&format!("--label {B}")), "{name}: {said}");
        for chosen in [["--label", B], ["--time", "2026-11-03 01:00:00Z"]] {
            let output = run(&[&["choose", "15-main"][..], &chosen].concat());
            assert_eq!(code(&output), 0, "{name} {chosen:?}: {}", errors(&output));
            assert!(lines(&output)[0].ends_with(B), "{name} {chosen:?}: {:?}", lines(&output));
        }
        assert_eq!(code(&run(&["--label", B])), 0, "{name}");
        // Who only looks sees the rest, and what could not be seen.
        let output = run(&["15-main", "--json"]);
        let states: Vec<_> = lines(&output)
            .iter()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["state"].to_string())
            .collect();
        assert_eq!(
            (code(&output), states.join(" ")),
            (wanted, r#""complete" "complete" "unreadable""#.to_owned())
        );
        let output = run(&["--metrics"]);
        assert_eq!(code(&output), 0, "{name}");
        assert!(
            lines(&output)
                .iter()
                .any(|line| line.starts_with("pgv_unreadable_records{") && line.ends_with(" 1"))
        );
    }
}

/// An answer of the right length can be garbled once: nothing is condemned by one reading.
#[test]
fn what_seems_damaged_is_read_again() {
    let server = moto();
    let repository = repository(server, "garbled");
    let verdict = r#"{"format":"pgv-verdict/1","kind":"verify","started_at":"2026-11-04T01:00:00Z","seconds":1,"bytes":4,"ok":true,"findings":[]}                              "#;
    let name = "check/20261104-010000-verify.json";
    server.done(
        &["put", "--replace", &format!("{repository}/15-main/{ID}/backup/{C}/{name}")],
        verdict.as_bytes(),
    );
    for object in ["record.json", name] {
        for (often, is_good) in [(1, true), (2, false)] {
            let seen = AtomicUsize::new(0);
            let path = format!("/{C}/{object}");
            let proxy = Proxy::start(server.address(), move |request| {
                let is_it = request.head.starts_with("GET ") && request.head.contains(&path);
                match is_it && seen.fetch_add(1, Ordering::Relaxed) < often {
                    true => Fault::FlipGot,
                    false => Fault::Nothing,
                }
            });
            let output = info(server, &proxy, &["15-main", "--metrics", "--repo", &repository]);
            let said = errors(&output);
            let zero = |name: &str| {
                lines(&output)
                    .iter()
                    .any(|line| line.starts_with(&format!("{name}{{")) && line.ends_with(" 0"))
            };
            let found = zero("pgv_damaged_records") && zero("pgv_bad_backups");
            assert_eq!((code(&output), found), (0, is_good), "{object} {often}: {said}");
        }
    }
}

/// As when a backup is removed, or made, between the listing and the reading.
#[test]
fn a_listing_that_is_old_is_made_again() {
    let server = moto();
    let repository = repository(server, "old");
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let proxy = Proxy::start(server.address(), |request| match is_newest(request) {
        true if SEEN.fetch_add(1, Ordering::Relaxed) == 0 => {
            Fault::Answer("404 Not Found", "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
        }
        _ => Fault::Nothing,
    });
    let output = info(server, &proxy, &["choose", "15-main", "--repo", &repository]);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    assert!(lines(&output)[0].ends_with(C), "{:?}", lines(&output));
    // One that was removed is no backup any more, and nothing is wrong.
    server.done(&["rm", &format!("{repository}/15-main/{ID}/backup/{C}/record.json")], b"");
    let output = info(server, &proxy, &["choose", "15-main", "--repo", &repository]);
    assert!(code(&output) == 0 && lines(&output)[0].ends_with(B), "{}", errors(&output));
}

/// Nothing is deleted while a pin cannot be read, but it can be replaced, and backups go on. A note decides nothing, and is
/// not replaced while nobody knows what is in it.
#[test]
fn marks_that_cannot_be_read_are_no_reason_to_delete() {
    let server = moto();
    let repository = repository(server, "marks");
    let pin = r#"{"format":"pgv-pin/1","until":null,"pinned":true,"note":null}"#;
    let note = r#"{"format":"pgv-note/1","annotations":{"a":"b"}}"#;
    for (name, content) in [("pin", pin), ("note", note)] {
        let url = format!("{repository}/15-main/{ID}/backup/{A}/check/20261104-010000.000000-{name}.json");
        server.done(&["put", "--replace", &url], content.as_bytes());
    }
    for (kind, decides) in [("pin", true), ("note", false)] {
        let proxy = Proxy::start(server.address(), move |request| {
            match request.head.starts_with("GET ") && request.head.contains(&format!("-{kind}.json")) {
                true => Fault::Answer("403 Forbidden", denied("access")),
                false => Fault::Nothing,
            }
        });
        let run = |arguments: &[&str]| info(server, &proxy, &[arguments, &["--repo", &repository]].concat());
        for (arguments, wanted) in [
            (&["prune", "15-main", "--keep-full", "1"][..], if decides { (1, 0) } else { (0, 1) }),
            (&["pin", "15-main", "--label", A, "--remove"], (0, 4)),
            (
                &["annotate", "15-main", "--label", A, "--annotation", "a="],
                if decides { (0, 4) } else { (1, 0) },
            ),
            (&["next", "15-main", "--type", "full"], (0, 5)),
            (&["15-main", "--format", "label"], (1, 3)),
        ] {
            let output = run(arguments);
            let found = (code(&output), lines(&output).len());
            assert_eq!(found, wanted, "{kind} {arguments:?}: {}", errors(&output));
        }
        let output = run(&["15-main", "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&lines(&output)[0]).unwrap();
        assert_eq!((code(&output), &shown["pinned"]), (1, &true.into()), "{kind}: {}", errors(&output));
        assert_eq!(shown["annotations"].is_null(), !decides, "{kind}");
    }
}

/// A list asks once for each cluster, and once for each record, pin and note; only what shows totals lists the WAL.
#[test]
fn a_list_costs_as_many_requests_as_there_are_backups() {
    let server = moto();
    let repository = repository(server, "counted");
    let note = format!("{repository}/15-main/{ID}/backup/{A}/check/20261104-010000.000000-note.json");
    for at in ["3", "4"] {
        let note = note.replace("20261104", &format!("2026110{at}"));
        server.done(&["put", &note], br#"{"format":"pgv-note/1","annotations":{}}"#);
    }
    for number in 1..=3 {
        let wal = format!("{repository}/15-main/{ID}/wal/00000001/00000001000000000000000{number}.pgv");
        server.done(&["put", &wal], b"segment");
    }
    let count = |arguments: &[&str]| {
        let proxy = Proxy::start(server.address(), |_| Fault::Nothing);
        let output = info(server, &proxy, &[arguments, &["15-main", "--repo", &repository]].concat());
        assert_eq!(code(&output), 0, "{arguments:?}: {}", errors(&output));
        let seen = proxy.seen();
        let asked = |part: &str| seen.iter().filter(|request| request.head.contains(part)).count();
        (asked("record.json"), asked("-note.json"), asked("wal"), seen.len())
    };
    let listed = count(&[]);
    assert_eq!((listed.0, listed.1, listed.2), (3, 1, 0));
    for arguments in [&["--json"][..], &["--metrics"], &["--format", "label"]] {
        assert_eq!(count(arguments), listed, "{arguments:?}");
    }
    for arguments in [&["--format", "table"][..], &["--totals"]] {
        assert_eq!(count(arguments), (3, 1, 1, listed.3 + 1), "{arguments:?}");
    }
}
