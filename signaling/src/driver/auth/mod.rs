//! Tokens: who somebody is (room tokens) and which seat was theirs (resume tokens).

mod key;
mod token;

pub use key::{KeyError, Keys};
pub use token::{RESUME_LIFE_SECONDS, RoomToken, SKEW_SECONDS, TokenError};

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 by this machine's clock.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
