//! Pipes between the stages.

use std::os::fd::AsFd;

/// The most that an unprivileged process may have, fs.pipe-max-size's default.
const PIPE_BYTES: usize = 1 << 20;

/// A pipe of 1 MiB instead of 64 KiB saves switches between the stages. What is no pipe, or may not grow, works as it
/// is.
pub fn widen(file: impl AsFd) {
    let _as_it_is = rustix::pipe::fcntl_setpipe_size(file, PIPE_BYTES).is_err();
}
