//! `control`: what a data directory's control file says.

use pgv::error::Result;
use pgv::pg::control::Control;
use std::path::PathBuf;

/// Print what the control file of a data directory says
#[derive(clap::Args)]
pub struct Args {
    /// The data directory
    #[arg(value_name = "DIR")]
    data_directory: PathBuf,
}

pub fn lines(args: &Args) -> Result<String> {
    let control = Control::read(&args.data_directory)?;
    let settings = control.needed_settings().map(|(name, value)| format!("{name} {value}\n")).concat();
    Ok(format!(
        "system_identifier {}\nstate {}\ntimeline {}\ncheckpoint {}\nsegment_bytes {}\n{settings}",
        control.system_identifier(),
        control.state_name(),
        control.timeline(),
        control.checkpoint(),
        control.wal_segment_bytes(),
    ))
}
