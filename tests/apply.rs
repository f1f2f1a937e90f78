//! pgv-apply by its command line, on streams made by hand: what is laid down, and everything that is
//! refused.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use pgv::pg::backup_manifest;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tar::{EntryType, Header};

const LABEL: &str = "20261123-010000F";
const SYSTEM: u64 = 7_711_175_703_245_852_542;

#[derive(Clone)]
struct Member {
    name: String,
    kind: EntryType,
    data: Vec<u8>,
}

fn file(name: &str, data: &[u8]) -> Member {
    Member { name: name.to_owned(), kind: EntryType::Regular, data: data.to_vec() }
}

fn directory(name: &str) -> Member {
    Member { name: name.to_owned(), kind: EntryType::Directory, data: Vec::new() }
}

/// As far as anybody looks: a process that works in its data directory, and whose number lies there.
struct Server(Child);

impl Server {
    fn in_directory(data: &Path) -> Self {
        let child = Command::new("sleep").arg("600").current_dir(data).spawn().unwrap();
        fs::write(data.join("postmaster.pid"), format!("{}\n", child.id())).unwrap();
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn control() -> Vec<u8> {
    let mut bytes = vec![0u8; 8192];
    bytes[..8].copy_from_slice(&SYSTEM.to_le_bytes());
    bytes[8..12].copy_from_slice(&1300u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..288]);
    bytes[288..292].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn identity(mode: &str, tablespaces: &str) -> Member {
    let json = format!(
        r#"{{"format":"pgv-stream/1","label":"{LABEL}","mode":"{mode}","parent":null,"parent_start_lsn":null,
        "parent_timeline":null,"system_identifier":"{SYSTEM}","pg_version":"15.20","timeline":1,"start_lsn":"0/28",
        "page_size":8192,"segment_pages":131072,"tablespaces":[{tablespaces}]}}"#
    );
    file("pgv/stream.json", json.as_bytes())
}

/// Everything between the identity and the manifest.
fn body() -> Vec<Member> {
    vec![
        file("PG_VERSION", b"15\n"),
        directory("base/"),
        directory("base/1/"),
        file("base/1/1259", &[5; 20_000]),
        directory("global/"),
        directory("pg_wal/"),
        file("pg_wal/000000010000000000000001", &[9; 1000]),
        file("pgv/config/conf.d/x.conf", b"a = 1\n"),
        file("recovery.signal", b""),
    ]
}

fn manifest(members: &[Member]) -> Member {
    let mut writer = backup_manifest::Writer::new(Vec::new(), 15, SYSTEM).unwrap();
    for member in members.iter().filter(|member| member.kind == EntryType::Regular) {
        if !member.name.starts_with("pg_wal/") {
            let crc = crc32c::crc32c(&member.data);
            writer.file(member.name.as_bytes(), member.data.len() as u64, 0, crc).unwrap();
        }
    }
    let control = control();
    writer.file(b"global/pg_control", 8192, 0, crc32c::crc32c(&control)).unwrap();
    file("backup_manifest", &writer.finish(None).unwrap())
}

fn members(identity: Member, body: Vec<Member>) -> Vec<Member> {
    let mut all = vec![directory("./"), identity];
    all.extend(body);
    let manifest = manifest(&all);
    all.push(manifest);
    all.push(file("global/pg_control", &control()));
    all
}

fn tar(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..member.name.len()].copy_from_slice(member.name.as_bytes());
        header.set_entry_type(member.kind);
        header.set_size(member.data.len() as u64);
        header.set_mode(if member.kind == EntryType::Directory { 0o700 } else { 0o600 });
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        header.set_mtime(0);
        if matches!(member.kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&member.data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn good() -> Vec<u8> {
    tar(&members(identity("full", ""), body()))
}

fn apply(arguments: &[&str], stream: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgv-apply"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A refusal does not read its input.
    let _unread = child.stdin.take().unwrap().write_all(stream).is_err();
    child.wait_with_output().unwrap()
}

/// The exit status and what was said, of one stream into a fresh directory.
fn refused(stream: &[u8]) -> (i32, String) {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let output = apply(&[target.to_str().unwrap()], stream);
    assert!(!target.join("global/pg_control").exists(), "a refused stream can be started");
    let outside = fs::read_dir(scratch.path()).unwrap().count();
    assert!(outside <= 1, "something was written outside the directory");
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_stream_is_laid_down() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let output = apply(&["--expect", LABEL, target.to_str().unwrap()], &good());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for member in members(identity("full", ""), body()) {
        let path = target.join(&member.name);
        match member.kind {
            EntryType::Directory => assert!(path.is_dir(), "{}", member.name),
            _ => assert_eq!(fs::read(&path).unwrap(), member.data, "{}", member.name),
        }
    }
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!target.join("pgv/applying").exists());
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_held_directory_can_be_started_only_after_commit() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let path = target.to_str().unwrap();
    assert_eq!(apply(&["--commit", path], b"").status.code(), Some(6), "nothing is there");
    assert!(!target.exists());
    let output = apply(&["--hold", path], &good());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read(target.join("pgv/held")).unwrap(), control());
    assert!(!target.join("global/pg_control").exists() && !target.join("pgv/applying").exists());
    let output = apply(&["--commit", "--expect", "20261124-010000F", path], b"");
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(said(&output).contains(LABEL) && target.join("pgv/held").exists());
    // The second time nothing is left to do.
    for time in 1..3 {
        let output = apply(&["--commit", "--expect", LABEL, path], b"");
        assert!(output.status.success(), "{time}: {}", said(&output));
        assert_eq!(fs::read(target.join("global/pg_control")).unwrap(), control());
        assert!(!target.join("pgv/held").exists());
    }
    // As a server leaves it.
    let mut started = control();
    started[100] ^= 1;
    fs::write(target.join("global/pg_control"), started).unwrap();
    assert_eq!(apply(&["--commit", path], b"").status.code(), Some(6));
}

#[test]
fn what_is_not_whole_is_not_committed() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let path = target.to_str().unwrap();
    let whole = good();
    assert_eq!(apply(&["--hold", path], &whole[..whole.len() - 512]).status.code(), Some(5));
    let output = apply(&["--commit", path], b"");
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    // The same command again, and then the mark is damaged.
    assert!(apply(&["--hold", path], &whole).status.success());
    let mut changed = control();
    changed[300] ^= 1;
    fs::write(target.join("pgv/held"), &changed).unwrap();
    assert_eq!(apply(&["--commit", path], b"").status.code(), Some(5));
    fs::write(target.join("pgv/held"), "").unwrap();
    assert_eq!(apply(&["--commit", path], b"").status.code(), Some(5));
    assert!(!target.join("global/pg_control").exists());
    assert!(apply(&["--hold", path], &whole).status.success());
    assert!(apply(&["--commit", path], b"").status.success());
    assert_eq!(apply(&["--hold", path], &whole).status.code(), Some(6), "it can be started");
}

#[test]
fn check_only_writes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgv-apply"));
    command.arg("--check-only").current_dir(scratch.path()).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&good()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    let mut bad = good();
    let at = bad.windows(8).position(|window| window == [5; 8]).unwrap();
    bad[at] ^= 1;
    assert_eq!(apply(&["--check-only"], &bad).status.code(), Some(5));
}

#[test]
fn another_backup_is_refused_before_anything_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let output = apply(&["--expect", "20261124-010000F", target.to_str().unwrap()], &good());
    assert_eq!(output.status.code(), Some(5));
    assert!(!target.exists());
    let blocks = tar(&members(identity("blocks", ""), body()));
    assert_eq!(apply(&[target.to_str().unwrap()], &blocks).status.code(), Some(6));
    assert!(!target.exists());
}

#[test]
fn a_cut_stream_cannot_start_and_can_be_given_again() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let whole = good();
    for cut in (0..whole.len()).step_by(512).flat_map(|at| [at, at + 100]).filter(|at| *at < whole.len()) {
        let output = apply(&[target.to_str().unwrap()], &whole[..cut]);
        assert_eq!(output.status.code(), Some(5), "cut at {cut}");
        assert!(!target.join("global/pg_control").exists(), "cut at {cut}");
    }
    assert!(target.join("pgv/applying").exists());
    let output = apply(&[target.to_str().unwrap()], &whole);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_killed_run_can_be_given_again() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let whole = good();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgv-apply"))
        .arg(&target)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&whole[..whole.len() - 9 * 1024]).unwrap();
    while !target.join("base/1/1259").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(target.join("pgv/applying").exists() && !target.join("global/pg_control").exists());
    let output = apply(&[target.to_str().unwrap()], &whole);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn two_runs_do_not_mix() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let whole = good();
    let mut first =
        Command::new(env!("CARGO_BIN_EXE_pgv-apply")).arg(&target).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(&whole[..whole.len() - 9 * 1024]).unwrap();
    while !target.join("base/1/1259").exists() {
        assert!(first.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let second = apply(&[target.to_str().unwrap()], &whole);
    assert_eq!(second.status.code(), Some(75), "{}", said(&second));
    stdin.write_all(&whole[whole.len() - 9 * 1024..]).unwrap();
    drop(stdin);
    assert!(first.wait().unwrap().success());
    assert_eq!(fs::read(target.join("base/1/1259")).unwrap(), [5; 20_000]);
}

/// A limit on the size of files fails a write as a full disk does, and needs no disk.
#[test]
fn a_failing_write_is_an_error_that_names_the_file() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let stream = scratch.path().join("stream");
    std::fs::write(&stream, good()).unwrap();
    let script = "ulimit -f 8; trap '' XFSZ; exec \"$1\" \"$2\" <\"$3\"";
    let output = Command::new("bash")
        .args(["-c", script, "bash", env!("CARGO_BIN_EXE_pgv-apply")])
        .args([&target, &stream])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("write base/1/"), "{text}");
    assert!(text.contains("cannot be started"), "{text}");
    assert!(!target.join("global/pg_control").exists());
}

#[test]
fn what_is_not_in_the_manifest_as_it_is_in_the_stream_is_refused() {
    let sound = members(identity("full", ""), body());
    let without = |name: &str| sound.iter().filter(|member| member.name != name).cloned().collect::<Vec<_>>();
    let mut more = sound.clone();
    more.insert(3, file("extra", b"x"));
    let mut other = sound.clone();
    other[2].data = b"16\n".to_vec();
    for (stream, message) in [
        (tar(&without("PG_VERSION")), "lists PG_VERSION"),
        (tar(&more), "extra"),
        (tar(&other), "PG_VERSION: its checksum"),
        (tar(&without("backup_manifest")), "before backup_manifest"),
        (tar(&without("global/pg_control")), "no global/pg_control"),
        (tar(&without("pgv/stream.json")), "second member"),
    ] {
        let (status, said) = refused(&stream);
        assert_eq!(status, 5, "{said}");
        assert!(said.contains(message), "{message}: {said}");
    }
}

#[test]
fn members_that_no_backup_has_are_refused() {
    let special = |kind: EntryType| Member { name: "base/1/x".to_owned(), kind, data: Vec::new() };
    for bad in [
        special(EntryType::Symlink),
        special(EntryType::Link),
        special(EntryType::Char),
        special(EntryType::Fifo),
        special(EntryType::XHeader),
        file("/tmp/pgv-apply-must-not-write-this", b"x"),
        file("../x", b"x"),
        file("base/../../x", b"x"),
        file("base//x", b"x"),
        file("base/1/1259", b"twice"),
        directory("base/1/"),
        file("nowhere/x", b"x"),
    ] {
        let mut body = body();
        body.insert(5, bad.clone());
        let (status, said) = refused(&tar(&members(identity("full", ""), body)));
        assert_eq!(status, 5, "{} {:?}: {said}", bad.name, bad.kind);
    }
    assert!(!Path::new("/tmp/pgv-apply-must-not-write-this").exists());
    let whole = good();
    assert_eq!(refused(&[&whole[..], b"x"].concat()).0, 5, "something follows");
    assert_eq!(refused(&whole[..whole.len() - 512]).0, 5, "the end marker of the tar archive is incomplete");
    assert_eq!(refused(b"not a tar archive").0, 5);
    assert_eq!(refused(b"").0, 5);
}

#[test]
fn what_is_there_stays_there() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("precious"), "x").unwrap();
    let output = apply(&[target.to_str().unwrap()], &good());
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    fs::remove_file(target.join("precious")).unwrap();
    let server = Server::in_directory(&target);
    let output = apply(&[target.to_str().unwrap()], &good());
    assert_eq!(output.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&output.stderr).contains("may be running"));
    drop(server);
    // After a crash the number may be that of any process: one elsewhere is no server of this directory.
    fs::write(target.join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
    let output = apply(&["--set-aside", "crashed", target.to_str().unwrap()], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(scratch.path().join("data.before-crashed/postmaster.pid").exists());
}

#[test]
fn tablespaces_go_where_they_are_told() {
    let spaces =
        r#"{"oid":16384,"name":"fast","location":"/old/fast"},{"oid":16385,"name":"in","location":null}"#;
    let mut body = body();
    let at = body.iter().position(|member| member.name == "pg_wal/").unwrap();
    let inside = [
        directory("pg_tblspc/"),
        directory("pg_tblspc/16384/"),
        directory("pg_tblspc/16384/PG_15_202209061/"),
        file("pg_tblspc/16384/PG_15_202209061/1", b"fast"),
        directory("pg_tblspc/16385/"),
        file("pg_tblspc/16385/2", b"in place"),
    ];
    body.splice(at..at, inside);
    let stream = tar(&members(identity("full", spaces), body));
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let output = apply(&[&path("data")], &stream);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/old/fast"));
    assert!(!Path::new(&path("data")).exists());
    fs::create_dir(path("under")).unwrap();
    for (name, options, place) in [
        ("a", ["--tablespace".to_owned(), format!("16384={}", path("p"))], path("p")),
        ("b", ["--tablespace".to_owned(), format!("fast={}", path("q"))], path("q")),
        ("c", ["--tablespaces-under".to_owned(), path("under")], path("under/16384")),
    ] {
        let output = apply(&[&options[0], &options[1], &path(name)], &stream);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let link = scratch.path().join(name).join("pg_tblspc/16384");
        assert_eq!(fs::read_link(link).unwrap().to_str().unwrap(), place);
        assert_eq!(fs::read(format!("{place}/PG_15_202209061/1")).unwrap(), b"fast");
        assert_eq!(fs::read(scratch.path().join(name).join("pg_tblspc/16385/2")).unwrap(), b"in place");
    }
}

/// A manifest that names the WAL which the backup needs, and a segment of it.
fn with_wal(identity: Member) -> Vec<u8> {
    let mut all = members(identity, body());
    let end = all.len() - 2;
    let mut writer = backup_manifest::Writer::new(Vec::new(), 15, SYSTEM).unwrap();
    for member in all[..end].iter().filter(|member| member.kind == EntryType::Regular) {
        if !member.name.starts_with("pg_wal/") {
            let crc = crc32c::crc32c(&member.data);
            writer.file(member.name.as_bytes(), member.data.len() as u64, 0, crc).unwrap();
        }
    }
    writer.file(b"global/pg_control", 8192, 0, crc32c::crc32c(&control())).unwrap();
    let range = (1, "0/28".parse().unwrap(), "0/1000".parse().unwrap());
    all[end].data = writer.finish(Some(range)).unwrap();
    tar(&all)
}

/// The record of that backup, with a change.
fn record(from: &str, to: &str) -> tempfile::NamedTempFile {
    let json = format!(
        r#"{{"format":"pgv-record/1","label":"{LABEL}","type":"full","mode":null,"parent":null,
        "system_identifier":"{SYSTEM}","pg_version":"15.20","host":"h","started_at":"2026-11-23T01:00:00Z",
        "stopped_at":"2026-11-23T01:00:02Z","start_lsn":"0/28","stop_lsn":"0/1000","timeline":1,
        "wal_first":"000000010000000000000001","wal_last":"000000010000000000000001","wal_included":true,
        "tablespaces":[],"database_bytes":1,"stream_bytes":1,
        "files":{{"total":1,"whole":1,"blocks":0,"same":0,"removed":0}},"blocks":{{"read":1,"sent":1}},
        "findings":{{"bad_pages":0,"links":0}},"tool_version":"0","cluster":"c","objects":[],"key_name":null}}"#
    );
    assert!(json.contains(from), "{from}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(json.replacen(from, to, 1).as_bytes()).unwrap();
    file
}

#[test]
fn a_record_that_lies_is_refused_before_anything_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let path = target.to_str().unwrap();
    let stream = with_wal(identity("full", ""));
    for (field, from, to) in [
        ("label", LABEL, "20261123-010001F"),
        ("system_identifier", "7711175703245852542", "7711175703245852543"),
        ("type", r#""type":"full""#, r#""type":"incr""#),
        ("mode", r#""mode":null"#, r#""mode":"files""#),
        ("parent", r#""parent":null"#, r#""parent":"20261122-010000F""#),
        ("merged_from", r#""parent":null"#, r#""parent":null,"merged_from":["20261122-010000F"]"#),
        ("pg_version", "15.20", "15.19"),
        ("timeline", r#""timeline":1"#, r#""timeline":2"#),
        ("start_lsn", "0/28", "0/29"),
        ("tablespaces", r#""tablespaces":[]"#, r#""tablespaces":[{"oid":7,"name":"x","bytes":1}]"#),
    ] {
        let record = record(from, to);
        let output = apply(&["--record", record.path().to_str().unwrap(), path], &stream);
        assert_eq!(output.status.code(), Some(5), "{field}: {}", said(&output));
        assert!(said(&output).contains(&format!("record.json: {field} is ")), "{}", said(&output));
        assert!(said(&output).contains("nothing was written; record.json does not belong to this stream"));
        assert!(!target.exists(), "{field}");
    }
    // What only the end tells is told before a server can start.
    for (field, from, to) in [
        ("stop_lsn", "0/1000", "0/1001"),
        (
            "wal_included",
            "\"wal_last\":\"000000010000000000000001",
            "\"wal_last\":\"000000010000000000000002",
        ),
        ("wal_included", r#""wal_included":true"#, r#""wal_included":false"#),
    ] {
        let record = record(from, to);
        for hold in [&["--hold"][..], &[]] {
            let arguments = [&["--record", record.path().to_str().unwrap(), path], hold].concat();
            let output = apply(&arguments, &stream);
            assert_eq!(output.status.code(), Some(5), "{field}: {}", said(&output));
            assert!(said(&output).contains(&format!("record.json: {field} is ")), "{}", said(&output));
            assert!(!target.join("global/pg_control").exists() && !target.join("pgv/held").exists());
        }
    }
    let record = record("full", "full");
    let output = apply(&["--record", record.path().to_str().unwrap(), path], &stream);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_cluster_and_the_time_are_bound() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    let path = target.to_str().unwrap();
    let output = apply(&["--expect", LABEL, "--system-id", "7711175703245852543", path], &good());
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains("7711175703245852542, not of 7711175703245852543"), "{}", said(&output));
    // The label says when it began.
    for before in ["2026-11-23 01:00:00+00", "2026-11-22 20:00:00-05:00", "2020-01-01T00:00:00Z"] {
        let output = apply(&["--before", before, path], &good());
        assert_eq!(output.status.code(), Some(5), "{before}: {}", said(&output));
        assert!(!target.exists());
    }
    // A merged full is as old as the last backup in it, not as its label.
    let mut merged = identity("full", "");
    let text = String::from_utf8(merged.data).unwrap();
    let from = r#"{"merged_from":["20261120-010000F","20261120-010000F_20261121-010000I"],"#;
    merged.data = text.replacen('{', from, 1).into_bytes();
    let merged = tar(&members(merged, body()));
    let output = apply(&["--before", "2026-11-21 01:00:00+00", path], &merged);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(!target.exists());
    let output = apply(&["--before", "2026-11-21 01:00:01+00", path], &merged);
    assert!(output.status.success(), "{}", said(&output));
    fs::remove_dir_all(&target).unwrap();
    let output =
        apply(&["--before", "2026-11-23 01:00:01+00", "--system-id", "7711175703245852542", path], &good());
    assert!(output.status.success(), "{}", said(&output));
}

/// A backup with two tablespaces, one of which lay in place.
fn with_tablespaces() -> Vec<u8> {
    let spaces =
        r#"{"oid":16384,"name":"fast","location":"/old/fast"},{"oid":16385,"name":"in","location":null}"#;
    let mut body = body();
    let at = body.iter().position(|member| member.name == "pg_wal/").unwrap();
    let inside = [
        directory("pg_tblspc/"),
        directory("pg_tblspc/16384/"),
        directory("pg_tblspc/16384/PG_15_202209061/"),
        file("pg_tblspc/16384/PG_15_202209061/1", b"fast"),
        directory("pg_tblspc/16385/"),
        file("pg_tblspc/16385/2", b"in place"),
    ];
    body.splice(at..at, inside);
    tar(&members(identity("full", spaces), body))
}

/// Of a directory and all below it: paths, kinds, contents.
fn tree(directory: &Path) -> Vec<(std::path::PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match fs::symlink_metadata(&path).unwrap().is_dir() {
            true => found.extend(tree(&path)),
            false if path.is_symlink() => {
                found.push((
                    path.clone(),
                    Some(fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()),
                ));
            }
            false => found.push((path.clone(), fs::read(&path).ok())),
        }
        found.push((path, None));
    }
    found.sort();
    found
}

/// The same status and the same words, with and without --plan, and nothing is changed by a refusal or a plan.
#[test]
fn a_plan_refuses_what_a_run_refuses() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    for name in ["full", "running", "ts", "ts/16384", "empty", "cluster", "cluster/global", "undelta"] {
        fs::create_dir(path(name)).unwrap();
    }
    fs::write(path("full/x"), "x").unwrap();
    fs::write(path("ts/16384/x"), "x").unwrap();
    fs::write(path("file"), "x").unwrap();
    fs::write(path("undelta/x"), "x").unwrap();
    let _server = Server::in_directory(Path::new(&path("running")));
    let mut other = control();
    other[0] ^= 1;
    let crc = crc32c::crc32c(&other[..288]);
    other[288..292].copy_from_slice(&crc.to_le_bytes());
    fs::write(path("cluster/global/pg_control"), &other).unwrap();
    let (plain, spaces) = (good(), with_tablespaces());
    let blocks = tar(&members(identity("blocks", ""), body()));
    let given = format!("fast={}", path("new/ts"));
    let inside = format!("fast={}", path("empty/ts"));
    let typo = format!("fats={}", path("t"));
    let before = tree(scratch.path());
    let cases: [(i32, &str, &[u8], &[&str]); 14] = [
        (6, "is not empty", &plain, &[&path("full")]),
        (6, "is not a directory", &plain, &[&path("file")]),
        (6, "may be running", &plain, &[&path("running")]),
        (6, "may be running", &plain, &["--delta", &path("running")]),
        (6, "another cluster", &plain, &["--delta", &path("cluster")]),
        (6, "not a data directory", &plain, &["--delta", &path("undelta")]),
        (6, "there is no backup in it", &blocks, &[&path("empty")]),
        (2, "no place was given", &spaces, &[&path("empty")]),
        (2, "has no tablespace fats", &spaces, &["--tablespace", &typo, &path("empty")]),
        (2, "must not contain each other", &spaces, &["--tablespace", &inside, &path("empty")]),
        (
            2,
            "given more than once",
            &spaces,
            &["--tablespaces-under", &path("n"), "--waldir", &path("n/16384"), &path("empty")],
        ),
        (6, "is not empty", &spaces, &["--tablespaces-under", &path("ts"), &path("empty")]),
        (6, "is not empty", &plain, &["--waldir", &path("full"), &path("empty")]),
        (2, "there is no directory", &spaces, &["--tablespace", &given, &path("empty")]),
    ];
    for (status, message, stream, arguments) in cases {
        let run = apply(arguments, stream);
        let plan = apply(&[&["--plan"], arguments].concat(), stream);
        assert_eq!(run.status.code(), Some(status), "{arguments:?}: {}", said(&run));
        assert!(said(&run).contains(message), "{message}: {}", said(&run));
        assert_eq!((plan.status.code(), said(&plan)), (run.status.code(), said(&run)), "{arguments:?}");
        assert!(tree(scratch.path()) == before, "{arguments:?} changed something");
    }
    assert_eq!(
        apply(&["--plan", "--expect", "20261124-010000F", &path("new")], &plain).status.code(),
        Some(5)
    );
}

#[test]
fn a_plan_tells_what_will_be_where() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let stream = with_tablespaces();
    let plan = |arguments: &[&str]| {
        let output = apply(&[&["--plan"], arguments].concat(), &stream);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    fs::create_dir(path("disk")).unwrap();
    std::os::unix::fs::symlink(path("disk"), path("data")).unwrap();
    fs::create_dir(path("a\nb")).unwrap();
    let options = ["--tablespaces-under", &path("a\nb"), "--waldir", &path("wal"), &path("data")];
    let lines = plan(&options);
    let real = |name: &str| fs::canonicalize(scratch.path()).unwrap().join(name).to_str().unwrap().to_owned();
    for line in [
        format!("label {LABEL}"),
        format!("system_identifier {SYSTEM}"),
        format!("directory {}", real("disk")),
        "state empty".to_owned(),
        "laid anew".to_owned(),
        "mount_point no".to_owned(),
        "tablespace 16384 fast".to_owned(),
        "tablespace_how 16384 under".to_owned(),
        format!("tablespace_place 16384 {}", path("a\\nb/16384")),
        "tablespace_state 16384 absent".to_owned(),
        "tablespace_how 16385 inside".to_owned(),
        "wal_how given".to_owned(),
        format!("wal_place {}", path("wal")),
        "wal_state absent".to_owned(),
    ] {
        assert!(lines.lines().any(|found| found == line), "{line} is not in\n{lines}");
    }
    for key in ["device", "free", "wal_device", "wal_free"] {
        let value = lines.lines().find_map(|line| line.strip_prefix(&format!("{key} "))).unwrap();
        assert!(value.parse::<u64>().is_ok(), "{key} {value}");
    }
    assert_eq!(fs::read_dir(path("disk")).unwrap().count(), 0);
    // As it was told, so it is done, through the link.
    let output = apply(&[&["--hold"][..], &options].concat(), &stream);
    assert!(output.status.success(), "{}", said(&output));
    assert!(plan(&options).contains(&format!("\nstate held {LABEL}\n")));
    assert!(apply(&["--commit", &path("data")], b"").status.success());
    assert_eq!(fs::read_link(path("disk/pg_wal")).unwrap().to_str(), Some(&*path("wal")));
    assert_eq!(fs::read(path("wal/000000010000000000000001")).unwrap(), [9; 1000]);
    assert_eq!(fs::read(path("a\nb/16384/PG_15_202209061/1")).unwrap(), b"fast");
    assert!(fs::symlink_metadata(path("data")).unwrap().is_symlink());
    let over = plan(&["--delta", &path("data")]);
    for line in [
        &format!("state cluster {SYSTEM}"),
        "laid over",
        "tablespace_how 16384 linked",
        "tablespace_state 16384 kept",
        "wal_how linked",
    ] {
        assert!(over.lines().any(|found| found == line), "{line} is not in\n{over}");
    }
    let output = apply(&["--delta", &path("data")], &stream);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read(path("wal/000000010000000000000001")).unwrap(), [9; 1000]);
    // What will be set aside is in nobody's way; another tablespace's place is.
    let output =
        apply(&["--plan", "--replace", "--tablespaces-under", &path("other"), &path("data")], &stream);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    fs::create_dir(path("other")).unwrap();
    assert!(
        plan(&["--replace", "--tablespaces-under", &path("other"), &path("data")]).contains("\nlaid anew\n")
    );
    let output =
        apply(&["--plan", "--replace", "--tablespaces-under", &path("a\nb"), &path("data")], &stream);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
}

#[test]
fn file_systems_keep_what_is_theirs() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("data");
    fs::create_dir_all(target.join("lost+found/x")).unwrap();
    let whole = good();
    assert_eq!(apply(&[target.to_str().unwrap()], &whole[..whole.len() - 512]).status.code(), Some(5));
    let output = apply(&[target.to_str().unwrap()], &whole);
    assert!(output.status.success(), "{}", said(&output));
    let output = apply(&["--delta", target.to_str().unwrap()], &whole);
    assert!(output.status.success(), "{}", said(&output));
    assert!(target.join("lost+found/x").is_dir() && target.join("global/pg_control").exists());
}

#[test]
fn group_access_comes_back() {
    let scratch = tempfile::tempdir().unwrap();
    let (target, spaces) = (scratch.path().join("data"), scratch.path().join("spaces"));
    fs::create_dir(&spaces).unwrap();
    let mut stream = with_tablespaces();
    // Every header but those of what pgv-snap makes itself.
    for at in (0..stream.len()).step_by(512) {
        let header = &mut stream[at..at + 512];
        let made_up =
            [&b"./\0"[..], b"pgv/", b"recovery", b"backup_manifest", b"global/pg_control", b"pg_wal/0"];
        if &header[257..262] != b"ustar" || made_up.iter().any(|name| header.starts_with(name)) {
            continue;
        }
        header[105] += 4 + u8::from(header[156] == b'5');
        let mut parsed = Header::from_byte_slice(header).clone();
        parsed.set_cksum();
        header.copy_from_slice(parsed.as_bytes());
    }
    let output = apply(&["--tablespaces-under", spaces.to_str().unwrap(), target.to_str().unwrap()], &stream);
    assert!(output.status.success(), "{}", said(&output));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for directory in ["", "base/1", "global", "pg_wal", "pg_tblspc/16384", "pg_tblspc/16384/PG_15_202209061"]
    {
        assert_eq!(mode(&target.join(directory)), 0o750, "{directory}");
    }
    for file in [
        "PG_VERSION",
        "base/1/1259",
        "global/pg_control",
        "backup_manifest",
        "pg_wal/000000010000000000000001",
        // Who copies the directory as one of the group must be able to read all of it.
        "pgv/stream.json",
        "pgv/config/conf.d/x.conf",
    ] {
        assert_eq!(mode(&target.join(file)), 0o640, "{file}");
    }
    assert_eq!(mode(&target.join("pgv/config/conf.d")), 0o750);
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// pgv-apply by a user who is not root.
fn apply_as_somebody(arguments: &[&str], stream: &[u8]) -> Output {
    if !is_root() {
        return apply(arguments, stream);
    }
    let mut child = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_pgv-apply")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _unread = child.stdin.take().unwrap().write_all(stream).is_err();
    child.wait_with_output().unwrap()
}

/// A directory that somebody may enter, wherever the tests run.
fn public() -> tempfile::TempDir {
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    scratch
}

fn give(path: &Path, id: u32) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(id), Some(id)).unwrap();
    }
}

#[test]
fn what_lies_in_the_way_is_set_aside() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let aside = |name: &str, directory: &str| apply(&["--set-aside", name, directory], b"");
    fs::create_dir(path("disk")).unwrap();
    std::os::unix::fs::symlink("disk", path("data")).unwrap();
    for nothing in ["data", "none"] {
        let output = aside("1", &path(nothing));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{}", said(&output));
    }
    assert!(!Path::new(&path("none")).exists());
    fs::write(path("disk/x"), "x").unwrap();
    fs::set_permissions(path("disk"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::create_dir(path("disk.before-1")).unwrap();
    // Through the link, which stays and leads to a new directory of the same mode. The name is taken.
    let output = aside("1", &path("data"));
    assert!(output.status.success(), "{}", said(&output));
    let real = fs::canonicalize(scratch.path()).unwrap();
    assert_eq!(output.stdout, format!("aside {}/disk.before-1-2\n", real.display()).into_bytes());
    assert_eq!(fs::read(path("disk.before-1-2/x")).unwrap(), b"x");
    assert_eq!(fs::read_dir(path("data")).unwrap().count(), 0);
    assert_eq!(fs::metadata(path("data")).unwrap().permissions().mode() & 0o777, 0o750);
    let server = Server::in_directory(Path::new(&path("disk")));
    assert_eq!(aside("3", &path("data")).status.code(), Some(6));
    drop(server);
    fs::remove_file(path("disk/postmaster.pid")).unwrap();
    // An unfinished restore is begun anew, and not kept.
    let whole = good();
    assert_eq!(apply(&[&path("data")], &whole[..whole.len() - 512]).status.code(), Some(5));
    assert_eq!(aside("4", &path("data")).stdout, b"");
    assert!(Path::new(&path("data/pgv/applying")).exists() && !Path::new(&path("disk.before-4")).exists());
}

#[test]
fn where_the_directory_must_keep_its_name_its_content_moves() {
    let scratch = public();
    let (closed, root) = (scratch.path().join("closed"), scratch.path().join("closed/data"));
    let path = root.to_str().unwrap();
    for directory in ["", "global", "base", "lost+found"] {
        fs::create_dir_all(root.join(directory)).unwrap();
        give(&root.join(directory), 65534);
    }
    fs::write(root.join("global/x"), "x").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let output = apply_as_somebody(&["--set-aside", "1", path], b"");
    assert!(output.status.success(), "{}", said(&output));
    let aside = root.join("pgsql_tmp.before-1");
    assert_eq!(
        output.stdout,
        format!("aside {}\n", fs::canonicalize(&aside).unwrap().display()).into_bytes()
    );
    assert!(
        aside.join("global/x").exists() && aside.join("base").exists() && root.join("lost+found").exists()
    );
    let names = || {
        let names =
            fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["lost+found", "pgsql_tmp.before-1"]);
    // Neither a restore nor a second one touches what was set aside.
    let output = apply_as_somebody(&[path], &good());
    assert!(output.status.success(), "{}", said(&output));
    assert!(aside.join("global/x").exists());
    // One that was interrupted goes on under the name that it had.
    fs::create_dir(root.join("pgsql_tmp.before-2.part")).unwrap();
    give(&root.join("pgsql_tmp.before-2.part"), 65534);
    fs::rename(root.join("global"), root.join("pgsql_tmp.before-2.part/global")).unwrap();
    let output = apply_as_somebody(&["--set-aside", "3", path], b"");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(names(), ["lost+found", "pgsql_tmp.before-1", "pgsql_tmp.before-2"]);
    assert!(
        root.join("pgsql_tmp.before-2/global/pg_control").exists()
            && root.join("pgsql_tmp.before-2/base/1").exists()
    );
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A server's key that nobody may write, and a directory: of their owner they may be written all the same. What another user
/// owns is made anew.
#[test]
fn delta_writes_what_may_not_be_written() {
    let scratch = public();
    give(scratch.path(), 65534);
    let root = scratch.path().join("data");
    let path = root.to_str().unwrap();
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777;
    let set =
        |name: &str, mode| fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    let output = apply_as_somebody(&[path], &good());
    assert!(output.status.success(), "{}", said(&output));
    let changed = || fs::write(root.join("base/1/1259"), [6; 30_000]).unwrap();
    changed();
    set("base/1/1259", 0o400);
    set("base/1", 0o500);
    set("base", 0o755);
    let output = apply_as_somebody(&["--delta", path], &good());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read(root.join("base/1/1259")).unwrap(), [5; 20_000]);
    assert_eq!([mode("base/1/1259"), mode("base/1"), mode("base")], [0o600, 0o700, 0o700]);
    // What goes, and where things go.
    fs::create_dir_all(root.join("base/1/sub")).unwrap();
    fs::write(root.join("base/1/sub/file"), "x").unwrap();
    fs::write(root.join("pg_wal/000000010000000000000009"), "x").unwrap();
    for name in ["base/1/sub/file", "base/1/sub", "pg_wal/000000010000000000000009"] {
        give(&root.join(name), 65534);
    }
    for (name, closed) in
        [("base/1/sub", 0), ("pg_wal", 0o500), ("global", 0o500), ("pgv", 0o500), ("base/1", 0)]
    {
        set(name, closed);
    }
    let output = apply_as_somebody(&["--delta", path], &good());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(["base/1", "pg_wal", "global"].map(mode), [0o700; 3]);
    assert!(!root.join("base/1/sub").exists() && !root.join("pg_wal/000000010000000000000009").exists());
    if !is_root() {
        return;
    }
    // Of file systems that are mounted there.
    for place in ["lost+found", "pg_wal/lost+found"] {
        fs::create_dir(root.join(place)).unwrap();
        set(place, 0o700);
    }
    for others in [0o644, 0o666] {
        changed();
        set("base/1/1259", others);
        std::os::unix::fs::chown(root.join("base/1/1259"), Some(0), Some(0)).unwrap();
        let output = apply_as_somebody(&["--delta", path], &good());
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(fs::read(root.join("base/1/1259")).unwrap(), [5; 20_000]);
        assert_eq!(mode("base/1/1259"), 0o600);
    }
    // No server could write it, either.
    std::os::unix::fs::chown(root.join("base/1"), Some(0), Some(0)).unwrap();
    set("base/1", 0o755);
    for plan in [&["--plan"][..], &[]] {
        let delta = [plan, &["--delta", path]].concat();
        let as_root = [&["--owner", "nobody"], &delta[..]].concat();
        for output in [apply_as_somebody(&delta, &good()), apply(&as_root, &good())] {
            assert_eq!(output.status.code(), Some(2), "{}", said(&output));
            assert!(said(&output).contains("base/1 belongs to another user"), "{}", said(&output));
            assert!(root.join("global/pg_control").exists());
        }
    }
}

/// `stream`, sealed, in `directory`; its key lies beside it.
fn seal(directory: &Path, stream: &[u8]) -> Vec<u8> {
    fs::write(directory.join("plain"), stream).unwrap();
    fs::write(directory.join("key"), "a passphrase").unwrap();
    fs::set_permissions(directory.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pgv-crypt"))
        .args(["-e", "-k", "key", "--iter", "1000", "plain"])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    output.stdout
}

/// As after a pipe, nothing can be started before the last byte of the sealed stream and the status of its command.
#[test]
fn a_stream_that_is_opened_here_counts_only_whole() {
    let scratch = tempfile::tempdir().unwrap();
    // Of several records.
    let mut files = body();
    let random = |at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
    files.insert(4, file("base/1/1260", &(0..9 << 20).map(random).collect::<Vec<u8>>()));
    let sealed = seal(scratch.path(), &tar(&members(identity("full", ""), files)));
    let run = |stream: &[u8], key: &str, command: &str, more: &[&str]| {
        fs::write(scratch.path().join("sealed"), stream).unwrap();
        let _was_not_there = fs::remove_dir_all(scratch.path().join("data")).is_err();
        let output = Command::new(env!("CARGO_BIN_EXE_pgv-apply"))
            .args(["--open", "--jobs", "2", "data"])
            .args(more)
            .args(["--", "sh", "-c", command])
            .current_dir(scratch.path())
            .env("PGV_KEY_FILE", key)
            .output()
            .unwrap();
        let started = scratch.path().join("data/global/pg_control").exists();
        assert_eq!(started, output.status.success() && !more.contains(&"--plan"), "{}", said(&output));
        (output.status.code(), said(&output))
    };
    let get = "exec cat sealed";
    assert_eq!(run(&sealed, "key", get, &[]).0, Some(0));
    assert_eq!(fs::metadata(scratch.path().join("data/base/1/1260")).unwrap().len(), 9 << 20);
    assert_eq!(run(&sealed, "other:key", get, &[]).0, Some(2), "a key that is not there");
    fs::write(scratch.path().join("other"), "another").unwrap();
    fs::set_permissions(scratch.path().join("other"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(&sealed, "other:key", get, &[]).0, Some(0));
    let (status, text) = run(&sealed, "other", get, &[]);
    assert!(status == Some(4) && text.contains("tried other (a passphrase)"), "{status:?}: {text}");
    let (status, text) = run(&sealed, "", get, &[]);
    assert!(status == Some(2) && text.contains("PGV_KEY_FILE is not set"), "{status:?}: {text}");
    fs::set_permissions(scratch.path().join("other"), fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(run(&sealed, "other:key", get, &[]).0, Some(2), "a key that everyone may read");
    assert_eq!(run(&sealed, "other:key", get, &["--key-world-readable"]).0, Some(0));

    for at in [0, 60, 140, 150, 200, 5000, sealed.len() / 2, sealed.len() - 100, sealed.len() - 1] {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        let (status, text) = run(&damaged, "key", get, &[]);
        assert!(matches!(status, Some(4 | 5)), "a byte at {at}: {status:?}: {text}");
        let (status, text) = run(&sealed[..at], "key", get, &[]);
        assert_eq!(status, Some(5), "cut at {at}: {text}");
    }
    assert_eq!(run(&[&sealed[..], b"x"].concat(), "key", get, &[]).0, Some(5), "a byte more");
    for code in [1, 3, 4, 75] {
        let command = format!("cat sealed; exit {code}");
        assert_eq!(run(&sealed, "key", &command, &[]).0, Some(code));
        assert_eq!(run(b"", "key", &command, &[]).0, Some(code));
    }
    assert_eq!(run(&sealed, "key", "cat sealed; exit 7", &[]).0, Some(0));
    // What is damaged is known before a command that stalls goes on.
    let begun = std::time::Instant::now();
    let mut damaged = sealed.clone();
    damaged[sealed.len() / 2] ^= 1;
    let (status, text) = run(&damaged, "key", "cat sealed; exec sleep 600", &[]);
    assert!(status == Some(5) && text.contains("a record's body was altered"), "{status:?}: {text}");
    // It needs no more than the head, and ends what would give it the rest.
    let (status, text) = run(&sealed, "key", "cat sealed; exec sleep 600", &["--plan"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(begun.elapsed().as_secs() < 300, "a command went on");
}

/// As many threads as a limit leaves: it works with fewer, or says so, and waits for none that could not be begun.
#[test]
fn threads_that_cannot_be_had_are_an_error() {
    if !is_root() {
        return;
    }
    const USER: u32 = 65_111;
    let scratch = public();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("sealed"), seal(scratch.path(), &good())).unwrap();
    give(&scratch.path().join("key"), USER);
    let mut ends = std::collections::BTreeSet::new();
    let mut last = String::new();
    // Threads that have just ended may count for a while.
    for limit in (1..12).chain([20, 200]) {
        for work in [
            "pgv-apply --check-only --open --jobs 3 -- cat \"$0\"",
            "pgv-crypt -d --jobs 3 <\"$0\"",
            "pgv-crypt -e --jobs 3 <\"$0\"",
        ] {
            let (tool, words) = work.split_once(' ').unwrap();
            let program = if tool == "pgv-apply" {
                env!("CARGO_BIN_EXE_pgv-apply")
            } else {
                env!("CARGO_BIN_EXE_pgv-crypt")
            };
            let output = Command::new("timeout")
                .args([
                    "60",
                    "setpriv",
                    &format!("--reuid={USER}"),
                    "--regid=65534",
                    "--clear-groups",
                    "bash",
                    "-c",
                ])
                .arg(format!("ulimit -u {limit}; exec {program} {words} >/dev/null"))
                .arg(path("sealed"))
                .env("PGV_KEY_FILE", path("key"))
                .output()
                .unwrap();
            let (status, text) = (output.status.code(), said(&output));
            assert!(matches!(status, Some(0 | 1 | 75)), "{limit} {work}: {status:?}: {text}");
            assert!(!text.contains("panicked") && !text.contains("fault of pgv"), "{limit} {work}: {text}");
            ends.insert(status);
            last = text;
        }
    }
    assert!(ends.contains(&Some(0)) && ends.len() > 1, "{ends:?}: {last}");
}

/// Once it is the owner, root's command may not be ended by a signal: it ends because nobody reads it.
#[test]
fn root_does_not_wait_for_a_command_that_it_may_not_end() {
    if !is_root() {
        return;
    }
    let scratch = public();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let whole = good();
    fs::write(path("cut"), &whole[..whole.len() - 12_000]).unwrap();
    // The end of it is damaged.
    let mut sealed = seal(scratch.path(), &whole);
    let end = sealed.len() - 20;
    sealed[end] ^= 1;
    fs::write(path("cut.pgv"), sealed).unwrap();
    for (name, open) in [("cut", &[][..]), ("cut.pgv", &["--open"])] {
        let output = Command::new("timeout")
            .args(["60", env!("CARGO_BIN_EXE_pgv-apply"), "--owner", "nobody", &path("data")])
            .args(open)
            .args(["--", "sh", "-c", "cat \"$0\"; exec cat /dev/zero", &path(name)])
            .env("PGV_KEY_FILE", path("key"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    }
}

/// A directory that another user may write can hold links to anywhere; root follows none of them.
#[test]
fn root_works_as_the_owner() {
    if !is_root() {
        return;
    }
    let scratch = public();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let owner = |name: &str| std::os::unix::fs::MetadataExt::uid(&fs::symlink_metadata(path(name)).unwrap());
    let precious = || assert_eq!(fs::read(path("precious/file")).unwrap(), b"precious");
    fs::create_dir(path("precious")).unwrap();
    fs::write(path("precious/file"), "precious").unwrap();
    fs::set_permissions(path("precious"), fs::Permissions::from_mode(0o700)).unwrap();
    let nobody = ["--owner", "nobody"];
    let whole = good();
    // A new directory, where only root may make it; all in it is the owner's.
    let output = apply(&[&nobody[..], &[&path("data")]].concat(), &whole);
    assert!(output.status.success(), "{}", said(&output));
    for name in ["data", "data/base/1/1259", "data/pgv/stream.json", "data/global/pg_control"] {
        assert_eq!(owner(name), 65534, "{name}");
    }
    // What an interrupted run is believed to have left: its mark, its directories, its links.
    for (name, link) in
        [("a", "pgv"), ("b", "pgv/applying"), ("c", "pg_tblspc"), ("d", "pg_wal"), ("e", "global")]
    {
        fs::create_dir_all(path(&format!("{name}/pgv"))).unwrap();
        if !link.starts_with("pgv") {
            fs::write(path(&format!("{name}/pgv/applying")), "").unwrap();
        }
        let planted = path(&format!("{name}/{link}"));
        if link == "pgv" {
            fs::remove_dir(&planted).unwrap();
        }
        let to = if link == "pgv/applying" { path("precious/file") } else { path("precious") };
        std::os::unix::fs::symlink(to, planted).unwrap();
        give(&scratch.path().join(name), 65534);
        if link != "pgv" {
            give(&scratch.path().join(name).join("pgv"), 65534);
        }
        for more in [&[][..], &["--hold"], &["--delta"], &["--commit"]] {
            let user = if more == ["--commit"] { &[][..] } else { &nobody[..] };
            let output = apply(&[user, more, &[&path(name)]].concat(), &whole);
            assert!(output.status.code().is_some_and(|code| code < 8), "{}", said(&output));
            precious();
            assert_eq!((owner("precious"), owner("precious/file")), (0, 0), "{name} {more:?}");
            assert_eq!(fs::read_dir(path("precious")).unwrap().count(), 1, "{name} {more:?}");
        }
    }
    // A way that another user could turn elsewhere, at the last moment: root makes nothing there.
    fs::create_dir(path("home")).unwrap();
    give(&scratch.path().join("home"), 65534);
    fs::create_dir(path("home/real")).unwrap();
    std::os::unix::fs::symlink(path("precious"), path("home/link")).unwrap();
    for (directory, status, hint) in [
        ("home/link/data", 1, "user nobody must be able to read"),
        ("home/real/data", 2, "install --directory --owner=nobody"),
    ] {
        let output = apply(&[&nobody[..], &[&path(directory)]].concat(), &whole);
        assert_eq!(output.status.code(), Some(status), "{}", said(&output));
        assert!(said(&output).contains(hint), "{}", said(&output));
        let plan = apply(&[&["--plan"], &nobody[..], &[&path(directory)]].concat(), &whole);
        assert_eq!((plan.status.code(), said(&plan)), (output.status.code(), said(&output)));
    }
    assert!(!Path::new(&path("precious/data")).exists());
    let output = apply(&[&nobody[..], &[&path("home/data")]].concat(), &whole);
    assert!(output.status.success(), "{}", said(&output));
}

/// A name in a directory, and its content, if it is a file.
type Left = (&'static str, Option<&'static [u8]>);

/// Whatever a run was killed at, what it leaves is known as unfinished, and the same command ends well.
#[test]
fn every_failed_run_can_be_given_again() {
    let scratch = tempfile::tempdir().unwrap();
    let under = scratch.path().join("spaces");
    fs::create_dir(&under).unwrap();
    let root = scratch.path().join("data");
    let wal = scratch.path().join("wal");
    let (path, under, wal) = (root.to_str().unwrap(), under.to_str().unwrap(), wal.to_str().unwrap());
    let stream = with_tablespaces();
    let options = ["--tablespaces-under", under, "--waldir", wal, path];
    let clean = || {
        for directory in [path, wal, &format!("{under}/16384")] {
            let _was_not_there = fs::remove_dir_all(directory).is_err();
        }
    };
    let applying: Left = ("pgv/applying", Some(b""));
    let left: [&[Left]; 8] = [
        &[],
        &[("pgv", None)],
        &[("pgv", None), ("lost+found", None)],
        &[("pgv", None), applying],
        &[("pgv", None), applying, ("pgv/stream.json", Some(b""))],
        &[("pgv", None), applying, ("pgv/stream.json", Some(b"{\"format"))],
        &[("pgv", None), applying, ("base", None), ("base/1", Some(b"x"))],
        &[("pgv", None), ("pgv/held", Some(b"")), ("global", None)],
    ];
    for state in left {
        for more in [&[][..], &["--delta"], &["--hold"]] {
            clean();
            fs::create_dir(path).unwrap();
            for (name, content) in state {
                match content {
                    None => fs::create_dir(root.join(name)).unwrap(),
                    Some(content) => fs::write(root.join(name), content).unwrap(),
                }
            }
            let output = apply(&[more, &options].concat(), &stream);
            assert!(output.status.success(), "{state:?} {more:?}: {}", said(&output));
            assert_eq!(fs::read(root.join("base/1/1259")).unwrap(), [5; 20_000]);
            assert!(root.join("pg_wal").is_symlink() && root.join("pg_tblspc/16384").is_symlink());
        }
    }
    // Cut anywhere, by a stage before it.
    clean();
    for cut in (0..stream.len()).step_by(2048) {
        let output = apply(&options, &stream[..cut]);
        assert_eq!(output.status.code(), Some(5), "cut at {cut}: {}", said(&output));
    }
    assert!(apply(&options, &stream).status.success());
    // A cluster over which --delta was interrupted at once is still known by its mark.
    fs::rename(root.join("global/pg_control"), root.join("pgv/applying")).unwrap();
    fs::remove_file(root.join("pgv/stream.json")).unwrap();
    let output = apply(&["--delta", path], &stream);
    assert!(output.status.success(), "{}", said(&output));
}

/// Runs a script with mounts of its own, which go with it; `None` where nobody may mount.
fn with_mounts(script: &str, stream: &[u8]) -> Option<Output> {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("stream");
    fs::write(&file, stream).unwrap();
    let user: &[&str] = if is_root() { &["--mount"] } else { &["--mount", "--user", "--map-root-user"] };
    let unshare = |arguments: &[&str]| Command::new("unshare").args(user).args(arguments).output();
    let may = unshare(&["mount", "-t", "tmpfs", "tmpfs", scratch.path().to_str().unwrap()]);
    if !may.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let script = format!("set -eu; apply=$1 stream=$2 mount=$3; {script}");
    let mount = scratch.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let paths = [env!("CARGO_BIN_EXE_pgv-apply"), file.to_str().unwrap(), mount.to_str().unwrap()];
    Some(unshare(&[&["bash", "-c", &script, "bash"], &paths[..]].concat()).unwrap())
}

/// No room for one more name, and none for one more page, after each step in turn.
#[test]
fn a_full_disk_at_every_step_leaves_what_can_be_given_again() {
    let script = r#"
        for full in nr_inodes={2..14} size={4..44..4}k; do
          mount -t tmpfs -o "size=1m,nr_inodes=100,$full" tmpfs "$mount"
          status=0; "$apply" --owner root "$mount/d" <"$stream" 2>/dev/null || status=$?
          [ "$status" -eq 1 ] || { echo "$full: $status"; exit 1; }
          [ ! -e "$mount/d/global/pg_control" ] || { echo "$full: it can be started"; exit 1; }
          mount --options-mode ignore -o remount,size=1m,nr_inodes=100 "$mount"
          "$apply" --owner root "$mount/d" <"$stream"
          umount "$mount"
        done"#;
    if let Some(output) = with_mounts(script, &good()) {
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), said(&output));
    }
}

#[test]
fn a_mount_point_is_replaced_by_its_content() {
    let script = r#"
        mount -t tmpfs tmpfs "$mount"; mkdir "$mount/lost+found" "$mount/base"; echo x >"$mount/base/x"
        ln -s mount "${mount%/*}/link"
        plan() { "$apply" --plan --owner root "$@" <"$stream"; }
        ! plan "$mount" 2>/dev/null || exit 1
        [ "$(plan --replace "${mount%/*}/link" | grep --count --line-regexp 'mount_point yes\|set_aside content')" -eq 2 ] || exit 2
        told=$("$apply" --set-aside 7 "${mount%/*}/link")
        [ "$told" = "aside $mount/pgsql_tmp.before-7" ] || { echo "$told"; exit 3; }
        [ "$(cat "$mount/pgsql_tmp.before-7/base/x")" = x ] || exit 4
        "$apply" --owner root "$mount" <"$stream"
        [ -e "$mount/global/pg_control" ] && [ -e "$mount/lost+found" ] && [ -e "$mount/pgsql_tmp.before-7/base/x" ]"#;
    if let Some(output) = with_mounts(script, &good()) {
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), said(&output));
    }
}
