//! Where bytes come from and go to: stdin, stdout, files that appear only when complete, and the
//! output of a command whose exit status decides.

mod atomic;
mod batch;
mod deadline;
mod input;
mod interrupt;
mod lines;
mod output;
mod pace;
mod pipe;
mod producer;
mod random;
mod shared_pace;
mod temporary;
mod threaded;
mod threads;

pub use atomic::{AtomicFile, TEMPORARY_PREFIX, sync_directory};
pub use batch::{batch, named_file};
pub use deadline::Deadline;
pub use input::{Input, for_pieces, read_full};
pub use interrupt::{Unfinished, die_if_unread, end_if_interrupted, on_interrupt, undo_all};
pub use lines::{from_hex, hex, read_line};
pub use output::{Output, Sink};
pub use pace::Pace;
pub use pipe::widen;
pub use producer::{OWN_VARIABLES, Producer};
pub use random::{random, random_name};
pub use shared_pace::SharedPace;
pub use temporary::{TemporaryFile, temporary_file};
pub use threaded::{ThreadSink, Threaded};
pub use threads::{begin_in, begin_thread, begin_workers};
