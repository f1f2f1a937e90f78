//! What a failed request means for a person and for a script. The rule for scripts: only a proof of
//! absence is "not found"; a missing bucket or a missing right is not; what may pass is temporary.

use crate::error::{Error, Kind, io_reason};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use std::fmt::Display;
use std::time::SystemTime;

/// The parts of a failure that decide, whatever the operation was.
pub struct Failure {
    /// S3's own name for it, such as `NoSuchKey`; an answer to HEAD has none.
    pub code: Option<String>,
    /// 0 where there was no answer.
    pub status: u16,
    cause: Cause,
    text: String,
    /// The service's name for the request, which its operators ask for.
    request: Option<String>,
    /// Where the bucket is, if the answer says so.
    region: Option<String>,
    /// It was a page of a server of https that was asked in http.
    wants_https: bool,
}

enum Cause {
    Answer,
    /// The network, or a service that gave no answer.
    Network,
    /// An answer that is not all of one.
    Broken,
    Distrust,
    OtherScheme(Speaks),
    Credentials,
    Other,
}

impl<E> From<SdkError<E>> for Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let cause = match &error {
            SdkError::ServiceError(_) => Cause::Answer,
            SdkError::TimeoutError(_) => Cause::Network,
            SdkError::ResponseError(_) => Cause::Broken,
            SdkError::DispatchFailure(failure) if is_distrust(failure) => Cause::Distrust,
            SdkError::DispatchFailure(failure) if other_scheme(failure).is_some() => {
                other_scheme(failure).map_or(Cause::Network, Cause::OtherScheme)
            }
            SdkError::DispatchFailure(failure)
                if failure.is_io()
                    || failure.is_timeout()
                    // Such as a connection that was closed before its answer.
                    || failure.as_other().is_some() =>
            {
                Cause::Network
            }
            // No type of the SDK's interface says so.
            other if format!("{other:?}").contains("CredentialsNotLoaded") => Cause::Credentials,
            _ => Cause::Other,
        };
        let answer = error.raw_response();
        let status = answer.map_or(0, |raw| raw.status().as_u16());
        let region = answer.and_then(|raw| raw.headers().get("x-amz-bucket-region")).map(str::to_owned);
        let page = answer.and_then(|raw| raw.body().bytes()).unwrap_or_default();
        let wants_https = String::from_utf8_lossy(page).contains("to HTTPS")
            || String::from_utf8_lossy(page).contains("to an HTTPS");
        let request = error.request_id().map(str::to_owned);
        let metadata = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = metadata.and_then(|found| found.code()).map(str::to_owned);
        // What a refusal of HEAD does not say, its date does.
        let date = answer.and_then(|raw| raw.headers().get("date"));
        let code =
            code.or_else(|| (status == 403 && date.is_some_and(is_skewed)).then(|| TOO_SKEWED.to_owned()));
        let text = metadata.and_then(|found| found.message()).map_or_else(|| root(&error), str::to_owned);
        Failure { code, status, cause, text, request, region, wants_https }
    }
}

/// S3's name for a clock that is wrong.
pub const TOO_SKEWED: &str = "RequestTimeTooSkewed";
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>: what S3 does not take as the same time any more.
const SKEWED_SECONDS: u64 = 15 * 60;

/// Whether the date of an answer is another time than this machine's.
fn is_skewed(date: &str) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    DateTime::from_str(date, DateTimeFormat::HttpDate)
        .is_ok_and(|date| date.secs().abs_diff(i64::try_from(now).unwrap_or(0)) > SKEWED_SECONDS)
}

/// The first cause of a chain of errors; what is around it only repeats that there was one.
pub fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut first = error;
    while let Some(cause) = first.source() {
        first = cause;
    }
    first.downcast_ref::<std::io::Error>().map_or_else(|| first.to_string(), io_reason)
}

/// The server's certificate was refused. The layers in between hide the type of the error.
pub fn is_distrust(error: &(impl std::fmt::Debug + ?Sized)) -> bool {
    format!("{error:?}").contains("InvalidCertificate(")
}

/// There was no connection over which the request could go. The layers in between hide the type of this error, too.
pub fn is_unconnected(error: &(impl std::fmt::Debug + ?Sized)) -> bool {
    format!("{error:?}").contains("Error(Connect,")
}

/// What a server speaks that was spoken to otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Http,
    Https,
}

/// The first bytes that came are no TLS, or no HTTP. The layers in between hide the types of these errors, too.
pub fn other_scheme(error: &(impl std::fmt::Debug + ?Sized)) -> Option<Speaks> {
    let text = format!("{error:?}");
    match text.contains("InvalidContentType") {
        true => Some(Speaks::Http),
        false => text.contains("Parse(Version)").then_some(Speaks::Https),
    }
}

/// What the answer to a request for many objects says of one of them.
pub fn explain_one(what: impl Display, code: &str, text: &str) -> Error {
    let message = format!("{what}: {code}: {text}");
    match code {
        "AccessDenied" => Error::failed(message)
            .hint("the credentials do not have the right to delete it, or a lock protects it"),
        _ if may_pass(code) => Error::new(Kind::Temporary, message),
        _ => Error::failed(message),
    }
}

/// Answers that say nothing of the request itself, but of the service at this moment. A temporary redirect is one as
/// well: S3 answers so while the name of a new bucket spreads, and some gates while they change.
pub fn asks_again(status: u16) -> bool {
    matches!(status, 302 | 303 | 307 | 408 | 429 | 500 | 502 | 503 | 504)
}

/// The places that the SDK says it looked in, one a line, each with what it found.
fn places(text: &str) -> String {
    let places: Vec<&str> = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect();
    match places.is_empty() {
        true => text.to_owned(),
        false => places.join("; "),
    }
}

/// Also as the end of an answer that began with 200: some services begin before they know.
pub fn may_pass(code: &str) -> bool {
    matches!(
        code,
        "InternalError"
            | "SlowDown"
            | "ServiceUnavailable"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "RequestTimeout"
            | "ConditionalRequestConflict"
            | "OperationAborted"
    )
}

impl Failure {
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// A condition did not hold: something has the name already, or is writing to it now.
    pub fn is_conflict(&self) -> bool {
        matches!(self.status, 409 | 412)
            && matches!(
                self.code.as_deref(),
                None | Some("PreconditionFailed" | "ConditionalRequestConflict")
            )
    }

    /// The service does not know something that was asked for, as opposed to finding it wrong.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.code.as_deref(), Some("NotImplemented" | "InvalidArgument" | "InvalidRequest"))
    }

    /// The answer to a request that removes several objects at once.
    pub fn knows_no_batches(&self) -> bool {
        self.is_unsupported() || matches!(self.status, 404 | 405 | 501) && !self.is("NoSuchBucket")
    }

    /// `what`: verb and URL.
    pub fn explain(&self, what: impl Display) -> Error {
        match (&self.cause, &self.request) {
            (Cause::Answer, Some(request)) => {
                self.answered(what).supplement(format_args!("request {request}"))
            }
            (Cause::Answer, None) => self.answered(what),
            _ => self.unanswered(what),
        }
    }

    fn answered(&self, what: impl Display) -> Error {
        let failed = |text: &str| Error::failed(format!("{what}: {text}"));
        match (self.code.as_deref().unwrap_or_default(), self.status) {
            ("NoSuchKey", _) => Error::not_found(format!("{what}: no such object")),
            ("NoSuchBucket", _) => failed("the bucket does not exist")
                .hint("check the bucket's name and PGV_S3_ENDPOINT_URL; pgv does not create buckets"),
            ("InvalidAccessKeyId", _) => failed("access denied: the service does not know this access key")
                .hint("check AWS_ACCESS_KEY_ID or the profile, and PGV_S3_ENDPOINT_URL"),
            ("SignatureDoesNotMatch", _) => failed("access denied: the signature does not match").hint(
                "the secret key (AWS_SECRET_ACCESS_KEY or the profile) is wrong, or does not belong to the \
                 access key",
            ),
            ("ExpiredToken" | "TokenRefreshRequired" | "InvalidToken", _) => {
                failed("access denied: the session token has expired or is invalid").hint(
                    "set a new token: pgv renews tokens of a role, web identity or credential_process, but \
                     not those of the environment",
                )
            }
            (TOO_SKEWED | "RequestExpired", _) => {
                failed("access denied: this machine's clock and the service's differ too much")
                    .hint("correct this machine's clock (NTP)")
            }
            (
                "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException",
                _,
            )
            | (_, 301) => self.in_another_region(what),
            ("PreconditionFailed", _) | (_, 412) => {
                Error::new(Kind::Exists, format!("{what}: it exists, nothing was overwritten"))
            }
            (code, _) if may_pass(code) => self.temporary(what),
            (_, status) if asks_again(status) => self.temporary(what),
            (code, 401 | 403) => {
                let code = if code.is_empty() || code == "AccessDenied" {
                    String::new()
                } else {
                    format!(": {code}")
                };
                failed(&format!("access denied{code}"))
                    .hint("the credentials do not have the right for this, or are not for this bucket")
                    .hint(
                        "without the right to list, the service gives the same answer for an object that \
                           does not exist",
                    )
            }
            ("", 400) if self.wants_https => failed("the server speaks https, but the request was http")
                .hint("begin PGV_S3_ENDPOINT_URL with https://"),
            ("", status) => failed(&format!("the service answered {status}")),
            (code, status) => failed(&format!("the service answered {status} {code}: {}", self.text)),
        }
    }

    /// The answer, read to its end, is none that the service gives to this request; it may have carried it out.
    pub fn garbled(text: &str) -> Self {
        Failure {
            code: None,
            status: 200,
            cause: Cause::Broken,
            text: text.to_owned(),
            request: None,
            region: None,
            wants_https: false,
        }
    }

    fn in_another_region(&self, what: impl Display) -> Error {
        let Some(region) = &self.region else {
            return Error::usage(format!("{what}: the bucket is in another region: {}", self.text))
                .hint("set PGV_S3_REGION");
        };
        Error::usage(format!("{what}: the bucket is in region {region}"))
            .hint(format!("PGV_S3_REGION={region}"))
    }

    fn temporary(&self, what: impl Display) -> Error {
        let code = self.code.as_deref().unwrap_or("no reason given");
        Error::new(
            Kind::Temporary,
            format!("{what}: the service answered {} ({code}) to every attempt", self.status),
        )
    }

    fn unanswered(&self, what: impl Display) -> Error {
        let text = &self.text;
        match self.cause {
            Cause::Network => {
                let error = Error::new(Kind::Temporary, format!("{what}: no answer: {text}"))
                    .hint("check PGV_S3_ENDPOINT_URL and the network, or try again later");
                match text.contains("handshake eof") {
                    true => error.hint("if the server speaks only http, begin PGV_S3_ENDPOINT_URL with \
                                        http://"),
                    false => error,
                }
            }
            Cause::Broken => Error::new(Kind::Temporary, format!("{what}: incomplete answer: {text}"))
                .hint("check PGV_S3_ENDPOINT_URL and the proxies on the way, or try again later"),
            Cause::OtherScheme(Speaks::Http) => {
                Error::usage(format!("{what}: the server does not speak https: {text}"))
                    .hint("if it speaks only http, begin PGV_S3_ENDPOINT_URL with http://")
            }
            Cause::OtherScheme(Speaks::Https) => {
                Error::usage(format!("{what}: the server does not speak http: {text}"))
                    .hint("if it speaks https, begin PGV_S3_ENDPOINT_URL with https://")
            }
            Cause::Distrust => {
                Error::failed(format!("{what}: the server's certificate is not trusted: {text}"))
                    .hint("if the service has its own certificate authority, set PGV_S3_CA_FILE (--ca-file)")
            }
            Cause::Credentials => Error::usage(format!("{what}: no credentials for S3"))
                .hint(format!("searched: {}", places(text)))
                .hint(
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or give the machine a role",
                ),
            Cause::Answer | Cause::Other => Error::failed(format!("{what}: {text}")),
        }
    }
}
