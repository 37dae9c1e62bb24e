//! The way to the collector. The exporter runs on its own thread but needs the tokio runtime for
//! requests, and only this file reports that the collector rejects spans.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

/// How long a request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The least time between two lines about a collector that does not take spans.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// A client of one collector.
#[derive(Debug)]
pub(super) struct Collector {
    client: HyperClient,
    runtime: Handle,
    endpoint: String,
    told: Mutex<Option<Instant>>,
}

impl Collector {
    /// Sends by the runtime that this is called in.
    pub(super) fn new(endpoint: &str) -> Self {
        Self {
            client: HyperClient::with_default_connector(ANSWER_WITHIN, None),
            runtime: Handle::current(),
            endpoint: endpoint.to_owned(),
            told: Mutex::new(None),
        }
    }

    /// An outage of the collector loses spans and nothing else, so it is told and not waited for.
    fn tell(&self, why: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        tracing::warn!(
            "the collector at {} takes no spans: {why}; they are dropped",
            self.endpoint
        );
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move { client.send_bytes(request).await });
        let answer = sent.await.map_err(HttpError::from).and_then(|answer| answer);
        match &answer {
            Ok(answer) if !answer.status().is_success() => self.tell(answer.status().as_str()),
            Ok(_) => {}
            Err(error) => self.tell(&error.to_string()),
        }
        answer
    }
}
