//! Every verb, every request that it makes, everything that can go wrong with that one: once, which has to be
//! survived, and for ever, which has to end, soon, and say so. After it an object is complete or it is not there.

use crate::harness::{code, command, done, errors, leftovers, lines, noise, pid, run_within, s3, server};
use crate::proxy::{Fault, Proxy, Request};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Cases at once: nearly all of their time they wait.
const WORKERS: usize = 16;
const TEMPORARY: i32 = 75;
const PART: usize = 5 << 20;
/// pgv-s3's patience: what goes wrong once may cost a few stalls, what goes wrong for ever ends it.
const TIMEOUT: &str = "60s";
const SHORT_TIMEOUT: &str = "3s";
/// Of a service that is itself slow for a while, as it is where a machine stalls.
const LONG_TIMEOUT: &str = "20s";
/// An answer may take three times as long, the one to the request that puts parts together fifteen times.
const STALL: &str = "1s";
/// Where megabytes go to a server that others keep busy as well.
const LARGE_STALL: &str = "3s";
const LONGEST: Duration = Duration::from_secs(100);

/// Of parts of an object a service keeps no checksum: who reads them authenticates them.
const RANGES: &str = "get of ranges";

const INTERNAL: &str = "<Error><Code>InternalError</Code><Message>an internal error</Message></Error>";
const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code><Message>slow down</Message></Error>";

const ELSEWHERE: &str = "<Error><Code>TemporaryRedirect</Code><Message>another endpoint</Message></Error>";
const PAGE: &str = "<html><body>Under maintenance<br></body></html>";

fn faults() -> Vec<(&'static str, Fault)> {
    vec![
        ("drop", Fault::Drop),
        ("reset", Fault::Reset),
        ("lose", Fault::Lose),
        ("stall", Fault::Stall),
        ("unread", Fault::Unread),
        ("freeze", Fault::Freeze(100)),
        ("500", Fault::Answer("500 Internal Server Error", INTERNAL)),
        ("503", Fault::Answer("503 Slow Down", SLOW_DOWN)),
        ("429", Fault::Answer("429 Too Many Requests", SLOW_DOWN)),
        ("200 with an error", Fault::Answer("200 OK", INTERNAL)),
        ("307", Fault::Answer("307 Temporary Redirect", ELSEWHERE)),
        ("page", Fault::Answer("200 OK", PAGE)),
        ("cut", Fault::Cut(100)),
        ("cut with no length", Fault::Unstated(100)),
        // From early on: the rest of a short answer, too, takes longer than anybody waits.
        ("drip", Fault::Drip(10)),
        ("flip what is sent", Fault::FlipSent),
        ("flip what is got", Fault::FlipGot),
    ]
}

/// Whether it means anything for this request.
fn applies(fault: &str, request: &Request) -> bool {
    // Parts and pieces after the first are as the first, and cost much.
    let is_one_more = ["partNumber=2", " 8488607"].iter().any(|more| request.label.contains(more));
    match fault {
        "307" | "page" | "cut with no length" | "drip" if is_one_more => false,
        "unread" | "flip what is sent" => request.bytes > 1000,
        "cut" | "cut with no length" | "freeze" | "drip" => request.answered > 100,
        "flip what is got" => request.header("range").is_some(),
        "200 with an error" => request.label == "POST x uploadId",
        _ => true,
    }
}

/// A verb on names below a directory of the case's own, whose URL ends with a slash.
struct Operation {
    name: &'static str,
    stall: &'static str,
    prepare: fn(&str),
    arguments: fn(&str) -> Vec<String>,
    input: fn() -> &'static [u8],
    /// What must be so afterwards; an explanation where it is not.
    check: fn(&str, &Output) -> Result<(), String>,
}

fn small() -> &'static [u8] {
    static DATA: OnceLock<Vec<u8>> = OnceLock::new();
    DATA.get_or_init(|| noise(100_000))
}

/// Two parts, and two pieces of 8 MiB.
fn large() -> &'static [u8] {
    static DATA: OnceLock<Vec<u8>> = OnceLock::new();
    DATA.get_or_init(|| noise((8 << 20) + 100_000))
}

fn nothing() -> &'static [u8] {
    b""
}

fn unprepared(_: &str) {}

fn words(text: &str, url: String) -> Vec<String> {
    text.split(' ').map(str::to_owned).chain([url]).collect()
}

fn expect(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}

/// Through proxies that keep checksums, as the cases use them.
fn stored(directory: &str, name: &str, data: &[u8]) -> String {
    let (url, proxy) =
        (format!("{directory}{name}"), Proxy::with_checksums(server().address(), |_| Fault::Nothing));
    done(&["put", "--endpoint-url", &proxy.url, &url], data);
    url
}

/// An object that many cases read.
fn shared(name: &'static str) -> String {
    static SMALL: OnceLock<String> = OnceLock::new();
    static LARGE: OnceLock<String> = OnceLock::new();
    let directory = server().url("faults", "shared/");
    match name {
        "small" => SMALL.get_or_init(|| stored(&directory, "small", small())).clone(),
        _ => LARGE.get_or_init(|| stored(&directory, "large", large())).clone(),
    }
}

fn check_put(directory: &str, output: &Output, data: &[u8]) -> Result<(), String> {
    let got = s3(&["get", &format!("{directory}x")], b"");
    match code(&got) {
        0 => {
            expect(got.stdout == data, || format!("{} bytes are stored of {}", got.stdout.len(), data.len()))?
        }
        3 => expect(code(output) != 0, || "it is not there".to_owned())?,
        _ => return Err(errors(&got)),
    }
    // Of an upload whose id got lost nobody can know but a person, who is told.
    let left = leftovers(directory);
    let told = errors(output).contains("pgv-s3 rm --uploads");
    expect(left.is_empty() || told, || format!("left: {left:?}"))
}

fn target(directory: &str) -> PathBuf {
    let name = directory.trim_end_matches('/').replace(['/', ':'], "_");
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

const PAGES: usize = 3;

/// As many pages as that, of a hundred names each.
fn listed() -> &'static (String, Vec<String>) {
    static NAMES: OnceLock<(String, Vec<String>)> = OnceLock::new();
    NAMES.get_or_init(|| {
        let directory = server().url("faults", "pages/");
        let names: Vec<String> = (0..(PAGES - 1) * 100 + 1).map(|number| format!("{number:03}")).collect();
        batch(&directory, &names);
        (directory.clone(), names.iter().map(|name| format!("{directory}{name}")).collect())
    })
}

fn batch(directory: &str, names: &[String]) {
    let scratch = tempfile::tempdir().unwrap();
    let paths = names.iter().map(|name| {
        let path = scratch.path().join(name);
        std::fs::write(&path, name).unwrap();
        path.to_str().unwrap().to_owned() + "\n"
    });
    let paths: String = paths.collect();
    done(&["put", "--batch", "--jobs", "8", directory], paths.as_bytes());
}

/// An upload that was begun and forgotten.
fn begun_upload(directory: &str) {
    let killed: Arc<OnceLock<u32>> = Arc::default();
    let process = Arc::clone(&killed);
    let kill =
        move || rustix::process::kill_process(pid(*process.wait()), rustix::process::Signal::KILL).unwrap();
    let kill: Arc<dyn Fn() + Send + Sync> = Arc::new(kill);
    let proxy = Proxy::start(server().address(), move |request| match request.label.ends_with(" uploads") {
        true => Fault::Then(Arc::clone(&kill)),
        false => Fault::Nothing,
    });
    let url = format!("{directory}x");
    let child = command(&["put", "--part-size", "5MiB", "--endpoint-url", &proxy.url, &url]).spawn().unwrap();
    killed.set(child.id()).unwrap();
    crate::harness::finish(child, &large()[..PART + 1]);
    assert_eq!(leftovers(directory).len(), 1);
}

fn operations() -> Vec<Operation> {
    vec![
        Operation {
            name: "put",
            stall: STALL,
            prepare: unprepared,
            arguments: |directory| words("put", format!("{directory}x")),
            input: small,
            check: |directory, output| check_put(directory, output, small()),
        },
        Operation {
            name: "put in parts",
            stall: LARGE_STALL,
            prepare: unprepared,
            arguments: |directory| words("put --part-size 5MiB", format!("{directory}x")),
            input: || &large()[..PART + 100_000],
            check: |directory, output| check_put(directory, output, &large()[..PART + 100_000]),
        },
        Operation {
            name: "get",
            stall: STALL,
            prepare: |_| drop(shared("small")),
            arguments: |_| words("get", shared("small")),
            input: nothing,
            check: |_, output| match code(output) {
                0 => expect(output.stdout == small(), || "other bytes".to_owned()),
                5 => Ok(()),
                _ => expect(small().starts_with(&output.stdout), || "wrong bytes".to_owned()),
            },
        },
        Operation {
            name: "get in pieces",
            stall: LARGE_STALL,
            prepare: |directory| {
                let _of_an_earlier_run = std::fs::remove_file(target(directory)).is_ok();
                shared("large");
            },
            arguments: |directory| words(&format!("get -o {}", target(directory).display()), shared("large")),
            input: nothing,
            check: |directory, output| match (code(output), std::fs::read(target(directory))) {
                (0, Ok(bytes)) => {
                    std::fs::remove_file(target(directory)).unwrap();
                    expect(bytes == large(), || "other bytes".to_owned())
                }
                (0, Err(error)) => Err(error.to_string()),
                (_, found) => expect(found.is_err(), || "a file after a failure".to_owned()),
            },
        },
        Operation {
            name: RANGES,
            stall: LARGE_STALL,
            prepare: |_| drop(shared("large")),
            arguments: |_| words("get --ranges -", shared("large")),
            // Near each other, far apart, and up to the end.
            input: || b"0-99\n200-299\n4000000-4099999\n8400000-8488607\n",
            check: |_, output| {
                let wanted = [0..100, 200..300, 4_000_000..4_100_000, 8_400_000..8_488_608];
                let wanted = wanted.map(|range| &large()[range]).concat();
                match code(output) {
                    0 => expect(output.stdout == wanted, || "other bytes".to_owned()),
                    _ => expect(wanted.starts_with(&output.stdout), || "wrong bytes".to_owned()),
                }
            },
        },
        Operation {
            name: "ls",
            stall: STALL,
            prepare: |_| assert!(!listed().1.is_empty()),
            arguments: |_| words("ls --recursive", listed().0.clone()),
            input: nothing,
            check: |_, output| {
                let (found, wanted) = (lines(output), &listed().1);
                let holds = if code(output) == 0 { found == *wanted } else { wanted.starts_with(&found) };
                expect(holds, || format!("{} of {} names", found.len(), wanted.len()))
            },
        },
        Operation {
            name: "stat",
            stall: STALL,
            prepare: |_| drop(shared("small")),
            arguments: |_| words("stat", shared("small")),
            input: nothing,
            check: |_, output| {
                let said = lines(output).first().is_some_and(|line| line.contains("100000"));
                expect(said == (code(output) == 0), || format!("it says {:?}", lines(output)))
            },
        },
        Operation {
            name: "rm",
            stall: STALL,
            prepare: |directory| drop(stored(directory, "x", b"x")),
            arguments: |directory| words("rm", format!("{directory}x")),
            input: nothing,
            check: |directory, output| {
                let there = code(&s3(&["stat", &format!("{directory}x")], b"")) == 0;
                expect(!there || code(output) != 0, || "it is still there".to_owned())
            },
        },
        Operation {
            name: "rm --recursive",
            stall: STALL,
            prepare: |directory| batch(directory, &["a", "b", "c"].map(str::to_owned)),
            arguments: |directory| words("rm --recursive", directory.to_owned()),
            input: nothing,
            check: |directory, output| {
                let left = lines(&done(&["ls", "--recursive", directory], b""));
                expect(left.is_empty() || code(output) != 0, || format!("still there: {left:?}"))
            },
        },
        Operation {
            name: "rm --uploads",
            stall: STALL,
            prepare: begun_upload,
            arguments: |directory| words("rm --uploads", directory.to_owned()),
            input: nothing,
            check: |directory, output| {
                let left = leftovers(directory);
                expect(left.is_empty() || code(output) != 0, || format!("still there: {left:?}"))
            },
        },
    ]
}

fn execute(operation: &Operation, directory: &str, proxy: &Proxy, timeout: &str) -> Output {
    let arguments = (operation.arguments)(directory);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = command(&arguments);
    command
        .env("PGV_S3_ENDPOINT_URL", &proxy.url)
        .env("PGV_S3_TIMEOUT", timeout)
        .env("PGV_S3_STALL", operation.stall);
    run_within(LONGEST, &mut command, (operation.input)())
}

/// A directory of the case's own, and what stands for it in the label of a request.
fn place(name: &str) -> (String, String) {
    let url = server().url("faults", &format!("{}/", name.replace(' ', "_")));
    let path = url.trim_start_matches("s3:/").to_owned();
    (url, path)
}

struct Case<'a> {
    operation: &'a Operation,
    /// The request that goes wrong: its label without the directory, and how many like it came before.
    label: String,
    nth: usize,
    fault: (&'static str, Fault),
    for_ever: bool,
}

impl Case<'_> {
    fn describe(&self) -> String {
        let often = if self.for_ever { "for ever" } else { "once" };
        format!("{}: {} at {} #{} {often}", self.operation.name, self.fault.0, self.label, self.nth)
    }

    /// What is wrong, if something is. What ended for want of time, and should not have, gets more of it.
    /// `matrix` is in the names of its objects: another one's may still be there.
    fn run(&self, matrix: &str, number: usize) -> Result<(), String> {
        let number = format!("{matrix}-{number}");
        let first = self.attempt(&number, if self.for_ever { SHORT_TIMEOUT } else { TIMEOUT });
        match first {
            Err((TEMPORARY, _)) if self.for_ever => self.attempt(&format!("{number}-again"), LONG_TIMEOUT),
            other => other,
        }
        .map_err(|(_, text)| text)
    }

    /// What is wrong, if something is, and the status with which it ended.
    fn attempt(&self, number: &str, timeout: &str) -> Result<(), (i32, String)> {
        let (directory, path) = place(&format!("{}-{number}", self.operation.name));
        (self.operation.prepare)(&directory);
        let (label, nth, fault, for_ever) =
            (self.label.clone(), self.nth, self.fault.1.clone(), self.for_ever);
        let struck = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&struck);
        let proxy = Proxy::with_checksums(server().address(), move |request| {
            let same = request.label.replace(&path, "") == label;
            match same && (request.nth == nth || for_ever && request.nth > nth) {
                true => {
                    count.fetch_add(1, Ordering::Relaxed);
                    fault.clone()
                }
                false => Fault::Nothing,
            }
        });
        let begun = Instant::now();
        let output = execute(self.operation, &directory, &proxy, timeout);
        let took = begun.elapsed().as_secs_f64();
        // None: it was killed, for it took too long.
        let ended = output.status.code().unwrap_or(-1);
        expect(struck.load(Ordering::Relaxed) > 0, || "the request never came".to_owned())
            .and_then(|()| expect(self.allows(ended), || format!("it ended with {ended}")))
            .and_then(|()| (self.operation.check)(&directory, &output))
            .map_err(|text| (ended, format!("{text} (status {ended}, {took:.1} s)\n{}", errors(&output))))
    }

    fn makes_the_object(&self) -> bool {
        matches!(self.label.as_str(), "PUT x" | "POST x uploadId")
    }

    fn allows(&self, ended: i32) -> bool {
        match (self.fault.0, self.for_ever) {
            // The service refuses it; whether asking again helps nobody knows.
            ("flip what is sent", false) => matches!(ended, 0 | 1 | 5 | TEMPORARY),
            ("flip what is sent", true) => matches!(ended, 1 | 5 | TEMPORARY),
            ("flip what is got", _) => ended == 5,
            (_, false) => ended == 0,
            // What is asked for then ends where the object does, and is another request.
            ("cut" | "cut with no length" | "freeze" | "drip", true)
                if ["get", RANGES].contains(&self.operation.name) =>
            {
                matches!(ended, 0 | TEMPORARY)
            }
            // The object is made, and can be seen to be ours.
            ("lose" | "cut" | "cut with no length" | "freeze" | "drip", true) if self.makes_the_object() => {
                matches!(ended, 0 | TEMPORARY)
            }
            (_, true) => ended == TEMPORARY,
        }
    }
}

/// The requests of a run in which nothing goes wrong: of two, as one in which the machine stalls has more.
fn clean_run(operation: &Operation, name: &str) -> Vec<Request> {
    let runs = ["1", "2"].map(|turn| one_clean_run(operation, &format!("clean-{name}-{turn}")));
    runs.into_iter().min_by_key(Vec::len).unwrap()
}

fn one_clean_run(operation: &Operation, name: &str) -> Vec<Request> {
    let (directory, path) = place(&format!("{}-{name}", operation.name));
    (operation.prepare)(&directory);
    let proxy = Proxy::with_checksums(server().address(), |_| Fault::Nothing);
    let output = execute(operation, &directory, &proxy, TIMEOUT);
    assert_eq!(code(&output), 0, "{}: {}", operation.name, errors(&output));
    (operation.check)(&directory, &output).unwrap();
    let mut seen = proxy.seen();
    seen.iter_mut().for_each(|request| request.label = request.label.replace(&path, ""));
    seen
}

/// `which`: fault, and whether for ever.
fn matrix(name: &str, which: impl Fn(&str, bool) -> bool) {
    let operations = operations();
    let mut cases = Vec::new();
    for operation in &operations {
        let requests = clean_run(operation, name);
        for (request, fault) in
            requests.iter().flat_map(|request| faults().into_iter().map(move |fault| (request, fault)))
        {
            for for_ever in [false, true] {
                let is_unseen = operation.name == RANGES && fault.0 == "flip what is got";
                if applies(fault.0, request) && !is_unseen && which(fault.0, for_ever) {
                    let (label, nth, fault) = (request.label.clone(), request.nth, fault.clone());
                    cases.push(Case { operation, label, nth, fault, for_ever });
                }
            }
        }
    }
    // Not both at once: the server would be busier with what was given up than with what is waited for.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    let work = || {
        while let number = next.fetch_add(1, Ordering::Relaxed)
            && let Some(case) = cases.get(number)
        {
            if let Err(text) = case.run(name, number) {
                wrong.lock().unwrap().insert(format!("{}: {text}", case.describe()));
            }
        }
    };
    std::thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().unwrap();
    let mut text = String::new();
    wrong.iter().for_each(|case| writeln!(text, "{case}").unwrap());
    assert!(wrong.is_empty(), "{} of {} cases:\n{text}", wrong.len(), cases.len());
}

#[test]
fn whatever_goes_wrong_once_is_survived() {
    matrix("once", |_, for_ever| !for_ever);
}

/// Of each way to go wrong one; the others take minutes.
const FEW: [&str; 7] =
    ["reset", "503", "page", "cut with no length", "freeze", "flip what is sent", "flip what is got"];

#[test]
fn whatever_goes_wrong_for_ever_ends_and_says_so() {
    matrix("for-ever", |fault, for_ever| for_ever && FEW.contains(&fault));
}

#[test]
#[ignore = "minutes: make test-long"]
fn everything_else_that_goes_wrong_for_ever_ends_too() {
    matrix("for-ever-else", |fault, for_ever| for_ever && !FEW.contains(&fault));
}
