//! How the service keeps what is stored: options of `put` and `check`.

use pgv::cli;
use pgv::store::{Keeping, Lock, LockMode};

/// How the service keeps what is stored.
#[derive(clap::Args)]
pub struct KeepingArgs {
    /// The storage class, such as STANDARD_IA
    #[arg(long, env = "PGV_S3_STORAGE_CLASS", value_name = "CLASS")]
    storage_class: Option<String>,
    /// Encryption by the service: AES256, aws:kms or aws:kms=KEY
    #[arg(long, env = "PGV_S3_SSE", value_name = "KIND", value_parser = parse_sse)]
    sse: Option<String>,
    /// Lock this version of the object against deletion
    #[arg(long, env = "PGV_S3_OBJECT_LOCK", value_name = "MODE=DURATION", value_parser = parse_lock)]
    object_lock: Option<Lock>,
}

impl From<KeepingArgs> for Keeping {
    fn from(args: KeepingArgs) -> Self {
        Keeping { storage_class: args.storage_class, sse: args.sse, object_lock: args.object_lock }
    }
}

fn parse_sse(text: &str) -> std::result::Result<String, String> {
    match text == "AES256"
        || text == "aws:kms"
        || text.strip_prefix("aws:kms=").is_some_and(|key| !key.is_empty())
    {
        true => Ok(text.to_owned()),
        false => Err("must be AES256, aws:kms or aws:kms=KEY".to_owned()),
    }
}

fn parse_lock(text: &str) -> std::result::Result<Lock, String> {
    let help = || "must be governance=DURATION or compliance=DURATION, such as governance=30d".to_owned();
    let (mode, duration) = text.split_once('=').ok_or_else(help)?;
    let mode = match mode {
        "governance" => LockMode::Governance,
        "compliance" => LockMode::Compliance,
        _ => return Err(help()),
    };
    Ok(Lock { mode, duration: cli::parse_duration(duration)? })
}
