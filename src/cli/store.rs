//! How a store on S3 is reached: the same options and environment for every tool that reads one.

use crate::cli::parse_duration;
use crate::error::Result;
use crate::io::Deadline;
use crate::store::Service;
use std::path::PathBuf;
use std::time::Duration;

/// Of no meaning for `file://`. Credentials are not among them: they come by the AWS chain only
/// (environment, profile, web identity, container, instance); a configuration's are environment by then.
#[derive(clap::Args, Clone, Debug)]
pub struct StoreOptions {
    /// The address of the S3 service, if it is not AWS
    #[arg(long, global = true, env = "PGV_S3_ENDPOINT_URL", value_name = "URL", help_heading = "S3")]
    pub endpoint_url: Option<String>,
    /// The region of the bucket [default: as in the AWS configuration; us-east-1 with an endpoint]
    #[arg(long, global = true, env = "PGV_S3_REGION", value_name = "NAME", help_heading = "S3")]
    pub region: Option<String>,
    /// The profile in the AWS configuration files
    #[arg(long, global = true, env = "PGV_S3_PROFILE", value_name = "NAME", help_heading = "S3")]
    pub profile: Option<String>,
    /// Name the bucket in the path, not in the host [default: yes with an endpoint, no at AWS]
    #[arg(long, global = true, env = "PGV_S3_PATH_STYLE", value_name = "yes|no", help_heading = "S3",
        num_args = 0..=1, require_equals = true, default_missing_value = "yes",
        value_parser = clap::builder::BoolishValueParser::new())]
    pub path_style: Option<bool>,
    /// Trust these certificates, in PEM, instead of the system's
    #[arg(long, global = true, env = "PGV_S3_CA_FILE", value_name = "FILE", help_heading = "S3")]
    pub ca_file: Option<PathBuf>,
    /// Retry temporary errors for up to DURATION [default: 5min]
    #[arg(long, global = true, env = "PGV_S3_TIMEOUT", value_name = "DURATION", help_heading = "S3",
        value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Replace a connection that hardly moves for DURATION
    #[arg(long, global = true, env = "PGV_S3_STALL", value_name = "DURATION", help_heading = "S3",
        default_value = "20s", value_parser = parse_duration)]
    pub stall: Duration,
    /// Give up after DURATION, whatever does not answer [default: never]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub within: Option<Duration>,
}

impl StoreOptions {
    /// Bounds the process, if that was asked for; `what` it is at.
    pub fn deadline(&self, what: &str) -> Result<Option<Deadline>> {
        self.within.map(|limit| Deadline::begin(limit, what)).transpose()
    }

    /// Bounds each of many tasks of the process instead.
    pub fn deadline_of_tasks(&self, what: &str) -> Result<Option<Deadline>> {
        self.within.map(|limit| Deadline::of_tasks(limit, what)).transpose()
    }

    /// Whether anything here says which service is meant, and as whom.
    pub fn names_service(&self) -> bool {
        let given = |value: &Option<String>| value.as_ref().is_some_and(|text| !text.is_empty());
        [&self.endpoint_url, &self.region, &self.profile].into_iter().any(given)
    }
}

impl From<&StoreOptions> for Service {
    fn from(options: &StoreOptions) -> Self {
        Service {
            endpoint_url: options.endpoint_url.clone(),
            region: options.region.clone(),
            profile: options.profile.clone(),
            path_style: options.path_style,
            ca_file: options.ca_file.clone(),
            timeout: options.timeout,
            stall: options.stall,
        }
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            endpoint_url: None,
            region: None,
            profile: None,
            path_style: None,
            ca_file: None,
            timeout: None,
            stall: Duration::from_secs(20),
            within: None,
        }
    }
}
