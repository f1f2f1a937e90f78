//! Answers that are not what they seem: half of one, one that contradicts itself or another, one of something else that
//! listens. What they do not say is never taken for absent, and what they get wrong once is survived.

use crate::harness::{bare_command, code, command, done, errors, lines, run, run_within, s3, server};
use crate::proxy::{Fault, Proxy, Request};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

const LONGEST: Duration = Duration::from_secs(60);
const TEMPORARY: i32 = 75;

/// For as long as the tests run.
fn kept(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// A page of a listing of the bucket b.
fn page(inside: &str) -> Fault {
    Fault::Answer("200 OK", kept(format!("<ListBucketResult><Name>b</Name>{inside}</ListBucketResult>")))
}

fn key(name: &str) -> String {
    format!("<Contents><Key>d/{name}</Key><Size>1</Size></Contents>")
}

fn prefix(name: &str) -> String {
    format!("<CommonPrefixes><Prefix>d/{name}/</Prefix></CommonPrefixes>")
}

/// `verb` on a server that answers by `plan` and by nothing else.
fn scripted(
    verb: &[&str],
    plan: impl Fn(&Request) -> Fault + Send + Sync + 'static,
) -> (Output, Vec<Request>) {
    let proxy = Proxy::start("127.0.0.1:1", plan);
    let mut pgv = bare_command(verb);
    pgv.args(["--endpoint-url", &proxy.url, "--timeout", "3s", "--stall", "1s"]);
    pgv.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
    let output = run_within(LONGEST, &mut pgv, b"");
    (output, proxy.seen())
}

fn listing(plan: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> (Output, Vec<Request>) {
    scripted(&["ls", "s3://b/d/"], plan)
}

#[test]
fn a_page_that_holds_less_than_it_counts_is_asked_for_again() {
    let half =
        || page(&format!("<KeyCount>3</KeyCount><IsTruncated>false</IsTruncated>{}{}", key("a"), key("b")));
    let whole = || {
        let all = [key("a"), key("b"), prefix("c")].concat();
        page(&format!("<KeyCount>3</KeyCount><IsTruncated>false</IsTruncated>{all}"))
    };
    let (once, seen) = listing(move |request| if request.place == 0 { half() } else { whole() });
    assert_eq!(code(&once), 0, "{}", errors(&once));
    assert_eq!(lines(&once), ["s3://b/d/a", "s3://b/d/b", "s3://b/d/c/"]);
    assert_eq!(seen.len(), 2);
    // Half an entry is none.
    let sizeless = "<IsTruncated>false</IsTruncated><Contents><Key>d/a</Key></Contents>";
    let (output, _) = listing(move |_| page(sizeless));
    assert_eq!((code(&output), lines(&output).len()), (TEMPORARY, 0), "{}", errors(&output));
    let (for_ever, _) = listing(move |_| half());
    assert_eq!(code(&for_ever), TEMPORARY, "{}", errors(&for_ever));
    assert!(lines(&for_ever).is_empty(), "{:?}", lines(&for_ever));
}

#[test]
fn no_count_and_a_count_without_prefixes_are_no_faults() {
    for count in ["", "<KeyCount>1</KeyCount>", "<KeyCount>2</KeyCount>"] {
        let inside = format!("{count}<IsTruncated>false</IsTruncated>{}{}", key("a"), prefix("c"));
        let (output, _) = listing(move |_| page(&inside));
        assert_eq!(code(&output), 0, "{count}: {}", errors(&output));
        assert_eq!(lines(&output).len(), 2);
    }
}

#[test]
fn a_listing_ends_where_it_says_so() {
    let more = |token: &str| format!("<IsTruncated>true</IsTruncated>{token}{}", key("a"));
    let next = |token: &str| format!("<NextContinuationToken>{token}</NextContinuationToken>");
    let end = || page(&format!("<IsTruncated>false</IsTruncated>{}", key("z")));
    // More, and nowhere to go on.
    for token in [String::new(), next("")] {
        let inside = more(&token);
        let (output, _) = listing(move |_| page(&inside));
        assert_eq!(code(&output), TEMPORARY, "{token}: {}", errors(&output));
    }
    // A token means nothing; only one that comes again has no end.
    let pages = [more(&next("1/+= x")), more(&next("0"))];
    let (output, seen) =
        listing(move |request| pages.get(request.place).map_or_else(end, |inside| page(inside)));
    assert_eq!(code(&output), 0, "{}", errors(&output));
    assert_eq!((lines(&output).len(), seen.len()), (3, 3));
    let pages = [more(&next("one")), more(&next("two"))];
    let (output, seen) = listing(move |request| page(&pages[request.place % 2]));
    assert_eq!(code(&output), 1, "{}", errors(&output));
    assert_eq!(seen.len(), 3);
    // It does not say whether there is more, but where.
    let pages = [format!("{}{}", next("one"), key("a"))];
    let (output, _) =
        listing(move |request| pages.get(request.place).map_or_else(end, |inside| page(inside)));
    assert_eq!((code(&output), lines(&output).len()), (0, 2), "{}", errors(&output));
}

#[test]
fn a_listing_of_uploads_ends_where_it_says_so() {
    let uploads = |inside: &str| {
        let text = format!(
            "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>{inside}</ListMultipartUploadsResult>"
        );
        Fault::Answer("200 OK", kept(text))
    };
    let verb = ["rm", "--uploads", "--dry-run", "s3://b/d/"];
    let (nowhere, _) = scripted(&verb, move |_| uploads(""));
    assert_eq!(code(&nowhere), TEMPORARY, "{}", errors(&nowhere));
    let again = "<NextKeyMarker>d/x</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>";
    let (again, seen) = scripted(&verb, move |_| uploads(again));
    assert_eq!(code(&again), 1, "{}", errors(&again));
    assert_eq!(seen.len(), 2);
}

#[test]
fn what_a_batch_does_not_remove_for_now_is_removed_later() {
    let slow = "<DeleteResult><Error><Key>d/b</Key><Code>SlowDown</Code><Message>no</Message></Error></DeleteResult>";
    let answer = |request: &Request, often: usize| match request.label.contains(" delete") {
        true if request.nth < often => Fault::Answer("200 OK", slow),
        true => Fault::Answer("200 OK", "<DeleteResult/>"),
        false => page(&format!("<IsTruncated>false</IsTruncated>{}{}", key("a"), key("b"))),
    };
    let verb = ["rm", "--recursive", "s3://b/d/"];
    let (output, seen) = scripted(&verb, move |request| answer(request, 1));
    assert_eq!(code(&output), 0, "{}", errors(&output));
    let bytes: Vec<usize> = seen
        .iter()
        .filter(|request| request.label.contains(" delete"))
        .map(|request| request.bytes)
        .collect();
    assert!(
        bytes.len() == 2 && bytes[1] < bytes[0],
        "only the one that stayed is asked for again: {bytes:?}"
    );
    let (output, _) = scripted(&verb, move |request| answer(request, usize::MAX));
    assert_eq!(code(&output), TEMPORARY, "{}", errors(&output));
    assert!(errors(&output).contains("s3://b/d/b: SlowDown"), "{}", errors(&output));
}

/// Its first byte is asked for where HEAD, whose answers have no text, is refused.
#[test]
fn what_is_said_of_a_refused_head_is_what_the_service_says() {
    let refusal = |name: &str| kept(format!("<Error><Code>{name}</Code><Message>no</Message></Error>"));
    for (status, name, ended, text) in [
        ("400 Bad Request", "ExpiredToken", 1, "the session token has expired"),
        ("403 Forbidden", "RequestTimeTooSkewed", 1, "this machine's clock"),
        ("403 Forbidden", "AccessDenied", 1, "access denied"),
        ("404 Not Found", "NoSuchBucket", 1, "the bucket does not exist"),
        ("404 Not Found", "NoSuchKey", 3, "no such object"),
    ] {
        let body = refusal(name);
        let (output, _) =
            scripted(&["stat", "s3://b/d/x"], move |request| match request.head.starts_with("HEAD") {
                true => Fault::Answer(status, ""),
                false => Fault::Answer(status, body),
            });
        assert_eq!(code(&output), ended, "{name}: {}", errors(&output));
        assert!(errors(&output).contains(text), "{name}: {}", errors(&output));
    }
    // The SDK sets its own clock right and asks again; the answer to HEAD says when it was given, and no more.
    let (output, _) = scripted(&["stat", "s3://b/d/x"], |request| match request.head.starts_with("HEAD") {
        true => Fault::Answer("403 Forbidden\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT", ""),
        false => Fault::Answer("206 Partial Content\r\nContent-Range: bytes 0-0/1\r\nETag: \"e\"", "x"),
    });
    assert_eq!(code(&output), 1, "{}", errors(&output));
    assert!(errors(&output).contains("this machine's clock"), "{}", errors(&output));
    // Not a proof of anything: a page of something in between.
    let (output, _) = scripted(&["stat", "s3://b/d/x"], |request| match request.head.starts_with("HEAD") {
        true => Fault::Answer("404 Not Found", ""),
        false => Fault::Answer("404 Not Found", "<html>not found</html>"),
    });
    assert_eq!(code(&output), 1, "{}", errors(&output));
}

#[test]
fn a_head_that_was_refused_once_is_asked_again() {
    let url = server().url("answers", "head");
    done(&["put", "--replace", &url], b"x");
    for status in ["400 Bad Request", "403 Forbidden", "404 Not Found"] {
        let proxy = |often: usize| {
            Proxy::start(server().address(), move |request| match request.head.starts_with("HEAD") {
                true if request.nth < often => Fault::Answer(status, ""),
                _ => Fault::Nothing,
            })
        };
        let (once, for_ever) = (proxy(1), proxy(usize::MAX));
        let stat = s3(&["stat", "--endpoint-url", &once.url, &url], b"");
        assert_eq!(code(&stat), 0, "{status}: {}", errors(&stat));
        let stat = s3(&["stat", "--timeout", "3s", "--endpoint-url", &for_ever.url, &url], b"");
        assert_eq!(code(&stat), TEMPORARY, "{status}: {}", errors(&stat));
    }
}

#[test]
fn one_false_answer_about_an_object_undoes_no_transfer() {
    let url = server().url("answers", "undone");
    for status in ["403 Forbidden", "404 Not Found"] {
        let once = || {
            Proxy::start(server().address(), move |request| match request.head.starts_with("HEAD") {
                true if request.nth == 0 => Fault::Answer(status, ""),
                _ => Fault::Nothing,
            })
        };
        let put = s3(&["put", "--replace", "--endpoint-url", &once().url, &url], b"kept");
        assert_eq!(code(&put), 0, "{status}: {}", errors(&put));
        let get = s3(&["get", "--endpoint-url", &once().url, &url], b"");
        assert_eq!((code(&get), &*get.stdout), (0, &b"kept"[..]), "{status}: {}", errors(&get));
    }
}

/// The service has something else than was sent, it says.
#[test]
fn a_check_that_fails_leaves_the_old_object_or_the_new_one() {
    let (new, replaced) = (server().url("answers", "new"), server().url("answers", "replaced"));
    done(&["put", "--replace", &replaced], b"old");
    let proxy = Proxy::start(server().address(), |request| match request.head.starts_with("HEAD") {
        true if request.nth > 0 || request.label.ends_with("/replaced") => {
            Fault::Retold("content-length", "6")
        }
        _ => Fault::Nothing,
    });
    let put = |more: &[&str]| {
        let output = run(command(&["put", "--endpoint-url", &proxy.url]).args(more), b"a third");
        (code(&output), errors(&output))
    };
    let (ended, text) = put(&["--replace", &replaced]);
    assert!(ended == 5 && text.contains("has replaced the previous one"), "{ended}: {text}");
    assert_eq!(done(&["get", &replaced], b"").stdout, b"a third");
    let (ended, text) = put(&[&new]);
    assert!(ended == 5 && text.contains("it was removed"), "{ended}: {text}");
    assert_eq!(code(&s3(&["stat", &new], b"")), 3);
}

#[test]
fn a_server_of_the_other_scheme_is_named() {
    let endpoint = |url: &str| {
        let mut ls = bare_command(&["ls", "--timeout", "20s", "--endpoint-url", url, "s3://b/"]);
        ls.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
        let begun = Instant::now();
        let output = run_within(LONGEST, &mut ls, b"");
        assert!(begun.elapsed().as_secs() < 15, "it was asked again: {}", errors(&output));
        (output.status.code(), errors(&output))
    };
    let plain = answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let (ended, text) = endpoint(&plain.replace("http:", "https:"));
    assert!(ended == Some(2) && text.contains("the server does not speak https"), "{ended:?}: {text}");
    // Alert, handshake failure.
    let alert = answering(b"\x15\x03\x01\x00\x02\x02\x28");
    let (ended, text) = endpoint(&alert);
    assert!(ended == Some(2) && text.contains("the server does not speak http:"), "{ended:?}: {text}");
    let polite =
        answering(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    let (ended, text) = endpoint(&polite);
    assert!(ended == Some(1) && text.contains("the server speaks https"), "{ended:?}: {text}");
}

/// The URL of a server that says the same whatever it is asked.
fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _asked = client.read(&mut [0; 4096]).is_ok();
            let _gone = client.write_all(bytes).is_err();
        }
    });
    url
}

/// Whoever waits is told soon what for, and the check does not wait as long as a backup does.
#[test]
fn a_dead_service_is_named_and_a_check_gives_it_up() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let give_up = |address| {
        let endpoint = format!("http://{address}");
        let mut check = bare_command(&["check", "s3://b/", "--endpoint-url", &endpoint]);
        check.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
        let output = run_within(LONGEST, &mut check, b"");
        assert_eq!(output.status.code(), Some(7), "{}", errors(&output));
        let told = errors(&output);
        assert!(told.contains(&endpoint) && told.contains("15 s"), "{told}");
        assert!(lines(&output)[0].starts_with("BAD  put: store an object"), "{:?}", lines(&output));
    };
    std::thread::scope(|scope| {
        for address in [closed, mute.local_addr().unwrap()] {
            scope.spawn(move || give_up(address));
        }
    });
}
