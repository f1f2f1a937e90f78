//! pgv-crypt by its command line: every vector, what openssl and zstd make of it, damage of every
//! kind, boundary lengths, exit statuses.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const RECORD: usize = 4 << 20;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// Runs pgv-crypt; stdin is fed in pieces of `step` bytes from a thread of its own.
fn crypt(arguments: &[&str], input: &[u8], step: usize) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgv-crypt"))
        .args(arguments)
        .env_remove("PGV_KEY_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for piece in input.chunks(step.max(1)) {
                // A refusal stops reading early; its status is what the test looks at.
                if stdin.write_all(piece).is_err() {
                    break;
                }
            }
        });
        child.wait_with_output().unwrap()
    })
}

struct Key(tempfile::NamedTempFile);

impl Key {
    fn new(passphrase: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(passphrase.as_bytes()).unwrap();
        Key(file)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stock_open(stream: &[u8], key: &Key, iterations: &str) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(stream).unwrap();
    let script = "set -o pipefail; tail -n +2 \"$1\" | openssl enc -d -aes-256-cbc -pbkdf2 -md sha256 \
                  -iter \"$2\" -pass \"file:$3\" | zstd -d -q";
    let output = Command::new("bash")
        .args(["-c", script, "bash", file.path().to_str().unwrap(), iterations, key.path()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    output.stdout
}

/// Bytes of no pattern, the same on every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_default()
}

#[test]
fn every_vector_yields_what_its_manifest_says() {
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(vectors().join("manifest.json")).unwrap()).unwrap();
    let list = manifest["vectors"].as_array().unwrap();
    assert!(list.len() > 50, "only {} vectors", list.len());
    for vector in list {
        let name = text(vector, "file");
        let stream = std::fs::read(vectors().join(name)).unwrap();
        // Vectors that name no passphrase were made with the common one.
        let passphrase = vector["passphrase"].as_str().unwrap_or("correct horse battery staple");
        let key = Key::new(passphrase);
        let output = crypt(&["-d", "-k", key.path(), "--context", text(vector, "context")], &stream, 1 << 20);
        let code = output.status.code().unwrap();
        assert_eq!(i64::from(code), vector["exit"].as_i64().unwrap(), "{name}: {}", stderr(&output));
        if code == 0 {
            let digest: String = Sha256::digest(&output.stdout).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(digest, text(vector, "plain_sha256"), "{name}");
            let iterations = vector["iterations"].to_string();
            assert_eq!(stock_open(&stream, &key, &iterations), output.stdout, "{name} by stock tools");
        } else {
            assert!(output.stdout.len() as u64 <= vector["max_released"].as_u64().unwrap_or(0), "{name}");
            if let Some(plain) = vector["prefix_of"].as_str() {
                let plain = std::fs::read(vectors().join(plain)).unwrap();
                assert!(plain.starts_with(&output.stdout), "{name} released bytes that are not the writer's");
                assert!(
                    output.stdout.len() < plain.len(),
                    "{name} released the end of a stream that is not sound"
                );
            }
        }
    }
}

#[test]
fn every_key_file_vector() {
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(vectors().join("manifest.json")).unwrap()).unwrap();
    for entry in manifest["key_files"].as_array().unwrap() {
        let path = vectors().join(text(entry, "file"));
        // Files of a checkout are for everybody to read.
        let output =
            crypt(&["-e", "--iter", "1", "--key-world-readable", "-k", path.to_str().unwrap()], b"x", 1);
        match entry["usable"].as_bool().unwrap() {
            false => assert_eq!(output.status.code(), Some(2), "{}", path.display()),
            true => {
                let key = Key::new(text(entry, "passphrase"));
                let opened = crypt(&["-d", "-k", key.path()], &output.stdout, 1 << 20);
                assert_eq!(opened.stdout, b"x", "{}", path.display());
            }
        }
    }
}

#[test]
fn round_trip_at_every_boundary_with_short_reads_and_by_stock_tools() {
    let key = Key::new("pass");
    for length in [0, 1, RECORD - 1, RECORD, RECORD + 1, 3 * RECORD + 500] {
        let plain = noise(length);
        for step in [4099, 1 << 20] {
            let sealed = crypt(&["-e", "--iter", "1", "-k", key.path()], &plain, step);
            assert!(sealed.status.success(), "{}", stderr(&sealed));
            assert_eq!(sealed.stdout.len() % 16, 0);
            let opened = crypt(&["-d", "-k", key.path()], &sealed.stdout, step);
            assert_eq!(opened.status.code(), Some(0), "{length}: {}", stderr(&opened));
            assert!(opened.stdout == plain, "{length} bytes come back changed");
            if step == 4099 {
                assert!(stock_open(&sealed.stdout, &key, "1") == plain, "{length} bytes by stock tools");
            }
        }
    }
}

/// Library-level helpers for the properties, where thousands of processes would be too many.
fn seal(plain: &[u8]) -> Vec<u8> {
    let passphrase = pgv::crypt::Passphrase::new(b"k".to_vec(), "key").unwrap();
    let options = pgv::crypt::SealOptions {
        passphrase: &passphrase,
        context: b"",
        iterations: 1,
        level: pgv::crypt::Level::Fixed(1),
        wal: false,
        jobs: 2,
        record_bytes: pgv::crypt::CHUNK_BYTES,
    };
    let mut stream = Vec::new();
    pgv::crypt::seal(plain, &mut stream, &options, || Ok(())).unwrap();
    stream
}

fn open(stream: &[u8]) -> (pgv::error::Result<u64>, Vec<u8>) {
    let passphrase = pgv::crypt::Passphrase::new(b"k".to_vec(), "key").unwrap();
    let mut plain = Vec::new();
    let result = pgv::crypt::open(stream, &mut plain, &[passphrase], b"", 2);
    (result, plain)
}

/// Where each record of a stream of incompressible `noise` begins, from the lengths zstd gives raw data.
fn assert_refused(
    original: &[u8],
    plain: &[u8],
    changed: &[u8],
    first_change: usize,
) -> Result<(), TestCaseError> {
    prop_assume!(changed != original);
    let (result, released) = open(changed);
    prop_assert!(result.is_err(), "a changed stream was accepted");
    prop_assert!(plain.starts_with(&released), "bytes that are not the writer's were released");
    // Records are at most 111 bytes and zstd's overhead longer than their plaintext: everything whose
    // record ended well before the change must have been released, but for the end of all: a record that reaches
    // into the last 32 KiB is withheld.
    const WITHHELD: usize = 32 << 10;
    let whole = first_change.saturating_sub(144) / (RECORD + 512) * RECORD;
    prop_assert!(
        released.len() >= whole.min(plain.len().saturating_sub(WITHHELD) / RECORD * RECORD),
        "authentic records were withheld"
    );
    prop_assert!(released.len() <= first_change.max(1), "more was released than came before the change");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_flip_is_refused(at in 0.0..1.0f64, bit in 0..8u8) {
        let plain = noise(2 * RECORD + 1000);
        let original = seal(&plain);
        let at = (at * original.len() as f64) as usize;
        let mut changed = original.clone();
        changed[at] ^= 1 << bit;
        assert_refused(&original, &plain, &changed, at)?;
    }

    #[test]
    fn any_cut_is_refused(at in 0.0..1.0f64) {
        let plain = noise(2 * RECORD + 1000);
        let original = seal(&plain);
        let at = (at * original.len() as f64) as usize;
        assert_refused(&original, &plain, &original[..at], at)?;
    }

    #[test]
    fn any_move_or_duplication_of_blocks_is_refused(from in 0.0..1.0f64, to in 0.0..1.0f64, blocks in 1..70_000usize, copy: bool) {
        let plain = noise(2 * RECORD + 1000);
        let original = seal(&plain);
        let total = original.len() / 16;
        let from = (from * total as f64) as usize * 16;
        let end = (from + blocks * 16).min(original.len());
        let piece = original[from..end].to_vec();
        let mut changed = original.clone();
        if !copy {
            changed.drain(from..end);
        }
        let to = (to * (changed.len() / 16) as f64) as usize * 16;
        changed.splice(to..to, piece);
        let first_change = original.iter().zip(&changed).position(|(a, b)| a != b).unwrap_or(original.len().min(changed.len()));
        assert_refused(&original, &plain, &changed, first_change)?;
    }
}

/// What makes a backup startable stands in its last 10 KiB, wherever a record ends there.
#[test]
fn a_damaged_end_withholds_the_end_of_the_plaintext() {
    for length in [1, 512, 9_000, RECORD, RECORD + 1, RECORD + 512, 2 * RECORD + 9_000] {
        let plain = noise(length);
        let sealed = seal(&plain);
        assert!(open(&sealed).1 == plain, "{length}");
        let mut flipped = sealed.clone();
        let at = flipped.len() - 90;
        flipped[at] ^= 1;
        let more = [&sealed[..], b"x"].concat();
        for bad in [&flipped, &sealed[..sealed.len() - 1], &sealed[..sealed.len() - 16], &more] {
            let (result, released) = open(bad);
            assert!(result.is_err() && plain.starts_with(&released), "{length}");
            assert!(released.len() + 10_240.min(length) <= length, "{length}: {} released", released.len());
            assert!(
                length - released.len() <= RECORD + (32 << 10),
                "{length}: {} withheld",
                length - released.len()
            );
        }
    }
}

#[test]
fn wrong_key_is_4_and_several_keys_are_tried() {
    let (right, wrong) = (Key::new("right"), Key::new("wrong"));
    let sealed = crypt(&["-e", "--iter", "1", "-k", right.path()], b"data", 10).stdout;
    let refused = crypt(&["-d", "-k", wrong.path()], &sealed, 1000);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(4), 0));
    let opened = crypt(&["-d", "-k", wrong.path(), "-k", right.path()], &sealed, 1000);
    assert_eq!(opened.stdout, b"data");
}

#[test]
fn the_context_is_part_of_the_key() {
    let key = Key::new("k");
    let sealed = crypt(&["-e", "--iter", "1", "-k", key.path(), "--context", "a/b.pgv"], b"data", 10).stdout;
    assert_eq!(crypt(&["-d", "-k", key.path(), "--context", "a/b.pgv"], &sealed, 1000).stdout, b"data");
    let other = crypt(&["-d", "-k", key.path()], &sealed, 1000);
    assert_eq!(other.status.code(), Some(4));
    assert!(stderr(&other).contains("--context"), "{}", stderr(&other));
}

#[test]
fn a_key_given_by_mistake_is_not_printed() {
    let secret = "pgvkey1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let output = crypt(&["-e", "-k", secret], b"", 1);
    assert_eq!(output.status.code(), Some(2));
    assert!(!stderr(&output).contains("AAAA"), "{}", stderr(&output));
}

#[test]
fn generated_keys_are_used_with_1000_iterations() {
    let line = crypt(&["--generate-key"], b"", 1).stdout;
    let key = Key::new(std::str::from_utf8(&line).unwrap());
    let sealed = crypt(&["-e", "-k", key.path()], b"data", 10).stdout;
    assert!(sealed.starts_with(b"pgv1: "));
    assert!(String::from_utf8_lossy(&sealed[..128]).contains("-iter 1000 "));
    assert_eq!(crypt(&["-d", "-k", key.path()], &sealed, 1000).stdout, b"data");
}

#[test]
fn a_key_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let generate = || crypt(&["--generate-key", "-o", path.to_str().unwrap()], b"", 1).status.code();
    assert_eq!(generate(), Some(0));
    let key = std::fs::read(&path).unwrap();
    assert_eq!(generate(), Some(6));
    assert_eq!(std::fs::read(&path).unwrap(), key);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_command_that_fails_leaves_no_complete_stream() {
    let key = Key::new("k");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("x.pgv");
    let out = out.to_str().unwrap();
    let failing = crypt(&["-e", "-k", key.path(), "-o", out, "--", "sh", "-c", "echo x; exit 5"], b"", 1);
    assert_eq!(failing.status.code(), Some(5), "{}", stderr(&failing));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something was left");
    let piped = crypt(&["-e", "-k", key.path(), "--", "sh", "-c", "echo x; kill -9 $$"], b"", 1);
    assert_eq!(piped.status.code(), Some(1));
    let opened = crypt(&["-d", "-k", key.path()], &piped.stdout, 1000);
    assert_eq!(opened.status.code(), Some(5), "a dead producer's stream looks complete");
}

#[test]
fn a_command_with_findings_is_complete_and_its_status_ours() {
    let key = Key::new("k");
    let sealed = crypt(&["-e", "-k", key.path(), "--", "sh", "-c", "echo x; exit 7"], b"", 1);
    assert_eq!(sealed.status.code(), Some(7));
    assert_eq!(crypt(&["-d", "-k", key.path()], &sealed.stdout, 1000).stdout, b"x\n");
}

#[test]
fn a_damaged_stream_leaves_no_file() {
    let key = Key::new("k");
    let sealed = crypt(&["-e", "--iter", "1", "-k", key.path()], &noise(RECORD + 5), 1 << 20).stdout;
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("plain");
    let output =
        crypt(&["-d", "-k", key.path(), "-o", out.to_str().unwrap()], &sealed[..sealed.len() - 1], 1 << 20);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_full_device_is_an_error() {
    let key = Key::new("k");
    for mode in ["-e", "-d"] {
        let input = if mode == "-e" { b"data".to_vec() } else { seal_by_cli(&key) };
        let mut child = Command::new(env!("CARGO_BIN_EXE_pgv-crypt"))
            .args([mode, "--iter", "1", "-k", key.path()])
            .stdin(Stdio::piped())
            .stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may refuse before it reads; the status is what counts.
        let _unread = stdin.write_all(&input).is_err();
        drop(stdin);
        assert_eq!(child.wait().unwrap().code(), Some(1), "{mode}");
    }
}

fn seal_by_cli(key: &Key) -> Vec<u8> {
    crypt(&["-e", "--iter", "1", "-k", key.path()], b"data", 10).stdout
}

/// Peak resident KiB of a run of `pgv-crypt -e` over `mib` MiB, read from /proc while the end of the
/// input is held back.
fn peak_kib(key: &Key, mib: usize) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgv-crypt"))
        .args(["-e", "--level", "1", "--jobs", "2", "--iter", "1", "-k", key.path()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let drain = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()).unwrap());
    let piece = vec![0u8; 1 << 20];
    for _ in 0..mib {
        stdin.write_all(&piece).unwrap();
    }
    let mut status = String::new();
    std::fs::File::open(format!("/proc/{}/status", child.id())).unwrap().read_to_string(&mut status).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    drain.join().unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn memory_does_not_grow_with_the_stream() {
    let key = Key::new("k");
    let (small, large) = (peak_kib(&key, 200), peak_kib(&key, 4096));
    // How many of the seven records that may exist ever did is chance.
    let record = 8500;
    assert!(large < small + 4 * record, "{small} KiB for 200 MiB, {large} KiB for 4 GiB");
    assert!(large < 8 * record, "{large} KiB");
}

/// Pages that resemble each other, as WAL has them.
fn wal_like(length: usize) -> Vec<u8> {
    let page = noise(700);
    (0..length).map(|at| if at % 97 == 0 { (at / 8192) as u8 } else { page[at % page.len()] }).collect()
}

#[test]
fn wal_is_sealed_as_any_stream_and_not_larger() {
    let key = Key::new("correct horse battery staple");
    let plain = wal_like(5 << 20);
    let seal = |more: &[&str]| {
        let output = crypt(&[&["-e", "--iter", "1", "-k", key.path()], more].concat(), &plain, 1 << 20);
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    };
    let (usual, wal, at_nine) = (seal(&[]), seal(&["--wal"]), seal(&["--wal", "--level", "9"]));
    assert_ne!(wal.len(), usual.len(), "--wal changes nothing");
    assert_eq!(at_nine.len(), seal(&["--level", "9"]).len(), "another level means what it says");
    for stream in [&usual, &wal] {
        assert_eq!(stock_open(stream, &key, "1"), plain);
        assert_eq!(crypt(&["-d", "-k", key.path()], stream, 1 << 20).stdout, plain);
    }
}

#[test]
fn a_batch_seals_each_file_under_its_own_context() {
    let key = Key::new("correct horse battery staple");
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let names: Vec<String> = (0..20).map(|number| format!("0000000{number:02}")).collect();
    let mut list = String::new();
    for (number, name) in names.iter().enumerate() {
        std::fs::write(from.path().join(name), noise(number * 60_000)).unwrap();
        list += &format!("{}\n", from.path().join(name).display());
    }
    let directory = to.path().to_str().unwrap();
    let options = ["-e", "--batch", "--wal", "--jobs", "3", "--iter", "1", "-k", key.path()];
    let seal = |list: &str| {
        crypt(&[&options[..], &["--context", "1/wal/", "-o", directory]].concat(), list.as_bytes(), 64)
    };
    let output = seal(&list);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut printed: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    printed.sort_unstable();
    assert_eq!(printed, names.iter().map(|name| format!("{directory}/{name}.pgv")).collect::<Vec<_>>());
    for (number, name) in names.iter().enumerate() {
        let sealed = std::fs::read(to.path().join(format!("{name}.pgv"))).unwrap();
        let context = format!("1/wal/{name}.pgv");
        let opened = crypt(&["-d", "-k", key.path(), "--context", &context], &sealed, 1 << 20);
        assert_eq!(opened.stdout, noise(number * 60_000), "{name}");
        assert_eq!(crypt(&["-d", "-k", key.path()], &sealed, 1 << 20).status.code(), Some(4));
    }
    // And back.
    let plain = tempfile::tempdir().unwrap();
    let open = |context: &str, list: &str| {
        let into =
            ["-d", "--batch", "-k", key.path(), "--context", context, "-o", plain.path().to_str().unwrap()];
        crypt(&into, list.as_bytes(), 64)
    };
    let sealed: String = names.iter().map(|name| format!("{directory}/{name}.pgv\n")).collect();
    let opened = open("1/wal/", &sealed);
    assert!(opened.status.success(), "{}", stderr(&opened));
    for (number, name) in names.iter().enumerate() {
        assert_eq!(std::fs::read(plain.path().join(name)).unwrap(), noise(number * 60_000), "{name}");
        std::fs::remove_file(plain.path().join(name)).unwrap();
    }
    // What does not open has no name, and ends it.
    assert_eq!(open("2/wal/", &sealed).status.code(), Some(4));
    assert_eq!(open("1/wal/", &list).status.code(), Some(2));
    assert_eq!(std::fs::read_dir(plain.path()).unwrap().count(), 0, "temporary files stay");
    // What is not there ends it, and has no name.
    let output = seal(&format!("{}/none\n", from.path().display()));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!to.path().join("none.pgv").exists());
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), names.len(), "temporary files stay");
    assert_eq!(seal("-\n").status.code(), Some(2));
    assert_eq!(crypt(&["-e", "--batch", "-k", key.path()], b"", 1).status.code(), Some(2));
}

/// `key value` lines of pgv-crypt's stdout.
fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn is_generated_name(name: &str) -> bool {
    name.len() == 8 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[test]
fn a_damaged_key_seals_and_opens_nothing() {
    let whole = String::from_utf8(crypt(&["--generate-key"], b"", 1).stdout).unwrap();
    let whole = whole.trim_end();
    let last = if whole.ends_with('0') { "1" } else { "0" };
    let damaged = [
        format!("{}{last}", &whole[..whole.len() - 1]),
        whole[..40].to_owned(),
        format!(" {whole}"),
        format!("{whole} "),
        whole.replacen("pgvkey1_", "Pgvkey1_", 1),
    ];
    for text in damaged {
        let key = Key::new(&text);
        for verb in ["-e", "-d", "--key-name", "--check-key"] {
            let output = crypt(&[verb, "-k", key.path()], b"data", 10);
            assert_eq!(output.status.code(), Some(2), "{verb}: {}", stderr(&output));
            let said = stderr(&output);
            assert!(said.contains(key.path()) && said.contains("damaged generated key"), "{said}");
            assert!(!said.contains(&text[8..30]), "the key was printed: {said}");
        }
    }
}

#[test]
fn a_key_of_the_first_version_stays_valid() {
    let old = "pgvkey1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let key = Key::new(&format!("{old}\n"));
    let sealed = crypt(&["-e", "-k", key.path()], b"data", 10).stdout;
    assert_eq!(crypt(&["-d", "-k", key.path()], &sealed, 1000).stdout, b"data");
    let named = crypt(&["--key-name", "-k", key.path()], b"", 1);
    assert_eq!(
        lines(&named),
        [
            format!("key_file {}", key.path()),
            "key_kind generated".to_owned(),
            "key_name e011cbe9".to_owned(),
            "key_id e011cbe9c757e3a6".to_owned()
        ]
    );
}

#[test]
fn the_name_that_is_needed_is_compared() {
    let key = Key::new(std::str::from_utf8(&crypt(&["--generate-key"], b"", 1).stdout).unwrap());
    let phrase = Key::new("correct horse");
    let named = crypt(&["--key-name", "-k", key.path(), "-k", phrase.path()], b"", 1);
    let said = lines(&named);
    let name = said[2].strip_prefix("key_name ").unwrap();
    assert!(is_generated_name(name), "{name}");
    let id = said[3].strip_prefix("key_id ").unwrap();
    assert!(id.len() == 16 && id.starts_with(name), "{id}");
    assert_eq!(said[4..], [format!("key_file {}", phrase.path()), "key_kind passphrase".to_owned()]);
    let expect =
        |name: &str, key: &Key| crypt(&["--key-name", "-k", key.path(), "--expect-name", name], b"", 1);
    assert_eq!(expect(name, &key).status.code(), Some(0));
    assert_eq!(expect("vault 7", &key).status.code(), Some(0), "a person's name says nothing");
    for wrong in [&key, &phrase] {
        let refused = expect("00000000", wrong);
        assert_eq!(refused.status.code(), Some(4));
        assert!(stderr(&refused).contains(wrong.path()) && stderr(&refused).contains("00000000"));
    }
    assert!(stderr(&expect("00000000", &key)).contains(name));
}

#[test]
fn the_beginning_of_a_stream_shows_which_key_opens_it() {
    let generate = || Key::new(std::str::from_utf8(&crypt(&["--generate-key"], b"", 1).stdout).unwrap());
    let (right, wrong) = (generate(), generate());
    let sealed = crypt(&["-e", "-k", right.path()], b"data", 10).stdout;
    let check = |arguments: &[&str], bytes: &[u8]| {
        crypt(&[&["--check-key", "-k", wrong.path()], arguments].concat(), bytes, 1000)
    };
    let found = check(&["-k", right.path()], &sealed[..240]);
    assert_eq!(found.status.code(), Some(0), "{}", stderr(&found));
    assert_eq!(lines(&found)[0], format!("key_file {}", right.path()));
    // What opens is right, whatever is said to be needed.
    assert_eq!(
        check(&["-k", right.path(), "--expect-name", "00000000"], &sealed[..240]).status.code(),
        Some(0)
    );
    let mut record = tempfile::NamedTempFile::new().unwrap();
    let facts = r#"{"format":"pgv-record/1","key_name":"0badc0de"}"#;
    record.write_all(facts.as_bytes()).unwrap();
    let refused = check(
        &["--expect-record", record.path().to_str().unwrap(), "--expect-name", "12345678"],
        &sealed[..240],
    );
    assert_eq!(refused.status.code(), Some(4));
    assert!(refused.stdout.is_empty() && stderr(&refused).contains(wrong.path()), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("12345678"), "{}", stderr(&refused));
    assert_eq!(check(&[], b"").status.code(), Some(5));
    assert_eq!(check(&[], &[b'x'; 240]).status.code(), Some(5));
    assert_eq!(check(&[], &sealed[..200]).status.code(), Some(5));
}

#[test]
fn who_may_read_a_key_file() {
    use std::os::unix::fs::PermissionsExt;
    let key = Key::new("k");
    let mode = |mode| std::fs::set_permissions(key.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    assert_eq!(crypt(&["-e", "-k", key.path()], b"data", 10).status.code(), Some(0));
    mode(0o444);
    let refused = crypt(&["-e", "-k", key.path()], b"data", 10);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stdout.is_empty() && stderr(&refused).contains("chmod 0600"), "{}", stderr(&refused));
    assert_eq!(crypt(&["-e", "-k", key.path(), "--key-world-readable"], b"data", 10).status.code(), Some(0));
    let output = Command::new(env!("CARGO_BIN_EXE_pgv-crypt"))
        .args(["--key-name", "-k", key.path()])
        .env("PGV_KEY_WORLD_READABLE", "yes")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// A key that cannot be read is not one that does not exist, and nobody is told to make another.
#[test]
fn advice_about_a_key_never_destroys() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(place("empty"), "").unwrap();
    std::fs::set_permissions(place("empty"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(place("nowhere"), place("link")).unwrap();
    for (name, status) in [("empty", 2), ("link", 2), ("", 2), ("empty/key", 2), ("absent", 3)] {
        let named = crypt(&["--key-name", "-k", &place(name)], b"", 1);
        assert_eq!(named.status.code(), Some(status), "{name}: {}", stderr(&named));
        let sealed = crypt(&["-e", "-k", &place(name)], b"", 1);
        assert_eq!(sealed.status.code(), Some(2), "{name}: {}", stderr(&sealed));
        for said in [stderr(&named), stderr(&sealed)] {
            assert!(said.contains(&place(name)) && !said.contains("generate"), "{said}");
        }
    }
}
