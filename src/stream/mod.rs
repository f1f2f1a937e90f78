//! What a stream of `pgv-snap` contains, for whoever reads one: who it is, what is said of it from outside, and its files
//! against the manifest that travels in it.

mod claims;
mod head;
mod last;
mod members;
mod pages;
mod seen;

pub use claims::{Claims, End};
pub use head::Head;
pub use last::control;
pub use members::{Part, part, part_of};
pub use pages::{Pages, Source};
pub use seen::{Listed, Seen, is_data};
