//! What is known of an upload in parts once it has begun, for those who wait for that.

use crate::error::{Error, Result};
use crate::store::s3::explain::Failure;
use crate::store::s3::put::request::Integrity;
use tokio::sync::watch;

/// An upload that has begun.
#[derive(Clone)]
pub struct Began {
    pub id: String,
    pub abilities: Abilities,
}

/// What the service can do, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    pub integrity: Integrity,
    pub conditional: bool,
}

impl Abilities {
    /// Leaves out what not every service has, if this failure may come from it: 501 is the answer to a
    /// condition, 400 that to an unknown checksum.
    pub fn do_without(&mut self, failure: &Failure) -> bool {
        let before = *self;
        if failure.is_unsupported() {
            self.integrity = Integrity::Md5;
            self.conditional &= failure.status != 501;
        }
        before != *self
    }
}

/// The answer, when it has come.
#[derive(Clone)]
pub struct Beginning(watch::Receiver<Option<Result<Began>>>);

impl Beginning {
    pub fn of(answer: watch::Receiver<Option<Result<Began>>>) -> Self {
        Beginning(answer)
    }

    pub async fn wait(&mut self, what: &str) -> Result<Began> {
        let answer = self.0.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        answer.unwrap_or_else(|| Err(Error::failed(format!("{what}: the upload could not begin"))))
    }

    pub fn abilities(&self) -> Option<Abilities> {
        self.0.borrow().as_ref()?.as_ref().ok().map(|began| began.abilities)
    }
}
