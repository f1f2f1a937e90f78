//! Buffers that go round instead of being allocated for every record: fresh pages would cost more than
//! the hashing does.

use std::sync::{Mutex, PoisonError};

pub struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    pub fn new() -> Self {
        Pool(Mutex::new(Vec::new()))
    }

    /// A buffer with whatever its last user left in it: who will overwrite that need not pay for zeros first.
    pub fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub fn give(&self, buffer: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}
