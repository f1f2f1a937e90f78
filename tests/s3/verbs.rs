//! Each verb as it is meant to work, and what goes wrong in well-known ways.

use crate::harness::{code, command, done, errors, leftovers, lines, noise, peak, run, s3, server};
use crate::proxy::{Fault, Proxy, Request};
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn through(plan: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Proxy {
    Proxy::start(server().address(), plan)
}

#[test]
fn sizes_around_a_part_come_back() {
    const PART: usize = 5 << 20;
    for length in [0, 1, PART - 1, PART, PART + 1, 3 * PART, 5 * PART + 17] {
        let url = server().url("sizes", &length.to_string());
        let data = noise(length);
        let put = done(&["put", "--json", "--part-size", "5MiB", &url], &data);
        let json: serde_json::Value = serde_json::from_slice(&put.stdout).unwrap();
        assert_eq!(json["bytes"], length, "{length}");
        assert!(done(&["get", &url], b"").stdout == data, "{length}");
        let stat = done(&["stat", "--json", &url], b"");
        let stat: serde_json::Value = serde_json::from_slice(&stat.stdout).unwrap();
        assert_eq!((&stat["bytes"], &stat["etag"]), (&json["bytes"], &json["etag"]), "{length}");
    }
}

#[test]
fn put_never_replaces_unless_told() {
    let url = server().url("replace", "x");
    done(&["put", &url], b"one");
    // Not even asked for its input.
    assert_eq!(code(&s3(&["put", &url, "/dev/zero"], b"")), 6);
    assert_eq!(code(&s3(&["put", &url], &noise(20 << 20))), 6);
    assert_eq!(done(&["get", &url], b"").stdout, b"one");
    done(&["put", "--replace", &url], b"two");
    assert_eq!(done(&["get", &url], b"").stdout, b"two");
}

#[test]
fn failures_have_their_status_and_say_why() {
    let url = server().url("failures", "x");
    let missing = s3(&["get", &url], b"");
    assert_eq!(code(&missing), 3, "{}", errors(&missing));
    assert_eq!(code(&s3(&["stat", &url], b"")), 3);
    assert_eq!(code(&s3(&["rm", &url], b"")), 3);
    done(&["put", &url], b"x");
    for arguments in [["get", &url], ["stat", &url], ["put", &url], ["ls", &server().url("failures", "")]] {
        let wrong = run(command(&arguments).env("AWS_SECRET_ACCESS_KEY", "not-the-secret"), b"");
        assert_eq!(code(&wrong), 1, "{arguments:?}: {}", errors(&wrong));
        assert!(errors(&wrong).contains("access denied"), "{}", errors(&wrong));
        assert!(!errors(&wrong).contains("not-the-secret"), "{}", errors(&wrong));
        let stranger = server().value("PGV_TEST_STRANGER");
        let stranger = run(command(&arguments).env("AWS_ACCESS_KEY_ID", stranger), b"");
        assert_eq!(code(&stranger), 1, "{arguments:?}: {}", errors(&stranger));
    }
    for verb in ["get", "stat", "put", "ls", "rm"] {
        let bucket = s3(&[verb, "s3://no-such-bucket/a"], b"");
        assert_eq!(code(&bucket), 1, "{verb}: {}", errors(&bucket));
        assert!(errors(&bucket).contains("bucket does not exist"), "{}", errors(&bucket));
    }
    let nobody = run(command(&["get", &url]).env_remove("AWS_ACCESS_KEY_ID"), b"");
    assert_eq!(code(&nobody), 2, "{}", errors(&nobody));
    let nowhere =
        run(command(&["get", &url]).env_remove("PGV_S3_REGION").env_remove("PGV_S3_ENDPOINT_URL"), b"");
    assert_eq!(code(&nowhere), 2, "{}", errors(&nowhere));
    assert_eq!(code(&s3(&["get", &server().url("failures", "")], b"")), 2);
}

#[test]
fn a_directory_does_not_list_its_neighbour() {
    let url = |name: &str| server().url("list", name);
    let odd = ["A/x y", "A/x+y", "A/x%20y", "A/ü&<>\"'", "A/a/b", "A_B/x"];
    for name in odd {
        done(&["put", &url(name)], name.as_bytes());
    }
    let mut expected: Vec<String> = odd[..5].iter().map(|name| url(name)).collect();
    expected.sort();
    assert_eq!(lines(&done(&["ls", "--recursive", &url("A/")], b"")), expected);
    for name in odd {
        assert_eq!(done(&["get", &url(name)], b"").stdout, name.as_bytes());
    }
    let behind = |name| lines(&done(&["ls", "--recursive", "--after", name, &url("A/")], b""));
    assert_eq!(behind("x+y"), expected[4..]);
    assert_eq!(behind("x"), expected[1..]);
    assert_eq!(lines(&done(&["ls", &url("")], b"")), [url("A/"), url("A_B/")]);
    assert_eq!(lines(&done(&["rm", "--recursive", "--dry-run", &url("A/")], b"")), expected);
    done(&["rm", "--recursive", &url("A/")], b"");
    assert_eq!(lines(&done(&["ls", "--recursive", &url("")], b"")), [url("A_B/x")]);
}

#[test]
fn a_command_decides_by_its_status() {
    for (size, script, expected, stored) in [
        ("0", "exit 0", 0, true),
        ("6000000", "exit 7", 7, true),
        ("6000000", "exit 5", 5, false),
        ("12000000", "exit 5", 5, false),
        ("12000000", "kill -9 $$", 1, false),
        ("12000000", "exit 0", 0, true),
    ] {
        let url = server().url("command", "x");
        let script = format!("head -c {size} /dev/zero; {script}");
        let put = s3(&["put", "--part-size", "5MiB", &url, "--", "sh", "-c", &script], b"");
        assert_eq!(code(&put), expected, "{script}: {}", errors(&put));
        assert_eq!(code(&s3(&["stat", &url], b"")), if stored { 0 } else { 3 }, "{script}");
        assert!(leftovers(&server().url("command", "")).is_empty(), "{script}");
        if stored {
            done(&["rm", &url], b"");
        }
    }
}

/// A put in the midst of a multipart upload: its input is open, and parts are stored.
fn half_an_upload(directory: &str) -> std::process::Child {
    let mut child = command(&["put", "--part-size", "5MiB", &format!("{directory}x")]).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&noise(16 << 20)).unwrap();
    let begun = std::time::Instant::now();
    while leftovers(directory).is_empty() && begun.elapsed().as_secs() < 30 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    child
}

fn kill(child: std::process::Child, signal: &str) -> Output {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    // With its input still open: a signal does not wait for that.
    let mut child = child;
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    output
}

#[test]
fn a_signal_leaves_nothing() {
    use std::os::unix::process::ExitStatusExt;
    for (signal, number) in [("-TERM", 15), ("-INT", 2)] {
        let directory = server().url("signal", "");
        let killed = kill(half_an_upload(&directory), signal);
        assert_eq!(killed.status.signal(), Some(number));
        assert_eq!(leftovers(&directory), [""; 0], "{signal}: {}", errors(&killed));
        assert!(lines(&done(&["ls", &directory], b"")).is_empty(), "{signal}");
    }
}

#[test]
fn what_a_killed_upload_leaves_is_found_and_removed() {
    let directory = server().url("killed", "");
    kill(half_an_upload(&directory), "-KILL");
    assert_eq!(leftovers(&directory), [format!("{directory}x")]);
    assert_eq!(code(&s3(&["get", &format!("{directory}x")], b"")), 3);
    done(&["rm", "--uploads", "--older-than", "1h", &directory], b"");
    assert_eq!(leftovers(&directory).len(), 1, "a young upload may be alive");
    done(&["rm", "--uploads", &server().url("kill", "")], b"");
    assert_eq!(leftovers(&directory).len(), 1, "another directory");
    done(&["rm", "--uploads", &directory], b"");
    assert!(leftovers(&directory).is_empty());
}

#[test]
fn ranges_and_readers_that_stop() {
    let url = server().url("range", "x");
    let data = noise(20 << 20);
    done(&["put", &url], &data);
    for (range, expected) in [
        ("0-0", &data[..1]),
        ("5-", &data[5..]),
        ("8388607-8388608", &data[8_388_607..8_388_609]),
        ("100-99999999", &data[100..]),
    ] {
        assert!(done(&["get", "--range", range, &url], b"").stdout == expected, "{range}");
    }
    assert_eq!(code(&s3(&["get", "--range", "99999999-", &url], b"")), 1);
    assert_eq!(code(&s3(&["get", "--range", "5-4", &url], b"")), 2);
    let mut head = command(&["get", &url]).stdin(Stdio::null()).spawn().unwrap();
    let mut first = [0u8; 1];
    std::io::Read::read_exact(head.stdout.as_mut().unwrap(), &mut first).unwrap();
    drop(head.stdout.take());
    let stopped = head.wait_with_output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&stopped.status), Some(13));
    assert_eq!((first[0], errors(&stopped).as_str()), (data[0], ""));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let full = command(&["get", &url]).stdout(full).output().unwrap();
    assert_eq!(code(&full), 1);
    assert!(errors(&full).contains("no space left"), "{}", errors(&full));
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("x");
    done(&["get", "-o", file.to_str().unwrap(), &url], b"");
    assert!(std::fs::read(file).unwrap() == data);
    assert_eq!(
        code(&s3(&["get", "-o", scratch.path().join("y").to_str().unwrap(), &url[..url.len() - 1]], b"")),
        2
    );
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1, "no file for what is not there");
}

#[test]
fn parts_of_an_object_are_of_one_object() {
    let url = server().url("parts", "x");
    let data = noise(20 << 20);
    done(&["put", &url], &data);
    // A step of 1 MiB costs less than a request; what is farther away is asked for by itself.
    let ranges = b"0-0\n1048576-1048577\n3000000-3000009\n8388607-16777216\n20971519-20971519\n";
    let wanted =
        [0..1, 1_048_576..1_048_578, 3_000_000..3_000_010, 8_388_607..16_777_217, 20_971_519..20_971_520]
            .map(|range| &data[range])
            .concat();
    let get_within = |timeout, endpoint: &Proxy, ranges: &[u8]| {
        let arguments = [
            "get",
            "--ranges",
            "-",
            "--jobs",
            "1",
            "--timeout",
            timeout,
            "--endpoint-url",
            &endpoint.url,
            &url,
        ];
        run(&mut command(&arguments), ranges)
    };
    let get = |endpoint: &Proxy, ranges: &[u8]| get_within("1min", endpoint, ranges);
    let plain = through(|_| Fault::Nothing);
    let got = get(&plain, ranges);
    assert!(code(&got) == 0 && got.stdout == wanted, "{}", errors(&got));
    let seen = plain.seen();
    assert_eq!(seen.iter().map(|request| request.answered).sum::<usize>(), wanted.len() + (1 << 20) - 1);
    // Two pieces of 8 MiB, the second of one byte or two.
    assert_eq!(seen.len(), 5, "{seen:?}");
    // All but the first name the object that the first was of.
    assert!(
        seen[0].header("if-match").is_none()
            && seen[1..].iter().all(|next| next.header("if-match").is_some())
    );

    // What is wrong from the second request on; the first part has come by then.
    const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    const OTHER: &str = "<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>";
    const GONE: &str = "<Error><Code>NoSuchKey</Code><Message>no</Message></Error>";
    const BROKEN: &str = "<Error><Code>InternalError</Code><Message>broken</Message></Error>";
    let later =
        |fault: Fault| through(move |request| if request.place > 0 { fault.clone() } else { Fault::Nothing });
    for (fault, status, said) in [
        (Fault::Answer("403 Forbidden", DENIED), 1, "access denied"),
        (Fault::Answer("412 Precondition Failed", OTHER), 1, "it was replaced while it was read"),
        (Fault::Answer("404 Not Found", GONE), 1, "it was removed while it was read"),
        (Fault::Answer("500 Internal Server Error", BROKEN), 75, ""),
        (Fault::Whole, 75, "byte range"),
        (Fault::Cut(5), 75, ""),
        (Fault::Retold("ETag", "\"another\""), 1, "it was replaced while it was read"),
        (Fault::Retold("Content-Range", "bytes 7-16/20971520"), 1, "byte ranges"),
    ] {
        let got = get_within(if status == 75 { "3s" } else { "1min" }, &later(fault), ranges);
        assert!(code(&got) == status && errors(&got).contains(said), "{status} {said}: {}", errors(&got));
        assert!(wanted.starts_with(&got.stdout) && got.stdout.len() < wanted.len());
    }
    // A service that knows no ranges at all.
    let got = get(&through(|_| Fault::Whole), ranges);
    assert!(code(&got) == 1 && errors(&got).contains("does not support byte ranges"), "{}", errors(&got));
    assert!(got.stdout.is_empty());

    // Replaced by another of the same length between two ranges: what was there before, and no byte of the other.
    let (other, target) = (noise((20 << 20) + 8)[8..].to_vec(), url.clone());
    let replaced = through(move |request| {
        let (other, target) = (other.clone(), target.clone());
        let replace = move || drop(done(&["put", "--replace", &target], &other));
        if request.place == 0 { Fault::Then(std::sync::Arc::new(replace)) } else { Fault::Nothing }
    });
    let got = get(&replaced, ranges);
    assert!(
        code(&got) == 1 && errors(&got).contains("it was replaced while it was read"),
        "{}",
        errors(&got)
    );
    assert!(wanted.starts_with(&got.stdout) && got.stdout.len() < wanted.len());

    // Beyond the end, and of an empty object; no range asks only whether it is there.
    let empty = server().url("parts", "empty");
    done(&["put", &empty], b"");
    for (url, ranges, status) in [
        (&url, &b"20971519-20971520\n"[..], 5),
        (&url, b"0-0\n20971520-20971520\n", 5),
        (&url, b"30000000-30000001\n", 1),
        (&empty, b"0-0\n", 5),
        (&empty, b"", 0),
        (&url, b"", 0),
        (&server().url("parts", "absent"), b"", 3),
        (&server().url("parts", "absent"), b"0-0\n", 3),
    ] {
        let got = s3(&["get", "--ranges", "-", url], ranges);
        assert!(code(&got) == status && got.stdout.is_empty(), "{url} {ranges:?}: {}", errors(&got));
    }
}

#[test]
fn listings_go_on_over_pages() {
    let directory = server().url("pages", "");
    let names: Vec<String> =
        (0..250).map(|number| format!("{directory}{}/{number:04}", number % 2)).collect();
    std::thread::scope(|scope| {
        for some in names.chunks(63) {
            scope.spawn(|| some.iter().for_each(|url| drop(done(&["put", url], url.as_bytes()))));
        }
    });
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(lines(&done(&["ls", "--recursive", &directory], b"")), sorted);
    assert_eq!(lines(&done(&["ls", &directory], b"")), [format!("{directory}0/"), format!("{directory}1/")]);
    let (some, rest) = sorted.split_at(10);
    done(&["rm", "-"], (some.join("\n") + "\n").as_bytes());
    assert_eq!(code(&s3(&["rm", &some[0], &rest[0]], b"")), 3, "one of them is not there");
    assert_eq!(lines(&done(&["ls", "--recursive", &directory], b"")), rest[1..]);
    done(&["rm", "--recursive", &directory], b"");
    assert!(lines(&done(&["ls", "--recursive", &directory], b"")).is_empty());
}

#[test]
fn memory_does_not_grow_with_the_stream() {
    let url = server().url("memory", "x");
    let mut put = command(&["put", &url]).spawn().unwrap();
    let piece = noise(8 << 20);
    let mut stdin = put.stdin.take().unwrap();
    (0..48).for_each(|_| stdin.write_all(&piece).unwrap());
    let put_peak = peak(put.id());
    drop(stdin);
    let put = put.wait_with_output().unwrap();
    assert_eq!(code(&put), 0, "{}", errors(&put));
    // 16 parts of 8 MiB and the one being filled, and the process itself.
    assert!(put_peak < 184, "{put_peak} MiB");
    let mut get = command(&["get", &url]).spawn().unwrap();
    let mut stdout = get.stdout.take().unwrap();
    let mut piece = vec![0; 8 << 20];
    (0..47).for_each(|_| std::io::Read::read_exact(&mut stdout, &mut piece).unwrap());
    let get_peak = peak(get.id());
    std::io::Read::read_exact(&mut stdout, &mut piece).unwrap();
    assert!(get.wait().unwrap().success());
    assert!(get_peak < 96, "{get_peak} MiB");
    done(&["rm", &url], b"");
}

#[test]
fn tls_with_an_authority_of_ones_own() {
    let url = server().url("tls", "x");
    let (endpoint, authority) = (server().value("PGV_TEST_TLS_URL"), server().value("PGV_TEST_CA_FILE"));
    let data = noise(12 << 20);
    let tls = |arguments: &[&str], input: &[u8]| {
        run(command(arguments).args(["--endpoint-url", endpoint, "--ca-file", authority]), input)
    };
    let put = tls(&["put", "--part-size", "5MiB", &url], &data);
    assert_eq!(code(&put), 0, "{}", errors(&put));
    assert!(tls(&["get", &url], b"").stdout == data);
    let begun = std::time::Instant::now();
    let stranger = run(command(&["get", &url]).env("PGV_S3_ENDPOINT_URL", endpoint), b"");
    assert_eq!(code(&stranger), 1, "{}", errors(&stranger));
    assert!(errors(&stranger).contains("certificate"), "{}", errors(&stranger));
    assert!(begun.elapsed().as_secs() < 30, "asking again does not help");
    for file in ["/dev/null", "/etc/passwd", "/no/such/file"] {
        let wrong = s3(&["ls", &url, "--endpoint-url", endpoint, "--ca-file", file], b"");
        assert_eq!(code(&wrong), 2, "{}", errors(&wrong));
    }
}

#[test]
fn a_broken_connection_is_taken_up_where_it_stopped() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let url = server().url("cut", "x");
    let data = noise(30 << 20);
    done(&["put", &url], &data);
    let cuts = AtomicUsize::new(0);
    let endpoint = through(move |request| {
        let again = request.head.starts_with("GET") && cuts.fetch_add(1, Ordering::Relaxed) < 6;
        if again { Fault::Cut(3_000_000) } else { Fault::Nothing }
    });
    let get = s3(&["get", "--endpoint-url", &endpoint.url, &url], b"");
    assert_eq!(code(&get), 0, "{}", errors(&get));
    assert!(get.stdout == data);
    let hopeless =
        through(|request| if request.head.starts_with("GET") { Fault::Cut(600) } else { Fault::Nothing });
    let get = run(&mut command(&["get", "--endpoint-url", &hopeless.url, &url, "--timeout", "2s"]), b"");
    assert_eq!(code(&get), 75, "{}", errors(&get));
}

#[test]
fn a_service_without_conditions_and_checksums_will_do() {
    const REFUSED: &str = "<Error><Code>NotImplemented</Code><Message>no such header</Message></Error>";
    const UNKNOWN: &str = "<Error><Code>InvalidRequest</Code><Message>no such checksum</Message></Error>";
    let endpoint = through(|request| match request.head.to_lowercase() {
        head if head.contains("if-none-match:") => Fault::Answer("501 Not Implemented", REFUSED),
        head if head.contains("x-amz-checksum-algorithm:") || head.contains("x-amz-checksum-crc64nvme:") => {
            Fault::Answer("400 Bad Request", UNKNOWN)
        }
        _ => Fault::Nothing,
    });
    for (name, length) in [("one", 1000), ("many", 11 << 20)] {
        let url = server().url("plain", name);
        let data = noise(length);
        let put = s3(&["put", "--part-size", "5MiB", "--endpoint-url", &endpoint.url, &url], &data);
        assert_eq!(code(&put), 0, "{}", errors(&put));
        assert!(done(&["get", &url], b"").stdout == data);
        assert_eq!(code(&s3(&["put", "--endpoint-url", &endpoint.url, &url], b"")), 6);
    }
}

#[test]
fn throttling_and_a_lost_answer() {
    const SLOW: &str = "<Error><Code>SlowDown</Code><Message>slow down</Message></Error>";
    let url = server().url("lost", "x");
    let throttled = through(|_| Fault::Answer("503 Slow Down", SLOW));
    let put =
        run(command(&["put", "--endpoint-url", &throttled.url, &url]).env("AWS_MAX_ATTEMPTS", "2"), b"x");
    assert_eq!(code(&put), 75, "{}", errors(&put));
    // The object is made, but nobody says so: the second attempt finds it, and that it is ours.
    let once = std::sync::atomic::AtomicBool::new(true);
    let deaf = through(move |request| {
        match request.head.starts_with("PUT") && once.swap(false, std::sync::atomic::Ordering::Relaxed) {
            true => Fault::Lose,
            false => Fault::Nothing,
        }
    });
    let put = s3(&["put", "--endpoint-url", &deaf.url, &url], b"x");
    assert_eq!(code(&put), 0, "{}", errors(&put));
    assert_eq!(done(&["get", &url], b"").stdout, b"x");
}

#[test]
fn every_operation_of_a_backup_is_tried() {
    let url = server().url("check", "");
    let output = done(&["check", &url], b"");
    assert!(lines(&output).len() >= 10 && lines(&output).iter().all(|line| line.starts_with("ok   ")));
    assert!(lines(&done(&["ls", "--recursive", &url], b"")).is_empty(), "its objects stay");
    let mut without_rights = command(&["check", &url]);
    let output = run(without_rights.env("AWS_SECRET_ACCESS_KEY", "wrong"), b"");
    assert_eq!(code(&output), 7);
    assert!(lines(&output)[0].starts_with("BAD  put: store an object: "), "{:?}", lines(&output));
}
