//! `/metrics`, `/healthz`, `/readyz`, `/status`: it reads what shards publish, and never touches a shard.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::report::{Scribe, status};
use crate::telemetry::{build, clock};

/// What the pages need.
pub struct Pages {
    /// The daemon's state.
    pub board: Arc<Board>,
    /// What writes metrics.
    pub scribe: Mutex<Scribe>,
}

/// Binds the address.
///
/// # Errors
/// A text with the cure when the address cannot be had.
pub async fn bind(listen: &str) -> Result<(TcpListener, SocketAddr), String> {
    let fail = |error: std::io::Error| {
        format!(
            "http.listen {listen}: {error}; choose another port with DATA_MANAGER__HTTP__LISTEN, or an empty one for no HTTP"
        )
    };
    let listener = TcpListener::bind(listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

/// Answers requests until `stop`.
pub async fn answer(listener: TcpListener, pages: Arc<Pages>, stop: CancellationToken) {
    let router = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(whole_status))
        .with_state(pages);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(err = %error, "HTTP ended");
    }
}

async fn index() -> String {
    format!("data-manager {}\n\n/metrics\n/status\n/readyz\n/healthz\n", build::LONG)
}

async fn metrics(State(pages): State<Arc<Pages>>) -> Response {
    let mut scribe = pages.scribe.lock().unwrap_or_else(PoisonError::into_inner);
    let text = scribe.scrape(&pages.board, clock::now());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn healthz(State(pages): State<Arc<Pages>>) -> Response {
    verdict("alive", &pages.board.ailments(clock::now()))
}

async fn readyz(State(pages): State<Arc<Pages>>) -> Response {
    verdict("ready", &pages.board.reasons(clock::now()))
}

async fn whole_status(State(pages): State<Arc<Pages>>) -> Response {
    axum::Json(status(&pages.board, clock::now())).into_response()
}

fn verdict(what: &str, reasons: &[String]) -> Response {
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, axum::Json(json!({what: reasons.is_empty(), "reasons": reasons}))).into_response()
}
