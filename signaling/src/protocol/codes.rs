//! Why something was refused, and why a WebSocket was closed.

use serde::{Deserialize, Serialize};

/// Why something was refused. Stable: pages have the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not the shape of the protocol.
    BadMessage,
    /// Too many messages.
    RateLimited,
    /// Not ours, damaged, wrong algorithm, wrong audience, not yet valid.
    BadToken,
    /// Was ours.
    TokenExpired,
    /// No such room, or not open to this token.
    UnknownRoom,
    /// The room's cap is reached.
    RoomFull,
    /// Display name not allowed.
    BadName,
    /// The offer is not one we can answer.
    BadSdp,
    /// Not now.
    State,
    /// Not with this role.
    NotAllowed,
    /// The media node is away; try again.
    Unavailable,
    /// Our fault; nothing was changed.
    Internal,
}

impl ErrorCode {
    /// As it stands in messages, problem documents and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadMessage => "bad_message",
            Self::RateLimited => "rate_limited",
            Self::BadToken => "bad_token",
            Self::TokenExpired => "token_expired",
            Self::UnknownRoom => "unknown_room",
            Self::RoomFull => "room_full",
            Self::BadName => "bad_name",
            Self::BadSdp => "bad_sdp",
            Self::State => "state",
            Self::NotAllowed => "not_allowed",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// Why the server closed the WebSocket (RFC 6455 §7.4 and our own range).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum CloseCode {
    /// `leave`.
    Left = 1000,
    /// The server stops, or it restarted into a room that is full and gave up a seat that had no media: come back.
    GoingAway = 1001,
    /// Went on above the rate.
    Rate = 1008,
    /// Frame over its limit.
    TooLarge = 1009,
    /// Did not read.
    SlowReader = 1013,
    /// Five bad messages in 10 s.
    BadMessages = 4400,
    /// Token refused.
    BadToken = 4401,
    /// No such room.
    UnknownRoom = 4404,
    /// No `hello` in time.
    NoHello = 4408,
    /// The seat was taken by another session of the same person.
    Replaced = 4409,
}
