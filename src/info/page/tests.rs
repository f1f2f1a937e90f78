//! Pages of repositories made by hand, with a clock that stands still.

use super::*;
use crate::catalog::{Pin, Record};
use crate::info::State;
use crate::info::marks::{Content, Mark, Marks};
use crate::info::wal::archive;
use crate::info::wal::runs::Listed;

fn at(text: &str) -> OffsetDateTime {
    time_of(text).unwrap()
}

const NOW: &str = "2026-11-05T01:00:00Z";

/// A full that ended 30 s after the label's time, in this segment of 16 MiB.
fn full(cluster: &str, label: &str, segment: u32) -> Set {
    let (day, time) = label.split_at(8);
    let started = format!("{}-{}-{}T{}:{}:00Z", &day[..4], &day[4..6], &day[6..], &time[1..3], &time[3..5]);
    let name = format!("0000000100000000{segment:08X}");
    let json = serde_json::json!({
        "format": "pgv-record/1", "label": label, "type": "full", "mode": null, "parent": null,
        "system_identifier": "7", "pg_version": "15.20", "host": "h", "started_at": started,
        "stopped_at": started.replace(":00Z", ":30Z"), "start_lsn": format!("0/{segment:X}000028"),
        "stop_lsn": format!("0/{segment:X}000100"), "timeline": 1, "wal_first": name, "wal_last": name,
        "wal_included": true, "tablespaces": [], "database_bytes": 4096, "stream_bytes": 4096,
        "files": {"total": 1, "whole": 1, "blocks": 0, "same": 0, "removed": 0}, "blocks": {"read": 0, "sent": 0},
        "findings": {"bad_pages": 0, "links": 0}, "tool_version": "0.1.0", "cluster": cluster, "objects": [],
        "key_name": null, "annotations": {"why": "<script>alert(1)</script> \"quoted\" & \u{202e}sdrawkcab\u{7}"}
    });
    Set {
        cluster: cluster.to_owned(),
        system_identifier: 7,
        label: label.parse().unwrap(),
        url: format!("file:///r/{label}"),
        stored_bytes: 1024,
        state: State::Complete(Box::new(Record::parse(json.to_string().as_bytes()).unwrap())),
        verdicts: Vec::new(),
        unread_verdict: None,
        marks: Marks::default(),
    }
}

fn reach(sets: &[Set], segments: &[u64]) -> (String, u64, Result<Archive, Error>) {
    let mut listed = Listed::default();
    for number in segments {
        let stored = at("2026-11-01T01:00:00Z") + Duration::hours(i64::try_from(*number).unwrap());
        listed.add(&format!("0000000100000000{number:08X}"), 16 << 20, Some(stored));
    }
    (sets[0].cluster.clone(), 7, Ok(archive(sets, &listed, 16 << 20, None)))
}

fn page(sets: &[Set], archives: &[(String, u64, Result<Archive, Error>)]) -> String {
    Page { repository: "file:///srv/<b>", now: at(NOW), complaints: &[] }.show(sets, archives)
}

/// Every element is closed, and nothing but what this page writes is one.
fn assert_whole(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = page.split_once("</style>").unwrap().1;
    for tag in body.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("an open tag: {tag}"));
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
        match tag {
            _ if tag.starts_with('/') => {
                let last = open.pop();
                assert!(last == Some(name) || name == "head" || name == "html", "{name} closes {last:?}");
            }
            _ if tag.ends_with('/') => {}
            _ => open.push(name),
        }
    }
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
    assert!(page.ends_with("</main></body></html>\n") && page.starts_with("<!DOCTYPE html>"));
    assert!(!page.contains(|c: char| c.is_control() && c != '\n'));
}

#[test]
fn words_of_users_are_words() {
    let mut set = full("15-main", "20261101-010000F", 1);
    let pin = Pin::new(None, Some("</td><img src=x onerror=alert(2)>\u{2066}".to_owned())).unwrap();
    set.marks.pin = Some(Mark { name: "check/x-pin.json".to_owned(), content: Content::Good(pin) });
    let page = page(&[set], &[]);
    assert_whole(&page);
    assert!(!page.contains("<img"));
    assert!(page.contains(
        "why=&lt;script&gt;alert(1)&lt;/script&gt; &quot;quoted&quot; &amp; \\xe2\\x80\\xaesdrawkcab\\x07"
    ));
    assert!(page.contains("pinned: &lt;/td&gt;&lt;img src=x onerror=alert(2)&gt;\\xe2\\x81\\xa6"));
    assert!(page.contains("Backups in file:///srv/&lt;b&gt;"));
}

#[test]
fn what_is_drawn_lies_where_its_time_is() {
    let sets = [full("15-main", "20261101-010000F", 1), full("15-main", "20261103-010000F", 9)];
    // From 2026-11-01 02:00 on, one an hour.
    let page = page(&sets, &[reach(&sets, &(1..=47).collect::<Vec<_>>())]);
    assert_whole(&page);
    assert!(page.contains("nothing to look at") && page.contains("id=\"c0\""));
    // 30 s after the beginning of four days, and two days later.
    assert!(page.contains("<use href=\"#full\" class=\"full\" x=\"0.00%\""), "{page}");
    assert!(page.contains("<use href=\"#full\" class=\"full\" x=\"50.00%\""));
    assert!(page.contains("2 d ago: 20261103-010000F") || page.contains("1 d 23 h ago: 20261103-010000F"));
    // The window ends two days less an hour after it begins: 47 of 96 hours.
    assert!(page.contains("<rect class=\"window\" x=\"0.00%\"") && page.contains("width=\"48.9"), "{page}");
    assert!(page.contains(
        "every moment from 2026-11-01 01:00:30 UTC (backup 20261101-010000F) to 2026-11-03 00:00:00 UTC"
    ));
}

#[test]
fn a_gap_reaches_to_the_next_backup_and_is_told() {
    let sets = [full("15-main", "20261101-010000F", 1), full("15-main", "20261103-010000F", 48)];
    let segments: Vec<u64> = (1..=60).filter(|number| !(20..30).contains(number)).collect();
    let archives = [reach(&sets, &segments)];
    let lanes = reach::stretches(archives[0].2.as_ref().ok().unwrap(), at(NOW));
    let gap = lanes[&1].iter().find(|stretch| stretch.kind == reach::Kind::Gap).unwrap();
    assert_eq!((gap.from, gap.to), (at("2026-11-01T20:00:00Z"), at("2026-11-03T01:00:30Z")));
    assert_eq!(gap.words, "10 segments missing, 000000010000000000000014 to 00000001000000000000001D");
    let page = page(&sets, &archives);
    assert_whole(&page);
    assert!(page.contains("1 thing to look at") && page.contains("<rect class=\"gap\""));
    // Without a later backup it reaches to now.
    let archives = [reach(&sets[..1], &segments)];
    let lanes = reach::stretches(archives[0].2.as_ref().ok().unwrap(), at(NOW));
    assert!(
        lanes[&1].iter().any(|stretch| stretch.kind == reach::Kind::Gap && stretch.to == at(NOW)),
        "{lanes:?}"
    );
}

#[test]
fn what_cannot_be_read_is_said() {
    let mut set = full("15-main", "20261101-010000F", 1);
    set.state = State::Unreadable(Error::failed("access <denied>"));
    let unlisted = ("15-main".to_owned(), 7, Err(Error::failed("timed out")));
    let page = page(&[set], &[unlisted]);
    assert_whole(&page);
    assert!(page.contains("backup 20261101-010000F cannot be read: access &lt;denied&gt;"));
    assert!(page.contains("2 things to look at") && page.contains("the WAL cannot be listed"));
    assert!(page.contains("<use href=\"#unknown\""));
    let nothing = Page { repository: "s3://b", now: at(NOW), complaints: &[] };
    let nothing = nothing.unreadable(&Error::failed("no route").hint("check the network"));
    assert_whole(&nothing);
    assert!(
        nothing.contains("the repository cannot be read: no route")
            && nothing.contains("hint: check the network")
    );
}

#[test]
fn several_clusters_and_none() {
    let sets = [full("15-main", "20261101-010000F", 1), full("16-shop", "20240101-010000F", 1)];
    let text = page(&sets, &[]);
    assert_whole(&text);
    assert_eq!(text.matches("<section").count(), 2);
    assert!(text.contains("<a href=\"#c1\">16-shop (7)</a>"));
    // What is longer than ten weeks has a picture of its end.
    assert_eq!(
        (text.matches("The last 35 days").count() > 0, text.matches("<svg role=\"img\"").count()),
        (true, 9)
    );
    let none = page(&[], &[]);
    assert_whole(&none);
    assert!(none.contains("There are no backups.") && !none.contains("<section"));
    let old =
        Page { repository: "r", now: at(NOW), complaints: &["there is no backup".to_owned()] }.show(&[], &[]);
    assert!(old.contains("<li>there is no backup</li>"));
}
