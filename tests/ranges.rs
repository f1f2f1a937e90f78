//! Parts of a sealed stream: they are the bytes of the whole, or nothing; whatever is wrong with object or index.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it
#![allow(clippy::single_range_in_vec_init)] // a list of ranges may have one

use pgv::crypt::{self, Index, Passphrase, SealOptions};
use pgv::error::{Kind, Result};
use proptest::prelude::*;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Output};

const RECORD: usize = 1000;

fn key() -> Passphrase {
    Passphrase::new(b"k".to_vec(), "key").unwrap()
}

/// Sealed in records of [`RECORD`] bytes.
fn seal(plain: &[u8]) -> (Vec<u8>, Index) {
    let passphrase = &key();
    let options = SealOptions {
        passphrase,
        context: b"x",
        iterations: 1,
        level: crypt::Level::Fixed(1),
        wal: false,
        jobs: 2,
        record_bytes: RECORD,
    };
    let mut stream = Vec::new();
    let index = crypt::seal(plain, &mut stream, &options, || Ok(())).unwrap();
    (stream, index)
}

fn slices(bytes: &[u8], ranges: &[Range<u64>]) -> Vec<u8> {
    ranges.iter().flat_map(|range| &bytes[range.start as usize..range.end as usize]).copied().collect()
}

/// What comes of `wanted`, read from `object` where the index says.
fn open(object: &[u8], index: &Index, wanted: &[Range<u64>]) -> (Result<u64>, Vec<u8>) {
    let mut plain = Vec::new();
    let parts = match index.object_ranges(wanted) {
        Ok(parts) => parts,
        Err(error) => return (Err(error), plain),
    };
    // What lies behind the end of the object is not given.
    let within = parts.into_iter().map(|part| {
        let end = (object.len() as u64).min(part.end);
        part.start.min(end)..end
    });
    let given = slices(object, &within.collect::<Vec<_>>());
    let result = crypt::open_ranges(&given[..], &mut plain, &[key()], b"x", (index, wanted), 2);
    (result, plain)
}

fn mixed(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * n / 7 % 251) as u8).collect()
}

fn ranges(total: u64) -> impl Strategy<Value = Vec<Range<u64>>> {
    prop::collection::vec(0..=total, 0..12).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_are_those_of_the_whole(length in 0..9500usize, seed in ranges(10_000)) {
        let plain = mixed(length);
        let (object, index) = seal(&plain);
        prop_assert_eq!((index.plain_bytes(), index.object_bytes()), (length as u64, object.len() as u64));
        let wanted: Vec<_> = seed.iter().map(|r| r.start.min(length as u64)..r.end.min(length as u64)).collect();
        let (result, opened) = open(&object, &index, &wanted);
        prop_assert_eq!(result.unwrap(), opened.len() as u64);
        prop_assert!(opened == slices(&plain, &wanted));
    }

    #[test]
    fn a_damaged_object_gives_no_wrong_byte(wanted in ranges(7500), at in 0.0..1.0f64, bit in 0..8u8) {
        let plain = mixed(7500);
        let (object, index) = seal(&plain);
        let mut changed = object.clone();
        changed[(at * object.len() as f64) as usize] ^= 1 << bit;
        let (result, opened) = open(&changed, &index, &wanted);
        prop_assert!(slices(&plain, &wanted).starts_with(&opened));
        let parts = index.object_ranges(&wanted).unwrap();
        let hit = slices(&changed, &parts) != slices(&object, &parts);
        prop_assert_eq!(result.is_err(), hit);
        // A cut is the same, whatever is left.
        let (result, opened) = open(&object[..(at * object.len() as f64) as usize], &index, &wanted);
        prop_assert!(slices(&plain, &wanted).starts_with(&opened));
        let reached = parts.iter().any(|part| part.end > (at * object.len() as f64) as u64);
        prop_assert_eq!(result.is_err(), reached);
    }

    #[test]
    fn a_wrong_index_can_only_fail(wanted in ranges(7500), at in 0.0..1.0f64, bit in 0..8u8) {
        let plain = mixed(7500);
        let (object, index) = seal(&plain);
        let mut text = Vec::new();
        index.write(&mut text).unwrap();
        let at = (at * text.len() as f64) as usize;
        text[at] ^= 1 << bit;
        if let Ok(changed) = Index::read(&text[..]) {
            let (result, opened) = open(&object, &changed, &wanted);
            match result {
                Ok(_) => prop_assert!(opened == slices(&plain, &wanted)),
                Err(_) => prop_assert!(slices(&plain, &wanted).starts_with(&opened)),
            }
        }
    }
}

#[test]
fn records_in_another_order_are_refused() {
    // The same length everywhere, so that lengths cannot tell.
    let plain = vec![7; 5 * RECORD];
    let (object, index) = seal(&plain);
    let stored = index.object_ranges(&[RECORD as u64..2 * RECORD as u64]).unwrap()[1].clone();
    let length = (stored.end - stored.start - 16) as usize;
    let record = |n: usize| 144 + n * length..144 + (n + 1) * length;
    let mut swapped = object.clone();
    swapped[record(1)].copy_from_slice(&object[record(2)]);
    swapped[record(2)].copy_from_slice(&object[record(1)]);
    for wanted in [RECORD as u64..RECORD as u64 + 1, 2 * RECORD as u64..2 * RECORD as u64 + 1] {
        assert!(open(&swapped, &index, std::slice::from_ref(&wanted)).0.is_err());
        assert_eq!(open(&object, &index, std::slice::from_ref(&wanted)).1, [7]);
    }
    let (other, _) = seal(&plain);
    assert_eq!(open(&other, &index, &[0..1]).0.unwrap_err().kind, Kind::Damaged, "another salt");
    let wanted = [0..1];
    let parts = slices(&object, &index.object_ranges(&wanted).unwrap());
    let mut none = Vec::new();
    let keyless = crypt::open_ranges(&parts[..], &mut none, &[key()], b"y", (&index, &wanted), 1);
    assert_eq!((keyless.unwrap_err().kind, none.len()), (Kind::Key, 0), "another context");
}

fn run(program: &str, directory: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(directory).env("PGV_KEY_FILE", "key").output().unwrap()
}

/// As it is typed: a sealed object in a directory, and what openssl and zstd make of one record of it.
#[test]
fn a_command_is_told_which_bytes_to_print() {
    let (crypt, s3) = (env!("CARGO_BIN_EXE_pgv-crypt"), env!("CARGO_BIN_EXE_pgv-s3"));
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    assert!(run(crypt, at, &["--generate-key", "-o", "key"]).status.success());
    let plain: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(at.join("plain"), &plain).unwrap();
    let sealed = run(crypt, at, &["-e", "--index", "index", "-o", "sealed", "--", "cat", "plain"]);
    assert!(sealed.status.success(), "{sealed:?}");
    let url = format!("file://{}/sealed", at.display());
    for (text, ranges) in [
        (
            "0-9\n4194300-4194310\n11999999-11999999\n",
            &[0..10, 4_194_300..4_194_311, 11_999_999..12_000_000][..],
        ),
        ("5000000-5000001\n", &[5_000_000..5_000_002]),
        ("", &[]),
    ] {
        fs::write(at.join("ranges"), text).unwrap();
        let by_command =
            ["-d", "--index", "index", "--ranges", "ranges", "--", s3, "get", "--ranges", "-", &url];
        let opened = run(crypt, at, &by_command);
        assert!(opened.status.success() && opened.stdout == slices(&plain, ranges), "{text}{opened:?}");
        let opened = run(crypt, at, &["-d", "--index", "index", "--ranges", "ranges", "sealed"]);
        assert!(opened.status.success() && opened.stdout == slices(&plain, ranges), "{text}{opened:?}");
    }
    let status = |ranges: &str, rest: &[&str]| {
        fs::write(at.join("ranges"), ranges).unwrap();
        let arguments = [&["-d", "--index", "index", "--ranges", "ranges"][..], rest].concat();
        run(crypt, at, &arguments).status.code()
    };
    assert_eq!(status("0-12000000\n", &["sealed"]), Some(2), "beyond the end");
    assert_eq!(status("5-6\n6-7\n", &["sealed"]), Some(2), "overlapping");
    assert_eq!(status("5-6\n", &[]), Some(2), "a pipe has no ranges");
    assert_eq!(status("5-6\n", &["--", "sh", "-c", "cat sealed"]), Some(5), "more than was asked for");
    assert_eq!(status("5-6\n", &["--", s3, "get", "--ranges", "-", &format!("{url}x")]), Some(3), "absent");
    // A failed run leaves no index.
    assert_eq!(
        run(crypt, at, &["-e", "--index", "none", "-o", "x", "--", "sh", "-c", "exit 1"]).status.code(),
        Some(1)
    );
    assert!(!at.join("none").exists() && !at.join("x").exists());

    let index = Index::read(fs::File::open(at.join("index")).unwrap()).unwrap();
    let stored = index.object_ranges(&[4_194_304..8_388_608]).unwrap()[1].clone();
    let script = "set -eo pipefail; key=$(openssl enc -aes-256-cbc -pbkdf2 -md sha256 -iter 1000 -pass file:key -S $1 -P |
        sed -n 's/^key *=//p'); head -c $3 sealed | tail -c $(($3 - $2)) >record
        iv=$(head -c 16 record | od -An -v -tx1 | tr -d ' \\n')
        tail -c +17 record | openssl enc -d -aes-256-cbc -K $key -iv $iv -nopad | zstd -d -q";
    let head = fs::read(at.join("index")).unwrap();
    let head = String::from_utf8_lossy(&head);
    let salt = head.split("\"salt\":\"").nth(1).unwrap().split('"').next().unwrap();
    let (start, end) = (stored.start.to_string(), stored.end.to_string());
    let stock = run("bash", at, &["-c", script, "bash", salt, &start, &end]);
    assert!(stock.stdout == plain[4_194_304..8_388_608], "{}", String::from_utf8_lossy(&stock.stderr));
}
