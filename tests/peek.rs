//! pgv-peek on files made by hand: headers, names, and what is refused.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// The first bytes of the second 4 MiB segment of a new cluster, as PostgreSQL 15.18 wrote them.
const HEADER: [u8; 40] = [
    0x10, 0xd1, 0x07, 0, 1, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xca, 0x17, 0x8c,
    0xc4, 0x8a, 0x5b, 0x04, 0x6b, 0, 0, 0x40, 0, 0, 0x20, 0, 0,
];
const NAME: &str = "000000010000000000000002";

fn peek(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgv-peek"));
    command.args(arguments).current_dir(directory).env_remove("PGV_SYSTEM_ID").output().unwrap()
}

fn segment(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut content = vec![0; 4 << 20];
    content[..40].copy_from_slice(&HEADER);
    change(&mut content);
    content
}

#[test]
fn a_segment_tells_its_name_and_the_one_after_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(NAME), segment(|_| ())).unwrap();
    let output = peek(directory.path(), &["segment", "--own-names", NAME]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.starts_with(&format!("name {NAME}\nfollowing 000000010000000000000003\n")), "{text}");
    assert!(text.contains("\nsystem_identifier 7711389113526261706\nsegment_bytes 4194304\n"), "{text}");
}

#[test]
fn what_cannot_be_read_is_not_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join(NAME), segment(|_| ())).unwrap();
    fs::write(at.join("short"), &HEADER[..39]).unwrap();
    fs::write(at.join("000000010000000000000003"), segment(|_| ())).unwrap();
    fs::create_dir(at.join("directory")).unwrap();
    for (file, status) in [("absent", 1), ("directory", 1), ("short", 5), ("000000010000000000000003", 5)] {
        let output = peek(at, &["segment", "--own-names", file]);
        assert_eq!(output.status.code(), Some(status), "{file}: {output:?}");
        assert!(output.stdout.is_empty(), "{file}");
    }
    // A history that is there and cannot be read decides nothing.
    fs::create_dir(at.join("00000002.history")).unwrap();
    fs::write(at.join("000000020000000000000002"), segment(|_| ())).unwrap();
    let output = peek(at, &["segment", "--own-names", "000000020000000000000002"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn two_histories_are_told_from_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join("one"), segment(|_| ())).unwrap();
    fs::write(at.join("other"), segment(|content| content[24] ^= 1)).unwrap();
    for (other, status) in [("one", 0), ("other", 6), ("absent", 1)] {
        let output = peek(at, &["segment", "--beside", other, "one"]);
        assert_eq!(output.status.code(), Some(status), "{other}: {output:?}");
    }
}

#[test]
fn names_follow_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let following = |bytes: &str, name: &str| {
        peek(directory.path(), &["following", "--segment-bytes", bytes, "--count", "2", name])
    };
    let output = following("16777216", "0000000200000001000000FE");
    assert_eq!(output.stdout, b"0000000200000001000000FF\n000000020000000200000000\n");
    let through = |last: &str| {
        let name = "0000000200000001000000FE";
        peek(directory.path(), &["following", "--segment-bytes", "16777216", "--through", last, name])
    };
    assert_eq!(through("000000020000000200000000").stdout, output.stdout);
    assert!(through("0000000200000001000000FE").stdout.is_empty());
    assert_eq!(through("x").status.code(), Some(2));
    for (bytes, name) in [("16777216", "00000002.history"), ("3000000", NAME), ("16777216", "x")] {
        assert_eq!(following(bytes, name).status.code(), Some(2), "{bytes} {name}");
    }
}

#[test]
fn a_file_of_an_archive_is_what_its_path_says() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join("whole"), segment(|_| ())).unwrap();
    fs::write(at.join("short"), &segment(|_| ())[..1 << 20]).unwrap();
    fs::create_dir(at.join("histories")).unwrap();
    let archived = |file: &str, path: &str| {
        let arguments = ["archived", path, "--histories", "histories", "--", "cat", file];
        peek(at, &arguments).status.code().unwrap()
    };
    let of = |system: &str, name: &str| format!("{system}/wal/{}/{name}.pgv", &name[..8]);
    let own = "7711389113526261706";
    assert_eq!(archived("whole", &of(own, NAME)), 0);
    assert_eq!(archived("whole", &of(own, &format!("{NAME}.partial"))), 0);
    assert_eq!(archived("whole", &of(own, "000000010000000000000003")), 5);
    assert_eq!(archived("whole", &of("1", NAME)), 5);
    assert_eq!(archived("short", &of(own, NAME)), 5);
    assert_eq!(archived("absent", &of(own, NAME)), 1);
    assert_eq!(archived("short", &of(own, "00000002.history")), 0);
    // The first segment of a timeline has the header of the one that was left in it.
    let first = of(own, "000000020000000000000002");
    assert_eq!(archived("whole", &first), 5);
    fs::write(at.join("histories/00000002.history"), "1\t0/900000\tx\n").unwrap();
    assert_eq!(archived("whole", &first), 0);
}
