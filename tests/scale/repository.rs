//! A repository as pgv writes it in years of nights: a full and nine increments, again and again, and the WAL between
//! them.

use crate::objects::Objects;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::macros::{datetime, format_description};
use time::{Duration, OffsetDateTime};

/// Below the bucket.
pub const PREFIX: &str = "pgv";
/// A full and its increments.
const CHAIN: usize = 10;
/// When the newest backup began: one a night before it.
const NEWEST: OffsetDateTime = datetime!(2026-01-01 01:00 UTC);
const NIGHT: Duration = Duration::DAY;
/// Bytes of a segment of WAL, and so of what a name counts.
const SEGMENT: u64 = 16 << 20;

#[derive(Clone)]
pub struct Sizes {
    pub cluster: String,
    pub system_id: u64,
    pub backups: usize,
    /// Of WAL: as many of them between two backups as after the last one.
    pub segments: usize,
    /// How many of the newest backups were verified, each once.
    pub verdicts: usize,
}

impl Sizes {
    pub fn new(backups: usize, segments: usize) -> Self {
        let cluster = "15-main".to_owned();
        Sizes { cluster, system_id: 7_711_175_703_245_852_542, backups, segments, verdicts: 0 }
    }

    fn between(&self) -> usize {
        (self.segments / self.backups.max(1)).max(1)
    }

    /// Of a backup, counted from 0.
    pub fn begun(&self, backup: usize) -> OffsetDateTime {
        let nights = i32::try_from(self.backups).unwrap() - 1 - i32::try_from(backup).unwrap();
        NEWEST - NIGHT * nights
    }

    pub fn label(&self, backup: usize) -> String {
        let time = |backup| {
            self.begun(backup)
                .format(format_description!("[year][month][day]-[hour][minute][second]"))
                .unwrap()
        };
        let full = format!("{}F", time(backup / CHAIN * CHAIN));
        if backup.is_multiple_of(CHAIN) { full } else { format!("{full}_{}I", time(backup)) }
    }

    /// The number of the segment in which a backup begins and ends, counted from 1 as PostgreSQL does.
    fn segment(&self, backup: usize) -> usize {
        1 + backup * self.between()
    }

    /// Below the bucket.
    pub fn tree(&self) -> String {
        format!("{PREFIX}/{}/{}", self.cluster, self.system_id)
    }

    pub fn set(&self, backup: usize) -> String {
        format!("{}/backup/{}", self.tree(), self.label(backup))
    }

    pub fn build(&self) -> Objects {
        let mut objects = Objects::default();
        objects.add(format!("{PREFIX}/RESTORE-1.txt"), b"See pgv(7).\n", self.begun(0));
        for backup in 0..self.backups {
            self.add_backup(&mut objects, backup);
        }
        for number in 1..=self.segments {
            let backup = (number - 1) / self.between();
            let after = NIGHT * i32::try_from((number - 1) % self.between() + 1).unwrap();
            let stored = self.begun(backup) + after / i32::try_from(self.between() + 1).unwrap();
            let key = format!("{}/wal/00000001/{}.pgv", self.tree(), name(number));
            objects.add_synthetic(key, 4_000_000 + number as u64 % 1000, stored);
        }
        objects
    }

    fn add_backup(&self, objects: &mut Objects, backup: usize) {
        let (set, begun) = (self.set(backup), self.begun(backup));
        let stopped = begun + Duration::minutes(5);
        let (data, manifest) =
            if backup.is_multiple_of(CHAIN) { (5 << 30, 2 << 20) } else { (50 << 20, 200 << 10) };
        let claim = json!({"format": "pgv-claim/1", "host": "db1", "started_at": time(begun),
            "nonce": format!("{backup:032x}")});
        objects.add(format!("{set}/claim.json"), claim.to_string().as_bytes(), begun);
        objects.add_synthetic(format!("{set}/data.pgv"), data, stopped);
        objects.add_synthetic(format!("{set}/manifest.pgv"), manifest, stopped);
        let record = self.record(backup, data, manifest);
        objects.add(format!("{set}/record.json"), record.as_bytes(), stopped);
        // PostgreSQL archives this as well.
        let history = format!("{}.00000028.backup.pgv", name(self.segment(backup)));
        objects.add_synthetic(format!("{}/wal/00000001/{history}", self.tree()), 300, stopped);
        if backup + self.verdicts >= self.backups {
            let verdict = json!({"format": "pgv-verdict/1", "kind": "verify", "started_at": time(stopped),
                "seconds": 60, "bytes": data, "ok": true, "findings": []});
            let key = format!("{set}/check/{}-verify.json", &self.label(backup)[..15]);
            objects.add(key, verdict.to_string().as_bytes(), stopped);
        }
    }

    fn record(&self, backup: usize, data: u64, manifest: u64) -> String {
        let label = self.label(backup);
        let is_full = backup.is_multiple_of(CHAIN);
        let parent = (!is_full).then(|| self.label(backup - 1));
        let begun = self.begun(backup);
        let segment = self.segment(backup);
        let digest = |name: &str| format!("{:064x}", (backup as u64) << 8 | name.len() as u64);
        json!({"format": "pgv-record/1", "label": label, "type": if is_full { "full" } else { "incr" },
            "mode": (!is_full).then_some("blocks"), "parent": parent, "cluster": self.cluster,
            "system_identifier": self.system_id.to_string(), "pg_version": "15.20", "host": "db1",
            "started_at": time(begun), "stopped_at": time(begun + Duration::minutes(5)),
            "start_lsn": lsn(segment as u64 * SEGMENT + 0x28), "stop_lsn": lsn(segment as u64 * SEGMENT + 0x4000),
            "timeline": 1, "wal_first": name(segment), "wal_last": name(segment), "wal_included": true,
            "tablespaces": [], "tablespaces_changed": false, "archiving": true,
            "database_bytes": 20_u64 << 30, "stream_bytes": data * 4,
            "files": {"total": 1500, "whole": 1500, "blocks": 0, "same": 0, "removed": 0},
            "blocks": {"read": 0, "sent": 0}, "findings": {"bad_pages": 0, "links": 0, "unread": 0},
            "configuration": ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"], "tool_version": "0.1.0",
            "objects": [{"name": "data.pgv", "bytes": data, "sha256": digest("data")},
                {"name": "manifest.pgv", "bytes": manifest, "sha256": digest("manifest")}],
            "key_name": "0123456789abcdef", "annotations": {}})
        .to_string()
    }
}

/// Of a segment on timeline 1.
pub fn name(number: usize) -> String {
    format!("00000001{:08X}{:08X}", number / 256, number % 256)
}

fn lsn(bytes: u64) -> String {
    format!("{:X}/{:X}", bytes >> 32, bytes & 0xffff_ffff)
}

fn time(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap()
}
