//! From options and the AWS configuration to a client. The numbers here are the store's patience: how
//! often it asks again, and how long it waits for an answer.

use crate::cli::StoreOptions;
use crate::error::{Error, IoContext, Result};
use crate::report;
use crate::store::s3::explain::root;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Attempts of one request. Its patience ends them much earlier, unless AWS_MAX_ATTEMPTS does.
const ATTEMPTS: u32 = 100;
/// Waits between attempts double from the first to the longest, each at random below that. The longest is no more than
/// a quarter of the patience: one wait is added to it.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(10);
/// The slowest connection that is not taken for a dead one, in bytes a second.
const SLOWEST: u64 = 8 << 10;
/// Its parts, but for the last, must all have the same size.
const WANTS_EQUAL_PARTS: &str = ".r2.cloudflarestorage.com";

pub struct Connection {
    pub client: Client,
    /// Whether the service is known to refuse parts of different sizes.
    pub equal_parts: bool,
    patience: Patience,
}

/// How long a request is repeated, and how long an attempt may stand still.
#[derive(Clone, Copy)]
pub struct Patience {
    /// From the first attempt to the end of the last but one.
    pub timeout: Duration,
    pub stall: Duration,
}

impl Connection {
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// For a request that is made now and carries `bytes`. Up to the headers of its answer an attempt may stand still
    /// three times as long as in the midst of a body: the service may have to work.
    pub fn attempts_for(&self, bytes: usize) -> Builder {
        self.attempts(self.patience.stall * 3 + Duration::from_secs(bytes as u64 / SLOWEST), None)
    }

    /// The same, for a request whose effect is not to be done twice unnoticed: `lost` becomes true if an attempt had no
    /// answer.
    pub fn attempts_watched(&self, lost: &Arc<AtomicBool>) -> Builder {
        self.attempts(self.patience.stall * 3, Some(Arc::clone(lost)))
    }

    /// For putting the parts together, which takes a service minutes.
    pub fn attempts_of_completion(&self) -> Builder {
        self.attempts(self.patience.stall * 15, None)
    }

    fn attempts(&self, longest: Duration, lost: Option<Arc<AtomicBool>>) -> Builder {
        let retries = Retries { begun: Instant::now(), patience: self.patience.timeout, lost };
        Builder::default().timeout_config(timeouts(longest)).retry_classifier(retries)
    }
}

pub async fn connect(options: &StoreOptions) -> Result<Connection> {
    let given = given(&options.endpoint_url).or_else(endpoint_of_environment);
    let config = load(options, given.as_deref()).await?;
    if config.region().is_none() {
        return Err(Error::usage("no region is set for S3")
            .hint("set PGV_S3_REGION (or AWS_REGION); with PGV_S3_ENDPOINT_URL the default is us-east-1"));
    }
    let endpoint = given.as_deref().or(config.endpoint_url());
    let path_style = options.path_style.unwrap_or(endpoint.is_some());
    let patience = Patience { timeout: options.timeout, stall: options.stall };
    let mut builder = Builder::from(&config)
        .force_path_style(path_style)
        .timeout_config(timeouts(patience.stall * 3))
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().grace_period(patience.stall).build(),
        )
        // A process makes one transfer: it is not to run out of retries because parts fail together.
        .retry_partition(RetryPartition::custom("pgv").token_bucket(TokenBucket::unlimited()).build())
        // Many services refuse or even store the framing of the SDK's own trailing checksums.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if std::env::var_os("AWS_MAX_ATTEMPTS").is_none() {
        let longest = LONGEST_WAIT.min(patience.timeout / 4);
        let waits = RetryConfig::standard().with_initial_backoff(FIRST_WAIT).with_max_backoff(longest);
        builder = builder.retry_config(waits.with_max_attempts(ATTEMPTS));
    }
    let host = endpoint.unwrap_or_default().trim_end_matches('/');
    let equal_parts = host.ends_with(WANTS_EQUAL_PARTS);
    Ok(Connection { client: Client::from_conf(builder.build()), equal_parts, patience })
}

fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(attempt).build()
}

async fn load(options: &StoreOptions, endpoint: Option<&str>) -> Result<SdkConfig> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(profile) = given(&options.profile) {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = given(&options.endpoint_url) {
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(Error::usage("the S3 endpoint is not an http:// or https:// URL"));
        }
        loader = loader.endpoint_url(url);
    }
    loader = match (given(&options.region), endpoint) {
        (Some(region), _) => loader.region(Region::new(region)),
        (None, Some(_)) => loader.region(region_beside_endpoint(options)),
        (None, None) => loader,
    };
    let bundle = options.ca_file.clone().or_else(|| std::env::var_os("AWS_CA_BUNDLE").map(Into::into));
    if let Some(path) = bundle.filter(|path| !path.as_os_str().is_empty()) {
        loader = with_authorities(loader, &path)?;
    }
    Ok(loader.load().await)
}

/// Most services other than AWS take any region; asking the metadata service of a cloud that they are
/// not in would cost seconds.
fn region_beside_endpoint(options: &StoreOptions) -> RegionProviderChain {
    let mut profile = ProfileFileRegionProvider::builder();
    if let Some(name) = given(&options.profile) {
        profile = profile.profile_name(name);
    }
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(profile.build())
        .or_else(Region::new("us-east-1"))
}

/// The SDK's own handling of a bad file is to panic, or to trust nobody without a word.
fn with_authorities(loader: ConfigLoader, path: &Path) -> Result<ConfigLoader> {
    let pem = std::fs::read(path).during_path("read", path).map_err(|e| Error::usage(e.message()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| no_certificates(path))?;
        roots.add(certificate).map_err(|_| no_certificates(path))?;
    }
    if roots.is_empty() {
        return Err(no_certificates(path));
    }
    let context =
        TlsContext::builder().with_trust_store(TrustStore::empty().with_pem_certificate(pem)).build();
    let context = context.map_err(|_| no_certificates(path))?;
    // As the SDK's own client, which looks for a proxy in the environment; the ready-made one with a context does not.
    let client: SharedHttpClient =
        aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder()
                .proxy_config(ProxyConfig::from_env())
                .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            connector.build()
        });
    Ok(loader.http_client(client))
}

fn no_certificates(path: &Path) -> Error {
    Error::usage(format!("{} does not hold certificates in PEM", path.display()))
}

/// An empty value in the environment means that nothing is set.
fn given(value: &Option<String>) -> Option<String> {
    value.clone().filter(|text| !text.is_empty())
}

fn endpoint_of_environment() -> Option<String> {
    let variable = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
    variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"))
}

/// Where the SDK knows better than to ask again, and where it does not.
#[derive(Debug)]
struct Retries {
    begun: Instant,
    patience: Duration,
    lost: Option<Arc<AtomicBool>>,
}

/// Whoever waits in front of a terminal is told once what for.
static TOLD: AtomicBool = AtomicBool::new(false);
const TELL_AFTER: Duration = Duration::from_secs(5);

impl Retries {
    fn tell(&self, why: &str) {
        if self.begun.elapsed() >= TELL_AFTER && !TOLD.swap(true, Ordering::Relaxed) {
            let seconds = self.patience.as_secs();
            report::warn(format_args!("the S3 service fails: {why}; trying again for {seconds} s in all"));
        }
    }
}

impl ClassifyRetry for Retries {
    fn classify_retry_v2(&self, context: &InterceptorContext, others: &RetryAction) -> RetryAction {
        let status = context.response().map(|response| response.status().as_u16());
        let failed = context.output_or_error().and_then(|outcome| outcome.err());
        if failed.is_some() && status.is_none_or(|status| status >= 500) {
            self.lost.iter().for_each(|lost| lost.store(true, Ordering::Relaxed));
        }
        match failed.and_then(|error| error.as_connector_error()) {
            Some(error) if is_distrust(error) => return RetryAction::RetryForbidden,
            _ if self.begun.elapsed() >= self.patience => return RetryAction::RetryForbidden,
            Some(error) => self.tell(&root(error)),
            None if failed.is_some() && status.is_some_and(|status| status == 429 || status >= 500) => {
                self.tell(&format!("it answers {}", status.unwrap_or_default()));
            }
            None => {}
        }
        match status {
            Some(429) => RetryAction::throttling_error(),
            _ => others.clone(),
        }
    }

    fn classify_retry(&self, _: &InterceptorContext) -> RetryAction {
        RetryAction::NoActionIndicated
    }

    fn name(&self) -> &'static str {
        "429 will pass, a wrong certificate will not, and patience ends"
    }
}

/// The server's certificate was refused. The layers in between hide the type of the error.
pub fn is_distrust(error: &(impl std::fmt::Debug + ?Sized)) -> bool {
    format!("{error:?}").contains("InvalidCertificate(")
}
