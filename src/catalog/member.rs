//! What pgv adds to a data directory, all of it below `pgv/`: members of its streams, and marks of a restore.

/// The directory itself. It is no part of the cluster, and of no backup.
pub const DIRECTORY: &str = "pgv";

/// Who the stream is: its second member.
pub const IDENTITY: &str = "pgv/stream.json";
/// Which configuration the server reads, and where it lay.
pub const CONFIGURATION: &str = "pgv/configuration";
/// Copies of the configuration that lies outside the data directory.
pub const CONFIGURATION_DIRECTORY: &str = "pgv/config";
/// Which databases the cluster had when the backup began.
pub const DATABASES: &str = "pgv/databases";
/// The server's tablespace_map, under a name that no server obeys: a restore chooses the places.
pub const TABLESPACE_MAP: &str = "pgv/tablespace_map";
/// Where the label of an increment waits for its merging on servers that would start one unmerged (13 to 16).
pub const BACKUP_LABEL: &str = "pgv/backup_label";
/// What merges increments without pgv, in their streams on 13 to 16.
pub const UNSTACK: &str = "pgv/unstack";
/// The backup_manifest of what an increment makes of its parent; whoever merges them gives it that name.
pub const RESULT_MANIFEST: &str = "pgv/result_manifest";

/// The mark of a directory that is being changed.
pub const APPLYING: &str = "pgv/applying";
/// The mark of a directory that waits for `--commit` or the next link of its chain: what `global/pg_control` will be.
pub const HELD: &str = "pgv/held";
/// The mark of a directory whose settings are written, while it is not decided whether its server archives.
pub const ARCHIVING_UNDECIDED: &str = "pgv/archiving-undecided";

/// The mark of a directory in which only some databases are whole: which, and which are not.
pub const SELECTION: &str = "pgv/selection";

/// Whether a path of a stream lies in the directory.
pub fn is_inside(path: &[u8]) -> bool {
    path.strip_prefix(DIRECTORY.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}
