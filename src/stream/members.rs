//! Where the parts of a stream begin. The files of the data directory come first, in the order of their paths; what the
//! backup itself adds follows: WAL, the configuration, the label, the manifests, `global/pg_control`.

use crate::catalog::Mode;
use crate::catalog::member;
use crate::pg::backup_manifest;
use crate::stream::is_data;
use crate::tar::{Kind, Member};

/// Which part of the stream a member belongs to. `mode`: of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The list of names that an increment of files has for a directory that pgv makes.
    Names,
    /// A directory or a file of the cluster.
    Data,
    /// All that comes after them.
    Rest,
}

pub fn part(member: &Member, mode: Mode) -> Part {
    part_of(member.kind, &member.path, mode)
}

/// The same by what a list of members tells.
pub fn part_of(kind: Kind, path: &[u8], mode: Mode) -> Part {
    let in_wal = path.starts_with(b"pg_wal/");
    match kind {
        Kind::DumpDirectory if path == member::DIRECTORY.as_bytes() || member::is_inside(path) => Part::Names,
        // Its names are known at the end only.
        Kind::DumpDirectory if mode == Mode::Files && (path == b"pg_wal" || in_wal) => Part::Rest,
        Kind::Directory | Kind::DumpDirectory => Part::Data,
        Kind::File if in_wal || !is_data(path) || path == backup_manifest::PATH.as_bytes() => Part::Rest,
        Kind::File => Part::Data,
    }
}
