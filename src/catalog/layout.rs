//! Object names below `REPO/CLUSTER/SYSID/`.

use crate::catalog::Label;
use crate::catalog::key_object::is_data_key_name;

/// At the end of every sealed object's name.
pub const SEALED: &str = ".pgv";
pub const DATA: &str = "data.pgv";
pub const MANIFEST: &str = "manifest.pgv";
/// Written last: a backup exists iff this does, and all it names.
pub const RECORD: &str = "record.json";
/// Written first: reserves the label.
pub const CLAIM: &str = "claim.json";

/// Of a repository as a whole: how to restore without pgv.
pub const MARK: &str = "RESTORE-1.txt";

/// `backup/LABEL`, below the system identifier's directory.
pub fn backup_directory(label: &Label) -> String {
    format!("backup/{label}")
}

/// `CLUSTER/SYSID/wal/`, below the repository: where the sealed WAL of a cluster lies, a directory a timeline.
pub fn wal_directory(cluster: &str, system_identifier: u64) -> String {
    format!("{cluster}/{system_identifier}/wal/")
}

/// The name of a WAL file by the URL or key of its object: what follows the last slash, without the suffix. `None`: it
/// is no sealed object.
pub fn wal_name(key: &str) -> Option<&str> {
    key.rsplit('/').next()?.strip_suffix(SEALED)
}

/// At the end of the name of a history's digest, in plain.
pub const DIGEST: &str = ".sha256";

/// The name of a WAL file without that of the key, which another host's object beside the first has: `NAME.KEYNAME`.
pub fn without_key_name(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((file, key_name)) if is_data_key_name(key_name) => file,
        _ => name,
    }
}

/// Cluster names are one key component: no slash, no dot first, nothing a shell would touch.
pub fn is_cluster_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with(['.', '-']) && name.bytes().all(allowed)
}

/// A system identifier as a directory name: decimal, no leading zero.
pub fn parse_system_id(text: &str) -> Option<u64> {
    text.parse().ok().filter(|id: &u64| id.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_object_has_the_name_of_its_key() {
        let segment = "000000010000000000000003";
        assert_eq!(without_key_name(&format!("{segment}.0123456789abcdef")), segment);
        assert_eq!(
            without_key_name(&format!("{segment}.partial.0123456789abcdef")),
            format!("{segment}.partial")
        );
        for other in [segment, "000000010000000000000003.partial", "000000010000000000000003.00000028.backup"]
        {
            assert_eq!(without_key_name(other), other);
        }
    }
}
