//! The sealed stream: compressed, encrypted, authenticated, and still openable by `openssl | zstd`.
//!
//! A stream is a text line and an `openssl enc` file whose plaintext is a multi-frame zstd file; what
//! authenticates it hides in zstd skippable frames. `pgv-format(5)` has every byte. Encryption is CBC
//! because that is what `openssl enc` opens everywhere, so the tags that CBC lacks are ours: an
//! HMAC-SHA256 over each record's fixed-size header, which holds the SHA-256 of the record's body.
//!
//! Memory: about 8.3 MiB for each of the `2 jobs + 3` records that may exist at once, whatever the
//! length of the stream.

mod certificates;
mod format;
mod generated;
mod index;
mod key;
mod keyring;
mod level;
mod open;
mod pool;
mod ranges;
mod seal;

pub use certificates::{MAX_FILE_BYTES as MAX_CERTIFICATES_BYTES, certificates};
pub use format::CHUNK_BYTES;
pub use generated::is_generated_name;
pub use index::Index;
pub use key::{MAX_CONTEXT_BYTES, Passphrase};
pub use keyring::{Key, Keyring, absent_is_usage};
pub use level::Level;
pub use open::{Taker, open, open_into};
pub use ranges::open_ranges;
pub use seal::{SealOptions, Workspace, record_bytes, seal, seal_alone};
