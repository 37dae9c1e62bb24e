//! The HTTP server: the live page, `/status`, `/history`, `/metrics`, `/healthz`, `/readyz`. What it
//! answers itself changes nothing, and shows no secret; what other rooms answer is given to it.
//!
//! Clients are limited: in the number of connections, the bytes of a request's head, the time to send
//! it, and the lifetime of a connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::Registry;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use write_behind_shared::metrics::render;

use crate::status::Status;
use crate::status::history::Point;
use crate::status::report::StatusReport;

/// What clients may take.
#[derive(Clone, Copy, Debug)]
struct ServerLimits {
    connections: usize,
    /// Bytes of a request's head.
    head_bytes: usize,
    /// Time to send each request's head, and to take the last answer.
    head_within: Duration,
    /// The lifetime of a connection; a browser then opens another one.
    connection_within: Duration,
}

const LIMITS: ServerLimits = ServerLimits {
    connections: 64,
    head_bytes: 16 << 10,
    head_within: Duration::from_secs(10),
    connection_within: Duration::from_mins(1),
};

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Sent with every answer. The page loads only its own files, and may be in no frame.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        HeaderName::from_static("content-security-policy"),
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cache-control"), HeaderValue::from_static("no-store")),
];

#[derive(Clone)]
struct Shown {
    status: Arc<Status>,
    registry: Registry,
}

/// Which points of the history are asked for.
#[derive(Deserialize)]
struct After {
    /// Those later than this, in milliseconds since 1970.
    #[serde(default)]
    after: u64,
    /// Those of the last hour, and not second by second.
    #[serde(default)]
    hour: bool,
}

/// Starts to listen.
///
/// # Errors
/// Why it can't, and what to do.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!(
            "can't listen on `http.listen` = {address}: {error}; is another write-behind there? \
             WRITE_BEHIND_HTTP_LISTEN gives this one another address"
        )
    })
}

/// Answers until it is dropped. `more`: what other rooms answer.
pub(crate) async fn serve(
    listener: TcpListener,
    status: Arc<Status>,
    registry: Registry,
    more: Router,
) -> Infallible {
    accept(listener, router(Shown { status, registry }, more), LIMITS).await
}

async fn accept(listener: TcpListener, router: Router, limits: ServerLimits) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= limits.connections {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, router.clone(), limits));
            }
            Err(error) => {
                // It passes: the process may be out of file descriptors.
                tracing::debug!(%error, "a connection to the HTTP server failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, router: Router, limits: ServerLimits) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // How a connection ends does not matter.
    if tokio::time::timeout(limits.connection_within, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(limits.head_within, connection).await;
    }
}

fn router(shown: Shown, more: Router) -> Router {
    let file = |kind: &'static str, text: &'static str| {
        get(async move || ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text))
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page/page.html")))
        .route("/page.css", file("text/css; charset=utf-8", include_str!("page/page.css")))
        .route("/page.js", file(SCRIPT, include_str!("page/page.js")))
        .route("/letters.js", file(SCRIPT, include_str!("page/letters.js")))
        .route("/fleet.js", file(SCRIPT, include_str!("page/fleet.js")))
        .route("/icon.svg", file("image/svg+xml", include_str!("page/icon.svg")))
        .route("/icon-warn.svg", file("image/svg+xml", include_str!("page/icon-warn.svg")))
        .route("/icon-bad.svg", file("image/svg+xml", include_str!("page/icon-bad.svg")))
        .route("/status", get(status))
        .route("/history", get(history))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(shown)
        .merge(more)
        .layer(map_response(async |mut answer: Response| {
            answer.headers_mut().extend(HEADERS);
            answer
        }))
}

async fn status(State(shown): State<Shown>) -> Json<StatusReport> {
    Json(shown.status.report())
}

/// For the page alone: its form may change.
async fn history(State(shown): State<Shown>, Query(asked): Query<After>) -> Json<Vec<Point>> {
    let status = &shown.status;
    let mut points = if asked.hour { status.history_of_the_hour() } else { status.history() };
    points.retain(|point| point.time_ms > asked.after);
    Json(points)
}

async fn metrics(State(shown): State<Shown>) -> (StatusCode, String) {
    // Nobody else notices when the thread that publishes is stuck.
    shown.status.note_readiness();
    match render(&shown.registry) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Whether the process is alive; if not, an orchestrator restarts it.
async fn healthz(State(shown): State<Shown>) -> (StatusCode, String) {
    answer(shown.status.sickness().map(str::to_owned))
}

/// Whether the consumer does its work; if not, the body says why.
async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    answer(shown.status.unreadiness())
}

fn answer(unready: Option<String>) -> (StatusCode, String) {
    match unready {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(unready) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unready}\n")),
    }
}

#[cfg(test)]
#[path = "tests/http.rs"]
mod tests;
