//! The users of this machine, for messages.

use nix::unistd::{Uid, User};

/// The name of a user. `None`: this machine does not know it.
pub fn name_of(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}
