//! The same on servers of three makers: what a backup needs of each, and what each of them lacks. Swift, the third, has
//! all the other tests besides.

use crate::harness::{Server, code, errors, lines, moto, noise, s3rver, server};
use std::io::{Read, Write};

const PART: usize = 5 << 20;

fn sizes(server: &Server) {
    for length in [0, 1, PART, PART + 1, 3 * PART + 17] {
        let (url, data) = (server.url("services/sizes", &length.to_string()), noise(length));
        server.done(&["put", "--part-size", "5MiB", &url], &data);
        assert!(server.done(&["get", &url], b"").stdout == data, "{length}");
        assert!(lines(&server.done(&["stat", &url], b""))[0].trim().starts_with(&length.to_string()));
    }
    let url = server.url("services/sizes", &PART.to_string());
    assert_eq!(server.done(&["get", "--range", "2-4", &url], b"").stdout, noise(PART)[2..5]);
}

/// Also where conditions are ignored: what another has stored meanwhile stays.
fn nothing_is_replaced(server: &Server) {
    for length in [10, 2 * PART] {
        let url = server.url("services/race", &length.to_string());
        let data = noise(length);
        let mut slow = server.command(&["put", "--part-size", "5MiB", &url]).spawn().unwrap();
        let mut input = slow.stdin.take().unwrap();
        // More than its first look needs, and more than counts as a moment.
        input.write_all(&data).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        server.done(&["put", &url], b"another's");
        drop(input);
        let slow = slow.wait_with_output().unwrap();
        assert_eq!(code(&slow), 6, "{length}: {}", errors(&slow));
        assert_eq!(server.done(&["get", &url], b"").stdout, b"another's", "{length}");
        assert_eq!(code(&server.run(&["put", &url], b"late")), 6);
        server.done(&["put", "--replace", &url], b"wanted");
        assert_eq!(server.done(&["get", &url], b"").stdout, b"wanted");
    }
}

fn names(server: &Server) {
    let url = |name: &str| server.url("services/names", name);
    let odd = ["A/x y", "A/x+y", "A/x%20y", "A/ü&<>\"'", "A/a/b", "A_B/x"];
    for name in odd {
        server.done(&["put", &url(name)], name.as_bytes());
        assert_eq!(server.done(&["get", &url(name)], b"").stdout, name.as_bytes());
    }
    let mut expected: Vec<String> = odd[..5].iter().map(|name| url(name)).collect();
    expected.sort();
    assert_eq!(lines(&server.done(&["ls", "--recursive", &url("A/")], b"")), expected);
    let by_nul = server.done(&["ls", "-0", "--recursive", &url("A/")], b"").stdout;
    assert_eq!(String::from_utf8(by_nul.clone()).unwrap(), expected.join("\0") + "\0");
    // One that is not there keeps no other.
    let missing = server.run(&["rm", &url("none"), &expected[0], &url("nothing")], b"");
    assert_eq!(code(&missing), 3, "{}", errors(&missing));
    assert!(errors(&missing).contains("/none: no such object") && errors(&missing).contains("/nothing"));
    server.done(&["rm", "-0", "-"], &by_nul[expected[0].len() + 1..]);
    assert_eq!(lines(&server.done(&["ls", "--recursive", &url("")], b"")), [url("A_B/x")]);
}

fn checked(server: &Server, status: i32) -> Vec<String> {
    let check = server.run(&["check", &server.url("services", "check/")], b"");
    assert_eq!(code(&check), status, "{}{}", lines(&check).join("\n"), errors(&check));
    lines(&check)
}

#[test]
fn moto_has_it_all() {
    let server = moto();
    let lines = checked(server, 0);
    assert!(lines.iter().any(|line| line.contains("by a condition: of two writers")), "{lines:?}");
    sizes(server);
    nothing_is_replaced(server);
    names(server);
}

#[test]
fn s3rver_ignores_conditions_and_lists_no_uploads() {
    let server = s3rver();
    let lines = checked(server, 7);
    let bad: Vec<_> = lines.iter().filter(|line| line.starts_with("BAD")).collect();
    assert!(bad.len() == 1 && bad[0].starts_with("BAD  rm --uploads: "), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the service ignores the condition")), "{lines:?}");
    sizes(server);
    nothing_is_replaced(server);
    names(server);
}

#[test]
fn swift_has_it_all() {
    let lines = checked(server(), 0);
    assert!(lines.iter().any(|line| line.contains("by a condition: of two writers")), "{lines:?}");
    nothing_is_replaced(server());
    names(server());
}

/// A reader that takes its time holds nothing up but itself, and memory stays what it is.
#[test]
fn a_slow_reader_gets_all_of_it() {
    let (url, data) = (server().url("services", "slow"), noise(40 << 20));
    server().done(&["put", &url], &data);
    let mut get = server().command(&["get", "--stall", "2s", "--timeout", "6s", &url]).spawn().unwrap();
    let mut stdout = get.stdout.take().unwrap();
    let (mut got, mut piece) = (Vec::new(), vec![0; 4 << 20]);
    for _ in 0..2 {
        stdout.read_exact(&mut piece).unwrap();
        got.extend_from_slice(&piece);
        std::thread::sleep(std::time::Duration::from_secs(7));
    }
    stdout.read_to_end(&mut got).unwrap();
    let get = get.wait_with_output().unwrap();
    assert!(code(&get) == 0 && got == data, "{}", errors(&get));
}
