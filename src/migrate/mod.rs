//! Coming from pgBackRest: its configuration is read as it reads it, and becomes settings of pgv. What has no counterpart
//! is named, with what to do about it.

mod ini;
mod options;
mod read;
mod translate;
mod values;

pub use read::{Request, read};
pub use translate::translate;
