//! Nothing is stored in the empty directory on which a repository's disk is not mounted.

use crate::error::{Error, IoContext, Result};
use crate::report;
use crate::store::{Scheme, Url};
use std::fs;
use std::path::Path;

/// Whether the directory `tree` is there; `file` remembers that it was. Where it was and is not, it is refused.
pub fn is_mounted(tree: &Url, file: &Path) -> Result<bool> {
    if tree.scheme() != Scheme::File {
        return Ok(false);
    }
    let path = tree.path();
    let was_there = file.try_exists().during_path("stat", file)?;
    match (path.try_exists().during_path("stat", &path)?, was_there) {
        (true, true) => Ok(true),
        (true, false) => {
            remember(file);
            Ok(true)
        }
        (false, false) => Ok(false),
        (false, true) => {
            Err(Error::failed(format!("open {}: present in an earlier run, now missing", path.display()))
                .hint(format!("mount the repository; only if it was moved for good: rm {}", file.display())))
        }
    }
}

fn remember(file: &Path) {
    let made = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(file, ""));
    if let Err(error) = made {
        let error = Error::io(format_args!("write {}", file.display()), error);
        report::warn(format_args!("{error}; a later run will not notice that the repository is not mounted"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_was_there_is_missed() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, file) = (directory.path().join("tree"), directory.path().join("state/seen"));
        let url = Url::parse(&format!("file://{}/", tree.display())).unwrap();
        assert!(!is_mounted(&url, &file).unwrap());
        fs::create_dir(&tree).unwrap();
        assert!(is_mounted(&url, &file).unwrap() && is_mounted(&url, &file).unwrap());
        fs::remove_dir(&tree).unwrap();
        assert!(is_mounted(&url, &file).is_err());
        fs::remove_file(&file).unwrap();
        assert!(!is_mounted(&url, &file).unwrap());
        assert!(!is_mounted(&Url::parse("s3://b/x/").unwrap(), &file).unwrap());
    }
}
