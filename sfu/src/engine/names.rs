//! Names that travel, each of its own alphabet.

use serde::{Deserialize, Serialize};

/// Name of a room: 1 to 64 of `[a-z0-9-]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId(String);

/// Name of a seat: 1 to 64 of `[A-Za-z0-9_-]`, chosen at random by signaling, the same for the life of the seat.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SeatId(String);

/// Name of a line of the network: 1 to 200 of `[a-z0-9.-]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LineId(String);

/// Why a [`RoomId`], [`SeatId`] or [`LineId`] was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 64 characters of its alphabet, that of a line up to 200")]
pub struct BadId;

macro_rules! text_id {
    ($name:ident, $allowed:expr) => {
        text_id!($name, 64, $allowed);
    };
    ($name:ident, $most:expr, $allowed:expr) => {
        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                let allowed: fn(u8) -> bool = $allowed;
                let fits = (1..=$most).contains(&text.len()) && text.bytes().all(allowed);
                if fits { Ok(Self(text)) } else { Err(BadId) }
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_id!(RoomId, |b| b.is_ascii_lowercase()
    || b.is_ascii_digit()
    || b == b'-');
text_id!(LineId, 200, |b| b.is_ascii_lowercase()
    || b.is_ascii_digit()
    || b == b'-'
    || b == b'.');
text_id!(SeatId, |b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
