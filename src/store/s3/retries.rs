//! When a request is made again, and when its patience ends.

use crate::io::random;
use crate::report;
use crate::store::s3::explain::{asks_again, is_distrust, other_scheme, root};
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Whoever waits in front of a terminal is told after so long what for.
pub const TELL_AFTER: Duration = Duration::from_secs(2);
/// Waits between requests of ours double from the first to the longest, or to a quarter of the patience.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Where the SDK knows better than to ask again, and where it does not.
#[derive(Debug)]
pub struct Retries {
    pub begun: Instant,
    pub patience: Duration,
    /// Of the service, once it was asked.
    pub address: Arc<OnceLock<String>>,
    /// Becomes true if nobody knows whether an attempt was carried out.
    pub lost: Option<Arc<AtomicBool>>,
}

/// Whoever waits in front of a terminal is told once what for.
pub fn tell_once(message: impl Display) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        report::warn(message);
    }
}

impl Retries {
    fn tell(&self, why: &str) {
        if self.begun.elapsed() >= TELL_AFTER {
            let address = self.address.get().map_or("the S3 service", String::as_str);
            let seconds = self.patience.as_secs();
            tell_once(format_args!("{address}: {why}; retrying for up to {seconds} s"));
        }
    }
}

impl ClassifyRetry for Retries {
    fn classify_retry_v2(&self, context: &InterceptorContext, others: &RetryAction) -> RetryAction {
        let status = context.response().map(|response| response.status().as_u16());
        let failed = context.output_or_error().and_then(|outcome| outcome.err());
        let may_have_succeeded = |status: u16| status >= 500 || (200..300).contains(&status);
        if failed.is_some() && status.is_none_or(may_have_succeeded) {
            self.lost.iter().for_each(|lost| lost.store(true, Ordering::Relaxed));
        }
        let Some(error) = failed else { return others.clone() };
        match error.as_connector_error() {
            Some(error) if is_distrust(error) || other_scheme(error).is_some() => {
                return RetryAction::RetryForbidden;
            }
            _ if self.begun.elapsed() >= self.patience => return RetryAction::RetryForbidden,
            Some(error) => self.tell(&format!("no answer: {}", root(error))),
            None => match status.filter(|status| asks_again(*status)) {
                Some(status) => self.tell(&format!("the service answers {status}")),
                None if error.is_response_error() => self.tell("incomplete answer"),
                None => {}
            },
        }
        match status {
            Some(429) => RetryAction::throttling_error(),
            Some(status) if asks_again(status) => RetryAction::transient_error(),
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

/// The waits between requests that the SDK does not repeat by itself, as their answers were proper ones.
pub struct Backoff {
    wait: Duration,
    longest: Duration,
}

impl Backoff {
    /// `patience`: for how long all of the requests are made.
    pub fn new(patience: Duration) -> Self {
        Backoff { wait: FIRST_WAIT, longest: LONGEST_WAIT.min(patience / 4) }
    }

    pub fn reset(&mut self) {
        self.wait = FIRST_WAIT;
    }

    /// Requests that failed together are not all to come again together.
    pub async fn pause(&mut self) {
        // Without random bytes it is the whole of it.
        let share = random::<1>().map_or(1.0, |[byte]| f64::from(byte) / 255.0);
        tokio::time::sleep(self.wait.mul_f64(0.5 + share / 2.0)).await;
        self.wait = (self.wait * 2).min(self.longest);
    }
}
