//! The last member of a stream: `global/pg_control`.

use crate::catalog::StreamIdentity;
use crate::error::{Error, IoContext, Result};
use crate::pg::backup_manifest::Entry;
use crate::pg::control::{self, Control};
use crate::tar::{Kind, Member, TarReader};
use std::io::Read;

/// Reads it, and insists on the end of the stream after it. `member`: the one that comes now. `listed`: what the manifest
/// says of it. Refuses as damaged what does not belong to the backup.
pub fn control<R: Read>(
    tar: &mut TarReader<R>,
    member: &Member,
    listed: &Entry,
    identity: &StreamIdentity,
) -> Result<Control> {
    let fits = member.kind == Kind::File
        && member.path == control::PATH.as_bytes()
        && member.size == listed.size
        && member.size <= control::FILE_SIZE as u64;
    if !fits {
        return Err(Error::damaged(format!(
            "the stream has {} where global/pg_control must be",
            member.name()
        )));
    }
    let mut content = Vec::new();
    tar.content().read_to_end(&mut content).during("read stdin")?;
    let control = Control::parse(content)?;
    if crc32c::crc32c(control.bytes()) != listed.crc32c
        || control.system_identifier() != identity.system_identifier
    {
        return Err(Error::damaged("global/pg_control does not belong to this backup"));
    }
    match tar.next_member()? {
        None => Ok(control),
        Some(_) => Err(Error::damaged("the stream continues after global/pg_control")),
    }
}
