//! The server's side of an online backup: one session from start to stop. When it ends, so does the
//! backup, and everything copied so far is worthless; hence the pulse.

use crate::catalog::Database;
use crate::error::{Error, Kind, Result};
use crate::io::random;
use crate::pg::{Lsn, major};
use crate::snap::psql::Psql;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PULSE: Duration = Duration::from_secs(30);
/// Version 15 brought the present names of the backup functions.
const FIFTEEN: u32 = 150_000;
/// The settings that would end the session, and the version that brought each.
const TIMEOUTS: [(&str, u32); 5] = [
    ("statement_timeout", 0),
    ("lock_timeout", 0),
    ("idle_in_transaction_session_timeout", 0),
    ("idle_session_timeout", 140_000),
    ("transaction_timeout", 170_000),
];
/// A checkpoint that spreads its writes takes up to checkpoint_timeout, which is a day at most.
const START_LIMIT: Duration = Duration::from_secs(25 * 3600);

pub struct Session {
    psql: Psql,
    version: u32,
    in_recovery: bool,
    slot: Option<String>,
    last_pulse: Instant,
}

/// What the server returned at the end.
pub struct Stopped {
    pub lsn: Lsn,
    pub label: String,
    /// Empty without tablespaces. Paths are bytes.
    pub tablespace_map: Vec<u8>,
}

/// A server's settings of archiving.
pub struct Archiving {
    pub in_recovery: bool,
    pub mode: String,
    pub command: Vec<u8>,
    pub library: Vec<u8>,
}

impl Session {
    pub fn open(conninfo: Option<&OsStr>) -> Result<Self> {
        let psql = Psql::connect(conninfo)?;
        let mut session =
            Session { psql, version: 0, in_recovery: false, slot: None, last_pulse: Instant::now() };
        let version = session.value("SHOW server_version_num")?;
        session.version = version.parse().map_err(|_| unexpected("version", &version))?;
        major::require(session.major())?;
        for (timeout, _) in TIMEOUTS.iter().filter(|(_, since)| session.version >= *since) {
            session.psql.run(&format!("SET {timeout} = 0"))?;
        }
        session.in_recovery = session.is_in_recovery()?;
        Ok(session)
    }

    pub fn major(&self) -> u32 {
        self.version / 10_000
    }

    /// "15.20", without what a packager added.
    pub fn version_text(&mut self) -> Result<String> {
        let text = self.value("SHOW server_version")?;
        Ok(text.split(' ').next().unwrap_or(&text).to_owned())
    }

    pub fn system_identifier(&mut self) -> Result<u64> {
        let text = self.value("SELECT system_identifier FROM pg_control_system()")?;
        // SQL has no unsigned bigint.
        let signed: i64 = text.parse().map_err(|_| unexpected("system identifier", &text))?;
        Ok(signed.cast_unsigned())
    }

    pub fn data_directory(&mut self) -> Result<PathBuf> {
        let [path] = self.path_settings(["data_directory"])?;
        path.ok_or_else(|| Error::failed("the server does not show its data_directory"))
            .map_err(|e| e.hint("GRANT pg_read_all_settings to the backup role"))
    }

    /// Paths from the server's settings; `None` for one that is not set, or that this version does not know.
    /// Without the right to read them none is told.
    pub fn path_settings<const COUNT: usize>(
        &mut self,
        names: [&str; COUNT],
    ) -> Result<[Option<PathBuf>; COUNT]> {
        let quoted = names.map(|name| format!("'{name}'")).join(", ");
        let sql = format!("SELECT name, setting FROM pg_settings WHERE name IN ({quoted})");
        let rows = self.psql.rows::<2>(&sql)?;
        Ok(names.map(|wanted| {
            let row = rows.iter().find(|[name, _]| name == wanted.as_bytes());
            row.filter(|[_, path]| !path.is_empty()).map(|[_, path]| path_of(path.clone()))
        }))
    }

    /// The files from which settings in force were read.
    pub fn setting_sources(&mut self) -> Result<Vec<PathBuf>> {
        let rows =
            self.psql.rows("SELECT DISTINCT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL")?;
        Ok(rows.into_iter().map(|[path]| path_of(path)).collect())
    }

    pub fn data_checksums(&mut self) -> Result<bool> {
        Ok(self.value("SHOW data_checksums")? == "on") // since 19 there are states between on and off
    }

    /// Where the last checkpoint's recovery begins, and when it was begun; seconds.
    pub fn checkpoint(&mut self) -> Result<(Lsn, i64)> {
        let sql = "SELECT redo_lsn, extract(epoch FROM checkpoint_time)::bigint FROM pg_control_checkpoint()";
        let row = self.psql.rows(sql)?.into_iter().next();
        let [redo, time] = row.ok_or_else(|| unexpected("checkpoint", ""))?.map(text_of);
        Ok((redo.parse().map_err(Error::failed)?, time.parse().map_err(|_| unexpected("checkpoint", &time))?))
    }

    pub fn is_standby(&self) -> bool {
        self.in_recovery
    }

    /// Where its WAL goes, as far as the server knows.
    pub fn archiving(&mut self) -> Result<Archiving> {
        let sql = "SELECT current_setting('archive_mode'), current_setting('archive_command'), \
                   coalesce(current_setting('archive_library', true), '')";
        let row = self.psql.rows(sql)?.into_iter().next();
        let [mode, command, library] = row.ok_or_else(|| unexpected("archiving", ""))?;
        Ok(Archiving { in_recovery: self.in_recovery, mode: text_of(mode), command, library })
    }

    /// Whether it is told to archive; a standby's primary may be.
    pub fn archives(&mut self) -> Result<bool> {
        Ok(self.in_recovery || self.value("SELECT current_setting('archive_mode')")? != "off")
    }

    pub fn timeline(&mut self) -> Result<u32> {
        let text = self.value("SELECT timeline_id FROM pg_control_checkpoint()")?;
        text.parse().map_err(|_| unexpected("timeline", &text))
    }

    /// OIDs and names of all tablespaces.
    pub fn tablespaces(&mut self) -> Result<Vec<(u32, OsString)>> {
        let rows = self.psql.rows("SELECT oid, spcname FROM pg_tablespace")?;
        let one = |[oid, name]: [Vec<u8>; 2]| {
            let oid = text_of(oid);
            let number = oid.parse().map_err(|_| unexpected("tablespace", &oid))?;
            Ok((number, OsString::from_vec(name)))
        };
        rows.into_iter().map(one).collect()
    }

    pub fn databases(&mut self) -> Result<Vec<Database>> {
        let sql =
            "SELECT oid, datname, datistemplate, datallowconn, dattablespace FROM pg_database ORDER BY oid";
        let rows = self.psql.rows(sql)?;
        let number = |value: Vec<u8>| -> Result<u32> {
            let text = text_of(value);
            text.parse().map_err(|_| unexpected("database", &text))
        };
        let one = |[oid, name, template, connections, tablespace]: [Vec<u8>; 5]| {
            Ok(Database {
                oid: number(oid)?,
                name,
                is_template: template == b"t",
                accepts_connections: connections == b"t",
                tablespace: number(tablespace)?,
            })
        };
        rows.into_iter().map(one).collect()
    }

    /// Keeps the WAL that this backup needs, until the session ends.
    pub fn hold_wal(&mut self) -> Result<()> {
        let name = format!("pgv_snap_{}_{:08x}", std::process::id(), u32::from_le_bytes(random()?));
        self.value(&format!(
            "SELECT slot_name FROM pg_create_physical_replication_slot('{name}', true, true)"
        ))
        .map_err(|e| {
            e.context("create a temporary replication slot")
                .hint(
                    "the role needs REPLICATION, and the server a free replication slot \
                       (max_replication_slots)",
                )
                .hint("or take the WAL from the archive: --wal none")
        })?;
        self.slot = Some(name);
        Ok(())
    }

    /// Returns the LSN where recovery will begin.
    pub fn start(&mut self, label: &str, fast: bool) -> Result<Lsn> {
        let label = label.replace('\'', "''");
        let sql = match self.version {
            ..FIFTEEN => format!("SELECT pg_start_backup('{label}', {fast}, false)"),
            _ => format!("SELECT pg_backup_start('{label}', {fast})"),
        };
        let rows = self.psql.rows_within(&sql, START_LIMIT).map_err(|e| {
            e.context("start the backup").hint("the role needs EXECUTE on the backup functions")
        })?;
        self.last_pulse = Instant::now();
        let [lsn] = rows.into_iter().next().ok_or_else(|| unexpected("start", ""))?.map(text_of);
        lsn.parse().map_err(Error::failed)
    }

    /// Does not wait for the archive: a wait cannot be given up without losing the label.
    pub fn stop(&mut self) -> Result<Stopped> {
        self.check()?;
        let sql = match self.version {
            ..FIFTEEN => "SELECT lsn, labelfile, spcmapfile FROM pg_stop_backup(false, false)",
            _ => "SELECT lsn, labelfile, spcmapfile FROM pg_backup_stop(false)",
        };
        let rows = self.psql.rows(sql).map_err(|e| e.context("stop the backup"))?;
        let [lsn, label, tablespace_map] =
            rows.into_iter().next().ok_or_else(|| Error::failed("the server returned no backup label"))?;
        let label = String::from_utf8(label).map_err(|_| Error::failed("the backup label is not UTF-8"))?;
        Ok(Stopped { lsn: text_of(lsn).parse().map_err(Error::failed)?, label, tablespace_map })
    }

    /// Asks, every 30 seconds, whether the backup still lives.
    pub fn pulse(&mut self) -> Result<()> {
        match self.last_pulse.elapsed() >= PULSE {
            true => self.check(),
            false => Ok(()),
        }
    }

    /// No page on disk can be newer than this.
    pub fn newest_lsn(&mut self) -> Result<Lsn> {
        let text = match self.in_recovery {
            true => self.value("SELECT pg_last_wal_replay_lsn()")?,
            false => self.value("SELECT pg_current_wal_insert_lsn()")?,
        };
        text.parse().map_err(Error::failed)
    }

    /// Said before WAL is copied: a slot can be invalidated by max_slot_wal_keep_size.
    pub fn check_slot(&mut self) -> Result<()> {
        let Some(slot) = &self.slot else { return Ok(()) };
        let status = format!("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{slot}'");
        match self.value(&status)?.as_str() {
            "lost" => Err(Error::failed("the server removed WAL that this backup needs")
                .hint("raise max_slot_wal_keep_size")),
            _ => Ok(()),
        }
    }

    fn check(&mut self) -> Result<()> {
        self.last_pulse = Instant::now();
        match self.is_in_recovery().map_err(|e| e.context("the backup's session"))? == self.in_recovery {
            true => Ok(()),
            false => Err(Error::new(Kind::Temporary, "the standby was promoted during the backup")),
        }
    }

    fn is_in_recovery(&mut self) -> Result<bool> {
        Ok(self.value("SELECT pg_is_in_recovery()")? == "t")
    }

    fn value(&mut self, sql: &str) -> Result<String> {
        let row = self.psql.rows(sql)?.into_iter().next();
        row.map(|[value]| text_of(value)).ok_or_else(|| Error::failed(format!("no answer to {sql}")))
    }
}

/// Numbers and names of the server's own, which are ASCII.
fn text_of(value: Vec<u8>) -> String {
    String::from_utf8_lossy(&value).into_owned()
}

fn path_of(value: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(value))
}

fn unexpected(what: &str, text: &str) -> Error {
    Error::failed(format!("the server's {what} is \"{}\"", text.escape_default()))
}
