//! Metrics and health over HTTP: `/metrics`, `/healthz`, `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus::Registry;
use tokio::net::TcpListener;
use write_behind_shared::metrics::render;

use crate::status::Status;

#[derive(Clone)]
struct Shown {
    status: Arc<Status>,
    registry: Registry,
}

/// Begins to listen.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until it is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    status: Arc<Status>,
    registry: Registry,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Shown { status, registry });
    axum::serve(listener, router).await
}

async fn metrics(State(shown): State<Shown>) -> (StatusCode, String) {
    match render(&shown.registry) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Whether the process is alive; an orchestrator restarts it when not.
async fn healthz(State(shown): State<Shown>) -> (StatusCode, String) {
    answer(shown.status.sickness().map(str::to_owned))
}

/// Whether it does its work; the body says why not.
async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    answer(shown.status.unreadiness())
}

fn answer(trouble: Option<String>) -> (StatusCode, String) {
    match trouble {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")),
    }
}
