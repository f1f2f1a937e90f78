//! The end of a stream: the manifests, pg_control, the end marker; then the pgv manifest gets its name.

use crate::catalog::{Blocks, Files, member};
use crate::error::{Error, IoContext, Result};
use crate::io::TemporaryFile;
use crate::pg::control::{self, Control};
use crate::pg::{Lsn, backup_manifest};
use crate::snap::copy::Copier;
use crate::snap::ledger::{BUFFER, Spooled};
use crate::snap::stream::Tar;
use crate::tar::Attributes;
use std::io::{Read, Seek};

/// What is known once the stream is complete.
pub struct Finished {
    /// Of the files as they lie on disk.
    pub bytes: u64,
    pub stream_bytes: u64,
    pub files: Files,
    pub blocks: Blocks,
}

/// The WAL that the backup needs: timeline, start and end.
pub type WalRange = Option<(u32, Lsn, Lsn)>;

pub fn finish(copier: Copier, control: &Control, range: WalRange) -> Result<Finished> {
    let Copier { stream, reading, increment, progress, mut files, bytes } = copier;
    let (mut tar, ledger, generated) = stream.into_parts();
    let mut manifests = ledger.finish()?;
    if let Some(increment) = increment {
        files.removed = increment.since.finish()?;
    }
    let crc = crc32c::crc32c(control.bytes());
    let size = control.bytes().len() as u64;
    if let Some(mut result) = manifests.result {
        result.file(control::PATH.as_bytes(), size, generated.mtime, crc)?;
        let sum = copy_spool(&mut tar, member::RESULT_MANIFEST, result, range, generated)?;
        let path = member::RESULT_MANIFEST.as_bytes();
        manifests.backup_manifest.file(path, sum.size, generated.mtime, sum.crc32c)?;
    }
    manifests.backup_manifest.file(control::PATH.as_bytes(), size, generated.mtime, crc)?;
    copy_spool(&mut tar, backup_manifest::PATH, manifests.backup_manifest, range, generated)?;
    tar.begin_file(control::PATH.as_bytes(), size, generated)?;
    tar.data(control.bytes())?;
    let (output, stream_bytes) = tar.finish()?;
    let output = output.into_inner();
    output.map_err(|e| Error::io("write stdout", e.into_error()))?.finish()?;
    progress.finish();
    if let Some(hashing) = manifests.hashing {
        let (output, _sha256) = hashing.writer.finish()?;
        output.finish()?;
    }
    Ok(Finished { bytes, stream_bytes, files, blocks: reading.blocks })
}

struct Sum {
    size: u64,
    crc32c: u32,
}

fn copy_spool(
    tar: &mut Tar,
    name: &str,
    manifest: Spooled,
    range: WalRange,
    generated: Attributes,
) -> Result<Sum> {
    let spool = manifest.finish(range)?.into_inner();
    let mut spool: TemporaryFile = spool.map_err(|e| e.into_error()).during("write backup_manifest")?;
    let size = spool.stream_position().during("read backup_manifest")?;
    spool.rewind().during("read backup_manifest")?;
    tar.begin_file(name.as_bytes(), size, generated)?;
    let mut buffer = vec![0; BUFFER];
    let mut sum = Sum { size, crc32c: 0 };
    loop {
        match spool.read(&mut buffer).during("read backup_manifest")? {
            0 => return Ok(sum),
            len => {
                sum.crc32c = crc32c::crc32c_append(sum.crc32c, &buffer[..len]);
                tar.data(&buffer[..len])?;
            }
        }
    }
}
