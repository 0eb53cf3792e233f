//! What is served over HTTP: the page, the WebSocket, WHIP and WHEP, health and version. One router, so that tests need no server.

pub mod admission;
mod health;
mod page;
pub mod problem;
pub(crate) mod whip;
mod ws;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, Uri, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
    routing::get,
};
use governor::DefaultDirectRateLimiter;
use tokio::sync::watch;
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};

use super::{auth::Keys, media::Status, meeting_task::Sender, metrics::Metrics};

/// Largest body of a request; routes that read one have their own limit.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Longest time for a request, upgrades not counted.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);

/// What handlers share.
#[derive(Debug, Clone)]
pub struct App(Arc<Shared>);

/// The inside of [`App`].
#[derive(Debug)]
pub struct Shared {
    /// The door to the meetings.
    pub meetings: Sender,
    /// Reads tokens.
    pub keys: Arc<Keys>,
    /// Whose pages may open a WebSocket.
    pub origins: Origins,
    /// How the node is.
    pub media: watch::Receiver<Status>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether the listener speaks TLS.
    pub tls: bool,
    /// Places for WebSockets.
    pub places: admission::Places,
    /// Of requests for WHIP and WHEP.
    pub whip_rate: DefaultDirectRateLimiter,
}

impl From<Shared> for App {
    fn from(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl std::ops::Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Everything under the public listener.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/ws", get(ws::upgrade))
        .merge(admission::router())
        .merge(health::router())
        .merge(page::router())
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .merge(whip::router())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::not_found)
        .layer(TimeoutLayer::with_status_code(
            axum::http::StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIME_MAX,
        ))
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(app.clone(), transport_security))
        .layer(from_fn(security_headers))
        .with_state(app)
}

/// No other origin, no inline code, nothing embedded anywhere; devices for our own pages only.
const SECURITY_HEADERS: [(header::HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
    (
        header::HeaderName::from_static("permissions-policy"),
        "camera=(self), microphone=(self), display-capture=(self), fullscreen=(self), speaker-selection=(self), \
         autoplay=(self), screen-wake-lock=(self), geolocation=(), usb=(), payment=()",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        header::HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Browsers that came by TLS once keep to it (RFC 6797).
async fn transport_security(
    axum::extract::State(app): axum::extract::State<App>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if app.tls {
        let value = HeaderValue::from_static("max-age=31536000");
        response
            .headers_mut()
            .insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

/// The exact allow-list of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    allowed: BTreeSet<String>,
    tls: bool,
}

impl Origins {
    /// The configured ones, and those under which a page of the listener itself is reached.
    pub fn new(configured: &[String], listen: std::net::SocketAddr, tls: bool) -> Self {
        let scheme = if tls { "https" } else { "http" };
        let mut allowed: BTreeSet<String> = configured.iter().cloned().collect();
        let mut add = |host: &str| {
            let default_port = if tls { 443 } else { 80 };
            if listen.port() == default_port {
                allowed.insert(format!("{scheme}://{host}"));
            }
            allowed.insert(format!("{scheme}://{host}:{}", listen.port()));
        };
        match listen.ip() {
            std::net::IpAddr::V4(ip) => add(&ip.to_string()),
            std::net::IpAddr::V6(ip) => add(&format!("[{ip}]")),
        }
        if listen.ip().is_loopback() {
            add("localhost");
        }
        Self { allowed, tls }
    }

    /// Whether a page of that origin may open a WebSocket on that host. Under TLS a page of the same host may: our
    /// certificate has proven the name, so no foreign name can be made to point here.
    pub fn allows(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return false };
        if self.allowed.contains(origin) {
            return true;
        }
        let own = origin.strip_prefix("https://").filter(|_| self.tls);
        let is_bare = |name: &str| name.parse::<Uri>().is_ok_and(|uri| uri.authority().is_some());
        own.is_some_and(|name| Some(name) == host && is_bare(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_origins_are_allowed() {
        let listen = "127.0.0.1:8080".parse().expect("an address");
        let origins = Origins::new(&["https://hop.example.vn".into()], listen, false);
        let allows = |origin| origins.allows(Some(origin), Some("127.0.0.1:8080"));
        for good in [
            "http://127.0.0.1:8080",
            "http://localhost:8080",
            "https://hop.example.vn",
        ] {
            assert!(allows(good), "{good}");
        }
        for bad in [
            "null",
            "",
            "http://127.0.0.1",
            "https://127.0.0.1:8080",
            "http://127.0.0.1:8080.evil.example",
            "http://evil.example",
            "https://hop.example.vn.evil.example",
            "https://HOP.example.vn",
            "*",
        ] {
            assert!(!allows(bad), "{bad}");
        }
        assert!(!origins.allows(None, Some("127.0.0.1:8080")));
    }

    #[test]
    fn under_tls_the_own_name_is_an_origin() {
        let origins = Origins::new(&[], "0.0.0.0:443".parse().expect("an address"), true);
        assert!(origins.allows(Some("https://hop.tinh.vn"), Some("hop.tinh.vn")));
        assert!(!origins.allows(Some("https://evil.example"), Some("hop.tinh.vn")));
        assert!(!origins.allows(Some("http://hop.tinh.vn"), Some("hop.tinh.vn")));
        assert!(!origins.allows(Some("https://hop.tinh.vn"), None));
    }
}
