//! Sealed streams that are opened in this process: with a pipe, what takes most time is to copy what was opened.

use crate::merge::as_it_is;
use pgv::cli;
use pgv::crypt::{self, Key, Keyring};
use pgv::error::{Error, Result, Status};
use pgv::io::{Input, Threaded};
use std::io::BufRead;
use std::sync::Arc;

/// Records that may lie between whoever opens them and whoever reads them.
const RECORDS: usize = 1;

/// How the streams are read.
pub enum Opening {
    /// They are not sealed.
    AsTheyAre,
    Sealed {
        keys: Arc<Keyring>,
        /// Threads for each stream.
        jobs: usize,
    },
}

impl Opening {
    /// The keys of PGV_KEY_FILE. They are read here and now, before this process becomes somebody else.
    pub fn with_keys(jobs: usize, world_readable: bool) -> Result<Self> {
        let list = cli::variable("PGV_KEY_FILE").ok_or_else(|| {
            Error::usage("--open needs a key, and PGV_KEY_FILE is not set").hint("set PGV_KEY_FILE")
        })?;
        let keys = Key::read_list(list.as_ref(), world_readable).map_err(crypt::absent_is_usage)?;
        Ok(Opening::Sealed { keys: Arc::new(Keyring::new(keys)), jobs })
    }

    pub fn read(&self, input: Input) -> Result<Box<dyn BufRead>> {
        let (keys, jobs) = match self {
            Opening::AsTheyAre => return as_it_is(input),
            Opening::Sealed { keys, jobs } => (Arc::clone(keys), *jobs),
        };
        let name = input.name().to_owned();
        let opened = Threaded::spawn_with(RECORDS, move |mut sink| {
            crypt::open_into(input, &mut |plain| sink.give(plain), keys.passphrases(), b"", jobs)
                .map_err(|error| keys.explain(error, &name))?;
            Ok(Status::Done)
        })?;
        Ok(Box::new(opened))
    }
}
