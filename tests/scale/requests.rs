//! How many requests of each kind a run makes, at most. A change that saves requests lowers the bounds; nothing raises
//! them.

use crate::objects::Objects;
use crate::repository::Sizes;
use crate::server::Server;
use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;
use time::format_description::well_known::Rfc3339;

/// From the environment, as `make test-long` has it.
fn sizes() -> Sizes {
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |value| value.parse().unwrap());
    Sizes::new(number("PGV_TEST_BACKUPS", 100), number("PGV_TEST_SEGMENTS", 10_000))
}

/// All tests read the same objects.
fn objects() -> Arc<RwLock<Objects>> {
    static OBJECTS: OnceLock<Arc<RwLock<Objects>>> = OnceLock::new();
    Arc::clone(OBJECTS.get_or_init(|| Arc::new(RwLock::new(sizes().build()))))
}

/// pgv-info on this service.
pub fn run(server: &Server, arguments: &[&str]) -> Output {
    let tool = bare(server, env!("CARGO_BIN_EXE_pgv-info"));
    let (mut tool, repository) = (tool, ["--repo", "s3://scale/pgv"]);
    tool.args(arguments).args(repository).output().unwrap()
}

/// pgv-s3 on this service.
pub fn store(server: &Server, arguments: &[&str]) -> Output {
    bare(server, env!("CARGO_BIN_EXE_pgv-s3")).args(arguments).output().unwrap()
}

/// Nothing of the caller's environment steers it.
pub fn bare(server: &Server, tool: &str) -> Command {
    let mut command = Command::new(tool);
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") || name.starts_with("PGV_") || name.to_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.env("PGV_CONFIG_DIR", "/nowhere").env("PGV_S3_ENDPOINT_URL", &server.url);
    command.env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "any");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("PGV_S3_TIMEOUT", "30s");
    command
}

pub fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a run is asked, and its requests of each kind: at most so many, and none of another kind.
struct Row<'a> {
    arguments: &'a [&'a str],
    list: usize,
    get: usize,
}

/// Pages of a listing of so many objects.
fn pages(objects: usize) -> usize {
    objects.div_ceil(1000)
}

/// Pages of so many segments, several of which are asked for at once, with what lies among them.
fn blocks(segments: usize) -> usize {
    segments.div_ceil(960)
}

#[test]
fn a_run_asks_no_more_than_it_did() {
    let sizes = sizes();
    let middle = sizes.label(sizes.backups / 2);
    let time = sizes.begun(sizes.backups / 2 + 1).format(&Rfc3339).unwrap();
    let later = (sizes.begun(sizes.backups / 2 + 1) + Duration::from_secs(60)).format(&Rfc3339).unwrap();
    let all = sizes.backups;
    // Each has four objects, and a history of it beside the segments.
    let sets = pages(4 * all);
    // One says that there are many, one which timelines, one where the timeline begins; then the segments from a backup on.
    let wal = |backups: usize| 4 + blocks(sizes.segments * backups / all);
    let (system, of_system) = (sizes.system_id.to_string(), "--system-id");
    let table = [
        Row { arguments: &["15-main"], list: 1 + sets, get: all },
        Row { arguments: &["15-main", "--format", "json"], list: 1 + sets, get: all },
        Row { arguments: &["15-main", "--label", &middle], list: 1 + sets, get: 1 },
        Row { arguments: &["--metrics"], list: 2 + sets, get: all },
        Row { arguments: &["--max-age", "9999d"], list: 2 + sets, get: all },
        Row { arguments: &["choose", "15-main"], list: 1 + sets, get: all },
        Row { arguments: &["next", "15-main"], list: 1 + sets, get: all },
        Row { arguments: &["sets", "15-main"], list: 1 + sets, get: all },
        Row { arguments: &["prune", "15-main", "--keep-full", "3"], list: 1 + sets, get: all },
        // As pgv-restore --plan and pgv-restore ask.
        Row { arguments: &["recovery", "15-main"], list: 1 + sets + wal(1), get: all },
        Row {
            arguments: &["recovery", "15-main", "--label", &middle],
            list: 1 + sets + wal(all / 2 + 1),
            get: all,
        },
        Row {
            arguments: &["recovery", "15-main", "--time", &time],
            list: 1 + sets + wal(all / 2 + 1),
            get: all,
        },
        Row { arguments: &["histories", "15-main", "--archived", of_system, &system], list: 3, get: 0 },
        Row { arguments: &["histories", "15-main"], list: 4 + sets, get: all },
        Row { arguments: &["wal", "15-main"], list: 1 + sets + wal(all), get: all },
        // As pgv-expire asks: up to the oldest backup's.
        Row { arguments: &["wal", "15-main", "--unneeded"], list: 4 + sets, get: all },
        // As pgv-find asks.
        Row {
            arguments: &["segments", "15-main", "--from", &time, "--to", &later],
            list: 1 + sets + wal(3),
            get: all,
        },
    ];
    let mut faults = Vec::new();
    for Row { arguments, list, get } in table {
        let server = Server::start(objects(), 0, Duration::ZERO);
        let output = run(&server, arguments);
        assert_eq!(status(&output), 0, "{arguments:?}: {}", stderr(&output));
        let mut counts = server.counts();
        let (lists, gets) = (counts.remove("list").unwrap_or(0), counts.remove("get").unwrap_or(0));
        if lists > list || gets > get || !counts.is_empty() {
            let some = server.requests().into_iter().take(40).collect::<Vec<_>>().join("\n    ");
            faults.push(format!(
                "{arguments:?}: {lists} lists instead of {list}, {gets} gets instead of {get}, others: {counts:?}:\n    {some}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// With PGV_STATE_DIR: one page for each thousand objects, and one for the system identifiers.
#[test]
fn a_second_run_reads_no_record() {
    let sizes = sizes();
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(objects(), 0, Duration::ZERO);
    let run = || {
        let mut tool = bare(&server, env!("CARGO_BIN_EXE_pgv-info"));
        tool.env("PGV_STATE_DIR", state.path());
        let output = tool.args(["15-main", "--repo", "s3://scale/pgv"]).output().unwrap();
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        output.stdout
    };
    let first = run();
    let mut cold = server.counts();
    assert_eq!(cold.get("get"), Some(&sizes.backups), "{cold:?}");
    assert!(first == run() && !first.is_empty());
    let mut both = server.counts();
    assert_eq!(both.get("get"), Some(&sizes.backups), "{both:?}");
    let (one, two) = (cold.remove("list").unwrap(), both.remove("list").unwrap());
    assert!(one <= 1 + pages(4 * sizes.backups) && two == 2 * one, "{one} and {two}");
    assert_eq!((cold.len(), both.len()), (1, 1), "{both:?}");
}

/// What pgv-backup asks beside its own objects: the newest chains for what the next backup is, and afterwards, if nothing
/// may go, the names of the backups.
#[test]
fn a_backup_lists_the_newest_and_names() {
    let sizes = sizes();
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(objects(), 0, Duration::ZERO);
    let system = sizes.system_id.to_string();
    let run = |arguments: &[&str]| {
        let before = server.counts();
        let mut tool = bare(&server, env!("CARGO_BIN_EXE_pgv-info"));
        tool.env("PGV_STATE_DIR", state.path()).args(arguments);
        let output =
            tool.args(["15-main", "--system-id", &system, "--repo", "s3://scale/pgv"]).output().unwrap();
        assert_eq!(status(&output), 0, "{arguments:?}: {}", stderr(&output));
        let mut counts = server.counts();
        counts.iter_mut().for_each(|(kind, count)| *count -= before.get(kind).unwrap_or(&0));
        counts.retain(|_, count| *count > 0);
        (String::from_utf8(output.stdout).unwrap(), counts)
    };
    let lists = |pages: usize| BTreeMap::from([("list", pages)]);
    let (cold, counts) = run(&["next"]);
    assert_eq!(counts, BTreeMap::from([("list", pages(4 * sizes.backups)), ("get", sizes.backups)]));
    let (warm, counts) = run(&["next"]);
    let lines =
        |text: &str| text.lines().filter(|line| !line.contains("label ")).map(str::to_owned).collect();
    let (cold, warm): (Vec<String>, Vec<String>) = (lines(&cold), lines(&warm));
    assert_eq!((warm, counts), (cold, lists(1)));
    // Nothing may go.
    let newest = format!("{}/record.json", sizes.set(sizes.backups - 1));
    let record = server.content(&newest);
    let file = state.path().join("record.json");
    std::fs::write(&file, record).unwrap();
    let stored = ["prune", "--just-stored", file.to_str().unwrap()];
    let all = pages(sizes.backups);
    assert_eq!(run(&[&stored[..], &["--keep-last", "99999"]].concat()), (String::new(), lists(all)));
    // Something may, which everything has to show.
    let whole = lists(all + pages(4 * sizes.backups));
    let (may_go, counts) = run(&[&stored[..], &["--keep-full", "3"]].concat());
    assert_eq!(counts, whole);
    let without = run(&["prune", "--keep-full", "3"]);
    assert!(!may_go.is_empty() && without == (may_go, lists(pages(4 * sizes.backups))));
    // A backup of which nothing is known: nobody read it.
    std::fs::remove_dir_all(state.path().join("records")).unwrap();
    let (nothing, counts) = run(&[&stored[..], &["--keep-last", "99999"]].concat());
    assert_eq!((nothing, counts["get"]), (String::new(), sizes.backups));
}
