//! What happened in a cluster, and just before which record a restore must end to undo it. It reads what pg_waldump
//! prints of the archived WAL, one record a line, and knows names only from a catalogue that was asked.

mod catalogue;
mod event;
mod line;
mod search;
mod sieve;
mod work;

pub use catalogue::{Catalogue, Wanted};
pub use event::{Event, Kind, What};
pub use search::{Options, Search};
pub use sieve::Sieve;

#[cfg(test)]
mod tests;
