//! The walls between the rooms of the source tree: who may import whom, and where the big libraries may
//! be named. A wall that is not tested is a comment.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::fs;
use std::path::{Path, PathBuf};

const ROOMS: [&str; 6] = ["snap", "apply", "crypt", "store", "info", "recover"];
/// What rooms may use, and must not use rooms themselves.
const FLOORS: [&str; 7] = ["pg", "manifest", "catalog", "cli", "io", "report", "error"];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
    found
}

/// Below src, and its lines that are no comments.
fn files() -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned);
        (name, code.collect())
    };
    sources(&root).into_iter().map(read).collect()
}

fn room_of(name: &str) -> &str {
    name.split(['/', '.']).next().unwrap()
}

#[test]
fn rooms_do_not_import_each_other() {
    let mut seen = 0;
    for (name, lines) in files() {
        let room = room_of(&name);
        let inside = ROOMS.contains(&room) || FLOORS.contains(&room);
        for other in ROOMS.iter().filter(|other| inside && **other != room) {
            if room == "info" && *other == "store" {
                continue;
            }
            seen += 1;
            let import = format!("crate::{other}");
            let found = lines.iter().find(|line| line.contains(&import));
            assert!(found.is_none(), "{name} uses {other}: {}", found.unwrap());
        }
    }
    assert!(seen > 100, "the tree moved: only {seen} walls were looked at");
}

#[test]
fn libraries_are_named_in_one_place() {
    let walls: [(&[&str], &[&str]); 4] = [
        (&["tokio::", "aws_"], &["store/s3/"]),
        (&["aes::", "cbc::", "pbkdf2::", "hmac::"], &["crypt/"]),
        (&["tar::", "walkdir::"], &["snap/", "apply/"]),
        (&["clap::"], &["cli/", "bin/"]),
    ];
    let files = files();
    for (libraries, homes) in walls {
        let mut used = 0;
        for (name, lines) in &files {
            for line in lines.iter().filter(|line| names(line, libraries)) {
                assert!(homes.iter().any(|home| name.starts_with(home)), "{name} names a library: {line}");
                used += 1;
            }
        }
        assert!(used > 0, "nobody uses {libraries:?} any more");
    }
}

/// `tar::` but not `start::`.
fn names(line: &str, libraries: &[&str]) -> bool {
    libraries.iter().any(|library| {
        line.match_indices(library).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
        })
    })
}
