//! What the engine's own tests share.

use std::time::{Duration, Instant};

/// The instant at which virtual time begins. Tests add durations to it and never look at the clock again.
#[allow(
    clippy::disallowed_methods,
    reason = "std has no other way to make an Instant"
)]
pub(crate) fn base() -> Instant {
    Instant::now()
}

/// So many milliseconds.
pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
