//! Sets of an expiry, removed by one process: records first, in the order given, and few requests.

use crate::harness::{Server, code, errors, lines, moto, pid, run};
use crate::proxy::{Fault, Proxy, Request};
use crate::records::{C, ID, store_set};
use rustix::process::{Signal, kill_process};
use std::io::Write;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const ORDER: [&str; 7] = ["rm", "--recursive", "--first", "record.json", "--last", "claim.json", "-"];

/// A full and what is built on it, newest first: URLs with a slash at their end.
fn chain(server: &Server, test: &str, links: usize) -> Vec<String> {
    let repository = server.url(test, "repo");
    let mut labels = vec![C.to_owned()];
    for day in 1..links {
        labels.push(format!("{C}_202611{:02}-010000I", day + 3));
    }
    for (number, label) in labels.iter().enumerate() {
        store_set(
            server,
            &repository,
            label,
            number.checked_sub(1).map(|parent| labels[parent].as_str()),
            "h",
        );
    }
    labels.iter().rev().map(|label| format!("{repository}/15-main/{ID}/backup/{label}/")).collect()
}

fn remove(server: &Server, proxy: &Proxy, sets: &[String]) -> Output {
    let mut command = server.command(&ORDER);
    run(command.args(["--endpoint-url", &proxy.url]), (sets.join("\n") + "\n").as_bytes())
}

/// What is left of a set.
fn left(server: &Server, set: &str) -> Vec<String> {
    let listed = lines(&server.done(&["ls", "--recursive", set], b""));
    listed.iter().map(|url| url.trim_start_matches(set).to_owned()).collect()
}

#[test]
fn ten_sets_cost_a_request_each_and_four_for_all() {
    let server = moto();
    let sets = chain(server, "ten", 10);
    let beside = server.url("ten", &format!("repo/15-main/{ID}/backup/20261103-010000F_20261201-010000I/x"));
    server.done(&["put", &beside], b"x");
    let proxy = Proxy::start(server.address(), |_| Fault::Nothing);
    let removed = remove(server, &proxy, &sets);
    assert_eq!(code(&removed), 0, "{}", errors(&removed));
    assert_eq!(lines(&removed), sets);
    let seen = proxy.seen();
    let kinds: String =
        seen.iter().map(|request| if request.head.starts_with("GET ") { 'l' } else { 'd' }).collect();
    assert_eq!(kinds, "lddddddddddd".to_owned() + "ld", "{seen:?}");
    assert!(sets.iter().all(|set| left(server, set).is_empty()));
    server.done(&["stat", &beside], b"");
    // Once more: nothing is there, and nothing is wrong.
    let again = remove(server, &Proxy::start(server.address(), |_| Fault::Nothing), &sets);
    assert_eq!(code(&again), 0, "{}", errors(&again));
}

/// The sets after it may be what it is built on.
#[test]
fn a_set_whose_record_stays_keeps_everything() {
    const STAYS: &str = "<DeleteResult><Error><Key>x</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
    let server = moto();
    let sets = chain(server, "stays", 4);
    let proxy = Proxy::start(server.address(), |request| {
        match request.label.contains(" delete") && request.nth == 1 {
            true => Fault::Answer("200 OK", STAYS),
            false => Fault::Nothing,
        }
    });
    let removed = remove(server, &proxy, &sets);
    assert_eq!(code(&removed), 1, "{}", errors(&removed));
    assert_eq!(lines(&removed), sets[..1]);
    assert!(left(server, &sets[0]).is_empty());
    for set in &sets[1..] {
        assert_eq!(left(server, set), ["claim.json", "data.pgv", "record.json"]);
    }
}

/// A claim tells whose the rest is.
#[test]
fn a_claim_stays_as_long_as_anything_else() {
    let server = moto();
    let sets = chain(server, "claims", 3);
    let stays: &'static str = Box::leak(
        format!(
            "<DeleteResult><Error><Key>{}data.pgv</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>",
            sets[1].splitn(4, '/').nth(3).unwrap()
        )
        .into(),
    );
    // Three records, then the data: here it is not removed at all.
    let proxy = Proxy::start(server.address(), move |request| {
        match request.label.contains(" delete") && request.nth == 3 {
            true => Fault::Answer("200 OK", stays),
            false => Fault::Nothing,
        }
    });
    let removed = remove(server, &proxy, &sets);
    assert_eq!(code(&removed), 1, "{}", errors(&removed));
    assert_eq!(lines(&removed), [sets[0].clone(), sets[2].clone()]);
    assert_eq!(left(server, &sets[1]), ["claim.json", "data.pgv"]);
    assert!(left(server, &sets[0]).is_empty() && left(server, &sets[2]).is_empty());
}

/// Before and after each request: what has a record has its data and its parents, and the next run finishes.
#[test]
fn a_killed_removal_leaves_nothing_that_looks_complete() {
    let server = moto();
    for killed_at in 0.. {
        let test = format!("killed-{killed_at}");
        let sets = chain(server, &test, 3);
        let process = Arc::new(AtomicU32::new(0));
        let victim = Arc::clone(&process);
        let kill = move || {
            while victim.load(Ordering::Acquire) == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            kill_process(pid(victim.load(Ordering::Acquire)), Signal::KILL).unwrap();
        };
        let kill: Arc<dyn Fn() + Send + Sync> = Arc::new(kill);
        let proxy =
            Proxy::start(server.address(), move |request: &Request| match request.place == killed_at {
                true => Fault::Then(Arc::clone(&kill)),
                false => Fault::Nothing,
            });
        let mut command = server.command(&ORDER);
        let mut child = command.args(["--endpoint-url", &proxy.url]).spawn().unwrap();
        process.store(child.id(), Ordering::Release);
        child.stdin.take().unwrap().write_all((sets.join("\n") + "\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        proxy.settle();
        let found: Vec<_> = sets.iter().map(|set| left(server, set)).collect();
        let is_recorded = |set: &Vec<String>| set.iter().any(|name| name == "record.json");
        for (number, set) in found.iter().enumerate() {
            let is_whole = set.len() == 3;
            assert_eq!(is_recorded(set), is_whole, "{killed_at}: {found:?}");
            // Newest first: what it builds on comes after it.
            assert!(!is_whole || found[number..].iter().all(is_recorded), "{killed_at}: {found:?}");
            assert!(set.is_empty() || set[0] == "claim.json", "{killed_at}: {found:?}");
        }
        if output.status.code() == Some(0) {
            // A listing, three records, the data, a listing, the claims.
            assert_eq!(killed_at, 7);
            return;
        }
        let next = remove(server, &Proxy::start(server.address(), |_| Fault::Nothing), &sets);
        assert_eq!(code(&next), 0, "{killed_at}: {}", errors(&next));
        assert!(sets.iter().all(|set| left(server, set).is_empty()), "{killed_at}");
    }
}

#[test]
fn what_was_listed_is_not_looked_for() {
    let server = moto();
    let url = |name: &str| server.url("listed-wal", name);
    for name in ["a", "b"] {
        server.done(&["put", "--replace", &url(name)], b"x");
    }
    let proxy = Proxy::start(server.address(), |_| Fault::Nothing);
    let mut command = server.command(&["rm", "--missing-ok", "-", "--endpoint-url", &proxy.url]);
    let removed = run(&mut command, format!("{}\n{}\n{}\n", url("a"), url("b"), url("none")).as_bytes());
    assert_eq!((code(&removed), proxy.seen().len()), (0, 1), "{}", errors(&removed));
    assert_eq!(code(&server.run(&["stat", &url("a")], b"")), 3);
}
