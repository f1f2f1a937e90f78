//! Names of relation files (relpath.c) and of what a backup leaves out (basebackup.c).

/// A relation file's name taken apart: `16384_vm.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationFile<'a> {
    /// The relfilenode's digits.
    pub number: &'a str,
    pub fork: Fork,
    /// Which segment of the relation's file this is.
    pub segment: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    Main,
    FreeSpace,
    Visibility,
    Init,
}

impl<'a> RelationFile<'a> {
    /// `[1-9]\d*(_fsm|_vm|_init)?(\.[1-9]\d*)?`, in a directory of relations only.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (stem, segment) = match name.split_once('.') {
            Some((stem, segment)) => (stem, segment_number(segment)?),
            None => (name, 0),
        };
        let (number, fork) = match stem.split_once('_') {
            None => (stem, Fork::Main),
            Some((number, "fsm")) => (number, Fork::FreeSpace),
            Some((number, "vm")) => (number, Fork::Visibility),
            Some((number, "init")) => (number, Fork::Init),
            Some(_) => return None,
        };
        is_oid(number).then_some(RelationFile { number, fork, segment })
    }
}

fn segment_number(digits: &str) -> Option<u32> {
    is_oid(digits).then(|| digits.parse().ok()).flatten()
}

/// Digits without a leading zero that fit an OID.
pub fn is_oid(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|oid| oid > 0)
        && text.bytes().all(|b| b.is_ascii_digit())
        && !text.starts_with('0')
}

/// `t3_16384`, `t3_16384_fsm.1`: a relation of one session, gone with it.
pub fn is_temporary(name: &str) -> bool {
    let Some((backend, rest)) = name.strip_prefix('t').and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    !backend.is_empty() && backend.bytes().all(|b| b.is_ascii_digit()) && RelationFile::parse(rest).is_some()
}

/// Whether a directory (path below the data directory, no slash at the end) holds relations:
/// `global`, `base/OID`, `pg_tblspc/OID/PG_…/OID`.
pub fn is_relation_directory(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["global"] => true,
        ["base", database] => is_oid(database),
        ["pg_tblspc", space, version, database] => {
            is_oid(space) && version.starts_with("PG_") && is_oid(database)
        }
        _ => false,
    }
}

/// The segment number of a relation file, by its path below the data directory; none of other files.
pub fn segment_of(path: &[u8]) -> Option<u32> {
    let (directory, name) = std::str::from_utf8(path).ok()?.rsplit_once('/')?;
    let file = RelationFile::parse(name).filter(|_| is_relation_directory(directory))?;
    Some(file.segment)
}

/// From here on OIDs are given after initdb (FirstNormalObjectId, transam.h).
pub const FIRST_NORMAL_OID: u32 = 16384;

/// The database to which a file belongs, by its path below the data directory: `base/OID/…`, `pg_tblspc/OID/PG_…/OID/…`.
pub fn database_of(path: &str) -> Option<u32> {
    let (directory, _) = path.rsplit_once('/')?;
    match directory == "global" || !is_relation_directory(directory) {
        true => None,
        false => directory.rsplit_once('/')?.1.parse().ok(),
    }
}

/// Directories that a backup has, but empty (`excludeDirContents`); pg_wal is filled by other means.
pub const EMPTIED_DIRECTORIES: [&str; 8] = [
    "pg_dynshmem",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_wal",
];

/// What is left out in every directory (`excludeFiles`).
pub fn is_excluded_name(name: &[u8]) -> bool {
    const EXACT: [&[u8]; 8] = [
        b".DS_Store",
        b"postgresql.auto.conf.tmp",
        b"current_logfiles.tmp",
        b"backup_label",
        b"tablespace_map",
        b"backup_manifest",
        b"postmaster.pid",
        b"postmaster.opts",
    ];
    EXACT.contains(&name) || name.starts_with(b"pgsql_tmp") || name.starts_with(b"pg_internal.init")
}

/// What is left out at the top of the data directory only: marks of an earlier restore, which would
/// make the restored server a standby of this one.
pub fn is_excluded_at_top(name: &[u8]) -> bool {
    const EXACT: [&[u8]; 3] = [b"recovery.signal", b"standby.signal", b"backup_label.old"];
    EXACT.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relation_names() {
        let parse = RelationFile::parse;
        assert_eq!(parse("16384"), Some(RelationFile { number: "16384", fork: Fork::Main, segment: 0 }));
        assert_eq!(parse("5_vm.2"), Some(RelationFile { number: "5", fork: Fork::Visibility, segment: 2 }));
        for bad in ["", "0", "01", "PG_VERSION", "pg_filenode.map", "5_x", "5.0", "5.", "5.01", "t1_5", "+5"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn databases_of_files() {
        for (path, oid) in [
            ("base/5/PG_VERSION", Some(5)),
            ("pg_tblspc/16384/PG_15_202209061/16390/2619_vm.1", Some(16390)),
            ("base/5", None),
            ("global/1262", None),
            ("base/pgsql_tmp/5", None),
            ("pg_tblspc/16384/PG_15_202209061/pgsql_tmp/1", None),
        ] {
            assert_eq!(database_of(path), oid, "{path}");
        }
    }

    #[test]
    fn temporary_names() {
        for good in ["t3_16384", "t3_16384_fsm.1"] {
            assert!(is_temporary(good), "{good}");
        }
        for bad in ["t_5", "tx_5", "t3", "5", "t3_x"] {
            assert!(!is_temporary(bad), "{bad}");
        }
    }

    #[test]
    fn relation_directories() {
        for good in ["global", "base/5", "pg_tblspc/16384/PG_15_202209061/5"] {
            assert!(is_relation_directory(good), "{good}");
        }
        for bad in ["", "base", "base/pgsql_tmp", "pg_xact", "pg_tblspc/16384/PG_15_202209061"] {
            assert!(!is_relation_directory(bad), "{bad}");
        }
    }
}
