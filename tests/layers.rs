//! The walls between the rooms of the source tree: who may import whom, and where the big libraries may
//! be named. A wall that is not tested is a comment.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

#[path = "layers/circles.rs"]
mod circles;

use std::fs;
use std::path::{Path, PathBuf};

/// `recover` is a room of its own: what a restored directory needs before a server starts in it.
const ROOMS: [&str; 10] =
    ["snap", "apply", "merge", "crypt", "store", "info", "recover", "spool", "find", "migrate"];
/// What rooms may use, and must not use rooms themselves.
const FLOORS: [&str; 9] = ["stream", "tar", "pg", "manifest", "catalog", "cli", "io", "report", "error"];

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
            // The options that all tools share become what store asks for; store knows nothing of options.
            if name == "cli/store.rs" && *other == "store" {
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

/// A thread that cannot be had is an error: std's own functions panic, and whoever waits for its work waits for ever.
#[test]
fn threads_are_begun_where_it_may_fail() {
    let mut seen = 0;
    for (name, lines) in files() {
        let tests = lines.iter().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(lines.len());
        for line in &lines[..tests] {
            seen += usize::from(line.contains("begin_thread(") || line.contains("begin_in("));
            assert!(!line.contains("thread::spawn(") && !line.contains("scope.spawn("), "{name}: {line}");
        }
    }
    assert!(seen > 5, "only {seen} threads were seen");
}

/// Neither inside a room nor over several.
#[test]
fn modules_do_not_import_each_other_in_circles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = sources(&root).into_iter().filter(|path| !path.starts_with(root.join("bin")));
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    let graph = circles::graph(&modules.map(read).collect::<Vec<_>>());
    let edges: usize = graph.values().map(|others| others.len()).sum();
    assert!(edges > 300, "only {edges} imports were seen");
    let found = circles::circles(&graph);
    assert!(found.is_empty(), "modules import each other: {found:#?}");
}

#[test]
fn store_knows_nothing_of_options() {
    let files = files();
    let of_store: Vec<_> = files.iter().filter(|(name, _)| room_of(name) == "store").collect();
    assert!(of_store.len() > 10, "the tree moved: store has {} files", of_store.len());
    for (name, lines) in of_store {
        let found = lines.iter().find(|line| line.contains("crate::cli"));
        assert!(found.is_none(), "{name} uses cli: {}", found.unwrap());
    }
}

#[test]
fn libraries_are_named_in_one_place() {
    let walls: [(&[&str], &[&str]); 5] = [
        (&["tokio::", "aws_"], &["store/s3/"]),
        (&["aes::", "cbc::", "pbkdf2::", "hmac::", "zstd::"], &["crypt/"]),
        (&["tar::"], &["tar/"]),
        (&["walkdir::"], &["apply/prune.rs"]),
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

/// Members of a stream and marks of a restore have their names from `catalog::member`.
#[test]
fn names_below_pgv_are_written_once() {
    let files = files();
    assert!(files.iter().any(|(name, _)| name == "catalog/member.rs"));
    for (name, lines) in files.iter().filter(|(name, _)| name != "catalog/member.rs") {
        let code = lines.iter().take_while(|line| !line.contains("#[cfg(test)]"));
        let written = code.into_iter().find(|line| line.contains("\"pgv/"));
        assert!(written.is_none(), "{name} writes a name of its own: {}", written.unwrap());
    }
}

/// Of two command substitutions in one assignment only the status of the last ends a script.
#[test]
fn an_assignment_of_a_script_runs_one_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut read = 0;
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let swallows = |line: &&str| {
            let runs = |(at, _): &(usize, &str)| {
                let name = line[..*at].rsplit([' ', '\t']).next().unwrap();
                let before = line[..at - name.len()].trim_end();
                !name.is_empty()
                    && (before.is_empty() || before.ends_with([')', '"']))
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !line[at + 3..].starts_with('(')
            };
            let first = line.trim_start().split('=').next().unwrap();
            !first.contains(' ') && line.match_indices("=$(").filter(runs).count() > 1
        };
        let found = text.lines().find(swallows);
        assert!(found.is_none(), "{}: {}", path.display(), found.unwrap());
        read += 1;
    }
    assert!(read > 50, "only {read} files were read");
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

/// What nothing names is removed from Cargo.toml, and what only tests name is a dependency of theirs.
#[test]
fn every_dependency_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let code = |directories: &[&str]| {
        let paths = directories.iter().flat_map(|directory| sources(&root.join(directory)));
        let text: String = paths.map(|path| fs::read_to_string(path).unwrap()).collect();
        text.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
    };
    let (of_tools, of_tests): (Vec<String>, Vec<String>) =
        (code(&["src"]), code(&["src", "tests", "benches"]));
    let (mut code, mut seen) = (None, 0);
    for line in manifest.lines() {
        match (line, line.split_once('=')) {
            ("[dependencies]", _) => code = Some(&of_tools),
            ("[dev-dependencies]", _) => code = Some(&of_tests),
            (line, _) if line.starts_with('[') => code = None,
            (line, Some((package, _))) if !line.starts_with('#') => {
                let Some(code) = code else { continue };
                seen += 1;
                let library = match package.trim() {
                    "md-5" => "md5".to_owned(),
                    package => package.replace('-', "_"),
                };
                let used = code.iter().any(|line| names(line, &[&format!("{library}::")]));
                assert!(used, "Cargo.toml names {package}, and no code does");
            }
            _ => {}
        }
    }
    assert!(seen > 30, "Cargo.toml reads otherwise: only {seen} dependencies were seen");
}
