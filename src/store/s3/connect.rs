//! From options and the AWS configuration to a client. The numbers here are the store's patience: how
//! often it asks again, and how long it waits for an answer.
//!
//! The bound of a request: from its first attempt on for `timeout` it is attempted again; the last attempt may begin
//! just before that. An attempt may take [`CONNECT`] for the connection, the time in which its body moves, and the time
//! of the operation for the answer to begin, never more than `timeout`: see [`Watched`].

use crate::error::{Error, IoContext, Result};
use crate::store::s3::answer::Expected;
use crate::store::s3::retries::{Retries, TELL_AFTER, tell_once};
use crate::store::s3::watch::{Bounds, Watched};
use crate::store::service::Service;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
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
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Attempts of one request. Its patience ends them much earlier, unless AWS_MAX_ATTEMPTS does.
const ATTEMPTS: u32 = 100;
/// Waits between attempts double from the first to the longest, each at random below that. The longest is no more than
/// a quarter of the patience: one wait is added to it.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(10);
/// The patience if the options name none.
const TIMEOUT: Duration = Duration::from_secs(300);
/// An answer may take so many stalls to begin: the service may have to work. Putting the parts of an upload together
/// takes it minutes.
const ANSWER: u32 = 3;
const COMPLETION: u32 = 15;
/// Its parts, but for the last, must all have the same size.
const WANTS_EQUAL_PARTS: &str = ".r2.cloudflarestorage.com";

pub struct Connection {
    pub client: Client,
    /// Whether the service is known to refuse parts of different sizes.
    pub equal_parts: bool,
    /// Which service it is, as far as the configuration tells: its endpoint, or `aws`, and the region.
    pub place: String,
    patience: Patience,
    /// Of the service, once it was asked.
    address: Arc<OnceLock<String>>,
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

    /// For a request that is made now, and whose answer holds nothing that matters.
    pub fn attempts(&self) -> Builder {
        self.attempts_expecting(Expected::Nothing)
    }

    pub fn attempts_expecting(&self, expected: Expected) -> Builder {
        self.attempts_since(Instant::now(), expected)
    }

    /// For a request that is one more of those that began `begun`, all of which have the patience of one.
    pub fn attempts_since(&self, begun: Instant, expected: Expected) -> Builder {
        self.builder(ANSWER, begun, expected, None)
    }

    /// For the request that begins an upload, whose effect is not to be done twice unnoticed: `lost` becomes true if an
    /// attempt had no answer.
    pub fn attempts_of_begin(&self, lost: &Arc<AtomicBool>) -> Builder {
        let expected = Expected::Document("InitiateMultipartUploadResult");
        self.builder(ANSWER, Instant::now(), expected, Some(Arc::clone(lost)))
    }

    /// For putting the parts together.
    pub fn attempts_of_completion(&self) -> Builder {
        let expected = Expected::DocumentOrError("CompleteMultipartUploadResult");
        self.builder(COMPLETION, Instant::now(), expected, None)
    }

    /// As [`Self::attempts_expecting`], for a request that is made when this is called.
    pub fn attempts_later(&self, expected: Expected) -> impl FnOnce() -> Builder + Send + use<> {
        let (patience, address) = (self.patience, Arc::clone(&self.address));
        move || builder(patience, address, ANSWER, Instant::now(), expected, None)
    }

    fn builder(
        &self,
        stalls: u32,
        begun: Instant,
        expected: Expected,
        lost: Option<Arc<AtomicBool>>,
    ) -> Builder {
        builder(self.patience, Arc::clone(&self.address), stalls, begun, expected, lost)
    }
}

fn builder(
    patience: Patience,
    address: Arc<OnceLock<String>>,
    stalls: u32,
    begun: Instant,
    expected: Expected,
    lost: Option<Arc<AtomicBool>>,
) -> Builder {
    let retries = Retries { begun, patience: patience.timeout, address, lost };
    let timeouts = timeouts(patience, stalls);
    Builder::default().timeout_config(timeouts).retry_classifier(retries).interceptor(expected)
}

pub async fn connect(options: &Service) -> Result<Connection> {
    let given = given(&options.endpoint_url).or_else(endpoint_of_environment);
    let (config, client) = load(options, given.as_deref()).await?;
    if config.region().is_none() {
        return Err(Error::usage("no region is set for S3")
            .hint("set PGV_S3_REGION (or AWS_REGION); with PGV_S3_ENDPOINT_URL the default is us-east-1"));
    }
    let endpoint = given.as_deref().or(config.endpoint_url());
    let path_style = options.path_style.unwrap_or(endpoint.is_some());
    let patience = Patience { timeout: options.timeout.unwrap_or(TIMEOUT), stall: options.stall };
    let mut builder = Builder::from(&config)
        .force_path_style(path_style)
        .timeout_config(timeouts(patience, ANSWER))
        // The SDK's own wants no more than a byte a second, and knows no end of a request's body.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
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
    let address = Arc::new(OnceLock::new());
    builder = builder.http_client(Watched {
        client,
        bounds: Bounds { stall: patience.stall, timeout: patience.timeout, tell_after: TELL_AFTER },
        answered: Arc::default(),
        address: Arc::clone(&address),
        tell: Arc::new(move |address| {
            let seconds = patience.timeout.as_secs();
            tell_once(format_args!("waiting for {address}: no answer yet; giving up after {seconds} s"));
        }),
    });
    let endpoint = endpoint.unwrap_or("aws").trim_end_matches('/');
    let equal_parts = endpoint.ends_with(WANTS_EQUAL_PARTS);
    let region = config.region().map_or("", |region| region.as_ref());
    let place = format!("{endpoint} {region}");
    Ok(Connection { client: Client::from_conf(builder.build()), equal_parts, place, patience, address })
}

fn timeouts(patience: Patience, stalls: u32) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT.min(patience.timeout / 2))
        .read_timeout((patience.stall * stalls).min(patience.timeout))
        .build()
}

async fn load(options: &Service, endpoint: Option<&str>) -> Result<(SdkConfig, SharedHttpClient)> {
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
    let context = match bundle.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => authorities(&path)?,
        None => TlsContext::default(),
    };
    let client = http_client(context);
    Ok((loader.http_client(client.clone()).load().await, client))
}

/// Most services other than AWS take any region; asking the metadata service of a cloud that they are
/// not in would cost seconds.
fn region_beside_endpoint(options: &Service) -> RegionProviderChain {
    let mut profile = ProfileFileRegionProvider::builder();
    if let Some(name) = given(&options.profile) {
        profile = profile.profile_name(name);
    }
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(profile.build())
        .or_else(Region::new("us-east-1"))
}

/// The SDK's own handling of a bad file is to panic, or to trust nobody without a word.
fn authorities(path: &Path) -> Result<TlsContext> {
    let pem = std::fs::read(path).during_path("read", path).map_err(|e| Error::usage(e.message()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| no_certificates(path))?;
        roots.add(certificate).map_err(|_| no_certificates(path))?;
    }
    if roots.is_empty() {
        return Err(no_certificates(path));
    }
    let trusted = TrustStore::empty().with_pem_certificate(pem);
    TlsContext::builder().with_trust_store(trusted).build().map_err(|_| no_certificates(path))
}

/// As the SDK's own client, which looks for a proxy in the environment; the ready-made one with a context does not.
fn http_client(context: TlsContext) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    })
}

fn no_certificates(path: &Path) -> Error {
    Error::usage(format!("{} does not contain certificates in PEM format", path.display()))
}

/// An empty value in the environment means that nothing is set.
fn given(value: &Option<String>) -> Option<String> {
    value.clone().filter(|text| !text.is_empty())
}

fn endpoint_of_environment() -> Option<String> {
    let variable = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
    variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"))
}
