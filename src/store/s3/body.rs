//! The body of a request that carries data, in slices: that a connection stands still is noticed only between them, and
//! what is in memory can be sent again.
//!
//! Over http a request is signed with the SHA-256 of its body, which is computed once for all attempts; over https TLS
//! protects the body, and the hashing, half of a client's work, is left out.

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body_1x::{Body, Frame, SizeHint};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

/// Small enough that the slowest line which counts as alive takes one in each stall.
const SLICE: usize = 64 << 10;

pub fn sliced(bytes: Bytes) -> ByteStream {
    ByteStream::new(SdkBody::retryable(move || SdkBody::from_body_1_x(Slices { left: bytes.clone() })))
}

/// What the signature says of the body.
#[derive(Debug)]
pub struct Signing {
    body: Bytes,
    digest: OnceLock<String>,
}

impl Signing {
    pub fn of(body: Bytes) -> Self {
        Signing { body, digest: OnceLock::new() }
    }

    fn digest(&self) -> String {
        let hex = |body| Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        self.digest.get_or_init(|| hex(&self.body)).clone()
    }
}

impl Intercept for Signing {
    fn name(&self) -> &'static str {
        "the digest of a body that is sent in slices"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let payload = match context.request().uri().starts_with("https:") {
            true => PayloadSigningOverride::UnsignedPayload,
            false => PayloadSigningOverride::Precomputed(self.digest()),
        };
        settings.interceptor_state().store_put(payload);
        Ok(())
    }
}

struct Slices {
    left: Bytes,
}

impl Body for Slices {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.left.len().min(SLICE);
        match length {
            0 => Poll::Ready(None),
            _ => Poll::Ready(Some(Ok(Frame::data(self.left.split_to(length))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
