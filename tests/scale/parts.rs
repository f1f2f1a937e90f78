//! How many parts of a stream are on their way at once: as many as the line needs, and no more than memory is meant for.
//! The server says when a part is answered, so no time is measured.

use crate::objects::Objects;
use crate::requests::bare;
use crate::server::Server;
use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

const MIB: usize = 1 << 20;
const PART: usize = 8 * MIB;
/// The default of `--jobs`.
const MOST: usize = 16;
/// MiB that pgv-s3 may have at most, as pgv-s3(1) states: the parts on their way and the one being filled; and what the
/// program itself has.
const PARTS_MIB: usize = 144;
const PROGRAM_MIB: usize = 40;

fn server() -> Server {
    Server::start(Arc::new(RwLock::new(Objects::default())), 0, Duration::ZERO)
}

fn put(server: &Server, arguments: &[&str]) -> (Child, ChildStdin) {
    let mut tool = bare(server, env!("CARGO_BIN_EXE_pgv-s3"));
    tool.arg("put").args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = tool.spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

/// Waits until it is so; that it never comes to be is a failure, however slow the machine is.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let came = (0..6_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        is_so()
    });
    assert!(came, "{what} never comes to be");
}

/// The most memory that it ever had, in MiB.
fn peak(child: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
}

/// As on a line that is as long as can be.
#[test]
fn where_no_answer_comes_there_are_as_many_parts_as_memory_is_for() {
    let server = server();
    server.hold_parts(true);
    let (mut child, mut stdin) = put(&server, &["s3://scale/long"]);
    let total = (MOST + 4) * PART + 5;
    let written = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let piece = vec![7; MIB];
            let mut left = total;
            while left > 0 {
                let now = left.min(piece.len());
                stdin.write_all(&piece[..now]).unwrap();
                written.fetch_add(now, Ordering::Relaxed);
                left -= now;
            }
            drop(stdin);
        });
        until("a part that is full and has to wait", || written.load(Ordering::Relaxed) >= (MOST + 1) * PART);
        until("all that may be on their way", || server.parts_under_way().0 == MOST);
        let peak = peak(&child);
        assert!(peak <= PARTS_MIB + PROGRAM_MIB, "{peak} MiB");
        assert!(peak >= MOST * PART / MIB, "{peak} MiB: the parts are not in memory?");
        server.hold_parts(false);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    });
    assert_eq!(server.parts_under_way(), (0, MOST, MOST + 5));
    let counts = server.counts();
    // Whether it is there: before anything is read, before it is made, and afterwards.
    assert_eq!((counts["head"], counts["put"], counts["upload"]), (3, MOST + 5, 2), "{counts:?}");
}

/// As on a line that is faster than the input.
#[test]
fn where_answers_come_at_once_there_are_few_parts() {
    let server = server();
    let (mut child, mut stdin) = put(&server, &["s3://scale/short"]);
    let part = vec![7; PART];
    for number in 1..=12 {
        stdin.write_all(&part).unwrap();
        stdin.write_all(b"x").unwrap();
        // The first two might have been one request.
        until("an answer", || number < 3 || server.parts_under_way().2 >= number);
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (_, most, answered) = server.parts_under_way();
    assert!(most <= 2 && answered == 13, "{most} at once of {answered}");
}

/// Larger parts are fewer.
#[test]
fn the_size_that_is_asked_for_and_the_number_are_kept() {
    let server = server();
    server.hold_parts(true);
    let (mut child, mut stdin) = put(&server, &["--part-size", "5MiB", "--jobs", "3", "s3://scale/fixed"]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(&vec![7; 30 * MIB]).unwrap();
            drop(stdin);
        });
        until("three parts", || server.parts_under_way().0 == 3);
        server.hold_parts(false);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    });
    assert_eq!(server.parts_under_way(), (0, 3, 6));
}
