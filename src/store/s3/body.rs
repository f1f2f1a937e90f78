//! The body of a request, in slices: the SDK notices a connection that stands still only between them, and
//! what is in memory can be sent again.

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body_1x::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

const SLICE: usize = 256 << 10;

pub fn sliced(bytes: Bytes) -> ByteStream {
    ByteStream::new(SdkBody::retryable(move || SdkBody::from_body_1_x(Slices { left: bytes.clone() })))
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
