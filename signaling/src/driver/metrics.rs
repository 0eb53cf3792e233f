//! Signaling's own counters, and the private listener that shows them with the node's.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use sfu::control::RoomId;
use tokio::{sync::oneshot, time::timeout};

use super::{
    http::problem,
    node_look::{Look, Looks},
};

/// How long a look waits for the node; then it does without.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);

/// Counters with bounded labels, none of a person.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Open WebSockets.
    pub sessions: IntGauge,
    /// Points in all rooms.
    pub points: IntGauge,
    /// Joins that stand in line.
    pub queued: IntGauge,
    /// Sessions of WHIP.
    pub publishers: IntGauge,
    /// Sessions of WHEP.
    pub players: IntGauge,
    /// Refusals by code.
    pub refusals: IntCounterVec,
    /// WebSockets closed by us, by close code.
    pub closes: IntCounterVec,
    /// Commands that found the node's queue full.
    pub commands_dropped: IntCounter,
    /// Times a node was started.
    pub node_starts: IntCounter,
    /// Settings with which the node was started otherwise.
    pub node_settings_stale: IntGauge,
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
            queued: gauge("diemcau_joins_queued", "Joins that stand in line"),
            publishers: gauge("diemcau_whip_sessions", "Points that publish by WHIP"),
            players: gauge("diemcau_whep_sessions", "Players by WHEP"),
            refusals: counters("diemcau_refusals_total", "Requests refused", "code"),
            closes: counters("diemcau_closes_total", "WebSockets closed by the server", "code"),
            commands_dropped: counter(
                "diemcau_commands_dropped_total",
                "Commands the media node was too slow for",
            ),
            node_settings_stale: gauge(
                "diemcau_node_settings_stale",
                "Settings of media that take effect only when the media node starts again",
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

/// What the private listener shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Signaling's own.
    pub metrics: Arc<Metrics>,
    /// The node's.
    pub looks: Looks,
    /// Whether rooms can be looked into.
    pub rooms: bool,
}

/// `/metrics`, and `/debug/rooms/{room}` if rooms can be looked into; for the private listener.
pub fn router(shown: Shown) -> Router {
    let mut router = Router::new().route("/metrics", get(scrape));
    if shown.rooms {
        router = router.route("/debug/rooms/{room}", get(inspect));
    }
    router.fallback(problem::not_found).with_state(shown)
}

async fn scrape(State(shown): State<Shown>) -> impl IntoResponse {
    let mut text = shown.metrics.text();
    if let Some(node) = look(&shown.looks, Look::Metrics).await {
        text.push_str(&node);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// What the node knows of a room: figures by number, no names, no addresses.
async fn inspect(State(shown): State<Shown>, Path(room): Path<String>) -> Response {
    let Ok(room) = RoomId::try_from(room) else {
        return problem::not_found().await;
    };
    match look(&shown.looks, |asked| Look::Room(room, asked)).await {
        Some(Some(report)) => ([(header::CACHE_CONTROL, "no-store")], Json(*report)).into_response(),
        Some(None) => problem::not_found().await,
        None => problem::of(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Media node is away",
        ),
    }
}

/// None: the node is away, or too many look.
async fn look<T>(looks: &Looks, wanted: impl FnOnce(oneshot::Sender<T>) -> Look) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    looks.try_send(wanted(sender)).ok()?;
    timeout(LOOK_TIME_MAX, answer).await.ok()?.ok()
}
