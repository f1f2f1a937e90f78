//! The service itself: what counts requests for others must be one that pgv-s3 finds nothing wrong with.

use crate::objects::{Entry, Objects, Wanted};
use crate::repository::Sizes;
use crate::requests::{run, status, stderr, store};
use crate::server::Server;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use time::OffsetDateTime;

#[test]
fn the_service_can_do_what_a_backup_needs() {
    let server = Server::start(Arc::new(RwLock::new(Objects::default())), 0, Duration::ZERO);
    let check = store(&server, &["check", "s3://scale/check/"]);
    assert_eq!(status(&check), 0, "{}{}", String::from_utf8_lossy(&check.stdout), stderr(&check));
    assert!(String::from_utf8_lossy(&check.stdout).contains("by a condition: of two writers"));
    let odd = ["x y", "x+y", "x%20y", "ü&<>\"'", "d/x", "e"];
    let urls: Vec<String> = odd.iter().map(|name| format!("s3://scale/odd/{name}")).collect();
    for url in &urls {
        assert_eq!(status(&store(&server, &["put", url, "Cargo.toml"])), 0, "{url}");
        assert_eq!(store(&server, &["get", url]).stdout, std::fs::read("Cargo.toml").unwrap(), "{url}");
    }
    let list = |arguments: &[&str]| {
        let listed = store(&server, &[&["ls"], arguments, &["s3://scale/odd/"]].concat());
        assert_eq!(status(&listed), 0, "{}", stderr(&listed));
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut sorted = urls.clone();
    sorted.sort();
    assert_eq!(list(&["--recursive"]), sorted);
    assert_eq!(list(&[])[0], "s3://scale/odd/d/");
    assert_eq!(list(&["--after", "e"]), sorted[2..]);
    assert_eq!(status(&store(&server, &["get", "s3://scale/odd/none"])), 3);
    assert_eq!(status(&store(&server, &["rm", "--recursive", "s3://scale/odd/"])), 0);
    assert!(list(&["--recursive"]).is_empty());
}

/// Whatever the size of a page, and where it ends.
#[test]
fn pages_have_each_entry_once() {
    let mut objects = Objects::default();
    for key in ["a", "a/b", "a/b/c", "a/c", "a0", "b", "c/a", "c/b", "d"] {
        objects.add(key.to_owned(), b"", OffsetDateTime::UNIX_EPOCH);
    }
    let all = |prefix: &str, delimiter: Option<&str>, most: usize, after: Option<&str>| {
        let (mut found, mut after) = (Vec::new(), after.map(str::to_owned));
        loop {
            let wanted = Wanted { prefix, delimiter, after: after.clone(), most };
            let page = objects.page(&wanted);
            assert!(page.entries.len() <= most);
            found.extend(page.entries.iter().map(|entry| match entry {
                Entry::Object(key, _) => (*key).to_owned(),
                Entry::Below(prefix) => (*prefix).to_owned(),
            }));
            after = page.next;
            if after.is_none() {
                return found.join(" ");
            }
        }
    };
    for most in 1..10 {
        assert_eq!(all("", None, most, None), "a a/b a/b/c a/c a0 b c/a c/b d", "{most}");
        assert_eq!(all("", Some("/"), most, None), "a a/ a0 b c/ d", "{most}");
        assert_eq!(all("a/", Some("/"), most, None), "a/b a/b/ a/c", "{most}");
        assert_eq!(all("", None, most, Some("a/c")), "a0 b c/a c/b d", "{most}");
        assert_eq!(all("c/", None, most, Some("b")), "c/a c/b", "{most}");
        assert_eq!(all("x", None, most, None), "", "{most}");
    }
}

/// Every record is one that pgv-info believes, and the chains are chains.
#[test]
fn the_repository_is_one_of_pgv() {
    let mut sizes = Sizes::new(25, 250);
    sizes.verdicts = 5;
    let server = Server::start(Arc::new(RwLock::new(sizes.build())), 0, Duration::ZERO);
    let listed = run(&server, &["--format", "label"]);
    assert_eq!(status(&listed), 0, "{}", stderr(&listed));
    let labels: Vec<String> = (0..25).map(|backup| sizes.label(backup)).collect();
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().collect::<Vec<_>>(), labels);
    let chain = run(&server, &["choose", "15-main"]);
    let urls: Vec<String> = (20..25).map(|backup| format!("s3://scale/{}", sizes.set(backup))).collect();
    assert_eq!(String::from_utf8(chain.stdout).unwrap().lines().collect::<Vec<_>>(), urls);
    let recovery = run(&server, &["recovery", "15-main", "--label", &labels[3]]);
    assert_eq!(status(&recovery), 0, "{}", stderr(&recovery));
    let wal = run(&server, &["wal", "15-main"]);
    assert_eq!(status(&wal), 0, "a gap: {}", stderr(&wal));
}
