//! From options and the AWS configuration to a client. The numbers here are the store's patience: how
//! often it asks again, and how long it waits for an answer.

use crate::cli::StoreOptions;
use crate::error::{Error, IoContext, Result};
use crate::store::s3::body::sliced;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
use bytes::Bytes;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::path::Path;
use std::time::Duration;

/// Waits between them double from 1 s, at random below that: half a minute at most in all.
const ATTEMPTS: u32 = 6;
const CONNECT: Duration = Duration::from_secs(10);
/// One attempt of a request without a body, up to the headers of its answer.
const ATTEMPT: Duration = Duration::from_secs(60);
/// A body that stands still for longer than this is given up.
const STALL: Duration = Duration::from_secs(20);
/// The slowest connection that is not taken for a dead one, in bytes a second. Over https a body that
/// stands still is noticed by itself.
const SLOWEST_HTTP: u64 = 64 << 10;
const SLOWEST_HTTPS: u64 = 8 << 10;

pub struct Connection {
    pub client: Client,
    pub https: bool,
}

impl Connection {
    /// Over http it is signed, and so hashed as a whole; over https TLS protects it, and it goes in slices.
    pub fn body(&self, bytes: Bytes) -> ByteStream {
        match self.https {
            true => sliced(bytes),
            false => ByteStream::from(bytes),
        }
    }

    /// For a request that carries `bytes`.
    pub fn attempt_for(&self, bytes: usize) -> Builder {
        let slowest = if self.https { SLOWEST_HTTPS } else { SLOWEST_HTTP };
        Builder::default().timeout_config(timeouts(ATTEMPT + Duration::from_secs(bytes as u64 / slowest)))
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
    let https = !endpoint.is_some_and(|url| url.starts_with("http://"));
    let path_style = options.path_style.unwrap_or(endpoint.is_some());
    let mut builder = Builder::from(&config)
        .force_path_style(path_style)
        .timeout_config(timeouts(ATTEMPT))
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALL).build())
        // A process makes one transfer: it is not to run out of retries because parts fail together.
        .retry_partition(RetryPartition::custom("pgv").token_bucket(TokenBucket::unlimited()).build())
        .retry_classifier(Retries)
        // Many services refuse or even store the framing of the SDK's own trailing checksums.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if std::env::var_os("AWS_MAX_ATTEMPTS").is_none() {
        builder = builder.retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
    }
    Ok(Connection { client: Client::from_conf(builder.build()), https })
}

/// For putting the parts together, which takes a service minutes.
pub fn attempt_of_completion() -> Builder {
    Builder::default().timeout_config(timeouts(Duration::from_secs(900)))
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
    let client: SharedHttpClient = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https();
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
struct Retries;

impl ClassifyRetry for Retries {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        if context.response().is_some_and(|response| response.status().as_u16() == 429) {
            return RetryAction::throttling_error();
        }
        let failed = context.output_or_error().and_then(|outcome| outcome.err());
        match failed.and_then(|error| error.as_connector_error()) {
            Some(error) if is_distrust(error) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "429 will pass, a wrong certificate will not"
    }
}

/// The server's certificate was refused. The layers in between hide the type of the error.
pub fn is_distrust(error: &(impl std::fmt::Debug + ?Sized)) -> bool {
    format!("{error:?}").contains("InvalidCertificate(")
}
