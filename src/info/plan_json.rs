//! The plan of a restore for programs: one JSON document with all that people are shown (pgv-format(5)).

use crate::info::estimate::Estimate;
use crate::info::plan::Asked;
use crate::info::rooms::{Room, rooms};
use crate::info::values::Values;
use serde_json::{Value, json};

const FORMAT: &str = "pgv-plan/1";

/// Without `places` nothing but settings is written.
pub fn plan_json(way: &Values, places: Option<&Values>, asked: &Asked) -> Value {
    let value = |key| way.get(key);
    let mut plan = json!({
        "format": FORMAT,
        "label": value("label"),
        "system_identifier": value("system_identifier"),
        "stopped_at": value("stopped_at"),
        "pg_version": value("pg_version"),
        "chain": way.all("backup"),
        "key_opens": asked.key_opens,
        "bad_pages": way.number("bad_pages"),
        "directory": asked.directory,
        "settings_only": places.is_none(),
        "programs": asked.programs,
        "wal": wal(way),
        "target": target(way, asked),
        "replica_of": value("primary_shown"),
        "slot": value("primary_slot_name"),
        "databases": Some(way.all("database")).filter(|names| !names.is_empty()),
        "skipped_databases": Some(way.all("skipped")).filter(|names| !names.is_empty()),
        "configuration": value("configuration").map(|files| files.split(' ').collect::<Vec<_>>()),
    });
    if let (Some(places), Some(plan)) = (places, plan.as_object_mut()) {
        let estimate = Estimate::of(way, asked.rate);
        let rooms = rooms(way, places, &asked.directory);
        let sets_aside = asked.replace && places.get("set_aside").is_some();
        for (key, value) in [
            ("real_directory", json!(places.get("directory"))),
            ("sets_aside", json!(sets_aside)),
            ("delta", json!(asked.delta)),
            ("read_bytes", json!(way.number("stored_bytes"))),
            ("write_bytes", json!(way.number("database_bytes"))),
            ("enough_room", json!(asked.delta || rooms.iter().all(|room| room.tight.is_none()))),
            ("places", json!(rooms.iter().map(place).collect::<Vec<_>>())),
            ("wal_directory", json!(places.get("wal_place"))),
            ("seconds", json!(estimate.seconds)),
            ("seconds_from", json!(estimate.basis.name())),
            ("drill_at", json!(estimate.drill_at)),
            ("rate", json!(asked.rate)),
        ] {
            plan.insert(key.to_owned(), value);
        }
    }
    plan
}

fn place(room: &Room) -> Value {
    let (oid, name) = room.tablespace.clone().unzip();
    json!({
        "tablespace": name,
        "oid": oid.and_then(|oid| oid.parse::<u32>().ok()),
        "path": room.place,
        "bytes": room.bytes,
        "free_bytes": room.free,
    })
}

/// Null: none is archived.
fn wal(way: &Values) -> Value {
    if way.get("archive") != Some("yes") {
        return Value::Null;
    }
    let timelines = way.all("timeline").iter().map(|branch| {
        let (timeline, end) = branch.split_once(' ').unwrap_or((branch, ""));
        json!({"timeline": timeline.parse::<u32>().ok(), "end_lsn": Some(end).filter(|end| !end.is_empty())})
    });
    json!({
        "first": way.get("wal_first"),
        "last": way.get("wal_last"),
        "segments": way.number("wal_segments"),
        "partial": way.get("wal_partial"),
        "stored_at": way.get("wal_stored_at"),
        "missing": way.get("wal_missing"),
        "beyond": way.get("wal_beyond"),
        "timelines": timelines.collect::<Vec<_>>(),
    })
}

/// Null for a replica.
fn target(way: &Values, asked: &Asked) -> Value {
    if way.get("primary_shown").is_some() {
        return Value::Null;
    }
    let (kind, value) = match &asked.target {
        _ if asked.immediate => ("immediate", None),
        // Such as "before xid 5".
        Some(text) => {
            let text = text.strip_prefix("before ").unwrap_or(text);
            let (kind, value) = text.split_once(' ').unwrap_or((text, ""));
            (kind, Some(value.to_owned()))
        }
        None => ("end", None),
    };
    json!({
        "kind": kind,
        "value": value,
        "exclusive": way.get("recovery_target_inclusive") == Some("off"),
        "timeline": way.get("recovery_target_timeline"),
        "action": asked.action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_people_are_shown_is_in_it() {
        let way = Values::parse(
            "backup file:///r/c/1/backup/F\nbackup file:///r/c/1/backup/F_I\nlabel F_I\nstopped_at 2026-11-29T01:00:10Z\n\
             system_identifier 1\npg_version 15.20\nstored_bytes 100\ndatabase_bytes 2000\ntablespace 16385 300 far off\n\
             archive yes\nwal_segments 2\nwal_first A\nwal_last B\ntimeline 1 0/5\ntimeline 2\nbad_pages 3\n\
             recovery_target_timeline latest\nrecovery_target_inclusive off\n",
        );
        let places = "directory /real\ndevice 7\nfree 1699\nset_aside /d.before\ntablespace_place 16385 /s/16385\n\
                      tablespace_device 16385 8\ntablespace_free 16385 300\n";
        let asked = Asked {
            directory: "/d".to_owned(),
            replace: true,
            delta: false,
            in_parts: false,
            programs: None,
            target: Some("before xid 5".to_owned()),
            action: "pause".to_owned(),
            immediate: false,
            rate: Some(1 << 20),
            key_opens: true,
        };
        let plan = plan_json(&way.unwrap(), Some(&Values::parse(places).unwrap()), &asked);
        let target =
            json!({"kind": "xid", "value": "5", "exclusive": true, "timeline": "latest", "action": "pause"});
        assert_eq!(plan["target"], target);
        let data = json!({"tablespace": null, "oid": null, "path": "/d", "bytes": 1700, "free_bytes": 1699});
        let far = json!({"tablespace": "far off", "oid": 16385, "path": "/s/16385", "bytes": 300, "free_bytes": 300});
        assert_eq!(plan["places"], json!([data, far]));
        assert_eq!((&plan["enough_room"], &plan["sets_aside"]), (&json!(false), &json!(true)));
        assert_eq!((&plan["seconds"], &plan["seconds_from"]), (&json!(1), &json!("guess")));
        assert_eq!(plan["wal"]["timelines"][0], json!({"timeline": 1, "end_lsn": "0/5"}));
        assert_eq!((&plan["bad_pages"], &plan["chain"][1]), (&json!(3), &json!("file:///r/c/1/backup/F_I")));
    }
}
