//! Signaling's own counters, and the private listener that shows them with the node's.

use std::sync::Arc;

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use tokio::sync::{mpsc, oneshot};

use super::http::problem;

/// Scrapes waiting for the node. Full: the scrape shows signaling alone.
const SCRAPES_LEN: usize = 4;

/// Counters with bounded labels, none of a person.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Open WebSockets.
    pub sessions: IntGauge,
    /// Points in all rooms.
    pub points: IntGauge,
    /// Refusals by code.
    pub refusals: IntCounterVec,
    /// WebSockets closed by us, by close code.
    pub closes: IntCounterVec,
    /// Commands that found the node's queue full.
    pub commands_dropped: IntCounter,
    /// Times a node was started.
    pub node_starts: IntCounter,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("a good name");
            registry
                .register(Box::new(gauge.clone()))
                .expect("registered once");
            gauge
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect("a good name");
            registry
                .register(Box::new(counter.clone()))
                .expect("registered once");
            counter
        };
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label]).expect("a good name");
            registry
                .register(Box::new(counters.clone()))
                .expect("registered once");
            counters
        };
        Self {
            sessions: gauge("diemcau_sessions", "Open WebSockets"),
            points: gauge("diemcau_participants", "Points in all rooms"),
            refusals: counters("diemcau_refusals_total", "Requests refused", "code"),
            closes: counters("diemcau_closes_total", "WebSockets closed by the server", "code"),
            commands_dropped: counter(
                "diemcau_commands_dropped_total",
                "Commands the media node was too slow for",
            ),
            node_starts: counter("diemcau_node_starts_total", "Times a media node was started"),
            registry,
        }
    }

    fn text(&self) -> String {
        let mut text = Vec::new();
        // Families are valid and a Vec takes everything.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Asks the link for the node's text.
pub type Scrapes = mpsc::Sender<oneshot::Sender<String>>;

/// Both ends of the queue of scrapes.
pub fn scrapes() -> (Scrapes, mpsc::Receiver<oneshot::Sender<String>>) {
    mpsc::channel(SCRAPES_LEN)
}

/// `/metrics`, for the private listener.
pub fn router(metrics: Arc<Metrics>, scrapes: Scrapes) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .fallback(problem::not_found)
        .with_state((metrics, scrapes))
}

async fn scrape(State((metrics, scrapes)): State<(Arc<Metrics>, Scrapes)>) -> impl IntoResponse {
    let (sender, node) = oneshot::channel();
    let mut text = metrics.text();
    if scrapes.try_send(sender).is_ok() {
        let wait = std::time::Duration::from_secs(2);
        if let Ok(Ok(node)) = tokio::time::timeout(wait, node).await {
            text.push_str(&node);
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
