//! The plan of pgv-restore and pgv-recover: what they would do, and whether there is room for it. It is made from the
//! lines of `pgv-info recovery` (the way) and of `pgv-apply --plan` (the places).

use crate::catalog::escape;
use crate::info::estimate::Estimate;
use crate::info::rooms::{rooms, tight};
use crate::info::show::size;
use crate::info::values::Values;
use crate::pg::major;
use std::fmt::Write as _;

/// What was asked for.
pub struct Asked {
    /// As it was typed.
    pub directory: String,
    pub replace: bool,
    /// It holds the cluster already, so that little room is enough.
    pub delta: bool,
    /// Only what differs is fetched: how much that is, reading the directory tells.
    pub in_parts: bool,
    /// Of the server, if they are on this machine.
    pub programs: Option<String>,
    /// Such as "time 2026-11-29 01:00Z".
    pub target: Option<String>,
    pub action: String,
    pub immediate: bool,
    /// Bytes a second to read at most.
    pub rate: Option<u64>,
    /// It was tried on the beginning of the backup.
    pub key_opens: bool,
}

/// What would be done, in lines for people.
pub struct Plan {
    pub text: String,
    /// Where there is too little room.
    pub tight: Option<String>,
}

/// Without `places` nothing but settings is written.
pub fn plan(way: &Values, places: Option<&Values>, asked: &Asked) -> Plan {
    let mut lines = String::new();
    let mut show = |name: &str, text: String| {
        lines.extend([&format!("{name:<13}"), escape(text.as_bytes()).as_str(), "\n"]);
    };
    let value = |key| way.get(key).unwrap_or("unknown");
    show("backup", format!("{}, complete at {}", value("label"), moment(value("stopped_at"))));
    let target = target(way, asked);
    let Some(places) = places else {
        show("to", format!("{}, which contains this backup", asked.directory));
        show("write", "only settings".to_owned());
        show("WAL", wal(way, asked.immediate));
        show("target", target);
        return Plan { text: lines, tight: None };
    };
    let chain = way.all("backup");
    for (index, url) in chain.iter().enumerate() {
        show(if index == 0 { "from" } else { "" }, url.clone());
    }
    show("to", destination(places, asked));
    let chosen = way.all("database");
    if !chosen.is_empty() {
        show("databases", format!("{}, the templates, and what all databases share", chosen.join(", ")));
        let others = match way.all("skipped") {
            [] => "of all others only empty files".to_owned(),
            skipped => format!("of others only empty files: {}", skipped.join(", ")),
        };
        show("", others);
    }
    let chain = match chain.len() {
        1 => "a full backup".to_owned(),
        2 => "a full backup and an increment".to_owned(),
        links => format!("a full backup and {} increments", links.saturating_sub(1)),
    };
    show("chain", chain);
    if asked.key_opens {
        show("key", "opens this backup".to_owned());
    }
    match way.number("bad_pages") {
        0 => {}
        bad => show("pages", format!("{bad} bad: they had a wrong checksum when they were backed up")),
    }
    let about = if chosen.is_empty() { "" } else { "about " };
    let stored = size(way.number("stored_bytes"));
    show(
        "read",
        match asked.in_parts {
            true => format!("what differs from the repository, at most {stored}"),
            false => format!("{about}{stored} from the repository"),
        },
    );
    let rooms = rooms(way, places, &asked.directory);
    for room in &rooms {
        show(if room.tablespace.is_some() { "tablespace" } else { "write" }, room.text(&asked.directory));
    }
    let version = value("pg_version");
    let major = major::of(version);
    let programs = match &asked.programs {
        Some(programs) => format!("programs in {programs}"),
        None => format!("not installed on this machine: apt-get install postgresql-{major}"),
    };
    show("PostgreSQL", format!("{version}, {programs}"));
    show("WAL", wal(way, asked.immediate));
    let takes = Estimate::of(way, asked.rate).words();
    match way.number("wal_segments") {
        0 => show("takes", takes),
        segments => {
            show("takes", format!("{takes},"));
            show("", format!("and then the replay of {}", counted(segments)));
        }
    }
    show("target", target);
    if let Some(place) = places.get("wal_place") {
        show("pg_wal", place.to_owned());
    }
    if let Some(files) = way.get("configuration") {
        show("config", format!("{files}, from the backup"));
    }
    Plan { text: lines, tight: tight(rooms) }
}

/// "2026-11-29 01:00:10 UTC" of "2026-11-29T01:00:10Z".
fn moment(text: &str) -> String {
    match text.strip_suffix('Z').and_then(|text| text.split_once('T')) {
        Some((day, time)) if !day.is_empty() && !time.is_empty() => format!("{day} {time} UTC"),
        _ => text.to_owned(),
    }
}

fn counted(segments: u64) -> String {
    if segments == 1 { "1 segment".to_owned() } else { format!("{segments} segments") }
}

fn target(way: &Values, asked: &Asked) -> String {
    if let Some(primary) = way.get("primary_shown") {
        let slot = way.get("primary_slot_name").map(|slot| format!(", slot {slot}")).unwrap_or_default();
        return format!("none, because it is a replica of {primary}{slot}");
    }
    match &asked.target {
        _ if asked.immediate => format!("the end of the backup, then {}", asked.action),
        Some(target) => format!("{target}, then {}", asked.action),
        None if way.get("archive") == Some("yes") => "the end of the archived WAL".to_owned(),
        None => "the end of the backup".to_owned(),
    }
}

fn destination(places: &Values, asked: &Asked) -> String {
    let mut text = asked.directory.clone();
    if let Some(real) = places.get("directory").filter(|real| *real != asked.directory) {
        let _infallible = write!(text, ", which is {real}").is_err();
    }
    if asked.replace && places.get("set_aside").is_some() {
        text.push_str(" (its present content is moved aside first)");
    }
    text
}

/// The WAL that recovery finds.
fn wal(way: &Values, immediate: bool) -> String {
    if way.get("archive") != Some("yes") {
        return "none is archived: recovery ends at the end of the backup".to_owned();
    }
    if immediate {
        return "only what the backup needs".to_owned();
    }
    let mut says = match (way.get("wal_first"), way.get("wal_last")) {
        (Some(first), Some(last)) => {
            format!("archived from {first} to {last}, {}", counted(way.number("wal_segments")))
        }
        _ => "none is archived after the backup".to_owned(),
    };
    let mut add = |before: &str, value: &str| says.extend([before, value]);
    if let Some(partial) = way.get("wal_partial") {
        add(", and the partial segment ", partial);
    }
    if let Some(stored_at) = way.get("wal_stored_at") {
        add(", the last one stored at ", &moment(stored_at));
    }
    if let (Some(missing), Some(beyond)) = (way.get("wal_missing"), way.get("wal_beyond")) {
        add("; segment ", missing);
        add(" is missing, but ", beyond);
        add(" exists", "");
    }
    for (index, branch) in way.all("timeline").iter().enumerate() {
        let (timeline, end) = branch.split_once(' ').unwrap_or((branch, ""));
        add(if index == 0 { "; timeline " } else { ", then timeline " }, timeline);
        if !end.is_empty() {
            add(" up to ", end);
        }
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: &str = "backup file:///r/c/1/backup/20261129-010000F\nlabel 20261129-010000F\n\
        stopped_at 2026-11-29T01:00:10Z\npg_version 15.20\nstored_bytes 18000000000\ndatabase_bytes 1600000\n\
        tablespace 16385 300 f\\x61r off\narchive yes\nwal_segments 2\nwal_first A\nwal_last B\n\
        timeline 1 0/5\ntimeline 2\n";

    fn asked() -> Asked {
        Asked {
            directory: "/d".to_owned(),
            replace: false,
            delta: false,
            in_parts: false,
            programs: None,
            target: Some("lsn 0/9".to_owned()),
            action: "pause".to_owned(),
            immediate: false,
            rate: None,
            key_opens: true,
        }
    }

    fn planned(places: &str) -> Plan {
        let (way, places) = (Values::parse(WAY).unwrap(), Values::parse(places).unwrap());
        plan(&way, Some(&places), &asked())
    }

    #[test]
    fn a_plan_is_read_by_people() {
        let plan = planned("directory /d\ndevice 7\nfree 2147483648\nstate absent\n");
        let has = |line: &str| assert!(plan.text.lines().any(|shown| shown == line), "{line}: {}", plan.text);
        has("backup       20261129-010000F, complete at 2026-11-29 01:00:10 UTC");
        has("chain        a full backup");
        has("key          opens this backup");
        has("read         16.8 GiB from the repository");
        has("write        1.5 MiB into /d (2.0 GiB free)");
        has("tablespace   far off (16385): 300 B inside /d, as in the original");
        has("WAL          archived from A to B, 2 segments; timeline 1 up to 0/5, then timeline 2");
        has(
            "takes        about 3 min 1 s for the backup, guessed from 100 MB/s to read and 200 MB/s to write, because \
             no drill has measured it,",
        );
        has("             and then the replay of 2 segments");
        has("PostgreSQL   15.20, not installed on this machine: apt-get install postgresql-15");
        has("target       lsn 0/9, then pause");
        assert_eq!(plan.tight, None);
    }

    #[test]
    fn what_differs_is_known_when_the_directory_was_read() {
        let values = |text| Values::parse(text).unwrap();
        let places = values("directory /d\ndevice 7\nfree 2147483648\nstate cluster 1\n");
        let asked = Asked { delta: true, in_parts: true, ..asked() };
        let plan = plan(&values(WAY), Some(&places), &asked);
        let line = "\nread         what differs from the repository, at most 16.8 GiB\n";
        assert!(plan.text.contains(line), "{}", plan.text);
    }

    #[test]
    fn a_plan_names_the_databases_that_are_left_out() {
        let way = Values::parse(&format!("{WAY}database shop\nskipped a\\nb\nskipped c\n")).unwrap();
        let places = Values::parse("directory /d\ndevice 7\nfree 2147483648\nstate absent\n").unwrap();
        let text = plan(&way, Some(&places), &asked()).text;
        assert!(
            text.contains(
                "databases    shop, the templates, and what all databases share\n             of others only \
                 empty files: a\\nb, c\n"
            ),
            "{text}"
        );
        assert!(text.contains("read         about 16.8 GiB"), "{text}");
    }

    #[test]
    fn a_replica_has_no_target() {
        let way =
            format!("{WAY}primary_conninfo password=secret\nprimary_shown host=db1 password=********\n");
        let plan = plan(&Values::parse(&way).unwrap(), None, &asked());
        assert!(
            plan.text.ends_with("target       none, because it is a replica of host=db1 password=********\n")
        );
    }

    #[test]
    fn rooms_on_one_disk_are_looked_at_together() {
        let places = |device: u32, free: u32| {
            format!(
                "directory /d\ndevice 7\nfree {free}\nstate absent\ntablespace_place 16385 /s/16385\n\
                 tablespace_device 16385 {device}\ntablespace_free 16385 {free}\n"
            )
        };
        let tight = |places: &str| planned(places).tight;
        assert_eq!(tight(&places(8, 1_600_000)), None);
        let refusal = "not enough room in /d: 1600000 B needed, 1599999 B free";
        assert_eq!(tight(&places(7, 1_599_999)).unwrap(), refusal);
        assert_eq!(tight(&places(7, 1_600_000)), None);
        let refusal = "not enough room in /s/16385: 300 B needed, 299 B free";
        assert_eq!(tight(&places(8, 299)).unwrap(), refusal);
    }

    #[test]
    fn a_directory_that_is_there_gets_settings_only() {
        let plan = plan(&Values::parse(WAY).unwrap(), None, &asked());
        assert!(
            plan.text.contains("to           /d, which contains this backup\nwrite        only settings\n")
        );
    }
}
