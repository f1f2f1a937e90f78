//! claim.json, the first object of a set: who reserved its label. A host remembers its own claims in its state directory,
//! so that its next run knows what a killed one left.

use crate::catalog::rfc3339;
use crate::cli::lines::Lines;
use crate::error::{Error, IoContext, Kind, Result};
use crate::io::{AtomicFile, random};
use crate::report;
use crate::store::{Store, Url};
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::Path;
use time::OffsetDateTime;

/// A claim has some hundred bytes.
const LONGEST: u64 = 64 << 10;

#[derive(Serialize)]
struct Claim<'a> {
    format: &'static str,
    host: &'a str,
    started_at: String,
    nonce: String,
}

/// What a host remembers: the URL of the set, and in the second line what claim.json holds.
pub fn claim(set: &str, host: &str, now: OffsetDateTime) -> Result<String> {
    let claim = Claim {
        format: "pgv-claim/1",
        host,
        started_at: rfc3339(now),
        nonce: random::<16>()?.map(|byte| format!("{byte:02x}")).concat(),
    };
    let text = serde_json::to_string(&claim).map_err(|e| Error::failed(format!("write the claim: {e}")))?;
    Ok(format!("{set}\n{text}\n"))
}

/// Writes what a host remembers, durably, before anything is stored.
pub fn remember(file: &Path, claim: &str) -> Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).during_path("create", directory)?;
    let mut written = AtomicFile::create(file, 0o600)?;
    written.write_all(claim.as_bytes()).during_path("write", file)?;
    written.commit(true)
}

/// For a host that runs no other backup: `leftover URL` for each set below `tree` that a killed run of its own left, and
/// after that `claim_file PATH` for each file in `directory` that tells of nothing any more. `unfinished`: the URLs of
/// the sets without a record. A claim that cannot be read is left, with a warning.
pub fn leftovers(store: &Store, directory: &Path, tree: &str, unfinished: &[&str]) -> Result<Lines> {
    let (mut lines, mut files) = (Lines::new(), Lines::new());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(lines),
        entries => entries.during_path("read", directory)?,
    };
    for entry in entries {
        let path = entry.during_path("read", directory)?.path();
        let text = fs::read_to_string(&path).during_path("read", &path)?;
        let mut remembered = text.lines();
        // Cut short, it was written before anything was claimed.
        let (set, own) = match (remembered.next(), remembered.next()) {
            (Some(set), Some(own)) if text.ends_with('\n') => (set, own),
            _ => {
                files.add_path("claim_file", &path);
                continue;
            }
        };
        if !set.starts_with(tree) {
            continue;
        }
        if unfinished.contains(&set) {
            match store.read(&Url::parse(&format!("{set}/claim.json"))?, LONGEST) {
                Ok(stored) if stored.trim_ascii() == own.as_bytes() => {
                    lines.add("leftover", set);
                }
                Ok(_) => {}
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => {
                    report::error(&error);
                    report::warn(format_args!(
                        "the remains of the interrupted backup {set} are kept for now"
                    ));
                    continue;
                }
            }
        }
        files.add_path("claim_file", &path);
    }
    Ok(lines.append(&files).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::StoreOptions;

    #[test]
    fn only_what_this_host_claimed_is_a_leftover() {
        let directory = tempfile::tempdir().unwrap();
        let tree = format!("file://{}/r/demo/1/backup/", directory.path().display());
        let claims = directory.path().join("claims");
        let store = Store::open(&Url::parse(&tree).unwrap(), &StoreOptions::default()).unwrap();
        assert_eq!(leftovers(&store, &claims, &tree, &[]).unwrap().as_str(), "");
        fs::create_dir(&claims).unwrap();
        let sets: Vec<_> =
            ["own", "others", "done", "gone", "unread"].map(|set| format!("{tree}{set}")).into();
        for (number, set) in sets.iter().enumerate() {
            let text = claim(set, "here", OffsetDateTime::UNIX_EPOCH).unwrap();
            fs::write(claims.join(number.to_string()), &text).unwrap();
            let place = directory.path().join("r/demo/1/backup").join(set.rsplit('/').next().unwrap());
            fs::create_dir_all(&place).unwrap();
            let stored = text.lines().nth(1).unwrap().to_owned() + "\n";
            match number {
                0 | 2 => fs::write(place.join("claim.json"), stored).unwrap(),
                1 => fs::write(place.join("claim.json"), stored.replace("here", "else")).unwrap(),
                4 => fs::write(place.join("claim.json"), vec![0; 100_000]).unwrap(),
                _ => {}
            }
        }
        fs::write(claims.join("cut"), &sets[0]).unwrap();
        fs::write(claims.join("elsewhere"), "s3://b/x\n{}\n").unwrap();
        let unfinished = [&sets[0], &sets[1], &sets[3], &sets[4]].map(String::as_str);
        let lines = leftovers(&store, &claims, &tree, &unfinished).unwrap();
        let mut lines: Vec<_> = lines.as_str().lines().map(str::to_owned).collect();
        assert_eq!(lines.remove(0), format!("leftover {}", sets[0]));
        lines.sort();
        let over =
            ["0", "1", "2", "3", "cut"].map(|name| format!("claim_file {}", claims.join(name).display()));
        assert_eq!(lines, over);
    }

    #[test]
    fn a_claim_says_who_and_when() {
        let text = claim("s3://b/x", "a \"host\"", OffsetDateTime::UNIX_EPOCH).unwrap();
        let claimed: serde_json::Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        assert_eq!(
            (claimed["format"].as_str(), claimed["host"].as_str()),
            (Some("pgv-claim/1"), Some("a \"host\""))
        );
        assert_eq!(claimed["started_at"], "1970-01-01T00:00:00Z");
        assert_eq!(claimed["nonce"].as_str().unwrap().len(), 32);
        assert_ne!(text, claim("s3://b/x", "a \"host\"", OffsetDateTime::UNIX_EPOCH).unwrap());
    }
}
