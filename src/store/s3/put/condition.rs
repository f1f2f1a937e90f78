//! Whether a service honours the condition that nothing is replaced. Some ignore it, so an upload looks before and after.
//! Where it was proved to be honoured, by a PUT of what is there already, one request is enough; a file remembers that.

use crate::error::{IoContext, Result};
use crate::report;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// After so long it is proved again: what answers at an address may be another service by then.
const COUNTS_FOR: Duration = Duration::from_secs(86_400);
/// Bytes of the file, at most.
const LONGEST: u64 = 4096;

/// What is known of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It refuses to replace what is one request.
    Refuses,
    /// It replaces it, whatever is asked for.
    Replaces,
    Nothing,
}

/// What `file` says of `place`, a service and a bucket. What cannot be read is nothing.
pub fn recall(file: &Path, place: &str) -> Known {
    let is_short = fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
    let text = if is_short { fs::read_to_string(file).unwrap_or_default() } else { String::new() };
    let mut lines = text.lines();
    let (Some(word), Some(of)) = (lines.next(), lines.next()) else { return Known::Nothing };
    let age = fs::metadata(file).and_then(|found| found.modified()).ok();
    let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    match (word, age.is_some_and(|age| age < COUNTS_FOR) && of == place) {
        ("refuses", true) => Known::Refuses,
        ("replaces", true) => Known::Replaces,
        _ => Known::Nothing,
    }
}

/// Only requests are lost if that fails.
pub fn remember(file: &Path, place: &str, known: Known) {
    let word = match known {
        Known::Refuses => "refuses",
        Known::Replaces => "replaces",
        Known::Nothing => return,
    };
    if let Err(error) = write(file, &format!("{word}\n{place}\n")) {
        report::warn(format_args!("{error}; each object costs two requests more"));
    }
}

/// Several processes may do that at once.
fn write(file: &Path, text: &str) -> Result<()> {
    let mut new = PathBuf::from(file).into_os_string();
    new.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(new);
    file.parent().map_or(Ok(()), fs::create_dir_all).during_path("create the directory of", file)?;
    fs::write(&new, text).during_path("write", &new)?;
    fs::rename(&new, file).during_path("rename to", file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_proved_counts_for_a_day_and_for_one_place() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state/seen.s3");
        assert_eq!(recall(&file, "a b"), Known::Nothing);
        for known in [Known::Refuses, Known::Replaces] {
            remember(&file, "a b", known);
            assert_eq!(recall(&file, "a b"), known);
            assert_eq!(recall(&file, "a c"), Known::Nothing);
        }
        let age = |age: Duration| {
            let opened = fs::File::options().write(true).open(&file).unwrap();
            opened.set_modified(SystemTime::now() - age).unwrap();
        };
        age(COUNTS_FOR - Duration::from_secs(60));
        assert_eq!(recall(&file, "a b"), Known::Replaces);
        age(COUNTS_FOR + Duration::from_secs(60));
        assert_eq!(recall(&file, "a b"), Known::Nothing);
        fs::write(&file, "refuses").unwrap();
        assert_eq!(recall(&file, "a b"), Known::Nothing);
    }
}
