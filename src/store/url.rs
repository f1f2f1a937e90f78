//! Names of objects: `file:///path` and `s3://bucket/key`. A URL names one object, and with a slash at
//! its end a directory; so `…/20261123-010000F/` never means `…/20261123-010000F_…I/` as well.

use crate::error::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    File,
    S3,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    scheme: Scheme,
    /// `file://`: the absolute path; `s3://`: bucket, slash, key.
    rest: String,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::usage(format!("\"{text}\" {why}"))
                .hint("a URL is s3://bucket/key or file:///path, with / at its end for a directory")
        };
        let (scheme, rest) = match text.split_once("://") {
            Some(("file", rest)) => (Scheme::File, rest),
            Some(("s3", rest)) => (Scheme::S3, rest),
            _ => return Err(bad("is not an s3:// or file:// URL")),
        };
        if scheme == Scheme::File && !rest.starts_with('/') {
            return Err(bad("is not an absolute path"));
        }
        if scheme == Scheme::S3 && (rest.is_empty() || rest.starts_with('/')) {
            return Err(bad("has no bucket"));
        }
        if scheme == Scheme::File && rest.split('/').any(|part| part == "." || part == "..") {
            return Err(bad("contains . or .. as a directory"));
        }
        if rest.contains('\0') {
            return Err(bad("contains a NUL byte"));
        }
        Ok(Url { scheme, rest: rest.to_owned() })
    }

    /// A key as a listing gives it.
    pub fn of_key(bucket: &str, key: &str) -> Self {
        Url { scheme: Scheme::S3, rest: format!("{bucket}/{key}") }
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub fn is_directory(&self) -> bool {
        self.rest.ends_with('/')
    }

    /// What lies below this directory.
    pub fn join(&self, name: &str) -> Self {
        let slash = if self.is_directory() { "" } else { "/" };
        Url { scheme: self.scheme, rest: format!("{}{slash}{name}", self.rest) }
    }

    /// The directory in which this object or directory lies.
    pub fn parent(&self) -> Self {
        let name = self.rest.trim_end_matches('/');
        let end = name.rfind('/').map_or(name.len(), |slash| slash + 1);
        Url { scheme: self.scheme, rest: name[..end].to_owned() }
    }

    /// Whether this lies in `directory`, whose URL ends with a slash, or below it.
    pub fn is_below(&self, directory: &Url) -> bool {
        self.scheme == directory.scheme
            && self.rest.starts_with(&directory.rest)
            && self.rest != directory.rest
    }

    /// Of an `s3://` URL: bucket and key, which ends with a slash if this is a directory, and is empty
    /// for the whole bucket.
    pub fn bucket_and_key(&self) -> (&str, &str) {
        self.rest.split_once('/').unwrap_or((&self.rest, ""))
    }

    /// Of a `file://` URL.
    pub fn path(&self) -> PathBuf {
        Path::new(&self.rest).to_owned()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::File => "file",
            Scheme::S3 => "s3",
        };
        write!(f, "{scheme}://{}", self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked() {
        for good in ["file:///a/b", "file:///a/", "s3://b/k", "s3://b/k/", "s3://b"] {
            assert_eq!(Url::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "/a", "file://a", "file:///a/../b", "s3://", "s3:///k", "http://a/b"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        let directory = Url::parse("file:///a").unwrap();
        assert_eq!(directory.join("b").to_string(), "file:///a/b");
    }

    #[test]
    fn a_directory_holds_what_is_below_it() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(url("s3://b/a/x/").parent(), url("s3://b/a/"));
        assert_eq!(url("s3://b/a/x").parent(), url("s3://b/a/"));
        assert_eq!(url("file:///a/").parent(), url("file:///"));
        assert!(
            url("s3://b/a/x").is_below(&url("s3://b/a/")) && url("s3://b/a/x/y").is_below(&url("s3://b/a/"))
        );
        assert!(
            !url("s3://b/a_x").is_below(&url("s3://b/a/")) && !url("s3://b/a/").is_below(&url("s3://b/a/"))
        );
    }
}
