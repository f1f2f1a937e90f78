//! What pgv-s3 asks for and how: no request too many, every header that was ordered, credentials that are new when the
//! old ones end, and answers that mean one thing to a person.

use crate::harness::{
    Server, bare_command, code, command, done, errors, noise, run, run_within, s3, s3rver, server,
};
use crate::proxy::{Fault, Proxy, Request};
use std::io::Write;
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

fn through(plan: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Proxy {
    Proxy::start(server().address(), plan)
}

/// Method and what follows the path.
fn asked(proxy: &Proxy) -> Vec<String> {
    let words = |label: &str| {
        let mut words = label.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        words.skip(1).fold(method, |all, word| format!("{all} {word}")).trim_end().to_owned()
    };
    proxy.seen().iter().map(|request| words(&request.label)).collect()
}

#[test]
fn a_small_object_is_one_look_one_put_and_one_proof() {
    let url = server().url("requests", "small");
    // Where the machine stalls before the PUT it looks again: not every time.
    let put = |attempt: usize| {
        let proxy = through(|_| Fault::Nothing);
        done(&["put", "--endpoint-url", &proxy.url, &format!("{url}{attempt}")], b"x");
        asked(&proxy)
    };
    assert!((0..5).any(|attempt| put(attempt) == ["HEAD", "PUT", "HEAD"]), "{:?}", put(5));
    let proxy = through(|_| Fault::Nothing);
    done(&["put", "--replace", "--endpoint-url", &proxy.url, &url], b"x");
    assert_eq!(asked(&proxy), ["PUT", "HEAD"]);
    let proxy = through(|_| Fault::Nothing);
    done(&["get", "--endpoint-url", &proxy.url, &url], b"");
    let asked = asked(&proxy);
    assert!(asked.len() == 2 && asked[0].starts_with("GET ") && asked[1] == "HEAD", "{asked:?}");
}

/// Of what the proxy saw: writes and lists, reads, deletes.
fn classes(proxy: &Proxy) -> [usize; 3] {
    let mut classes = [0; 3];
    for request in proxy.seen() {
        let is_list = request.label.contains(" list-type=2") || request.label.contains(" uploads");
        let class = match request.label.split(' ').next().unwrap() {
            "PUT" | "POST" => 0,
            "GET" if is_list => 0,
            "DELETE" => 2,
            "GET" | "HEAD" => 1,
            other => panic!("{other}"),
        };
        classes[class] += 1;
    }
    classes
}

/// What `--verbose` says; nothing if there were no requests.
fn counted(output: &Output) -> Option<[usize; 3]> {
    let said = errors(output);
    let line = said.lines().find_map(|line| line.strip_prefix("pgv-s3: info: requests: "))?;
    let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    Some(numbers.try_into().unwrap())
}

#[test]
fn requests_are_counted_by_class() {
    let directory = server().url("requests", "counted/");
    let at = |name: &str| format!("{directory}{name}");
    let (one, parts, other) = (at("one"), at("parts"), at("other"));
    let large = noise((10 << 20) + 1);
    let runs: [(&[&str], &[u8], [usize; 3]); 8] = [
        (&["put", "--replace", "--json", &one], b"x", [1, 1, 0]),
        (&["put", "--replace", "--json", "--part-size", "5MiB", &parts], &large, [5, 1, 0]),
        (&["put", "--replace", &other], b"x", [1, 1, 0]),
        // Two pieces of the object, and its checksum.
        (&["get", &parts], b"", [0, 3, 0]),
        (&["ls", "--recursive", &directory], b"", [1, 0, 0]),
        (&["stat", &one], b"", [0, 1, 0]),
        (&["rm", &one], b"", [1, 1, 0]),
        (&["rm", "--recursive", &directory], b"", [2, 0, 0]),
    ];
    for (arguments, input, expected) in runs {
        let proxy = through(|_| Fault::Nothing);
        let options = ["--verbose", "--endpoint-url", &proxy.url];
        let output = done(&[arguments, &options].concat(), input);
        // More where the machine stalls, and something is sent again.
        let sent = classes(&proxy);
        let is_all = (0..3).all(|class| sent[class] >= expected[class]);
        assert!(is_all, "{arguments:?}: {expected:?}: {:?}", asked(&proxy));
        assert_eq!(counted(&output), Some(sent), "{arguments:?}: {}", errors(&output));
        if arguments.contains(&"--json") {
            let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let [writes, reads, deletes] = sent;
            let requests = serde_json::json!({"writes": writes, "reads": reads, "deletes": deletes});
            assert_eq!(line["requests"], requests, "{arguments:?}");
        }
    }
    // Where the service knows no batches.
    const NO_BATCHES: &str = "<Error><Code>NotImplemented</Code></Error>";
    let proxy = through(|request| match request.label.contains(" delete") {
        true => Fault::Answer("501 Not Implemented", NO_BATCHES),
        false => Fault::Nothing,
    });
    done(&["put", &one], b"x");
    let output = done(&["rm", "--verbose", "--endpoint-url", &proxy.url, &one], b"");
    assert_eq!((classes(&proxy), counted(&output)), ([1, 1, 1], Some([1, 1, 1])), "{}", errors(&output));
    // What is sent again counts again, and what reached nobody does not.
    let proxy = through(|request| if request.place == 0 { Fault::Drop } else { Fault::Nothing });
    let output = done(&["ls", "--verbose", "--endpoint-url", &proxy.url, &directory], b"");
    assert_eq!((classes(&proxy), counted(&output)), ([2, 0, 0], Some([2, 0, 0])), "{}", errors(&output));
    let proxy = through(|_| Fault::Answer("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>"));
    let output = s3(&["ls", "--verbose", "--endpoint-url", &proxy.url, &directory], b"");
    assert_eq!((code(&output), counted(&output)), (1, Some([1, 0, 0])), "{}", errors(&output));
    let nobody = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let limits = ["ls", "--verbose", "--timeout", "1s", "--endpoint-url", &nobody, &directory];
    let output = s3(&limits, b"");
    assert_eq!((code(&output), counted(&output)), (75, None), "{}", errors(&output));
}

#[test]
fn how_it_is_kept_is_said_where_the_object_begins() {
    const ORDER: [&str; 6] =
        ["--storage-class", "STANDARD_IA", "--sse", "aws:kms=a-key", "--object-lock", "governance=2d"];
    for (name, data, begin) in
        [("kept-one", noise(1000), "PUT /"), ("kept-parts", noise((5 << 20) + 1), "POST /")]
    {
        let url = server().url("requests", name);
        // It is not this server's to refuse them.
        let proxy = through(|request| match request.head.contains("x-amz-storage-class") {
            true => Fault::Answer("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>"),
            false => Fault::Nothing,
        });
        let endpoint = ["put", "--part-size", "5MiB", "--endpoint-url", &proxy.url, &url];
        let put = run(command(&endpoint).args(ORDER), &data);
        assert_eq!(code(&put), 1, "{}", errors(&put));
        let seen = proxy.seen();
        let first = seen.iter().find(|request| request.head.starts_with(begin)).unwrap();
        for (header, value) in [
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "a-key"),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
        ] {
            assert_eq!(first.header(header), Some(value), "{name}: {}", first.head);
        }
        let until = first.header("x-amz-object-lock-retain-until-date").unwrap();
        let until =
            time::OffsetDateTime::parse(until, &time::format_description::well_known::Rfc3339).unwrap();
        let hours = (until - time::OffsetDateTime::now_utc()).whole_hours();
        assert!((47..=48).contains(&hours), "{until}");
    }
}

#[test]
fn a_rate_is_kept() {
    let url = server().url("requests", "rate");
    let data = noise(6 << 20);
    for arguments in [["put", "--rate", "3MiB/s", &url], ["get", "--rate", "3MiB/s", &url]] {
        let begun = Instant::now();
        done(&arguments, if arguments[0] == "put" { &data } else { b"" });
        // The first second's bytes may have passed at once.
        assert!(begun.elapsed() >= Duration::from_millis(900), "{arguments:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn credentials_that_end_are_renewed_in_the_midst_of_an_upload() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    // Each call gives another token; the client renews one that has ended, if not before.
    let script = format!(
        "echo x >>'{calls}'; printf '{{\"Version\":1,\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"%s\",\
         \"SessionToken\":\"token-%s\",\"Expiration\":\"%s\"}}' \"$ID\" \"$SECRET\" \"$(wc -l <'{calls}')\" \
         \"$(date --utc --date='4 seconds' +%Y-%m-%dT%H:%M:%SZ)\"",
        calls = path("calls").display()
    );
    std::fs::write(path("renew"), script).unwrap();
    let configuration = format!("[default]\ncredential_process = sh {}\n", path("renew").display());
    std::fs::write(path("config"), configuration).unwrap();
    let proxy = through(|_| Fault::Nothing);
    let url = server().url("requests", "renewed");
    let mut put = command(&["put", "--part-size", "5MiB", "--endpoint-url", &proxy.url, &url]);
    put.env("ID", server().value("AWS_ACCESS_KEY_ID")).env("SECRET", server().value("AWS_SECRET_ACCESS_KEY"));
    put.env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_CONFIG_FILE", path("config"));
    put.env("AWS_SHARED_CREDENTIALS_FILE", path("none"));
    let mut child = put.spawn().unwrap();
    let data = noise(11 << 20);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&data[..10 << 20]).unwrap();
    std::thread::sleep(Duration::from_secs(6));
    stdin.write_all(&data[10 << 20..]).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", errors(&output));
    assert!(done(&["get", &url], b"").stdout == data);
    let seen = proxy.seen();
    let token = |request: &Request| request.header("x-amz-security-token").unwrap().to_owned();
    assert_ne!(token(&seen[0]), token(seen.last().unwrap()));
}

#[test]
fn refusals_name_what_to_do() {
    let url = server().url("requests", "refused");
    for (status, code_of_s3, expected, text) in [
        ("403 Forbidden", "RequestTimeTooSkewed", 1, "this machine's clock"),
        ("400 Bad Request", "ExpiredToken", 1, "the session token has expired"),
        ("403 Forbidden", "AccessDenied", 1, "the credentials do not have the right"),
        ("301 Moved Permanently", "PermanentRedirect", 2, "PGV_S3_REGION"),
        ("404 Not Found", "NoSuchBucket", 1, "the bucket does not exist"),
    ] {
        let body: &'static str =
            Box::leak(format!("<Error><Code>{code_of_s3}</Code><Message>no</Message></Error>").into());
        let proxy = through(move |_| Fault::Answer(status, body));
        let limits = ["--timeout", "5s", "--endpoint-url", &proxy.url];
        let refused = run_within(Duration::from_secs(30), command(&["get", &url]).args(limits), b"");
        assert_eq!(refused.status.code(), Some(expected), "{code_of_s3}: {}", errors(&refused));
        for part in [text, &url, "of-the-proxy"] {
            assert!(errors(&refused).contains(part), "{code_of_s3}: no {part}: {}", errors(&refused));
        }
    }
}

#[test]
fn what_a_batch_does_not_remove_is_named_and_explained() {
    const STAYS: &str = "<DeleteResult><Error><Key>a/x</Key><Code>AccessDenied</Code>\
                         <Message>Access Denied</Message></Error></DeleteResult>";
    let proxy = through(|request| match request.label.contains(" delete") {
        true => Fault::Answer("200 OK", STAYS),
        false => Fault::Nothing,
    });
    let directory = server().url("requests", "batch/");
    done(&["put", &format!("{directory}x")], b"x");
    done(&["put", &format!("{directory}y")], b"x");
    let rm = s3(&["rm", "--recursive", "--endpoint-url", &proxy.url, &directory], b"");
    assert_eq!(code(&rm), 1, "{}", errors(&rm));
    let named = format!("s3://{}/a/x: AccessDenied: Access Denied", server().value("PGV_TEST_BUCKET"));
    assert!(errors(&rm).contains(&named), "{}", errors(&rm));
    assert!(errors(&rm).contains("or a lock protects it"), "{}", errors(&rm));
}

/// A metadata service that takes connections and never answers, as some networks have it.
#[test]
fn without_credentials_nobody_waits_for_a_metadata_service() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", deaf.local_addr().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let mut get =
        bare_command(&["get", "s3://bucket/x", "--endpoint-url", server().value("PGV_S3_ENDPOINT_URL")]);
    get.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", address).env("HOME", scratch.path());
    let begun = Instant::now();
    let output = run_within(Duration::from_secs(60), &mut get, b"");
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
    for looked_at in ["AWS_ACCESS_KEY_ID", "Environment: ", "Profile: ", "Ec2InstanceMetadata: "] {
        assert!(errors(&output).contains(looked_at), "no {looked_at}: {}", errors(&output));
    }
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
}

/// Of a name that resolves nowhere, so a proxy of HTTP stands for the network.
#[test]
fn the_bucket_is_in_the_host_or_in_the_path() {
    const ABSENT: &str = "<Error><Code>NoSuchKey</Code><Message>no</Message></Error>";
    let host_of = |more: &[&str]| {
        let proxy = through(|_| Fault::Answer("404 Not Found", ABSENT));
        let mut get = bare_command(&["get", "s3://bucket/a/x"]);
        get.args(more).env("HTTP_PROXY", &proxy.url).env("http_proxy", &proxy.url);
        get.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
        let output = run(&mut get, b"");
        assert_eq!(code(&output), 3, "{}", errors(&output));
        let seen = proxy.seen();
        let target = seen[0].head.split(' ').nth(1).unwrap().to_owned();
        target.split('?').next().unwrap().to_owned()
    };
    let endpoint = ["--endpoint-url", "http://s3.example.test"];
    assert_eq!(host_of(&endpoint), "http://s3.example.test/bucket/a/x");
    let host_style = [endpoint.as_slice(), &["--path-style=no"]].concat();
    assert_eq!(host_of(&host_style), "http://bucket.s3.example.test/a/x");
}

/// What a run asked for; where the machine stalls before a PUT it looks again, not every time.
fn asks(server: &Server, wanted: &[&str], mut run: impl FnMut(&str, usize)) {
    let mut last = Vec::new();
    for attempt in 0..5 {
        let proxy = Proxy::start(server.address(), |_| Fault::Nothing);
        run(&proxy.url, attempt);
        last = asked(&proxy);
        if last == wanted {
            return;
        }
    }
    panic!("{last:?} instead of {wanted:?}");
}

#[test]
fn where_a_service_refuses_to_replace_one_request_is_enough() {
    for (server, proof, then, again) in [
        (server(), ["HEAD", "PUT", "PUT", "HEAD"], &["PUT"][..], &["PUT", "HEAD"][..]),
        (s3rver(), ["HEAD", "PUT", "PUT", "HEAD"], &["HEAD", "PUT", "HEAD"][..], &["HEAD"][..]),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let tree = server.url("requests", "proved/");
        let put = |proxy: &str, name: &str, seen: &str, data: &[u8]| {
            let (url, file) = (format!("{tree}{name}"), scratch.path().join(seen));
            let file = file.to_str().unwrap().to_owned();
            server.run(&["put", "--endpoint-url", proxy, "--inside", &tree, "--remember", &file, &url], data)
        };
        asks(server, &proof, |proxy, attempt| {
            let put = put(proxy, &format!("first{attempt}"), &format!("seen{attempt}"), b"x");
            assert_eq!(code(&put), 0, "{}", errors(&put));
        });
        // By another address it may be another service.
        let front = Proxy::start(server.address(), |_| Fault::Nothing);
        assert_eq!(code(&put(&front.url, "front", "seen", b"x")), 0);
        let count = |before: usize| asked(&front)[before..].to_vec();
        let before = front.seen().len();
        assert_eq!(code(&put(&front.url, "second", "seen", b"first")), 0);
        assert_eq!(count(before), then);
        let before = front.seen().len();
        let refused = put(&front.url, "second", "seen", b"other");
        assert_eq!(code(&refused), 6, "{}", errors(&refused));
        assert_eq!(count(before), again);
        assert_eq!(server.done(&["get", &format!("{tree}second")], b"").stdout, b"first");
        // A batch, over what is known already.
        let files: Vec<String> = (0..3)
            .map(|number| {
                let path = scratch.path().join(format!("batch{number}"));
                std::fs::write(&path, number.to_string()).unwrap();
                path.to_str().unwrap().to_owned()
            })
            .collect();
        let (before, file) = (front.seen().len(), scratch.path().join("seen"));
        let batch = server.run(
            &[
                "put",
                "--batch",
                "--endpoint-url",
                &front.url,
                "--inside",
                &tree,
                "--remember",
                file.to_str().unwrap(),
                &tree,
            ],
            (files.join("\n") + "\n").as_bytes(),
        );
        assert_eq!(code(&batch), 0, "{}", errors(&batch));
        assert_eq!(count(before).len(), 3 * then.len());
    }
}

#[test]
fn a_batch_of_objects_costs_a_request_for_each() {
    let directory = server().url("requests", "many/");
    for name in ["a", "c"] {
        done(&["put", &format!("{directory}{name}")], name.as_bytes());
    }
    let scratch = tempfile::tempdir().unwrap();
    let output = scratch.path().to_str().unwrap();
    let proxy = through(|_| Fault::Nothing);
    let get = s3(
        &["get", "--batch", "--mark-absent", "--output", output, "--endpoint-url", &proxy.url, &directory],
        b"a\nb\nc\n",
    );
    assert_eq!(code(&get), 3, "{}", errors(&get));
    assert!(errors(&get).contains("many/b: no such object"), "{}", errors(&get));
    let mut printed = crate::harness::lines(&get);
    printed.sort();
    assert_eq!(printed, [format!("{output}/a"), format!("{output}/c")]);
    assert_eq!(asked(&proxy), ["GET", "GET", "GET"]);
    let mut names: Vec<_> = std::fs::read_dir(output)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "b.absent", "c"]);
    assert_eq!(std::fs::read(scratch.path().join("c")).unwrap(), b"c");
    // What is absent is told only where something is.
    let (empty, absent) = (server().url("requests", "nothing/"), format!("{directory}b"));
    for (inside, expected, requests) in [(&directory, 3, 2), (&empty, 1, 2)] {
        let proxy = through(|_| Fault::Nothing);
        let get = s3(&["get", "--whole", "--inside", inside, "--endpoint-url", &proxy.url, &absent], b"");
        assert_eq!((code(&get), asked(&proxy).len()), (expected, requests), "{}", errors(&get));
    }
}

#[test]
fn a_whole_object_and_its_checksum_are_one_request() {
    let url = server().url("requests", "whole");
    let data = noise(9 << 20);
    let storing = Proxy::with_checksums(server().address(), |_| Fault::Nothing);
    done(&["put", "--endpoint-url", &storing.url, &url], &data);
    let get = |fault: Fault, endpoint: fn(&str, Fault) -> Proxy| {
        let proxy = endpoint(server().address(), fault);
        let get = s3(&["get", "--whole", "--endpoint-url", &proxy.url, &url], b"");
        (code(&get), get.stdout == data, asked(&proxy), errors(&get))
    };
    let first = |address: &str, fault: Fault| {
        Proxy::with_checksums(
            address,
            move |request| if request.place == 0 { fault.clone() } else { Fault::Nothing },
        )
    };
    assert_eq!(get(Fault::Nothing, first), (0, true, vec!["GET".to_owned()], String::new()));
    let (status, is_same, asked, _) = get(Fault::Cut(5 << 20), first);
    assert!(status == 0 && is_same && asked.len() == 2 && asked[1].starts_with("GET "), "{asked:?}");
    let (status, _, asked, errors) = get(Fault::FlipGot, first);
    assert_eq!((status, asked.len()), (5, 1), "{errors}");
    // Where no length is told, a range tells it.
    let (status, is_same, ..) = get(Fault::Unstated(1 << 20), first);
    assert!(status == 0 && is_same);
    // What is longer is read on in pieces.
    let data = noise(41 << 20);
    done(&["put", "--replace", "--endpoint-url", &storing.url, &url], &data);
    let proxy = through(|_| Fault::Nothing);
    let get = done(&["get", "--whole", "--endpoint-url", &proxy.url, &url], b"");
    assert!(get.stdout == data && proxy.seen().len() == 3, "{:?}", crate::requests::asked(&proxy));
}

#[test]
fn a_listing_asks_for_no_more_than_is_wanted() {
    let directory = server().url("requests", "limit/");
    for name in ["a", "b", "c/x", "d"] {
        done(&["put", &format!("{directory}{name}")], b"x");
    }
    let list = |limit: &str, after: &str| {
        let proxy = through(|_| Fault::Nothing);
        let list =
            done(&["ls", "--limit", limit, "--after", after, "--endpoint-url", &proxy.url, &directory], b"");
        let names = crate::harness::lines(&list);
        (names.iter().map(|name| name[directory.len()..].to_owned()).collect::<Vec<_>>(), asked(&proxy))
    };
    let (names, asked) = list("2", "a");
    assert_eq!(names, ["b", "c/"]);
    assert!(asked.len() == 1 && asked[0].contains("max-keys=2"), "{asked:?}");
    assert_eq!(list("9", "").0, ["a", "b", "c/", "d"]);
    assert!(list("9", "d").0.is_empty());
}
