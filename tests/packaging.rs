//! What is installed: every tool and script with a man page that names its options, in the Debian package, and known
//! to the shell's completion.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const BINARIES: [&str; 8] =
    ["pgv-snap", "pgv-apply", "pgv-merge", "pgv-crypt", "pgv-s3", "pgv-info", "pgv-peek", "pgv-env"];
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
    assert!(
        package.contains("[\"scripts/*.sh\", \"usr/lib/pgv/\", \"644\"]"),
        "the libraries are not in the package"
    );
    for name in shipped().into_iter().filter(|name| !name.ends_with(".sh")) {
        assert!(package.contains(&format!("\"scripts/{name}\"")), "{name} is not in the package");
    }
    // lintian asks that of what begins like a program.
    for name in shipped().into_iter().filter(|name| name.ends_with(".sh")) {
        assert!(
            !read(&format!("scripts/{name}")).starts_with("#!"),
            "{name} is a library, and not executable"
        );
    }
    for name in all() {
        assert!(read(&format!("man/{name}.1")).contains(&format!(".Nm {name}")), "man/{name}.1");
        assert!(
            package.contains(&format!("{name}\", \"usr/bin/\", \"755\"]")),
            "{name} is not in the package"
        );
        assert!(overview.contains(&format!("Xr {name} 1\n")), "pgv.7 does not name {name}");
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
        let link = format!("Xr {name} {section}\n");
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

/// What a reader of pgv reads: each path in the checkout, and its text.
fn documents() -> Vec<(String, String)> {
    let pages = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("man")).unwrap();
    let pages = pages.map(|entry| format!("man/{}", entry.unwrap().file_name().into_string().unwrap()));
    let others =
        ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md"];
    pages.chain(others.map(str::to_owned)).map(|path| (path.clone(), read(&path))).collect()
}

/// Words that no reader of an English manual expects, with what to write instead.
const BANNED: [(&str, &str); 26] = [
    ("whoever", "the user, the host, someone who"),
    ("whatever it is", "if it is a terminal, or leave it out"),
    ("what is gone", "lost, deleted, missing"),
    ("for so long", "for up to DURATION"),
    ("so long for", "up to DURATION for"),
    ("somebody should look", "someone should look"),
    ("is asked of", "ask, request"),
    ("lies behind", "comes after"),
    ("what comes behind", "what comes after"),
    ("beyond the end", "after the end"),
    ("is said last", "the last lines say"),
    ("as was said", "leave it out"),
    ("nobody can tell", "say what is known"),
    ("may come more than once", "may be repeated"),
    ("says nothing but", "prints only"),
    ("say nothing but", "print only"),
    ("until it is mended", "until you correct it"),
    (" mend ", "repair, correct"),
    (" mends ", "repairs, corrects"),
    ("laid down", "written, restored"),
    ("lay down", "write, restore"),
    ("had back", "restored, brought back"),
    ("is there already", "exists already"),
    ("on their way at once", "at once"),
    ("is to be had", "is available"),
    ("no matter who", "leave it out"),
];

/// The first that a text has, over the ends of lines and of mdoc's macros.
fn banned(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.starts_with(".\\\"")).collect();
    let text = words.join(" ").to_lowercase();
    let found = BANNED.iter().find(|(phrase, _)| text.contains(phrase));
    found.map(|(phrase, instead)| format!("\"{phrase}\": write {instead}"))
}

#[test]
fn documents_are_in_plain_english() {
    assert_eq!(
        banned("The key, whoever\nhas it"),
        Some("\"whoever\": write the user, the host, someone who".into())
    );
    let found = |(path, text): (String, String)| banned(&text).map(|why| format!("{path}: {why}"));
    let found: Vec<String> = documents().into_iter().filter_map(found).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// A tool has one name, at the beginning of a sentence, too.
#[test]
fn no_tool_is_written_with_a_capital() {
    let names: Vec<String> = all().iter().map(|name| name.replacen("pgv", "Pgv", 1)).collect();
    let found = |(path, text): (String, String)| {
        let name = names.iter().find(|name| text.contains(name.as_str()))?;
        Some(format!("{path}: {name}"))
    };
    let found: Vec<String> = documents().into_iter().filter_map(found).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// What README tells people to type: each line of its indented blocks that has a tool of ours, without the comments.
fn commands(readme: &str) -> Vec<String> {
    let indented = readme.lines().filter(|line| line.starts_with("    "));
    let typed = indented.filter_map(|line| line.split("   #").next());
    let typed = typed.map(|line| line.trim_start_matches([' ', '#', '$']).to_owned());
    typed.filter(|line| line.contains("pgv-") && !line.starts_with("pgv-backup:")).collect()
}

/// The long options after each tool's name, up to the end of its part of a pipe.
fn uses(command: &str) -> Vec<(String, BTreeSet<String>)> {
    let unquoted: String = command.split('\'').step_by(2).collect();
    let parts = unquoted.split(['|', ';', '>', '(', ')', '{', '}']).flat_map(|part| part.split(" -- "));
    let tool = |part: &str| {
        let mut words = part.split_whitespace().skip_while(|word| !word.starts_with("pgv-"));
        let name = words.next()?.to_owned();
        all().contains(&name).then(|| (name, options(&words.collect::<Vec<_>>().join(" "))))
    };
    parts.filter_map(tool).collect()
}

/// The first words of the lines after "Commands:".
fn verbs(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| line.starts_with("  "));
    lines.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").collect()
}

/// `--help` of a tool and of its verbs.
fn whole_help(name: &str) -> String {
    let first = help(name);
    let program = Path::new(env!("CARGO_BIN_EXE_pgv-info")).with_file_name(name);
    let more = verbs(&first).into_iter().map(|verb| {
        let output = Command::new(&program).args([verb, "--help"]).output().unwrap();
        assert!(output.status.success(), "{name} {verb}");
        String::from_utf8(output.stdout).unwrap()
    });
    more.fold(first.clone(), |all, help| all + &help)
}

#[test]
fn what_readme_says_to_type_exists() {
    let readme = read("README.md");
    let commands = commands(&readme);
    let used: Vec<_> = commands.iter().flat_map(|command| uses(command)).collect();
    assert!(verbs(&help("pgv-s3")).contains(&"put"));
    for name in ["pgv-setup", "pgv-backup", "pgv-restore", "pgv-expire", "pgv-crypt", "pgv-s3"] {
        assert!(used.iter().any(|(used, _)| used == name), "README does not use {name}: {commands:?}");
    }
    let piped = uses("pgv-restore 15-main /srv --time '2026-11-22' --start | pgv-crypt -d");
    assert_eq!(piped[0].1, BTreeSet::from(["--time", "--start"].map(str::to_owned)));
    assert_eq!(piped[1].0, "pgv-crypt");
    for (name, given) in used {
        let known = options(&whole_help(&name));
        let unknown: Vec<_> = given.difference(&known).collect();
        assert!(unknown.is_empty(), "README gives {name} {unknown:?}, which its --help does not know");
    }
}

/// Targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c)).collect::<String>().replace(' ', "-")
}

#[test]
fn links_of_documents_are_alive() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for (path, text) in documents().into_iter().filter(|(path, _)| path.ends_with(".md")) {
        for link in links(&text).filter(|link| !link.contains("://")) {
            seen += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                _ => format!("{}/{file}", Path::new(&path).parent().unwrap().display()),
            };
            let target = target.trim_start_matches('/');
            assert!(root.join(target).exists(), "{path} links to {link}");
            let has_place =
                || read(target).lines().any(|line| line.starts_with('#') && anchor(line) == place);
            assert!(place.is_empty() || has_place(), "{path} links to {link}");
        }
    }
    assert!(seen > 30, "only {seen} links were looked at");
    let readme = read("README.md");
    for (path, _) in documents().iter().filter(|(path, _)| path.starts_with("man/")) {
        assert!(links(&readme).any(|link| link == path), "README does not link to {path}");
    }
}

/// `.Xr NAME SECTION` of a page of ours.
#[test]
fn pages_refer_to_pages_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in documents().iter().filter(|(path, _)| path.starts_with("man/")) {
        for reference in text.match_indices("Xr pgv").map(|(at, _)| &text[at..]) {
            let words: Vec<&str> = reference.split_whitespace().take(3).collect();
            let page = format!("man/{}.{}", words[1], words[2]);
            assert!(root.join(&page).exists(), "{path} refers to {page}");
        }
    }
}

/// What a tool is told on its command line, in the words of `--help` or of a page.
#[derive(Debug)]
struct Described {
    options: BTreeSet<String>,
    text: String,
}

/// The list of `--help`: of clap, and of our scripts, which continue a text further right.
fn described_by_help(help: &str) -> Vec<Described> {
    let mut found: Vec<Described> = Vec::new();
    for line in help.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        match (line.starts_with('-') && (1..12).contains(&indent), found.last_mut()) {
            (true, _) => {
                let (names, text) = line.split_once("  ").unwrap_or((line, ""));
                found.push(Described { options: options(names), text: text.trim().to_owned() });
            }
            (false, Some(last)) if indent >= 12 && !last.options.is_empty() => {
                last.text = format!("{} {line}", last.text).trim().to_owned();
            }
            // Something else than the list follows.
            (false, _) => found.push(Described { options: BTreeSet::new(), text: String::new() }),
        }
    }
    for described in &mut found {
        // What clap adds, and what we write in its way.
        let text = described.text.split(" [").next().unwrap();
        described.text = text.trim().to_owned();
    }
    found.retain(|described| !described.options.is_empty());
    found
}

/// The items of a page that begin with options, without mdoc's macros.
fn described_by_page(page: &str) -> Vec<Described> {
    const MACROS: &str = "Fl Ar Ql Pa Ev Li Cm Xr Va Pq Po Pc Sx Op Sq Dq Em Ns No Fn Ic";
    let mut found: Vec<Described> = Vec::new();
    for line in page.replace("\\-", "-").replace("Fl -", "--").replace(" , -", " , --").lines() {
        if let Some(item) = line.strip_prefix(".It ") {
            found.push(Described { options: options(item), text: String::new() });
        } else if line.starts_with(".El") {
            found.push(Described { options: BTreeSet::new(), text: String::new() });
        } else if let Some(last) = found.last_mut() {
            let is_macro = |word: &&str| MACROS.split(' ').any(|known| known == *word);
            let text = match line.strip_prefix('.') {
                Some(line) => {
                    line.split_whitespace().filter(|word| !is_macro(word)).collect::<Vec<_>>().join(" ")
                }
                None => line.to_owned(),
            };
            last.text = format!("{} {text}", last.text);
        }
    }
    found.retain(|described| !described.options.is_empty());
    found
}

/// Without case and punctuation: "Retry for up to DURATION" is "Retry for up to\n.Ar duration ;".
fn words(text: &str) -> Vec<String> {
    let spoken = |c: char| !c.is_alphanumeric() && !"-_/.".contains(c);
    let words = text.split(spoken).map(|word| word.trim_matches(['.', '-', '/']).to_lowercase());
    words.filter(|word| !word.is_empty()).collect()
}

/// The longest text of an option in a list.
const TEXT_CHARACTERS: usize = 72;

/// A page's item begins with the words of `--help`, and goes on. What all tools with a
/// store take is described by the page of pgv-s3.
#[test]
fn options_are_described_in_the_same_words() {
    let mut faults = Vec::new();
    let shared = options(&help("pgv-s3"));
    for name in all() {
        let own = described_by_page(&read(&format!("man/{name}.1")));
        let common = described_by_page(&read("man/pgv-s3.1"));
        for Described { options, text } in described_by_help(&whole_help(&name)) {
            if options.contains("--help") || options.contains("--version") {
                continue;
            }
            let length = text.chars().count();
            if length > TEXT_CHARACTERS {
                faults.push(format!("{name} {options:?}: {length} characters: {text}"));
            }
            let is_of = |page: &&Described| !page.options.is_disjoint(&options);
            let mut pages: Vec<&Described> = own.iter().filter(is_of).collect();
            if pages.is_empty() && options.is_subset(&shared) {
                pages = common.iter().filter(is_of).collect();
            }
            let agrees = |page: &&Described| words(&page.text).starts_with(&words(&text));
            if let Some(first) = pages.first().filter(|_| !pages.iter().any(agrees)) {
                let page: String = first.text.trim().chars().take(120).collect();
                faults.push(format!("{name} {options:?}\n    --help: {text}\n    page:   {page}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} options:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn help_is_in_plain_english() {
    let found = |name: String| banned(&whole_help(&name)).map(|why| format!("{name}: {why}"));
    let found: Vec<String> = all().into_iter().filter_map(found).collect();
    assert!(found.is_empty(), "{found:#?}");
}
