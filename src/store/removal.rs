//! Removes many objects in few requests. One that cannot be removed does not keep the others: it is reported, and the
//! removal ends with an error.

use crate::error::{Error, Kind, Result};
use crate::report;
use crate::store::{Scheme, Store, Url};
use std::time::Duration;

/// As many as one request may name: DeleteObjects of S3.
const TOGETHER: usize = 1000;

/// What is removed of a URL.
#[derive(Clone, Copy)]
pub enum Scope {
    Object,
    /// All objects below it.
    Below,
    /// What killed uploads left below it, if they began longer ago than this.
    Uploads(Duration),
}

/// Is told each URL that would be removed.
pub type Rehearsal<'a> = &'a mut dyn FnMut(&Url) -> Result<()>;

pub struct Removal<'a> {
    store: Store,
    scheme: Scheme,
    scope: Scope,
    /// What is not there counts as removed, and is not looked for.
    missing_ok: bool,
    /// Without one objects are removed.
    rehearsal: Option<Rehearsal<'a>>,
    waiting: Vec<Url>,
    count: usize,
    failures: Failures,
}

/// Of objects that were not removed.
#[derive(Default)]
pub(super) struct Failures {
    /// Reported at the end, if it is the only one.
    first: Option<Error>,
    count: usize,
    /// Whether there is more to it than objects that were not there.
    worst: Option<Kind>,
}

impl<'a> Removal<'a> {
    /// `rehearsal`: nothing is removed, and it is called instead.
    pub fn new(store: Store, scheme: Scheme, scope: Scope, rehearsal: Option<Rehearsal<'a>>) -> Self {
        let (waiting, failures) = (Vec::new(), Failures::default());
        Removal { store, scheme, scope, missing_ok: false, rehearsal, waiting, count: 0, failures }
    }

    /// Whether what is not there counts as removed, which costs no request to look for it.
    pub fn missing_ok(self, missing_ok: bool) -> Self {
        Removal { missing_ok, ..self }
    }

    /// The object may be removed only when [`Removal::finish`] is called.
    pub fn add(&mut self, url: Url) -> Result<()> {
        if self.scheme != url.scheme() {
            return Err(Error::usage(format!("rm {url}: the URLs must be all s3:// or all file://")));
        }
        match (self.scope, url.is_directory()) {
            (Scope::Object, false) => self.add_object(url),
            (Scope::Object, true) => {
                Err(Error::usage(format!("rm {url}: to delete a directory, add --recursive")))
            }
            (_, false) => Err(Error::usage(format!("rm {url}: the URL of a directory must end with /"))),
            (Scope::Below, true) => self.add_below(&url),
            (Scope::Uploads(older), true) => self.remove_uploads(&url, older),
        }
    }

    /// Removes what waits, and fails if anything that was added could not be removed.
    pub fn finish(mut self) -> Result<()> {
        self.carry_out()?;
        self.failures.into_result(self.count)
    }

    fn add_object(&mut self, url: Url) -> Result<()> {
        self.count += 1;
        self.waiting.push(url);
        if self.waiting.len() == TOGETHER { self.carry_out() } else { Ok(()) }
    }

    /// Page by page: nothing is listed twice, and memory does not grow with the directory.
    fn add_below(&mut self, directory: &Url) -> Result<()> {
        let store = self.store.clone();
        store.list(directory, true, &mut |entry| self.add_object(entry.url))
    }

    fn remove_uploads(&mut self, directory: &Url, older: Duration) -> Result<()> {
        let store = self.store.clone();
        store.leftovers(directory, older, &mut |leftover| {
            self.count += 1;
            match &mut self.rehearsal {
                Some(rehearsal) => rehearsal(&leftover.url)?,
                None => store.remove_leftover(&leftover).unwrap_or_else(|error| self.failures.add(error)),
            }
            Ok(())
        })
    }

    fn carry_out(&mut self) -> Result<()> {
        let urls = std::mem::take(&mut self.waiting);
        let is_listed = matches!(self.scope, Scope::Below);
        let Some(rehearsal) = &mut self.rehearsal else {
            let failed = self.store.remove_all(&urls, is_listed || self.missing_ok)?;
            failed.into_iter().for_each(|(_, error)| self.failures.add(error));
            return Ok(());
        };
        for url in urls {
            match if is_listed { Ok(()) } else { self.store.stat(&url).map(drop) } {
                Ok(()) => rehearsal(&url)?,
                Err(error) => self.failures.add(error),
            }
        }
        Ok(())
    }
}

impl Failures {
    pub(super) fn add(&mut self, error: Error) {
        self.count += 1;
        if error.kind != Kind::NotFound {
            self.worst = Some(error.kind);
        }
        match (self.count, self.first.take()) {
            (1, _) => self.first = Some(error),
            (_, first) => first.iter().chain([&error]).for_each(report::error),
        }
    }

    pub(super) fn into_result(self, of: usize) -> Result<()> {
        match (self.first, self.count) {
            (Some(only), _) => Err(only),
            (None, 0) => Ok(()),
            (None, count) => {
                let kind = self.worst.unwrap_or(Kind::NotFound);
                Err(Error::new(
                    kind,
                    format!("rm: {count} of {of} objects were not deleted, or did not exist: see above"),
                ))
            }
        }
    }
}
