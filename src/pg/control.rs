//! `global/pg_control`: who a cluster is, how it is laid out, and the guard against starting a copy
//! without its backup label (pg_control.h).
//!
//! The struct is read at fixed offsets: they are the same from 13 to 18 on every 64-bit platform, but
//! for the checksum's own place. A good checksum at that place proves that the offsets fit.

use crate::error::{Error, IoContext, Result};
use crate::pg::Lsn;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// The path below the data directory.
pub const PATH: &str = "global/pg_control";
/// `DB_SHUTDOWNED`: a primary that was stopped cleanly.
pub const STATE_SHUT_DOWN: u32 = 1;

/// `PG_CONTROL_MAX_SAFE_SIZE`: the struct is written in one sector.
const SAFE_SIZE: usize = 512;
/// `PG_CONTROL_FILE_SIZE`.
pub const FILE_SIZE: usize = 8192;
const CHECKPOINT: usize = 32;
/// Where no checkpoint record can lie; pgBackRest uses the same value.
const NO_CHECKPOINT: u64 = 0xDEAD;
const READ_TRIES: u32 = 20;
const READ_PAUSE: Duration = Duration::from_millis(50);

/// A pg_control with a good checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    bytes: Vec<u8>,
    crc_at: usize,
}

impl Control {
    /// Reads `global/pg_control` below `data_directory`; again, with a pause, while the server is
    /// writing it: a read can be torn.
    pub fn read(data_directory: &Path) -> Result<Self> {
        let path = data_directory.join(PATH);
        let mut tries = 0;
        loop {
            let mut bytes = Vec::with_capacity(FILE_SIZE);
            let mut file = File::open(&path).during_path("open", &path)?;
            std::io::Read::read_to_end(&mut file, &mut bytes).during_path("read", &path)?;
            tries += 1;
            match Self::parse(bytes) {
                Err(_) if tries < READ_TRIES => std::thread::sleep(READ_PAUSE),
                result => return result.map_err(|e| e.context(path.display())),
            }
        }
    }

    /// Refuses what is too short, of an unknown version, or has a bad checksum, as damaged.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        if bytes.len() < SAFE_SIZE || bytes.len() > FILE_SIZE {
            return Err(Error::damaged(format!("pg_control of {} bytes", bytes.len())));
        }
        let crc_at = match u32_at(&bytes, 8) {
            1300 | 1700 => 288,
            1800 => 292,
            other => {
                return Err(Error::damaged(format!("unknown pg_control version {other}"))
                    .hint("this pgv knows PostgreSQL 13 to 18"));
            }
        };
        match crc32c::crc32c(&bytes[..crc_at]) == u32_at(&bytes, crc_at) {
            true => Ok(Control { bytes, crc_at }),
            false => Err(Error::damaged("bad checksum in pg_control")),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn system_identifier(&self) -> u64 {
        u64_at(&self.bytes, 0)
    }

    pub fn catalog_version(&self) -> u32 {
        u32_at(&self.bytes, 12)
    }

    pub fn state(&self) -> u32 {
        u32_at(&self.bytes, 16)
    }

    /// In the words of pg_controldata.
    pub fn state_name(&self) -> &'static str {
        let names = [
            "starting up",
            "shut down",
            "shut down in recovery",
            "shutting down",
            "in crash recovery",
            "in archive recovery",
            "in production",
        ];
        usize::try_from(self.state()).ok().and_then(|state| names.get(state)).unwrap_or(&"unknown")
    }

    /// The latest checkpoint record.
    pub fn checkpoint(&self) -> Lsn {
        Lsn(u64_at(&self.bytes, CHECKPOINT))
    }

    /// Where recovery from that checkpoint begins.
    pub fn redo(&self) -> Lsn {
        Lsn(u64_at(&self.bytes, 40))
    }

    pub fn timeline(&self) -> u32 {
        u32_at(&self.bytes, 48)
    }

    /// Where replay must have come before the data are consistent, of a standby's control file; the timeline of that.
    pub fn min_recovery_point(&self) -> (Lsn, u32) {
        (Lsn(u64_at(&self.bytes, 136)), u32_at(&self.bytes, 144))
    }

    /// The settings that recovery needs at least as high as they were (CheckRequiredParameterValues in
    /// xlogrecovery.c), by name.
    pub fn needed_settings(&self) -> [(&'static str, u32); 5] {
        [
            ("max_connections", u32_at(&self.bytes, 180)),
            ("max_worker_processes", u32_at(&self.bytes, 184)),
            ("max_wal_senders", u32_at(&self.bytes, 188)),
            ("max_prepared_transactions", u32_at(&self.bytes, 192)),
            ("max_locks_per_transaction", u32_at(&self.bytes, 196)),
        ]
    }

    /// Bytes, BLCKSZ.
    pub fn page_size(&self) -> u32 {
        u32_at(&self.bytes, 216)
    }

    /// Pages in a relation segment, RELSEG_SIZE.
    pub fn segment_pages(&self) -> u32 {
        u32_at(&self.bytes, 220)
    }

    /// Bytes, wal_segment_size.
    pub fn wal_segment_bytes(&self) -> u64 {
        u64::from(u32_at(&self.bytes, 228))
    }

    pub fn has_page_checksums(&self) -> bool {
        u32_at(&self.bytes, 252) != 0
    }

    /// A copy that starts only with a backup label: its checkpoint lies nowhere.
    #[must_use]
    pub fn guarded(&self) -> Self {
        let mut bytes = self.bytes.clone();
        bytes[CHECKPOINT..CHECKPOINT + 8].copy_from_slice(&NO_CHECKPOINT.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..self.crc_at]);
        bytes[self.crc_at..self.crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        Control { bytes, crc_at: self.crc_at }
    }

    /// Refuses sizes that no server is built with, before anything is computed from them.
    pub fn check_layout(&self) -> Result<()> {
        let page = self.page_size();
        let wal = self.wal_segment_bytes();
        let good = page.is_power_of_two()
            && (1024..=32768).contains(&page)
            && self.segment_pages() > 0
            && wal.is_power_of_two()
            && (1 << 20..=1 << 30).contains(&wal);
        match good {
            true => Ok(()),
            false => Err(Error::damaged("impossible page or segment sizes in pg_control")),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = vec![0u8; FILE_SIZE];
        bytes[8..12].copy_from_slice(&1300u32.to_le_bytes());
        bytes[32..40].copy_from_slice(&0x2000060u64.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..288]);
        bytes[288..292].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn a_flipped_bit_is_seen() {
        let mut bytes = sample();
        assert!(Control::parse(bytes.clone()).is_ok());
        bytes[100] ^= 1;
        assert!(Control::parse(bytes).is_err());
    }

    #[test]
    fn the_guard_changes_the_checkpoint_only() {
        let plain = Control::parse(sample()).unwrap();
        let guarded = Control::parse(plain.guarded().bytes().to_vec()).unwrap();
        assert_eq!((plain.checkpoint(), guarded.checkpoint()), (Lsn(0x2000060), Lsn(0xDEAD)));
    }
}
