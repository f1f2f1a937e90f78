//! `global/pg_control`: who a cluster is, how it is laid out, and the guard against starting a copy
//! without its backup label (pg_control.h).
//!
//! The struct is read at the offsets of [`ControlLayout`]. A good checksum at its place proves that they fit.

use crate::error::{Error, IoContext, Result};
use crate::pg::Lsn;
use crate::pg::major::{ControlLayout, MAJORS, unknown};
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
    layout: &'static ControlLayout,
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

    /// Refuses what is too short, or has a bad checksum, as damaged, and an unknown version as usage.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        if bytes.len() < SAFE_SIZE || bytes.len() > FILE_SIZE {
            return Err(Error::damaged(format!("pg_control of {} bytes", bytes.len())));
        }
        let version = u32_at(&bytes, 8);
        let Some(major) = MAJORS.iter().find(|major| major.control_version == version) else {
            return Err(unknown(format_args!("pg_control version {version}")));
        };
        let layout = major.control;
        match crc32c::crc32c(&bytes[..layout.crc]) == u32_at(&bytes, layout.crc) {
            true => Ok(Control { bytes, layout }),
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
        (Lsn(self.u64_at(self.layout.min_recovery_point)), self.u32_at(self.layout.min_recovery_point + 8))
    }

    /// The settings that recovery needs at least as high as they were (CheckRequiredParameterValues in
    /// xlogrecovery.c), by name.
    pub fn needed_settings(&self) -> [(&'static str, u32); 5] {
        let first = self.layout.max_connections;
        [
            ("max_connections", self.u32_at(first)),
            ("max_worker_processes", self.u32_at(first + 4)),
            ("max_wal_senders", self.u32_at(first + 8)),
            ("max_prepared_transactions", self.u32_at(first + 12)),
            ("max_locks_per_transaction", self.u32_at(first + 16)),
        ]
    }

    /// Bytes, BLCKSZ.
    pub fn page_size(&self) -> u32 {
        self.u32_at(self.layout.page_size)
    }

    /// Pages in a relation segment, RELSEG_SIZE.
    pub fn segment_pages(&self) -> u32 {
        self.u32_at(self.layout.page_size + 4)
    }

    /// Bytes, wal_segment_size.
    pub fn wal_segment_bytes(&self) -> u64 {
        u64::from(self.u32_at(self.layout.wal_segment_bytes))
    }

    /// Whether every page has one: not while they are switched on or off (`PG_DATA_CHECKSUM_VERSION`).
    pub fn has_page_checksums(&self) -> bool {
        self.u32_at(self.layout.checksums) == 1
    }

    /// A copy that starts only with a backup label: its checkpoint lies nowhere.
    #[must_use]
    pub fn guarded(&self) -> Self {
        let mut bytes = self.bytes.clone();
        bytes[CHECKPOINT..CHECKPOINT + 8].copy_from_slice(&NO_CHECKPOINT.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..self.layout.crc]);
        bytes[self.layout.crc..self.layout.crc + 4].copy_from_slice(&crc.to_le_bytes());
        Control { bytes, layout: self.layout }
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

impl Control {
    fn u32_at(&self, at: usize) -> u32 {
        u32_at(&self.bytes, at)
    }

    fn u64_at(&self, at: usize) -> u64 {
        u64_at(&self.bytes, at)
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

    /// What `pg_controldata` shows of these files, as initdb of 18.6 and 19rc1 wrote them.
    #[test]
    fn the_fields_of_every_layout_are_found() {
        for (name, limits) in [("18", [100, 8, 10, 0, 64]), ("19", [100, 8, 10, 0, 128])] {
            let path = format!("{}/tests/control/{name}", env!("CARGO_MANIFEST_DIR"));
            let mut bytes = std::fs::read(path).unwrap();
            bytes.resize(FILE_SIZE, 0);
            let control = Control::parse(bytes).unwrap();
            assert_eq!(control.needed_settings().map(|(_, value)| value), limits);
            assert_eq!((control.page_size(), control.segment_pages()), (8192, 131_072));
            assert_eq!((control.wal_segment_bytes(), control.timeline()), (16 << 20, 1));
            assert_eq!((control.state(), control.has_page_checksums()), (STATE_SHUT_DOWN, true));
            assert_eq!(control.min_recovery_point(), (Lsn(0), 0));
            assert!(control.check_layout().is_ok());
        }
    }

    #[test]
    fn an_unknown_version_is_not_damage() {
        let mut bytes = sample();
        bytes[8..12].copy_from_slice(&2001u32.to_le_bytes());
        let error = Control::parse(bytes).unwrap_err();
        assert_eq!(error.kind, crate::error::Kind::Usage);
        assert!(error.message().contains("pg_control version 2001"), "{}", error.message());
    }

    #[test]
    fn the_guard_changes_the_checkpoint_only() {
        let plain = Control::parse(sample()).unwrap();
        let guarded = Control::parse(plain.guarded().bytes().to_vec()).unwrap();
        assert_eq!((plain.checkpoint(), guarded.checkpoint()), (Lsn(0x2000060), Lsn(0xDEAD)));
    }
}
