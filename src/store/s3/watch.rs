//! The bound of every wait on a connection, below the SDK, whose own time-outs cannot tell a request that moves slowly
//! from one that stands still. A body, either way, must move [`LEAST`] in each window of [`Bounds::stall`]; from its end
//! on the answer must begin within a time that is the operation's. What stays below is a broken connection. As each
//! attempt passes here, it is counted here.

use crate::store::s3::count::Class;
use crate::store::s3::explain::is_unconnected;
use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::{
    ConfigBag, HttpClient, RuntimeComponents, RuntimeComponentsBuilder, SharedHttpClient,
};
use aws_sdk_s3::error::{BoxError, ConnectorError};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use bytes::Bytes;
use http_body_1x::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Bytes a second that a body must move on average in each window. A slower line serves nobody; one that is shared by
/// several requests is still far above it.
const LEAST: f64 = 1024.0;
/// Bytes a second with which a service takes in what was sent, at least: what left here is on its way for a while, and
/// an impatient second try doubles the load of a service that has too much of it.
const DIGESTED: f64 = (1 << 20) as f64;

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The window in which a body must move.
    pub stall: Duration,
    /// No wait for an answer is longer.
    pub timeout: Duration,
    /// Whoever waits in front of a terminal is told after so long what for, until there was an answer.
    pub tell_after: Duration,
}

impl Bounds {
    /// Bytes in a window.
    fn least(&self) -> u64 {
        // At least one: a window of no length is none.
        (self.stall.as_secs_f64() * LEAST).max(1.0) as u64
    }

    /// For how long an answer may take to begin after so many bytes, where `answer` is the operation's time.
    fn answer(&self, answer: Duration, bytes: u64) -> Duration {
        (answer + Duration::from_secs_f64(bytes as f64 / DIGESTED)).min(self.timeout)
    }
}

/// Calls this once, with the address of the service, if there was no answer at all for a while.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// A client whose waits are bounded. The operation's bound for the beginning of an answer is its read time-out.
pub struct Watched {
    pub client: SharedHttpClient,
    pub bounds: Bounds,
    pub answered: Arc<AtomicBool>,
    /// Of the service, which is learnt with the first request.
    pub address: Arc<OnceLock<String>>,
    pub tell: Tell,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl HttpClient for Watched {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        // Its own read time-out counts from the beginning of the request, however long the body is.
        let mut unbounded = HttpConnectorSettings::builder();
        unbounded.set_connect_timeout(settings.connect_timeout());
        SharedHttpConnector::new(WatchedConnector {
            connector: self.client.http_connector(&unbounded.build(), components),
            bounds: self.bounds,
            answer: settings.read_timeout().unwrap_or(self.bounds.stall),
            answered: Arc::clone(&self.answered),
            address: Arc::clone(&self.address),
            tell: Arc::clone(&self.tell),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        settings: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.client.validate_base_client_config(components, settings)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        settings: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.client.validate_final_config(components, settings)
    }
}

struct WatchedConnector {
    connector: SharedHttpConnector,
    bounds: Bounds,
    answer: Duration,
    answered: Arc<AtomicBool>,
    address: Arc<OnceLock<String>>,
    tell: Tell,
}

impl std::fmt::Debug for WatchedConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchedConnector").field("answer", &self.answer).finish_non_exhaustive()
    }
}

impl HttpConnector for WatchedConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let sending = Arc::new(Sending::default());
        let body = std::mem::replace(request.body_mut(), SdkBody::taken());
        *request.body_mut() = match body.content_length() {
            Some(0) => body,
            _ => SdkBody::from_body_1_x(Outgoing { body, sending: Arc::clone(&sending) }),
        };
        let (bounds, answer) = (self.bounds, self.answer);
        let address = self.address.get_or_init(|| address(request.uri()).to_owned()).clone();
        let (answered, tell) = (Arc::clone(&self.answered), Arc::clone(&self.tell));
        let class = Class::of(request.method(), request.uri());
        // At once: whoever gives up while it is under way has sent it.
        class.count();
        let calling = self.connector.call(request);
        HttpConnectorFuture::new(async move {
            let telling = async {
                tokio::time::sleep(bounds.tell_after).await;
                let is_waiting = sending.progress().is_none_or(|progress| progress.ended.is_some());
                if is_waiting && !answered.load(Ordering::Relaxed) {
                    tell(&address);
                }
                std::future::pending().await
            };
            tokio::select! {
                called = calling => {
                    let mut response = called.inspect_err(|error| {
                        if is_unconnected(error) {
                            class.take_back();
                        }
                    })?;
                    answered.store(true, Ordering::Relaxed);
                    let body = std::mem::replace(response.body_mut(), SdkBody::taken());
                    *response.body_mut() = SdkBody::from_body_1_x(Incoming::new(body, bounds));
                    Ok(response)
                }
                why = overdue(&sending, bounds, answer) => Err(ConnectorError::timeout(why.into())),
                never = telling => never,
            }
        })
    }
}

/// `scheme://host:port` of a request.
fn address(uri: &str) -> &str {
    let end = uri.match_indices('/').nth(2).map_or(uri.len(), |(at, _)| at);
    &uri[..end]
}

/// How far the body of a request has come.
#[derive(Default)]
struct Sending(Mutex<Option<Progress>>);

#[derive(Clone, Copy)]
struct Progress {
    bytes: u64,
    /// When the last of it was taken.
    ended: Option<Instant>,
}

impl Sending {
    /// None: nothing was taken yet, or there is nothing to take.
    fn progress(&self) -> Option<Progress> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self, bytes: usize, is_end: bool) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = progress.get_or_insert(Progress { bytes: 0, ended: None });
        progress.bytes += bytes as u64;
        if is_end && progress.ended.is_none() {
            progress.ended = Some(Instant::now());
        }
    }
}

/// Ends when a request has stood still for too long, and says how.
async fn overdue(sending: &Sending, bounds: Bounds, answer: Duration) -> String {
    let begun = Instant::now();
    let (mut window, mut before) = (begun, 0);
    loop {
        // What is being sent; of what was sent, and while a connection is made, nothing.
        let (due, moving) = match sending.progress() {
            None => (begun + answer, None),
            Some(Progress { ended: Some(ended), bytes }) => (ended + bounds.answer(answer, bytes), None),
            Some(Progress { ended: None, bytes }) => (window + bounds.stall, Some(bytes)),
        };
        if Instant::now() < due {
            tokio::time::sleep_until(due).await;
            continue;
        }
        match moving {
            Some(bytes) if bytes - before >= bounds.least() => (window, before) = (Instant::now(), bytes),
            Some(bytes) => {
                return format!("only {} bytes were sent in {} s", bytes - before, bounds.stall.as_secs());
            }
            None => return "no data arrived in time".to_owned(),
        }
    }
}

/// The body of a request, counted as it is taken.
struct Outgoing {
    body: SdkBody,
    sending: Arc<Sending>,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(taken) = &polled {
            let frame = taken.as_ref().and_then(|taken| taken.as_ref().ok());
            let bytes = frame.and_then(|frame| frame.data_ref()).map_or(0, Bytes::len);
            let is_end = taken.is_none() || self.body.is_end_stream();
            self.sending.taken(bytes, is_end);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer. Only the time that is spent waiting for it counts, not that of a slow reader.
struct Incoming {
    body: SdkBody,
    bounds: Bounds,
    /// Of the current window: what came, how long it was waited for, and since when it is.
    came: u64,
    waited: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    fn new(body: SdkBody, bounds: Bounds) -> Self {
        Incoming { body, bounds, came: 0, waited: Duration::ZERO, since: None, timer: None }
    }

    /// Ends the window if it is over; an error if too little came in it.
    fn turn(&mut self) -> Result<(), BoxError> {
        if self.waited < self.bounds.stall {
            return Ok(());
        }
        let came = std::mem::take(&mut self.came);
        self.waited = Duration::ZERO;
        match came >= self.bounds.least() {
            true => Ok(()),
            false => Err(format!("only {came} bytes arrived in {} s", self.bounds.stall.as_secs()).into()),
        }
    }

    fn pause(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(context) {
            self.pause();
            let Some(Ok(frame)) = polled else { return Poll::Ready(polled) };
            self.came += frame.data_ref().map_or(0, Bytes::len) as u64;
            return Poll::Ready(Some(self.turn().map(|()| frame)));
        }
        loop {
            let waited = self.waited + self.since.get_or_insert_with(Instant::now).elapsed();
            let left = self.bounds.stall.saturating_sub(waited);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // It ran on while nobody waited.
            self.timer = None;
            if !left.is_zero() {
                continue;
            }
            self.pause();
            if let Err(error) = self.turn() {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
