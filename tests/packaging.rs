//! What is installed: every tool and script with a man page that names its options, in the Debian package, and known
//! to the shell's completion.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const BINARIES: [&str; 7] =
    ["pgv-snap", "pgv-apply", "pgv-crypt", "pgv-s3", "pgv-info", "pgv-peek", "pgv-env"];
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

/// `--help` may be typed after other arguments, as one that wonders does.
#[test]
fn every_script_helps_wherever_it_is_asked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = Path::new(env!("CARGO_BIN_EXE_pgv-info")).parent().unwrap();
    for name in scripts().into_iter().filter(|name| name != "pgv-unstack") {
        let output = Command::new(root.join("scripts").join(&name))
            .args(["15-main", "--help"])
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.display()))
            .output()
            .unwrap();
        let wanted = if name == "pgv-wal-get" { 200 } else { 0 };
        assert_eq!(output.status.code(), Some(wanted), "{name}: {output:?}");
        assert!(output.stdout.starts_with(b"Usage: "), "{name}");
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

/// What `make install` lays down below PREFIX: everything that the Debian package has below usr.
#[test]
fn make_installs_what_the_package_has() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let destination = tempfile::tempdir().unwrap();
    // The binaries are what cargo made for this test; it holds the lock of the build.
    let target = Path::new(env!("CARGO_BIN_EXE_pgv-info")).parent().unwrap();
    let output = Command::new("make")
        .args(["--directory", root.to_str().unwrap(), "--old-file=all", "install", "PREFIX=/usr"])
        .arg(format!("DESTDIR={}", destination.path().display()))
        .arg(format!("BUILT={}", target.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let usr = destination.path().join("usr");
    for name in all() {
        let mode = std::fs::metadata(usr.join("bin").join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{name}");
        assert!(usr.join(format!("share/man/man1/{name}.1")).exists(), "no page of {name}");
        let completion = usr.join("share/bash-completion/completions").join(&name);
        assert_eq!(completion.exists(), !UNTYPED.contains(&name.as_str()), "completion of {name}");
    }
    let packaging = std::fs::read_dir(root.join("packaging")).unwrap();
    let files = packaging.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for unit in files.filter(|name| name.ends_with(".service") || name.ends_with(".timer")) {
        assert!(usr.join("lib/systemd/system").join(&unit).exists(), "no {unit}");
    }
    for library in shipped().iter().filter(|name| name.ends_with(".sh")) {
        assert!(usr.join("lib/pgv").join(library).exists(), "no {library}");
    }
    let version = Command::new(usr.join("bin/pgv-setup")).arg("--version").output().unwrap();
    assert!(version.status.success(), "an installed script does not find its library");
}

/// Priorities for systemd's journal, where stderr is that; nothing of the kind in any other log.
#[test]
fn messages_have_priorities_in_the_journal_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir().unwrap();
    for program in [Path::new(env!("CARGO_BIN_EXE_pgv-info")).to_owned(), root.join("scripts/pgv-backup")] {
        for in_journal in [true, false] {
            let path = scratch.path().join("log");
            let log = std::fs::File::create(&path).unwrap();
            let (facts, other) = (log.metadata().unwrap(), u64::from(!in_journal));
            // Scripts of this directory find the binaries in PATH.
            let binaries = Path::new(env!("CARGO_BIN_EXE_pgv-env")).parent().unwrap();
            let search = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
            Command::new(&program)
                .arg("nowhere")
                .env("PATH", search)
                .env("PGV_CONFIG_DIR", scratch.path())
                .env_remove("PGV_REPO")
                .env("JOURNAL_STREAM", format!("{}:{}", facts.dev(), facts.ino() + other))
                .stderr(log)
                .status()
                .unwrap();
            let said = std::fs::read_to_string(&path).unwrap();
            let wanted = if in_journal { "<3>pgv-" } else { "pgv-" };
            assert!(said.contains("error: "), "{said}");
            assert!(said.lines().all(|line| line.starts_with(wanted)), "{said}");
        }
    }
}

/// Whoever runs unattended tells somebody when it fails.
#[test]
fn every_unit_that_runs_has_somebody_told() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with("@.service") || name == "pgv-failed@.service" {
            continue;
        }
        let unit = read(&format!("packaging/{name}"));
        assert!(unit.contains("\nOnFailure=pgv-failed@%n.service\n"), "{name} has no OnFailure");
        // A unit that is restarted for ever has never failed.
        assert_eq!(unit.contains("\nRestart=always\n"), unit.contains("\nStartLimitBurst="), "{name}");
        let timer = name.replace(".service", ".timer");
        let is_timed = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(&timer).exists();
        assert_eq!(is_timed, unit.contains("\nType=oneshot\n"), "{timer}");
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

#[test]
fn every_status_is_explained() {
    let page = read("man/pgv-status.7");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let units = files.map(|file| file.into_string().unwrap()).filter(|file| file.ends_with(".service"));
    let missing: Vec<_> = all().into_iter().chain(units).filter(|name| !page.contains(name)).collect();
    assert!(missing.is_empty(), "pgv-status.7 does not tell of {missing:?}");
}
