//! The major versions of PostgreSQL that pgv knows, one row each. ARCHITECTURE.md says how to add one.

use crate::error::Error;

/// What differs from one major version to the next on disk.
#[derive(Debug, PartialEq, Eq)]
pub struct Major {
    pub number: u32,
    /// `PG_CONTROL_VERSION`. Several majors may have the same.
    pub control_version: u32,
    pub control: &'static ControlLayout,
    /// `XLOG_PAGE_MAGIC`.
    pub wal_magic: u16,
}

/// Where fields of `ControlFileData` lie, in bytes from its beginning, on every 64-bit platform (pg_control.h). Fields
/// before the first that moved are not here.
#[derive(Debug, PartialEq, Eq)]
pub struct ControlLayout {
    /// `minRecoveryPoint`, followed by its timeline.
    pub min_recovery_point: usize,
    /// `MaxConnections`, followed by the other settings that recovery needs.
    pub max_connections: usize,
    /// `blcksz`, followed by `relseg_size`.
    pub page_size: usize,
    /// `xlog_seg_size`.
    pub wal_segment_bytes: usize,
    /// `data_checksum_version`.
    pub checksums: usize,
    /// `crc`, the last.
    pub crc: usize,
}

const OF_13: ControlLayout = ControlLayout {
    min_recovery_point: 136,
    max_connections: 180,
    page_size: 216,
    wal_segment_bytes: 228,
    checksums: 252,
    crc: 288,
};
/// With `default_char_signedness`.
const OF_18: ControlLayout = ControlLayout { crc: 292, ..OF_13 };
/// With `logicalDecodingEnabled` in the checkpoint, `slru_pages_per_segment`, and `data_checksum_version_init` before
/// `data_checksum_version`.
const OF_19: ControlLayout = ControlLayout {
    min_recovery_point: 144,
    max_connections: 188,
    page_size: 224,
    wal_segment_bytes: 240,
    checksums: 268,
    crc: 308,
};

const fn row(number: u32, control_version: u32, control: &'static ControlLayout, wal_magic: u16) -> Major {
    Major { number, control_version, control, wal_magic }
}

/// Oldest first.
pub const MAJORS: [Major; 7] = [
    row(13, 1300, &OF_13, 0xD106),
    row(14, 1300, &OF_13, 0xD10D),
    row(15, 1300, &OF_13, 0xD110),
    row(16, 1300, &OF_13, 0xD113),
    row(17, 1700, &OF_13, 0xD116),
    row(18, 1800, &OF_18, 0xD118),
    row(19, 1905, &OF_19, 0xD122),
];
pub const NEWEST: u32 = MAJORS[MAJORS.len() - 1].number;

/// The major of a full version: "15.18", and of one that is not released yet "19rc1".
pub fn of(version: &str) -> &str {
    version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default()
}

/// Refuses, as usage, a version that pgv does not know: nothing is known of what its files look like.
pub fn require(number: u32) -> Result<(), Error> {
    match MAJORS.iter().any(|major| major.number == number) {
        true => Ok(()),
        false => Err(unknown(format_args!("PostgreSQL {number}"))),
    }
}

/// The refusal of what an unknown version wrote.
pub fn unknown(what: impl std::fmt::Display) -> Error {
    let known = MAJORS.map(|major| major.number.to_string()).join(", ");
    Error::usage(format!("this pgv does not know {what}"))
        .hint(format!("it knows PostgreSQL {known}; a newer pgv may know more"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn versions_have_a_major() {
        assert_eq!(["15.18", "19rc1", "19beta2", "13", ""].map(of), ["15", "19", "19", "13", ""]);
    }

    #[test]
    fn an_unknown_major_is_refused_by_name() {
        for known in 13..=NEWEST {
            assert!(require(known).is_ok());
        }
        for strange in [12, NEWEST + 1] {
            let error = require(strange).unwrap_err();
            assert_eq!(error.kind, Kind::Usage);
            assert!(error.message().contains(&format!("PostgreSQL {strange}")), "{}", error.message());
        }
    }
}
