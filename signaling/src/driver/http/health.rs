//! For load balancers and people: is it alive, is it ready, what version is it.

use axum::{Json, Router, extract::State, http::StatusCode, response::Response, routing::get};
use serde_json::{Value, json};

use super::{App, problem};
use crate::{driver::media::Status, protocol};

/// `/healthz`, `/readyz`, `/api/v1/version`.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/api/v1/version", get(version))
}

/// Ready when the media node is there.
async fn ready(State(app): State<App>) -> Result<&'static str, Response> {
    match *app.media.borrow() {
        Status::Up { .. } => Ok("ready\n"),
        Status::Down | Status::Failing { .. } => Err(problem::of(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Media node is away",
        )),
    }
}

async fn version() -> Json<Value> {
    Json(json!({
        "name": "diemcau",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": {"version": protocol::VERSION, "oldest": protocol::VERSION_MIN},
    }))
}
