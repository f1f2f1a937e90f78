//! pgv-s3 on a directory, by its command line.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::io::Write;
use std::process::{Command, Output, Stdio};

struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        Repository(tempfile::tempdir().unwrap())
    }

    fn url(&self, name: &str) -> String {
        format!("file://{}/{name}", self.0.path().display())
    }

    /// Every file below it, whatever its name.
    fn files(&self) -> usize {
        let found = Command::new("find").arg(self.0.path()).args(["-type", "f"]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().lines().count()
    }
}

fn s3(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgv-s3"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A refusal does not read its input.
    let _unread = stdin.write_all(input).is_err();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The one object below `directory` is in a directory of its own.
fn lists_behind_a_name(s3: impl Fn(&[&str]) -> Output, directory: &str, url: &str) {
    let behind = |name: &str| lines(&s3(&["ls", "--after", name, directory])).len();
    assert_eq!([behind(""), behind("a"), behind("b c"), behind("b c/"), behind("c")], [1, 1, 1, 0, 0]);
    let all = s3(&["ls", "--recursive", "--after", "b c/ü", directory]);
    assert_eq!(lines(&all), [url]);
}

#[test]
fn put_get_stat_ls_rm() {
    let repository = Repository::new();
    let url = repository.url("a/b c/ü+%.pgv");
    let put = s3(&["put", "--json", &url], b"hello");
    assert_eq!(code(&put), 0);
    let json: serde_json::Value = serde_json::from_slice(&put.stdout).unwrap();
    assert_eq!(json["bytes"], 5);
    assert_eq!(json["sha256"], "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_eq!(s3(&["get", &url], b"").stdout, b"hello");
    assert!(String::from_utf8(s3(&["stat", "--json", &url], b"").stdout).unwrap().contains("\"bytes\":5"));
    assert_eq!(lines(&s3(&["ls", &repository.url("a/")], b"")), [repository.url("a/b c/")]);
    assert_eq!(lines(&s3(&["ls", "--recursive", &repository.url("")], b"")), [url.as_str()]);
    lists_behind_a_name(|arguments| s3(arguments, b""), &repository.url("a/"), &url);
    assert_eq!(code(&s3(&["rm", &url], b"")), 0);
    assert_eq!(code(&s3(&["get", &url], b"")), 3);
    assert_eq!(code(&s3(&["rm", &url], b"")), 3);
}

#[test]
fn put_never_replaces_unless_told() {
    let repository = Repository::new();
    let url = repository.url("x");
    assert_eq!(code(&s3(&["put", &url], b"one")), 0);
    assert_eq!(code(&s3(&["put", &url], b"two")), 6);
    assert_eq!(s3(&["get", &url], b"").stdout, b"one");
    assert_eq!(code(&s3(&["put", "--replace", &url], b"two")), 0);
    assert_eq!(s3(&["get", &url], b"").stdout, b"two");
    assert_eq!(repository.files(), 1);
}

#[test]
fn nothing_goes_where_a_disk_is_not_mounted() {
    let repository = Repository::new();
    let (tree, url) = (repository.url("c/1/"), repository.url("c/1/wal/x"));
    assert_eq!(code(&s3(&["put", "--inside", &tree, &url], b"x")), 1);
    assert_eq!(std::fs::read_dir(repository.0.path()).unwrap().count(), 0);
    std::fs::create_dir_all(repository.0.path().join("c/1")).unwrap();
    assert_eq!(code(&s3(&["put", "--inside", &tree, &url], b"x")), 0);
    assert_eq!(s3(&["get", &url], b"").stdout, b"x");
}

#[test]
fn a_command_decides_by_its_status() {
    let repository = Repository::new();
    for (script, expected, stored) in [
        ("echo x", 0, true),
        ("echo x; exit 7", 7, true),
        ("echo x; exit 5", 5, false),
        ("echo x; kill -9 $$", 1, false),
    ] {
        let url = repository.url("x");
        let put = s3(&["put", &url, "--", "sh", "-c", script], b"");
        assert_eq!(code(&put), expected, "{script}: {}", String::from_utf8_lossy(&put.stderr));
        assert_eq!(repository.files(), usize::from(stored), "{script}");
        if stored {
            assert_eq!(code(&s3(&["rm", &url], b"")), 0);
        }
    }
    assert_eq!(code(&s3(&["put", &repository.url("y"), "--", "/no/such/command"], b"")), 1);
    assert_eq!(repository.files(), 0);
}

#[test]
fn recursive_never_crosses_a_name() {
    let repository = Repository::new();
    for name in ["20261123-010000F/a", "20261123-010000F/b", "20261123-010000F_20261124-010000I/a"] {
        assert_eq!(code(&s3(&["put", &repository.url(name)], b"x")), 0);
    }
    let full = repository.url("20261123-010000F/");
    assert_eq!(lines(&s3(&["rm", "--recursive", "--dry-run", &full], b"")).len(), 2);
    assert_eq!(repository.files(), 3, "a dry run removes nothing");
    assert_eq!(code(&s3(&["rm", "--recursive", full.trim_end_matches('/')], b"")), 2);
    assert_eq!(code(&s3(&["rm", &full], b"")), 2);
    assert_eq!(code(&s3(&["rm", "--recursive", &full], b"")), 0);
    assert_eq!(repository.files(), 1);
}

#[test]
fn temporary_files_are_not_objects() {
    let repository = Repository::new();
    std::fs::write(repository.0.path().join(".pgv-tmp-0123"), "x").unwrap();
    assert!(lines(&s3(&["ls", "--recursive", &repository.url("")], b"")).is_empty());
}

#[test]
fn names_are_removed_from_stdin() {
    let repository = Repository::new();
    let (one, two) = (repository.url("1"), repository.url("2"));
    for url in [&one, &two] {
        assert_eq!(code(&s3(&["put", url], b"x")), 0);
    }
    assert_eq!(code(&s3(&["rm", "-"], format!("{one}\n{two}\n").as_bytes())), 0);
    assert_eq!(repository.files(), 0);
}

#[test]
fn a_full_disk_and_a_stopped_reader_are_errors() {
    let repository = Repository::new();
    let url = repository.url("x");
    assert_eq!(code(&s3(&["put", &url], &[7; 100_000])), 0);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_pgv-s3"))
        .args(["get", &url])
        .stdout(full)
        .stderr(Stdio::null())
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
    let script = "\"$1\" get \"$2\" | true; exit \"${PIPESTATUS[0]}\"";
    let big = s3(&["put", "--replace", &url], &vec![7; 8 << 20]);
    assert_eq!(code(&big), 0);
    let stopped = Command::new("bash")
        .args(["-c", script, "bash", env!("CARGO_BIN_EXE_pgv-s3"), &url])
        .output()
        .unwrap();
    assert_eq!(stopped.status.code(), Some(128 + 13), "it dies of SIGPIPE");
    assert!(stopped.stderr.is_empty(), "a reader that has enough is no error");
}

#[test]
fn wrong_urls_are_usage_errors() {
    for url in ["/a/b", "file://relative", "file:///a/../b", "http://a/b", "file:///a/"] {
        assert_eq!(code(&s3(&["get", url], b"")), 2, "{url}");
    }
}

#[test]
fn ranges_have_both_ends_in_them() {
    let repository = Repository::new();
    let url = repository.url("x");
    assert_eq!(code(&s3(&["put", &url], b"0123456789")), 0);
    for (range, expected) in
        [("0-0", "0"), ("3-5", "345"), ("8-", "89"), ("8-99", "89"), ("0-", "0123456789")]
    {
        assert_eq!(s3(&["get", "--range", range, &url], b"").stdout, expected.as_bytes(), "{range}");
    }
    assert_eq!(code(&s3(&["get", "--range", "10-", &url], b"")), 1);
    for wrong in ["5-4", "5", "-5", "a-b", ""] {
        assert_eq!(code(&s3(&["get", "--range", wrong, &url], b"")), 2, "{wrong}");
    }
}

#[test]
fn what_a_killed_put_leaves_is_removed_when_it_is_old() {
    let repository = Repository::new();
    std::fs::write(repository.0.path().join(".pgv-tmp-0123"), "x").unwrap();
    assert_eq!(code(&s3(&["put", &repository.url("a/x")], b"x")), 0);
    let directory = repository.url("");
    assert_eq!(code(&s3(&["rm", "--uploads", "--older-than", "1h", &directory], b"")), 0);
    assert_eq!(repository.files(), 2, "a young one may be alive");
    let found = s3(&["rm", "--uploads", "--dry-run", &directory], b"");
    assert_eq!(lines(&found), [repository.url(".pgv-tmp-0123")]);
    assert_eq!(code(&s3(&["rm", "--uploads", &directory], b"")), 0);
    assert_eq!(repository.files(), 1);
    assert_eq!(s3(&["get", &repository.url("a/x")], b"").stdout, b"x");
}

/// A put that is killed between its directory and its file leaves the former.
#[test]
fn directories_that_stayed_empty_are_left_too() {
    use std::os::unix::fs::DirBuilderExt;
    let repository = Repository::new();
    let root = repository.0.path();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join("c/backup/empty")).unwrap();
    std::fs::create_dir(root.join("mine")).unwrap();
    assert_eq!(code(&s3(&["put", &repository.url("c/backup/full/x")], b"x")), 0);
    let directory = repository.url("");
    let swept = |more: &[&str]| {
        let output = s3(&[&["rm", "--uploads"], more, &[directory.as_str()]].concat(), b"");
        assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
        lines(&output)
    };
    assert!(swept(&["--older-than", "1h", "--dry-run"]).is_empty());
    assert_eq!(swept(&["--dry-run"]), [repository.url("c/backup/empty/")]);
    swept(&[]);
    assert!(!root.join("c/backup/empty").exists() && root.join("mine").is_dir());
    assert_eq!(s3(&["get", &repository.url("c/backup/full/x")], b"").stdout, b"x");
}

/// Part of a repository may be on another disk; a link to where none is mounted is not an empty directory.
#[test]
fn linked_directories_are_listed_and_links_to_nowhere_are_errors() {
    let repository = Repository::new();
    let root = repository.0.path();
    std::fs::create_dir(root.join("disk")).unwrap();
    std::fs::create_dir(root.join("c")).unwrap();
    std::os::unix::fs::symlink("../disk", root.join("c/wal")).unwrap();
    assert_eq!(code(&s3(&["put", &repository.url("c/wal/x")], b"x")), 0);
    let ls = |name: &str| s3(&["ls", "--recursive", &repository.url(name)], b"");
    assert_eq!(lines(&ls("c/")), [repository.url("c/wal/x")]);
    assert_eq!(lines(&s3(&["ls", &repository.url("c/")], b"")), [repository.url("c/wal/")]);
    std::fs::rename(root.join("disk"), root.join("unmounted")).unwrap();
    assert_eq!((code(&ls("c/")), lines(&ls("c/")).len()), (1, 0));
    // What is no directory cannot be listed, and is not an empty one.
    assert_eq!(code(&ls("unmounted/x/")), 1);
    assert_eq!((code(&ls("unmounted/nothing/")), lines(&ls("unmounted/nothing/")).len()), (0, 0));
}

#[test]
fn rm_leaves_the_repository_where_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let repository = Repository::new();
    let root = repository.0.path();
    let url = repository.url("1/2/3/4/x");
    assert_eq!(code(&s3(&["put", &url], b"x")), 0);
    assert_eq!(code(&s3(&["rm", &url], b"")), 0);
    assert!(root.join("1").is_dir() && !root.join("1/2").exists(), "three levels");
    // A directory with another mode was not made by pgv.
    std::fs::create_dir(root.join("mine")).unwrap();
    std::fs::set_permissions(root.join("mine"), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(code(&s3(&["put", &repository.url("mine/x")], b"x")), 0);
    assert_eq!(code(&s3(&["rm", &repository.url("mine/x")], b"")), 0);
    assert!(root.join("mine").is_dir());
    // One that is not there does not keep the others.
    assert_eq!(code(&s3(&["put", &repository.url("y")], b"x")), 0);
    assert_eq!(code(&s3(&["rm", &repository.url("x"), &repository.url("y")], b"")), 3);
    assert_eq!(repository.files(), 0);
}

#[test]
fn other_tools_read_whole_objects_of_a_stated_size() {
    use pgv::cli::StoreOptions;
    use pgv::error::Kind;
    use pgv::store::{Store, Url};
    let repository = Repository::new();
    assert_eq!(code(&s3(&["put", &repository.url("x")], b"hello")), 0);
    let url = Url::parse(&repository.url("x")).unwrap();
    let store = Store::open(&url, &StoreOptions::default()).unwrap();
    assert_eq!(store.read(&url, 5).unwrap(), b"hello");
    assert_eq!(store.read(&url, 4).unwrap_err().kind, Kind::Damaged);
    let absent = Url::parse(&repository.url("y")).unwrap();
    assert_eq!(store.read(&absent, 5).unwrap_err().kind, Kind::NotFound);
}

#[test]
fn a_batch_stores_files_under_their_names() {
    let repository = Repository::new();
    let from = tempfile::tempdir().unwrap();
    let mut list = String::new();
    for number in 0..30 {
        let path = from.path().join(format!("f{number:02}"));
        std::fs::write(&path, vec![number; 1000 * usize::from(number)]).unwrap();
        list += &format!("{}\n", path.display());
    }
    let url = repository.url("wal/");
    let urls: Vec<_> = (0..30).map(|number| repository.url(&format!("wal/f{number:02}"))).collect();
    let put = |list: &str| s3(&["put", "--batch", "--jobs", "5", &url], list.as_bytes());
    let sorted = |output: &Output| {
        let mut lines = lines(output);
        lines.sort_unstable();
        lines
    };
    // One is there already: all others are stored, and the status says so.
    assert_eq!(code(&s3(&["put", &urls[7]], b"other")), 0);
    let output = put(&list);
    assert_eq!(code(&output), 6);
    assert_eq!(sorted(&output), [&urls[..7], &urls[8..]].concat());
    assert_eq!(s3(&["get", &urls[7]], b"").stdout, b"other");
    assert_eq!(s3(&["get", &urls[29]], b"").stdout, vec![29; 29_000]);
    // What cannot be read ends it; what is printed is stored.
    assert_eq!(code(&put(&format!("{}/none\n", from.path().display()))), 1);
    assert_eq!(code(&put("")), 0);
    assert_eq!(code(&put("/\n")), 2);
    assert_eq!(code(&s3(&["put", "--batch", &repository.url("x")], b"")), 2);
    assert_eq!(repository.files(), 30);
}

#[test]
fn objects_are_waited_for_in_order() {
    let repository = Repository::new();
    let urls = ["a", "b", "c"].map(|name| repository.url(name));
    let list = urls.iter().fold(String::new(), |text, url| text + url + "\n");
    assert_eq!(code(&s3(&["put", "--read-back", &urls[0]], b"one")), 0);
    let output = s3(&["stat", "--wait", "1s", "-"], list.as_bytes());
    assert_eq!((code(&output), lines(&output).len()), (3, 1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&urls[1]));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(300));
            urls[1..].iter().for_each(|url| assert_eq!(code(&s3(&["put", url], b"later")), 0));
        });
        let output = s3(&["stat", "--wait", "60s", "-"], list.as_bytes());
        assert_eq!((code(&output), lines(&output).len()), (0, 3));
    });
    assert_eq!(code(&s3(&["stat", "-"], b"")), 0);
}

/// A producer that never ends, and one that ends in time.
#[test]
fn it_gives_up_in_time_and_leaves_nothing() {
    let repository = Repository::new();
    let put = |seconds: &str, command: &str| {
        s3(&["--within", seconds, "put", &repository.url("x"), "--", "sh", "-c", command], b"")
    };
    let late = put("1s", "echo begun; exec sleep 3");
    assert!(String::from_utf8_lossy(&late.stderr).contains("not done within 1 s"));
    assert_eq!((code(&late), repository.files()), (75, 0));
    assert_eq!(code(&put("60s", "echo done")), 0);
}

#[test]
fn every_operation_of_a_backup_is_tried() {
    let repository = Repository::new();
    let output = s3(&["check", &repository.url("")], b"");
    assert_eq!(code(&output), 0);
    assert!(lines(&output).len() >= 10 && lines(&output).iter().all(|line| line.starts_with("ok   ")));
    assert_eq!(repository.files(), 0, "its objects stay");
    let output = s3(&["check", "file:///dev/null/x"], b"");
    assert_eq!(code(&output), 7);
    assert_eq!(lines(&output)[1], "     nothing can be backed up");
}
