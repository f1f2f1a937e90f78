//! Which S3 service is meant, and how long it is waited for. Of no meaning for `file://`.

use std::path::PathBuf;
use std::time::Duration;

/// Empty texts mean that nothing is set. Credentials are not among it: they come by the AWS chain only (environment,
/// profile, web identity, container, instance).
#[derive(Clone, Debug)]
pub struct Service {
    /// Without one: as the AWS configuration says, else AWS itself.
    pub endpoint_url: Option<String>,
    /// Without one: as the AWS configuration says; us-east-1 with an endpoint.
    pub region: Option<String>,
    /// In the AWS configuration files.
    pub profile: Option<String>,
    /// Whether the bucket is named in the path, not in the host; without it: yes with an endpoint.
    pub path_style: Option<bool>,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long temporary errors are retried.
    pub timeout: Option<Duration>,
    /// How long a connection may hardly move before it is replaced.
    pub stall: Duration,
}
