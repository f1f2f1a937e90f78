//! What is installed: every tool and script with a man page that names its options, in the Debian package, and known
//! to the shell's completion.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const BINARIES: [&str; 5] = ["pgv-snap", "pgv-apply", "pgv-crypt", "pgv-s3", "pgv-info"];
/// PostgreSQL calls them; nobody types their names.
const UNTYPED: [&str; 3] = ["pgv-wal-push", "pgv-wal-get", "pgv-unstack"];

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Everything in scripts/.
fn shipped() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

fn scripts() -> BTreeSet<String> {
    shipped().into_iter().filter(|name| !name.contains('.')).collect()
}

fn all() -> BTreeSet<String> {
    scripts().into_iter().chain(BINARIES.map(str::to_owned)).collect()
}

/// Long options of a text, such as "--keep-full".
fn options(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = text.match_indices("--").map(|(at, _)| &text[at..]);
    let option = |start: &str| start.chars().take_while(|c| is_part(*c)).collect::<String>();
    starts.map(option).filter(|option| option.len() > 3 && !option.starts_with("---")).collect()
}

fn help(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = match BINARIES.contains(&name) {
        true => Path::new(env!("CARGO_BIN_EXE_pgv-info")).with_file_name(name),
        false => root.join("scripts").join(name),
    };
    let output = Command::new(program).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_script_names_its_options_in_its_man_page() {
    let common = ["--help", "--version", "--quiet", "--verbose", "--config"].map(str::to_owned);
    for name in scripts() {
        let page =
            read(&format!("man/{name}.1")).replace("\\-", "-").replace("Fl -", "--").replace("Fl  ", "--");
        let in_page = options(&page.replace(" , -", " , --"));
        let missing: Vec<_> = options(&help(&name))
            .into_iter()
            .filter(|o| !in_page.contains(o) && !common.contains(o))
            .collect();
        assert!(missing.is_empty(), "man/{name}.1 lacks {missing:?}");
    }
}

#[test]
fn every_tool_has_a_man_page_and_is_in_the_package() {
    let (package, overview) = (read("Cargo.toml"), read("man/pgv.7"));
    for name in shipped() {
        assert!(package.contains(&format!("\"scripts/{name}\"")), "{name} is not in the package");
    }
    for name in all() {
        assert!(read(&format!("man/{name}.1")).contains(&format!(".Nm {name}")), "man/{name}.1");
        assert!(
            package.contains(&format!("{name}\", \"usr/bin/\", \"755\"]")),
            "{name} is not in the package"
        );
        assert!(overview.contains(&format!(".Xr {name} 1")), "pgv.7 does not name {name}");
    }
}

/// Pages that are no tool's: found from the overview only.
#[test]
fn every_other_page_is_named_in_the_overview() {
    let (package, overview) = (read("Cargo.toml"), read("man/pgv.7"));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    for entry in std::fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let (name, section) = file.rsplit_once('.').unwrap();
        assert!(package.contains(&format!("\"man/*.{section}\"")), "{file} is not in the package");
        let link = format!(".Xr {name} {section}");
        assert!(name == "pgv" || overview.contains(&link), "pgv.7 does not name {file}");
    }
}

#[test]
fn the_shell_completes_every_name_that_is_typed() {
    let completion = read("packaging/completion.bash");
    let (_, names) = completion.split_once("complete -F _pgv").unwrap();
    let named: BTreeSet<String> =
        names.split_whitespace().filter(|word| word.starts_with("pgv-")).map(str::to_owned).collect();
    let typed: BTreeSet<String> =
        all().into_iter().filter(|name| !UNTYPED.contains(&name.as_str())).collect();
    assert_eq!(named, typed);
    let package = read("Cargo.toml");
    for name in typed {
        let place = format!("usr/share/bash-completion/completions/{name}\"");
        assert!(package.contains(&place), "no completion of {name} in the package");
    }
}
