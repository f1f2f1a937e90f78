//! What came out of a stream, and what an increment made of its parent, against the manifests that list both.

use crate::catalog::{Mode, member};
use crate::error::{Error, Result};
use crate::pg::backup_manifest::Entry;
use crate::pg::control;
use crate::stream::{Listed, Seen};
use crate::tar::Content;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};

pub struct Lists {
    /// The files of the stream, until they are compared.
    sent: Option<Seen>,
    /// Of an increment in blocks: the files that it makes.
    result: Option<Seen>,
    /// What the result's manifest says of pg_control.
    promised: Option<Entry>,
}

impl Lists {
    /// Makes temporary files.
    pub fn new(mode: Mode) -> Result<Self> {
        let sent = Some(Seen::new()?);
        Ok(Lists { sent, result: (mode == Mode::Blocks).then(Seen::new).transpose()?, promised: None })
    }

    /// A file of the stream.
    pub fn add_sent(&mut self, entry: &Entry) -> Result<()> {
        self.sent.as_mut().map_or(Ok(()), |sent| sent.add(entry))
    }

    /// A file that the increment makes.
    pub fn add_made(&mut self, entry: &Entry) -> Result<()> {
        self.result.as_mut().map_or(Ok(()), |result| result.add(entry))
    }

    /// Whether a manifest of the result was compared.
    pub fn has_result(&self) -> bool {
        self.promised.is_some()
    }

    /// `manifest`: the result's. Refuses a second one.
    pub fn compare_result(&mut self, manifest: impl BufRead) -> Result<()> {
        let Some(result) = self.result.take() else {
            return Err(Error::damaged(format!("the stream has {} twice", member::RESULT_MANIFEST)));
        };
        let listed = result.compare(manifest, &mut |_| Ok(false), &mut |_, _| false);
        self.promised = Some(listed.map_err(|error| error.context(member::RESULT_MANIFEST))?.last);
        Ok(())
    }

    /// Returns what the manifest says of `global/pg_control`, which comes after it. `unsent`: whether a file that was
    /// not in the stream is what the manifest says.
    pub fn compare(
        &mut self,
        manifest: impl BufRead,
        unsent: &mut dyn FnMut(&Entry) -> Result<bool>,
    ) -> Result<Listed> {
        let sent = self.sent.take().ok_or_else(|| Error::damaged("the stream has backup_manifest twice"))?;
        let listed = sent.compare(manifest, unsent, &mut |_, _| false)?;
        if listed.last.path != control::PATH.as_bytes() {
            return Err(Error::damaged("backup_manifest does not end with global/pg_control"));
        }
        match self.promised.as_ref().is_some_and(|promised| *promised != listed.last) {
            true => Err(Error::damaged(format!(
                "backup_manifest and {} differ about global/pg_control",
                member::RESULT_MANIFEST
            ))),
            false => Ok(listed),
        }
    }
}

/// What is read is summed, and also written if it is a manifest that is kept.
pub struct Summed<'a, R> {
    content: Content<'a, R>,
    file: Option<File>,
    pub crc32c: u32,
}

impl<'a, R> Summed<'a, R> {
    pub fn new(content: Content<'a, R>, file: Option<File>) -> Self {
        Summed { content, file, crc32c: 0 }
    }
}

impl<R: Read> Read for Summed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &buffer[..length]);
        if let Some(file) = &mut self.file {
            file.write_all(&buffer[..length]).map_err(|e| Error::io("write backup_manifest", e))?;
        }
        Ok(length)
    }
}
