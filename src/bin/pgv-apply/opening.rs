//! Sealed streams that are opened in this process: with a pipe, what takes most time is to copy what was opened.

use crate::merge::as_it_is;
use pgv::crypt::{self, Key, Keyring, Taker};
use pgv::error::{Error, Result, Status};
use pgv::io::{Input, ThreadSink, Threaded};
use std::io::{self, BufRead};
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
        let keys = Key::read_configured(world_readable).map_err(crypt::absent_is_usage)?;
        match keys.is_empty() {
            true => Err(Error::usage("--open needs a key, and PGV_KEY_FILE is not set")
                .hint("set PGV_KEY_FILE, or open the stream with pgv-crypt --decrypt")),
            false => Ok(Opening::Sealed { keys: Arc::new(Keyring::new(keys)), jobs }),
        }
    }

    pub fn read(&self, input: Input) -> Result<Box<dyn BufRead>> {
        let (keys, jobs) = match self {
            Opening::AsTheyAre => return as_it_is(input),
            Opening::Sealed { keys, jobs } => (Arc::clone(keys), *jobs),
        };
        let name = input.name().to_owned();
        let opened = Threaded::spawn_with(RECORDS, move |sink| {
            let explain = |error| keys.explain(error, &name);
            let mut handing = Handing { sink, explain: &explain };
            crypt::open_into(input, &mut handing, keys.passphrases(), b"", jobs).map_err(explain)?;
            Ok(Status::Done)
        })?;
        Ok(Box::new(opened))
    }
}

/// Hands on what was opened.
struct Handing<'a> {
    sink: ThreadSink,
    explain: &'a dyn Fn(Error) -> Error,
}

impl Taker for Handing<'_> {
    fn take(&mut self, plain: Vec<u8>) -> io::Result<Vec<u8>> {
        self.sink.give(plain)
    }

    fn fail(&mut self, why: &Error) {
        self.sink.fail(&(self.explain)(why.clone()));
    }
}
