//! The manifests on which an increment is built, as this host's copies.

use crate::catalog::Label;
use crate::error::{Error, IoContext, Kind, Result};
use crate::manifest::{Chain, verify};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// Copies that were wrong, or fetched in a wrong way, are fetched once more.
const TRIES: u32 = 2;

/// Makes sure that `directory` has the manifest of each label of `chain`, under its name, by `fetch` where it has none that
/// is whole. Returns why there can be no increment: what is not in the repository, or damaged there. Fails where that
/// is not known.
pub fn gather(
    directory: &Path,
    chain: &[Label],
    fetch: impl Fn(&Label) -> Result<()>,
) -> Result<Option<String>> {
    let paths: Vec<_> = chain.iter().map(|label| directory.join(label.to_string())).collect();
    let mut refusal = match wrong(&paths, chain)? {
        None => return Ok(None),
        wrong => wrong,
    };
    // First what is not whole; then, where all are whole and do not fit together, all of them.
    for try_number in 0..TRIES {
        for (label, path) in chain.iter().zip(&paths) {
            if try_number > 0 {
                fs::remove_file(path).during_path("remove", path)?;
            }
            if let Some(why) = make_whole(path, || fetch(label))? {
                return Ok(Some(format!("the manifest of {label} {why}")));
            }
        }
        refusal = wrong(&paths, chain)?;
        if refusal.is_none() {
            break;
        }
    }
    Ok(refusal)
}

/// Why these are not the manifests of `chain`. Every one is read to its end.
fn wrong(paths: &[PathBuf], chain: &[Label]) -> Result<Option<String>> {
    if let Some(missing) = paths.iter().find(|path| matches!(path.try_exists(), Ok(false))) {
        return Ok(Some(format!("{} does not exist", missing.display())));
    }
    match Chain::open(paths) {
        Ok(found) if Some(&found.head().label) == chain.last() => Ok(None),
        Ok(found) => Ok(Some(format!("a manifest belongs to backup {}", found.head().label))),
        // What was read does not fit together.
        Err(error) if matches!(error.kind, Kind::Damaged | Kind::Usage) => {
            Ok(Some(error.message().to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Why it cannot be: what was found wrong was fetched twice.
fn make_whole(path: &Path, fetch: impl Fn() -> Result<()>) -> Result<Option<&'static str>> {
    if is_whole(path)? {
        return Ok(None);
    }
    let mut refusal = None;
    for _ in 0..TRIES {
        refusal = match fetch() {
            Ok(()) if is_whole(path)? => return Ok(None),
            Ok(()) => Some("is damaged"),
            Err(error) => Some(match error.kind {
                Kind::NotFound => "does not exist",
                Kind::Damaged => "is damaged",
                Kind::Key => "does not open with this key",
                _ => return Err(error),
            }),
        };
    }
    match refusal {
        Some(why) if why.ends_with("this key") => {
            let label = path.file_name().unwrap_or_default().display();
            Err(Error::new(Kind::Key, format!("the manifest of {label} {why}"))
                .hint("after a change of keys, keep the old one behind the new: PGV_KEY_FILE=NEW:OLD")
                .hint("or start a new chain with this key: pgv-backup --type full"))
        }
        refusal => Ok(refusal),
    }
}

fn is_whole(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.during_path("open", path)?,
    };
    match verify(&mut BufReader::with_capacity(1 << 20, file), &path.display().to_string()) {
        Ok(_) => Ok(true),
        Err(error) if error.kind == Kind::Damaged => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Mode;
    use crate::manifest::{FORMAT, HASH, Head, Writer, encode_hash_key};
    use crate::pg::Lsn;
    use std::cell::Cell;

    /// Of a backup without files; returns its checksum.
    fn write_manifest(path: &Path, label: &Label, parent: Option<(&Label, &str)>) -> String {
        let head = Head {
            format: FORMAT.to_owned(),
            label: label.clone(),
            parent: parent.map(|(label, _)| label.clone()),
            parent_sha256: parent.map(|(_, sum)| sum.to_owned()),
            mode: if parent.is_none() { Mode::Full } else { Mode::Blocks },
            system_identifier: 7,
            pg_version: "17.2".to_owned(),
            timeline: 1,
            start_lsn: Lsn(1 << 24),
            page_size: 8192,
            segment_pages: 131_072,
            hash_pages: 1,
            hash: HASH.to_owned(),
            hash_key: encode_hash_key(&[7; 32]),
        };
        Writer::new(File::create(path).unwrap(), &head).unwrap().finish().unwrap().1
    }

    #[test]
    fn manifests_are_fetched_until_they_are_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let (kept, stored) = (scratch.path().join("kept"), scratch.path().join("stored"));
        fs::create_dir(&kept).unwrap();
        fs::create_dir(&stored).unwrap();
        let full: Label = "20261101-010000F".parse().unwrap();
        let incr: Label = "20261101-010000F_20261102-010000I".parse().unwrap();
        let of = |directory: &Path, label: &Label| directory.join(label.to_string());
        let sum = write_manifest(&of(&stored, &full), &full, None);
        write_manifest(&of(&stored, &incr), &incr, Some((&full, &sum)));
        let (chain, fetched) = ([full.clone(), incr.clone()], Cell::new(0));
        let fetch = |label: &Label| {
            fetched.set(fetched.get() + 1);
            match fs::copy(of(&stored, label), of(&kept, label)) {
                Ok(_) => Ok(()),
                Err(_) => Err(Error::not_found("get")),
            }
        };
        // Why there can be no increment, and how many were fetched.
        let gathered = || {
            fetched.set(0);
            (gather(&kept, &chain, fetch).unwrap(), fetched.get())
        };
        assert_eq!(gathered(), (None, 2));
        assert_eq!(gathered(), (None, 0), "they are there");
        // A copy that became damaged, or is another backup's, is fetched anew.
        fs::write(of(&kept, &full), "x").unwrap();
        assert_eq!(gathered(), (None, 1));
        fs::copy(of(&kept, &full), of(&kept, &incr)).unwrap();
        assert_eq!(gathered(), (None, 2));
        // What cannot be read is no reason for a full.
        fs::write(of(&kept, &full), "x").unwrap();
        for kind in [Kind::Failed, Kind::Temporary, Kind::Key] {
            let refused = gather(&kept, &chain, |_| Err(Error::new(kind, "get"))).unwrap_err();
            assert_eq!(refused.kind, kind);
        }
        // What is proved is, and it is looked at twice.
        fs::write(of(&stored, &full), "x").unwrap();
        assert_eq!(gathered(), (Some(format!("the manifest of {full} is damaged")), 2));
        fs::remove_file(of(&stored, &full)).unwrap();
        assert_eq!(gathered(), (Some(format!("the manifest of {full} does not exist")), 2));
        // One that was put under another's label.
        fs::copy(of(&stored, &incr), of(&stored, &full)).unwrap();
        let (refusal, times) = gathered();
        assert!(refusal.unwrap().contains("the chain begins with"), "it is not the full's");
        assert_eq!(times, 3, "the increment is there, and then both are fetched anew");
    }
}
