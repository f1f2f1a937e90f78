//! What a stream begins with: the root, and who the stream is.

use crate::catalog::{StreamIdentity, member};
use crate::error::Result;
use crate::snap::config::SavedConfiguration;
use crate::snap::stream::{Lists, Stream};
use crate::snap::tree::{Tree, children};
use std::collections::{BTreeMap, BTreeSet};

/// An increment of files removes the old label with the first member, and so cannot be started before its end.
pub fn write(
    stream: &mut Stream,
    tree: &Tree,
    identity: &StreamIdentity,
    config: &SavedConfiguration,
    names_databases: bool,
) -> Result<()> {
    let root = stream.generated_directory();
    match stream.is_files() {
        false => stream.tar.directory(b".", root)?,
        true => {
            let mut names = children(&tree.names(b"")?);
            names.extend([
                (member::DIRECTORY.as_bytes().to_vec(), true),
                (b"recovery.signal".to_vec(), false),
            ]);
            stream.tar.dump_directory(b".", &names, root)?;
        }
    }
    stream.add(member::IDENTITY, &identity.encode()?, Lists::All)?;
    if stream.is_files() {
        let mut files = config.members();
        files.extend([member::IDENTITY, member::TABLESPACE_MAP].map(|path| path.as_bytes().to_vec()));
        if names_databases {
            files.push(member::DATABASES.as_bytes().to_vec());
        }
        for (directory, names) in directories(&files) {
            stream.tar.dump_directory(directory, &names, root)?;
        }
    }
    Ok(())
}

/// Names in a directory, and whether each is a directory.
type Names = BTreeSet<(Vec<u8>, bool)>;

/// The directories of these files, and what each of them holds.
fn directories(files: &[Vec<u8>]) -> BTreeMap<&[u8], Vec<(Vec<u8>, bool)>> {
    let mut all: BTreeMap<&[u8], Names> = BTreeMap::new();
    for file in files {
        let (mut path, mut is_directory) = (&file[..], false);
        while let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            let (directory, name) = (&path[..slash], &path[slash + 1..]);
            all.entry(directory).or_default().insert((name.to_vec(), is_directory));
            (path, is_directory) = (directory, true);
        }
    }
    all.into_iter().map(|(directory, names)| (directory, names.into_iter().collect())).collect()
}
