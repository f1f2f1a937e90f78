//! pgv-s3 is told to end, or killed, at the worst moments there are: at each of its requests, before the server has
//! carried it out and afterwards. What it leaves is all of an object or nothing.

use crate::harness::{
    code, command, done, errors, finish, leftovers, lines, noise, pid, run_within, s3, server,
};
use crate::proxy::{Fault, Proxy, Request};
use rustix::process::{Signal, kill_process};
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Cases at once: nearly all of their time they wait.
const WORKERS: usize = 4;
const PART: usize = 5 << 20;
const SIGNALS: [(&str, Signal); 4] =
    [("INT", Signal::INT), ("TERM", Signal::TERM), ("HUP", Signal::HUP), ("KILL", Signal::KILL)];

type Moment = fn(Arc<dyn Fn() + Send + Sync>) -> Fault;
const MOMENTS: [(&str, Moment); 2] = [("before", Fault::First), ("after", Fault::Then)];

fn put<'a>(proxy: &'a Proxy, url: &'a str) -> Vec<&'a str> {
    vec!["put", "--part-size", "5MiB", "--endpoint-url", &proxy.url, url]
}

/// The requests of an undisturbed put.
fn requests(data: &[u8]) -> Vec<Request> {
    let url = server().url("signals", &format!("clean/{}", data.len()));
    let proxy = Proxy::start(server().address(), |_| Fault::Nothing);
    done(&put(&proxy, &url), data);
    proxy.seen()
}

/// A put, to which `signal` is sent at its `index`th request.
fn put_struck(url: &str, data: &[u8], index: usize, signal: Signal, moment: Moment) -> Output {
    let process: Arc<OnceLock<u32>> = Arc::default();
    let found = Arc::clone(&process);
    // One that has ended meanwhile gets none.
    let strike: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        let _gone = kill_process(pid(*found.wait()), signal).is_err();
    });
    let proxy = Proxy::start(server().address(), move |request| match request.place == index {
        true => moment(Arc::clone(&strike)),
        false => Fault::Nothing,
    });
    let child = command(&put(&proxy, url)).spawn().unwrap();
    process.set(child.id()).unwrap();
    let output = finish(child, data);
    proxy.settle();
    output
}

fn all_or_nothing(url: &str, data: &[u8], output: &Output) -> Result<(), String> {
    let got = s3(&["get", url], b"");
    match code(&got) {
        0 if got.stdout == data => Ok(()),
        0 => Err(format!("{} bytes are stored of {}", got.stdout.len(), data.len())),
        3 if !output.status.success() => Ok(()),
        3 => Err("it is not there, after success".to_owned()),
        _ => Err(errors(&got)),
    }
}

fn struck_put(
    data: &[u8],
    index: usize,
    signal: (&str, Signal),
    moment: (&str, Moment),
) -> Result<(), String> {
    let directory = server().url("signals", &format!("{}-{index}-{}-{}/", data.len(), signal.0, moment.0));
    let url = format!("{directory}x");
    let output = put_struck(&url, data, index, signal.1, moment.1);
    if output.status.signal() != Some(signal.1.as_raw()) && !output.status.success() {
        return Err(format!("it ended with {}: {}", output.status, errors(&output)));
    }
    if signal.1 == Signal::KILL {
        done(&["rm", "--uploads", &directory], b"");
    }
    all_or_nothing(&url, data, &output)?;
    match leftovers(&directory) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("left: {left:?}\n{}", errors(&output))),
    }
}

fn at_every_request(data: &[u8]) {
    let requests = requests(data);
    let cases = (0..requests.len()).flat_map(|index| SIGNALS.map(|signal| (index, signal)));
    let cases: Vec<_> =
        cases.flat_map(|(index, signal)| MOMENTS.map(|moment| (index, signal, moment))).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((index, signal, moment)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(text) = struck_put(data, *index, *signal, *moment) {
                let label = &requests[*index].label;
                wrong.lock().unwrap().push(format!("{} {} {label}: {text}", signal.0, moment.0));
            }
        }
    };
    std::thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_put_ends_at_any_of_its_requests() {
    at_every_request(&noise(1000));
}

#[test]
fn a_put_in_parts_ends_at_any_of_its_requests() {
    at_every_request(&noise(PART + 1000));
}

/// A put in parts whose giving up is never answered, and which has been told to end.
fn interrupted(proxy: &Proxy, url: &str) -> Child {
    let mut child = command(&put(proxy, url)).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&noise(2 * PART + 1)).unwrap();
    let await_request = |method: &str| {
        let begun = Instant::now();
        while !proxy.seen().iter().any(|request| request.label.starts_with(method)) {
            assert!(begun.elapsed().as_secs() < 30, "no {method}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    await_request("PUT");
    kill_process(pid(child.id()), Signal::TERM).unwrap();
    await_request("DELETE");
    child
}

#[test]
fn nobody_waits_for_a_service_that_does_not_give_up() {
    let url = server().url("signals", "dead/x");
    let dead = || {
        Proxy::start(server().address(), |request| match request.head.starts_with("DELETE") {
            true => Fault::Stall,
            false => Fault::Nothing,
        })
    };
    let proxy = dead();
    let mut child = interrupted(&proxy, &url);
    let _open = child.stdin.take();
    let begun = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(15));
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    assert!(errors(&output).contains("pgv-s3 rm --uploads"), "{}", errors(&output));

    // A second signal does not even wait for that; one at once is of the same wish.
    let proxy = dead();
    let mut child = interrupted(&proxy, &url);
    let _open = child.stdin.take();
    let begun = Instant::now();
    kill_process(pid(child.id()), Signal::HUP).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    kill_process(pid(child.id()), Signal::INT).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.signal(), Some(2));
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
    done(&["rm", "--uploads", &server().url("signals", "dead/")], b"");
}

fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What a signal in the midst of a transfer leaves in `directory`: nothing, or after SIGKILL a temporary file that is
/// found and removed.
fn ends_with_nothing(child: Child, signal: (&str, Signal), directory: &Path) {
    let begun = Instant::now();
    while names(directory).is_empty() && begun.elapsed().as_secs() < 30 {
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(pid(child.id()), signal.1).unwrap();
    let mut child = child;
    let _open = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(signal.1.as_raw()), "{}", errors(&output));
    let left = names(directory);
    if signal.1 == Signal::KILL {
        let url = format!("file://{}/", directory.display());
        assert!(left.len() == 1 && left[0] != "x", "{left:?}");
        assert!(lines(&done(&["ls", "--recursive", &url], b"")).is_empty());
        done(&["rm", "--uploads", &url], b"");
        assert!(names(directory).is_empty());
    } else {
        assert!(left.is_empty(), "{}: {left:?}", signal.0);
    }
}

#[test]
fn no_file_appears_before_it_is_complete() {
    let object = server().url("signals", "file");
    done(&["put", &object], &noise(20 << 20));
    for signal in SIGNALS {
        let scratch = tempfile::tempdir().unwrap();
        let url = format!("file://{}/x", scratch.path().display());
        let mut child = command(&["put", &url]).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(&noise(PART)).unwrap();
        ends_with_nothing(child, signal, scratch.path());

        let proxy = Proxy::start(server().address(), |request| match request.head.starts_with("GET") {
            true => Fault::Freeze(1_000_000),
            false => Fault::Nothing,
        });
        let file = scratch.path().join("x");
        let get = ["get", "--endpoint-url", &proxy.url, "-o", file.to_str().unwrap(), &object];
        ends_with_nothing(command(&get).spawn().unwrap(), signal, scratch.path());
    }
}

/// As a full disk: no file may grow beyond 4 MiB.
fn with_little_room(arguments: &[&str]) -> std::process::Command {
    let pgv = command(arguments);
    let mut limited = std::process::Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$@\"", "bash"]);
    limited.arg(pgv.get_program()).args(pgv.get_args());
    for (name, value) in pgv.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.stdin(std::process::Stdio::piped());
    limited.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    limited
}

#[test]
fn a_disk_that_takes_no_more_leaves_nothing() {
    let object = server().url("signals", "too-long");
    let data = noise(8 << 20);
    done(&["put", &object], &data);
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("x");
    let url = format!("file://{}", file.display());
    for arguments in [vec!["put", &url], vec!["get", "-o", file.to_str().unwrap(), &object]] {
        let full = run_within(Duration::from_secs(60), &mut with_little_room(&arguments), &data);
        assert_eq!(full.status.code(), Some(1), "{arguments:?}: {}", errors(&full));
        assert!(errors(&full).contains("too large"), "{}", errors(&full));
        assert!(names(scratch.path()).is_empty(), "{arguments:?}: {:?}", names(scratch.path()));
    }
}
