//! The server's side of an online backup: one session from start to stop. When it ends, so does the
//! backup, and everything copied so far is worthless; hence the pulse.

use crate::error::{Error, Kind, Result};
use crate::pg::Lsn;
use crate::snap::connect::{self, reason};
use postgres::{Client, SimpleQueryMessage};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PULSE: Duration = Duration::from_secs(30);
/// 13, as server_version_num.
const OLDEST: u32 = 130_000;
/// Version 14 brought idle_session_timeout, 15 the present names of the backup functions.
const FOURTEEN: u32 = 140_000;
const FIFTEEN: u32 = 150_000;

pub struct Session {
    client: Client,
    version: u32,
    in_recovery: bool,
    slot: Option<String>,
    last_pulse: Instant,
}

/// What the server returned at the end.
pub struct Stopped {
    pub lsn: Lsn,
    pub label: String,
    /// Empty without tablespaces.
    pub tablespace_map: String,
}

impl Session {
    pub fn open(conninfo: Option<&str>) -> Result<Self> {
        let client = connect::connect(conninfo)?;
        let mut session =
            Session { client, version: 0, in_recovery: false, slot: None, last_pulse: Instant::now() };
        session.version = session.value("SHOW server_version_num")?.parse().unwrap_or(0);
        if session.version < OLDEST {
            return Err(Error::usage("the server is older than PostgreSQL 13"));
        }
        session.disarm_timeouts()?;
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

    /// A path from the server's settings, if the role may see it.
    pub fn path_setting(&mut self, name: &str) -> Result<PathBuf> {
        self.value(&format!("SHOW {name}"))
            .map(PathBuf::from)
            .map_err(|e| e.hint("GRANT pg_read_all_settings to the backup role"))
    }

    pub fn data_checksums(&mut self) -> Result<bool> {
        Ok(self.value("SHOW data_checksums")? == "on")
    }

    /// Where the last checkpoint's recovery begins, and when it was begun; seconds.
    pub fn checkpoint(&mut self) -> Result<(Lsn, i64)> {
        let sql = "SELECT redo_lsn, extract(epoch FROM checkpoint_time)::bigint FROM pg_control_checkpoint()";
        let row = self.rows(sql)?.into_iter().next().unwrap_or_default();
        let [redo, time] = &row[..] else { return Err(unexpected("checkpoint", "")) };
        Ok((redo.parse().map_err(Error::failed)?, time.parse().map_err(|_| unexpected("checkpoint", time))?))
    }

    pub fn is_standby(&self) -> bool {
        self.in_recovery
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
    pub fn tablespaces(&mut self) -> Result<Vec<(u32, String)>> {
        let rows = self.rows("SELECT oid, spcname FROM pg_tablespace")?;
        Ok(rows
            .into_iter()
            .filter_map(|row| Some((row.first()?.parse().ok()?, row.get(1)?.clone())))
            .collect())
    }

    /// Keeps the WAL that this backup needs, until the session ends.
    pub fn hold_wal(&mut self) -> Result<()> {
        let mut random = [0u8; 4];
        getrandom::fill(&mut random).map_err(|e| Error::failed(format!("read random bytes: {e}")))?;
        let name = format!("pgv_snap_{}_{:08x}", std::process::id(), u32::from_le_bytes(random));
        self.value(&format!(
            "SELECT slot_name FROM pg_create_physical_replication_slot('{name}', true, true)"
        ))
        .map_err(|e| {
            e.context("create a temporary replication slot")
                .hint("the role needs REPLICATION, the server a free max_replication_slots")
                .hint("or leave the WAL to the archive: --wal none")
        })?;
        self.slot = Some(name);
        Ok(())
    }

    /// Returns the LSN where recovery will begin.
    pub fn start(&mut self, label: &str, fast: bool) -> Result<Lsn> {
        let sql = match self.version {
            ..FIFTEEN => "SELECT pg_start_backup($1, $2, false)::text",
            _ => "SELECT pg_backup_start($1, $2)::text",
        };
        let row = self.client.query_one(sql, &[&label, &fast]).map_err(|e| {
            failed("start the backup", &e).hint("the role needs EXECUTE on the backup functions")
        })?;
        self.last_pulse = Instant::now();
        let text: String = row.try_get(0).map_err(|e| failed("start the backup", &e))?;
        text.parse().map_err(Error::failed)
    }

    /// Does not wait for the archive: a wait cannot be given up without losing the label.
    pub fn stop(&mut self) -> Result<Stopped> {
        self.check()?;
        let sql = match self.version {
            ..FIFTEEN => "SELECT lsn::text, labelfile, spcmapfile FROM pg_stop_backup(false, false)",
            _ => "SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(false)",
        };
        let row = self.client.query_one(sql, &[]).map_err(|e| failed("stop the backup", &e))?;
        let text = |column: usize| -> Result<Option<String>> {
            row.try_get(column).map_err(|e| failed("stop the backup", &e))
        };
        Ok(Stopped {
            lsn: text(0)?.unwrap_or_default().parse().map_err(Error::failed)?,
            label: text(1)?.ok_or_else(|| Error::failed("the server returned no backup label"))?,
            tablespace_map: text(2)?.unwrap_or_default(),
        })
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

    fn disarm_timeouts(&mut self) -> Result<()> {
        let mut sql = "SET statement_timeout = 0; SET lock_timeout = 0; \
                       SET idle_in_transaction_session_timeout = 0"
            .to_owned();
        if self.version >= FOURTEEN {
            sql.push_str("; SET idle_session_timeout = 0");
        }
        self.client.batch_execute(&sql).map_err(|e| failed("set timeouts", &e))
    }

    fn value(&mut self, sql: &str) -> Result<String> {
        let rows = self.rows(sql)?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next());
        value.ok_or_else(|| Error::failed(format!("no answer to {sql}")))
    }

    fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        let messages = self.client.simple_query(sql).map_err(|e| failed(sql, &e))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }
}

fn failed(what: &str, error: &postgres::Error) -> Error {
    Error::failed(format!("{what}: {}", reason(error)))
}

fn unexpected(what: &str, text: &str) -> Error {
    Error::failed(format!("the server's {what} is \"{}\"", text.escape_default()))
}
