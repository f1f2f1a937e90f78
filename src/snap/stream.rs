//! The stream that a backup becomes: tar on stdout, and beside it the manifests that list what is in it.

use crate::catalog::{Mode, StreamIdentity};
use crate::error::Result;
use crate::io::{Output, temporary_file};
use crate::manifest;
use crate::pg::backup_manifest;
use crate::snap::ledger::{BUFFER, Entry, Hashing, Ledger, Manifests, Member, Spooled};
use crate::snap::since::Since;
use crate::tar::{Attributes, TarWriter};
use std::io::BufWriter;

pub type Tar = TarWriter<BufWriter<Output>>;

pub struct Stream {
    pub tar: Tar,
    pub ledger: Ledger<Output>,
    /// Of the members that pgv makes itself.
    generated: Attributes,
    mode: Mode,
}

/// Which manifests list a member that pgv makes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    None,
    All,
    /// What is of no use any more once an increment is merged.
    Sent,
}

impl Stream {
    /// `manifest`: where the pgv manifest goes. `major`: of PostgreSQL. `total`: bytes of the database.
    pub fn open(
        manifest: Option<Output>,
        major: u32,
        identity: &StreamIdentity,
        since: Option<&Since>,
        total: u64,
        generated: Attributes,
    ) -> Result<Self> {
        let spooled = || -> Result<Spooled> {
            let spool = BufWriter::new(temporary_file()?);
            backup_manifest::Writer::new(spool, major, identity.system_identifier)
        };
        let manifests = Manifests {
            backup_manifest: spooled()?,
            result: (identity.mode == Mode::Blocks).then(spooled).transpose()?,
            hashing: manifest.map(|output| open_manifest(output, identity, since, total)).transpose()?,
        };
        let output = Output::create(None)?;
        Ok(Stream {
            tar: TarWriter::new(BufWriter::with_capacity(BUFFER / 4, output)),
            ledger: Ledger::start(manifests)?,
            generated,
            mode: identity.mode,
        })
    }

    /// Whether this is an increment of whole files.
    pub fn is_files(&self) -> bool {
        self.mode == Mode::Files
    }

    /// For its end: tar, the manifests, and the attributes of what pgv makes.
    pub fn into_parts(self) -> (Tar, Ledger<Output>, Attributes) {
        (self.tar, self.ledger, self.generated)
    }

    /// Of the directories that pgv makes.
    pub fn generated_directory(&self) -> Attributes {
        Attributes { mode: 0o700, ..self.generated }
    }

    /// A member that pgv makes.
    pub fn add(&mut self, name: impl AsRef<[u8]>, data: &[u8], lists: Lists) -> Result<()> {
        self.add_with(name.as_ref(), data, lists, self.generated)
    }

    /// The same, to be run.
    pub fn add_program(&mut self, name: &str, data: &[u8], lists: Lists) -> Result<()> {
        self.add_with(name.as_bytes(), data, lists, self.generated_directory())
    }

    fn add_with(&mut self, name: &[u8], data: &[u8], lists: Lists, attributes: Attributes) -> Result<()> {
        self.tar.begin_file(name, data.len() as u64, attributes)?;
        self.tar.data(data)?;
        let member = self.member(name, data);
        match lists {
            Lists::None => Ok(()),
            Lists::All => {
                self.ledger.enter(Entry { sent: Some(member.clone()), result: Some(member), line: None })
            }
            Lists::Sent => self.ledger.enter(Entry { sent: Some(member), result: None, line: None }),
        }
    }

    /// A file that only the merged increment has.
    pub fn add_to_result(&mut self, name: &str, data: &[u8]) -> Result<()> {
        let member = self.member(name.as_bytes(), data);
        self.ledger.enter(Entry { sent: None, result: Some(member), line: None })
    }

    fn member(&self, name: &[u8], data: &[u8]) -> Member {
        Member {
            path: name.to_vec(),
            size: data.len() as u64,
            mtime: self.generated.mtime,
            crc32c: crc32c::crc32c(data),
        }
    }
}

fn open_manifest(
    output: Output,
    identity: &StreamIdentity,
    since: Option<&Since>,
    total: u64,
) -> Result<Hashing<Output>> {
    let (hash_pages, key) = match since.map(Since::head) {
        Some(parent) => (parent.hash_pages, manifest::decode_hash_key(&parent.hash_key)?),
        None => (manifest::hash_pages_for(total, identity.page_size), manifest::new_hash_key()?),
    };
    let head = manifest::Head {
        format: manifest::FORMAT.to_owned(),
        label: identity.label.clone(),
        parent: identity.parent.clone(),
        parent_sha256: since.map(Since::parent_sha256),
        mode: identity.mode,
        system_identifier: identity.system_identifier,
        pg_version: identity.pg_version.clone(),
        timeline: identity.timeline,
        start_lsn: identity.start_lsn,
        page_size: identity.page_size,
        segment_pages: identity.segment_pages,
        hash_pages,
        hash: manifest::HASH.to_owned(),
        hash_key: manifest::encode_hash_key(&key),
    };
    let writer = manifest::Writer::new(output, &head)?;
    Ok(Hashing { writer, key, block: (hash_pages * identity.page_size) as usize })
}
