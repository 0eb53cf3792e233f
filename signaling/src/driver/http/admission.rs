//! Places for WebSockets: how many there are, how fast they are given, and what a page is told that gets none.
//!
//! A browser does not tell its page why a WebSocket was refused. So a page whose socket did not open asks here, and
//! learns from `Retry-After` (RFC 9110 §10.2.3) how long to stay away. Anybody may ask, so asking takes nothing; and a
//! place is taken by a good `hello` alone. Until then a socket counts as a connection, of which nobody has all
//! (`connections`): *one machine without a token kept all pages out*.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{App, problem};

/// Most WebSockets that said a good `hello`. Above it an upgrade is answered with 503 and `Retry-After`; open ones are not touched.
pub const SESSIONS_MAX: usize = 2_000;

/// WebSockets opened in a second, more than joins pass; above it an upgrade is answered with 429 and `Retry-After`.
const UPGRADES_PER_SECOND: NonZeroU32 = NonZeroU32::new(500).expect("not zero");

/// WebSockets opened at once after a pause.
const UPGRADES_BURST: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");

/// So long after an upgrade was refused for its rate whoever asks is told so: those who were refused ask at once.
const SHORT_TIME: Duration = Duration::from_secs(1);

/// Longest `Retry-After` in seconds; it is drawn from 1 on, so that those who were refused together do not return together.
const RETRY_SECONDS_MAX: u8 = 8;

/// The places of a server.
#[derive(Debug)]
pub struct Places {
    sessions: Arc<Semaphore>,
    upgrades: DefaultDirectRateLimiter,
    made: Instant,
    /// Until when upgrades count as too many, in milliseconds since `made`.
    short_until: AtomicU64,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// All are taken.
    Full,
    /// Too many come at once.
    Rate,
}

impl Places {
    /// So many, all free.
    pub fn new(sessions_max: usize) -> Self {
        let quota = Quota::per_second(UPGRADES_PER_SECOND).allow_burst(UPGRADES_BURST);
        Self {
            sessions: Arc::new(Semaphore::new(sessions_max)),
            upgrades: RateLimiter::direct(quota),
            made: Instant::now(),
            short_until: AtomicU64::new(0),
        }
    }

    /// Whether an upgrade would be given now. Takes nothing.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn look(&self) -> Result<(), Refused> {
        if self.sessions.available_permits() == 0 {
            return Err(Refused::Full);
        }
        if self.millis() < self.short_until.load(Ordering::Relaxed) {
            return Err(Refused::Rate);
        }
        Ok(())
    }

    /// Whether an upgrade is given. It counts for the rate, and takes no place yet.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn knock(&self) -> Result<(), Refused> {
        if self.sessions.available_permits() == 0 {
            return Err(Refused::Full);
        }
        self.upgrades.check().map_err(|_| {
            let until = self.millis() + SHORT_TIME.as_millis() as u64;
            self.short_until.store(until, Ordering::Relaxed);
            Refused::Rate
        })
    }

    /// One place, until what is returned is dropped.
    ///
    /// # Errors
    /// [`Refused::Full`]
    pub fn take(&self) -> Result<OwnedSemaphorePermit, Refused> {
        self.sessions
            .clone()
            .try_acquire_owned()
            .map_err(|_| Refused::Full)
    }

    fn millis(&self) -> u64 {
        self.made.elapsed().as_millis() as u64
    }
}

impl Refused {
    /// Label of the counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Rate => "rate_limited",
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let seconds = rand::random_range(1..=RETRY_SECONDS_MAX);
        match self {
            Self::Full => problem::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Service Unavailable",
                seconds,
            ),
            Self::Rate => problem::later(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "Too Many Requests",
                seconds,
            ),
        }
    }
}

/// `GET /api/v1/admission`: 204 if a WebSocket would be given now, else what the upgrade would answer.
pub(super) fn router() -> Router<App> {
    Router::new().route("/api/v1/admission", get(look))
}

async fn look(State(app): State<App>) -> Response {
    match app.places.look() {
        Ok(()) => (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response(),
        Err(refused) => refused.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_number_and_in_rate_and_the_refused_are_told_when_to_come() {
        let places = Places::new(2);
        let held = [places.take(), places.take()];
        assert!(held.iter().all(Result::is_ok));
        let full = Some(Refused::Full);
        assert_eq!(
            (places.take().err(), places.look().err(), places.knock().err()),
            (full, full, full)
        );
        drop(held);
        let burst = UPGRADES_BURST.get() as usize;
        // Asking takes nothing, however often.
        assert!((0..burst * 100).all(|_| places.look().is_ok()));
        // Faster than they are filled up, whatever machine this is.
        let refused = (0..burst * 100).find_map(|_| places.knock().err());
        assert_eq!((refused, places.look().err()), (Some(Refused::Rate), refused));
        for (refused, status) in [(Refused::Full, 503), (Refused::Rate, 429)] {
            let response = refused.into_response();
            assert_eq!(response.status(), status);
            let seconds: u8 = response.headers()[header::RETRY_AFTER]
                .to_str()
                .expect("text")
                .parse()
                .expect("a number");
            assert!((1..=RETRY_SECONDS_MAX).contains(&seconds));
        }
    }
}
