//! `pgv-s3 check`: every operation that a backup needs, tried on objects of its own, so that a missing right or a
//! service that cannot do something is known before the night of the first backup.

use crate::error::{Error, IoContext, Kind, Result};
use crate::io::random_name;
use crate::store::{PutOptions, Range, Store, Upload, Url};
use std::io::Read;
use std::time::Duration;

/// The least that S3 takes as a part that is not the last.
const PART_BYTES: u64 = 5 << 20;
/// Three parts.
const LARGE_BYTES: usize = 11 << 20;
const SMALL: &[u8] = b"pgv-s3 check";

/// What was tried, and what a failure means for who goes on without it.
pub struct Outcome {
    pub what: String,
    pub failure: Option<Error>,
    pub costs: &'static str,
}

/// Tries all of it below `directory`, whose probe objects are gone afterwards where the rights allow it, and tells
/// `each` outcome. Without storing nothing else can be tried.
pub fn check(
    store: &Store,
    directory: &Url,
    options: &PutOptions,
    each: &mut dyn FnMut(Outcome) -> Result<()>,
) -> Result<()> {
    let probe = directory.join(&format!("pgv-check-{}/", random_name()?));
    let (small, large) = (probe.join("small"), probe.join("large"));
    let mut tell = |what: &str, costs, result: Result<()>| {
        let failed = result.is_err();
        each(Outcome { what: what.to_owned(), failure: result.err(), costs }).map(|()| failed)
    };
    let stored = put(store, &small, SMALL, options);
    if tell("put: store an object", "nothing can be backed up", stored)? {
        return Ok(());
    }
    let again = match put(store, &small, b"another", options) {
        Err(error) if error.kind == Kind::Exists => same(store, &small, None, SMALL),
        Err(error) => Err(error),
        Ok(()) => Err(Error::failed("an existing object was overwritten")),
    };
    tell("put: refuse to overwrite an object", "two runs could overwrite each other", again)?;
    let refusal = store.refusal(&small, SMALL);
    let how = refusal.as_ref().map_or("by a condition", |refusal| match (refusal.of_one, refusal.of_parts) {
        (true, true) => "by a condition: of two writers at the same moment one is refused",
        (true, false) => {
            "by a condition for an object in one request; by checks before and after for an object in parts"
        }
        (false, true) => {
            "by a condition for an object in parts; by checks before and after for an object in one request"
        }
        (false, false) => {
            "by checks before and after: the service ignores the condition, so two writers at the same \
             moment may both succeed"
        }
    });
    tell(&format!("put: refuse {how}"), "how the service refuses is unknown", refusal.map(drop))?;
    tell("get: read it back", "nothing can be restored", same(store, &small, None, SMALL))?;
    let range = Range { from: 4, end: Some(6) };
    let part = same(store, &small, Some(range), &SMALL[4..6]);
    tell("get: read a range of it", "a download cannot continue after a broken connection", part)?;
    let length = store.stat(&small).and_then(|entry| match entry.bytes == SMALL.len() as u64 {
        true => Ok(()),
        false => {
            Err(Error::damaged(format!("stat {small}: {} bytes instead of {}", entry.bytes, SMALL.len())))
        }
    });
    tell("stat: read its length", "a complete backup cannot be told from an interrupted one", length)?;
    tell("ls: list it", "backups cannot be listed", listed(store, &probe, &small))?;
    let absent = match store.stat(&probe.join("nothing")) {
        Err(error) if error.kind == Kind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(Error::failed("an object exists that was never stored")),
    };
    tell(
        "stat: prove absence of an object",
        "the end of the WAL archive cannot be told from a failure",
        absent,
    )?;
    let content: Vec<u8> = (0..LARGE_BYTES).map(|at| (at % 251) as u8).collect();
    let in_parts = PutOptions { part_size: Some(PART_BYTES), ..options.clone() };
    let parts = put(store, &large, &content, &in_parts).and_then(|()| same(store, &large, None, &content));
    tell("put: store an object in three parts", "objects larger than 16 MiB cannot be stored", parts)?;
    tell(
        "put: abort an upload",
        "parts of failed uploads stay, and cost money",
        given_up(store, &probe, &content, &in_parts),
    )?;
    let removed = remove(store, &[small, large]);
    let listable = store.leftovers(&probe, Duration::ZERO, &mut |_| Ok(()));
    tell(
        "rm --uploads: list the remains of killed uploads",
        "they cost money until a lifecycle rule deletes them",
        listable,
    )?;
    tell("rm: delete the objects", "these credentials cannot expire backups: set PGV_EXPIRE=no", removed)?;
    Ok(())
}

fn put(store: &Store, url: &Url, content: &[u8], options: &PutOptions) -> Result<()> {
    let mut upload = store.create(url, options)?;
    match take_all(&mut upload, content) {
        Ok(()) => upload.commit().map(|_| ()),
        Err(error) => {
            upload.abandon();
            Err(error)
        }
    }
}

fn take_all(upload: &mut Upload, mut content: &[u8]) -> Result<()> {
    while !upload.take(&mut content)?.is_empty() {}
    Ok(())
}

fn same(store: &Store, url: &Url, range: Option<Range>, wanted: &[u8]) -> Result<()> {
    let mut content = Vec::new();
    let object = store.get(url, range, 2)?;
    object.take(wanted.len() as u64 + 1).read_to_end(&mut content).during(format_args!("get {url}"))?;
    match content == wanted {
        true => Ok(()),
        false => Err(Error::damaged(format!("get {url}: its content is not what was stored"))),
    }
}

fn listed(store: &Store, directory: &Url, url: &Url) -> Result<()> {
    let mut found = false;
    store.list(directory, true, &mut |entry| {
        found |= entry.url == *url;
        Ok(())
    })?;
    match found {
        true => Ok(()),
        false => Err(Error::failed(format!("ls {directory}: {url} was stored, but is not listed"))),
    }
}

/// Nothing of an upload may stay that was given up in its second part.
fn given_up(store: &Store, directory: &Url, content: &[u8], options: &PutOptions) -> Result<()> {
    let url = directory.join("given-up");
    let mut upload = store.create(&url, options)?;
    let written = take_all(&mut upload, content);
    upload.abandon();
    written?;
    let mut left = false;
    // Where they cannot be listed, that is told by itself.
    let _listed = store.leftovers(directory, Duration::ZERO, &mut |_| {
        left = true;
        Ok(())
    });
    match (left, store.stat(&url)) {
        (true, _) => Err(Error::failed(format!("put {url}: parts of the aborted upload stay"))),
        (false, Err(error)) if error.kind == Kind::NotFound => Ok(()),
        (false, Err(error)) => Err(error),
        (false, Ok(_)) => {
            Err(Error::failed(format!("put {url}: the upload was aborted, but the object exists")))
        }
    }
}

fn remove(store: &Store, urls: &[Url]) -> Result<()> {
    let kept = store.remove_all(urls, true)?;
    kept.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}
