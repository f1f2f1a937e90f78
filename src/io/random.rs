//! Random bytes from the kernel: salts, keys, nonces, and names that nobody else takes.

use crate::error::{Error, Result};

/// `N` bytes of which nobody can guess one from the others.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::failed(format!("read random bytes: {error}")))?;
    Ok(bytes)
}

/// 16 hexadecimal digits: part of the name of something temporary.
pub fn random_name() -> Result<String> {
    Ok(format!("{:016x}", u64::from_le_bytes(random()?)))
}
