//! The common frame of the mains: options all tools share, and how a result becomes messages
//! and an exit status.

mod clusters;
pub mod config;
mod configured;
mod debian;
pub mod lines;
pub mod owner;
mod ranges;
mod readable;
mod store;
mod user;
mod values;

pub use clusters::Clusters;
pub use configured::{ConfigOption, Wanted, chose_configuration};
pub use lines::print;
pub use ranges::{parse_range, ranges_text, read_ranges};
pub use store::StoreOptions;
pub use values::{
    Period, parse_duration, parse_period, parse_rate, parse_size, parse_time, system_id, threads, variable,
};

use crate::error::{Kind, Result, Status};
use crate::report::Drawn;
use crate::{io, report};
use std::ffi::OsString;
use std::process::ExitCode;

/// Options of every tool.
#[derive(clap::Args, Clone, Debug)]
pub struct Common {
    /// Print only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more about what is done
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Draw progress on standard error
    #[arg(long, global = true, conflicts_with = "no_progress")]
    pub progress: bool,
    /// Draw no progress
    #[arg(long, global = true)]
    pub no_progress: bool,
}

impl Common {
    /// Where progress is drawn. Asked for in words it is drawn with `--quiet`, too, which says nothing else.
    pub fn progress(&self) -> Drawn {
        match self.progress {
            true => Drawn::OnStderr,
            false if self.no_progress || self.quiet => Drawn::Nowhere,
            false => report::drawn_by_default(),
        }
    }

    fn level(&self) -> i8 {
        i8::from(self.verbose) - i8::from(self.quiet)
    }
}

/// A tool's arguments, parsed by clap.
pub trait Arguments: clap::Parser {
    fn common(&self) -> &Common;
}

/// The exit status of a finished operation.
impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        ExitCode::from(status as u8)
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        ExitCode::from(kind as u8)
    }
}

/// Parses, runs, reports. `run` has flushed and made durable whatever it wrote when it returns.
pub fn main<A: Arguments>(tool: &'static str, run: impl FnOnce(A) -> Result<Status>) -> ExitCode {
    main_with(tool, std::env::args_os(), run)
}

/// The same with other arguments than the process's; the first is the program's name.
pub fn main_with<A: Arguments>(
    tool: &'static str,
    arguments: impl Iterator<Item = OsString>,
    run: impl FnOnce(A) -> Result<Status>,
) -> ExitCode {
    let args = match A::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            report::usage(tool, &error.render().to_string());
            return Kind::Usage.into();
        }
        Err(help) => help.exit(),
    };
    report::start(tool, args.common().level());
    match run(args) {
        Ok(status) => {
            io::undo_all();
            status.into()
        }
        Err(error) => {
            io::end_if_interrupted();
            let error = readable::explain_unread(error);
            report::error(&error);
            io::undo_all();
            error.kind.into()
        }
    }
}
