//! The client protocol of `docs/PROTOCOL.md` as types: what a client may say, what it is told, and the one place that
//! turns frames into messages.
//!
//! Every word is parsed into a type that cannot hold a bad one; unknown fields, duplicate keys (at any level) and deep
//! nesting are refused. The golden files in `fixtures/protocol/` are read by the tests of both ends.

mod codes;
mod offer;
mod quality;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sfu::{
    control::{MediaState, Profile, RoomId, RoomPolicy, SlotChange, VideoCodec},
    engine::id::{MediaKind, PointNumber, SlotId, SourceKind, SourceNumber},
};

pub use self::{
    codes::{CloseCode, ErrorCode},
    offer::Offer,
    quality::{LayerOrder, SlotQuality, SourceOrder, Stats},
};
use crate::{
    json,
    names::{DisplayName, Mid, Role, SiteId, Token},
};

/// Version that this server speaks.
pub const VERSION: u16 = 3;

/// Oldest version that it still serves: its own and the two before.
pub const VERSION_MIN: u16 = 1;

/// Longest client frame in bytes. A longer one closes with [`CloseCode::TooLarge`].
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Longest frame in bytes of the two messages that carry an offer.
pub const OFFER_FRAME_BYTES_MAX: usize = 256 * 1024;

/// Deepest nesting of a frame.
pub const DEPTH_MAX: usize = 8;

/// Most video slots of any profile.
pub const VIDEO_SLOTS_MAX: u8 = 27;

/// Largest tile height in pixels.
pub const HEIGHT_MAX: u16 = 2160;

/// From a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// Opens the session; takes no seat. First frame of every connection.
    Hello {
        /// Protocol version of the client.
        version: u16,
        /// Room token.
        token: Token,
        /// Takes a seat again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<Token>,
    },
    /// Takes the seat, or replaces its media.
    Join(Box<Join>),
    /// ICE restart.
    Restart {
        /// Repeated in the answer.
        id: u32,
        /// Same m-sections and certificate, new ufrag.
        offer: Offer,
    },
    /// The pictures wanted, whole list each time.
    View {
        /// A slot not named is empty.
        slots: Wants,
    },
    /// A source of its own goes on or off.
    Publish {
        /// Which.
        source: SourceKind,
        /// On or off.
        on: bool,
    },
    /// Gives the floor to a point; whoever had it has it no more.
    GiveFloor {
        /// Repeated in an `error`.
        id: u32,
        /// Who is to have it.
        point: PointNumber,
    },
    /// Takes the floor from whoever has it.
    TakeFloor {
        /// Repeated in an `error`.
        id: u32,
    },
    /// What the page says of itself, once a second.
    Stats(Stats),
    /// Gives up the seat.
    Leave {},
    /// Asks for a `pong`.
    Ping {
        /// Repeated in the answer.
        id: u32,
    },
}

/// A seat asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Repeated in the answer.
    pub id: u32,
    /// Shown to everybody.
    pub name: DisplayName,
    /// Fixes the number of video slots.
    pub profile: Profile,
    /// Which m-section of the offer is which source.
    pub sources: BTreeMap<SourceKind, Mid>,
    /// Sources that are on from the start.
    pub published: BTreeSet<SourceKind>,
    /// The one offer.
    pub offer: Offer,
}

/// A picture wanted in a video slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Want {
    /// A video slot.
    pub slot: SlotId,
    /// A camera or screen of the room.
    pub source: SourceNumber,
    /// Height of the tile in pixels, 1 to [`HEIGHT_MAX`].
    pub height: u16,
    /// The person chose this picture: it comes right after the stage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
}

impl From<Want> for sfu::control::Want {
    fn from(want: Want) -> Self {
        Self {
            slot: want.slot,
            source: want.source,
            height: want.height,
            pinned: want.pinned,
        }
    }
}

/// At most one want per video slot, each within its ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Want>", into = "Vec<Want>")]
pub struct Wants(Vec<Want>);

impl TryFrom<Vec<Want>> for Wants {
    type Error = Refused;
    fn try_from(wants: Vec<Want>) -> Result<Self, Refused> {
        let mut taken = BTreeSet::new();
        let fits = wants.iter().all(|want| {
            want.slot.kind == MediaKind::Video
                && want.slot.index < VIDEO_SLOTS_MAX
                && want.source.kind().media() == MediaKind::Video
                && (1..=HEIGHT_MAX).contains(&want.height)
                && taken.insert(want.slot)
        });
        if fits { Ok(Self(wants)) } else { Err(Refused) }
    }
}

impl From<Wants> for Vec<Want> {
    fn from(wants: Wants) -> Self {
        wants.0
    }
}

/// A value out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("value out of range")]
pub struct Refused;

/// To a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ServerMessage {
    /// Session open, no seat yet.
    Welcome {
        /// What is spoken with this client: the version of its `hello`.
        version: u16,
        /// Name and version of the server's software.
        server: String,
        /// The token's room.
        room: RoomInfo,
        /// From the token, may be empty.
        name: String,
        /// From the token.
        site: Option<SiteId>,
        /// From the token.
        role: Role,
        /// How many are in.
        points: u16,
        /// How pictures are sent in the room; not told in version 1, whose clients send VP8.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        video: Option<VideoRules>,
    },
    /// The seat and its answer.
    Joined {
        /// Of the `join`.
        id: u32,
        /// The seat's number.
        number: PointNumber,
        /// Takes the seat again after a broken connection.
        resume: Token,
        /// SDP answer.
        answer: String,
        /// The m-section of each slot.
        slots: BTreeMap<SlotId, String>,
        /// Everybody, oneself too, by number.
        points: Vec<Point>,
        /// Of the last change that `points` has in it.
        sequence: u64,
        /// Who has the floor.
        floor: Option<PointNumber>,
    },
    /// The seat is this session's again.
    Resumed {
        /// The seat's number.
        number: PointNumber,
        /// A new resume token.
        resume: Token,
        /// Whether the media path is still there.
        media: ResumedMedia,
        /// What each slot shows now.
        slots: Vec<SlotChange>,
        /// Everybody, by number.
        points: Vec<Point>,
        /// Of the last change that `points` has in it.
        sequence: u64,
        /// Who has the floor.
        floor: Option<PointNumber>,
    },
    /// ICE restart done.
    Restarted {
        /// Of the `restart`.
        id: u32,
        /// SDP answer.
        answer: String,
    },
    /// The `join` stands in line; from version 3 on.
    Queued {
        /// Of the `join`.
        id: u32,
        /// From 1.
        place: u32,
    },
    /// One change of the roster.
    Point {
        /// Grows by one; a gap means: reconnect and resume.
        sequence: u64,
        /// What changed.
        change: Change,
        /// As it is now (or was, when it left).
        point: Point,
    },
    /// Slots show something else.
    Slots {
        /// Only those that changed.
        slots: Vec<SlotChange>,
    },
    /// What the slots get.
    Quality {
        /// All slots that have something wanted in them, each time.
        slots: Vec<SlotQuality>,
    },
    /// What this client is to send.
    Send {
        /// Length of voice packets in milliseconds, 20 or 60.
        voice_ms: u8,
        /// All its pictures, each time.
        sources: Vec<SourceOrder>,
    },
    /// Whoever is loudest.
    Speaker {
        /// Or nobody.
        number: Option<PointNumber>,
    },
    /// Somebody was given the floor, or it was taken.
    Floor {
        /// Who has it now, or nobody.
        number: Option<PointNumber>,
    },
    /// The node's view of this client's media path.
    Media {
        /// `lost`: send `join` again.
        state: MediaState,
    },
    /// A request was refused and changed nothing.
    Error {
        /// Of the request, if it had one.
        id: Option<u32>,
        /// Why.
        code: ErrorCode,
    },
    /// Last message before the server closes.
    Bye {
        /// Why.
        code: ErrorCode,
    },
    /// To `ping`.
    Pong {
        /// Of the `ping`.
        id: u32,
    },
}

/// A room as a newcomer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomInfo {
    /// Stable id.
    pub id: RoomId,
    /// For people.
    pub title: String,
}

/// How pictures are sent in a room: what a client needs before it makes its one offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoRules {
    /// The wanted first, 1 to 4, each once.
    pub codecs: Vec<VideoCodec>,
    /// A camera's layers go in one stream (scalable coding) where codec and browser can do that; else as simulcast.
    pub scalable: bool,
}

/// Rooms for more points than this send simulcast: with scalable coding a receiver that goes up a layer costs a key frame of all layers.
const SCALABLE_POINTS_MAX: u16 = 10;

impl VideoRules {
    /// In a room with that policy.
    pub fn of(policy: &RoomPolicy) -> Self {
        Self {
            codecs: policy.video.clone(),
            scalable: policy.points_max <= SCALABLE_POINTS_MAX,
        }
    }
}

/// Somebody in the room as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The seat's number.
    pub number: PointNumber,
    /// Shown to everybody.
    pub name: DisplayName,
    /// Where it sits, if known.
    pub site: Option<SiteId>,
    /// What it is in the meeting.
    pub role: Role,
    /// The sources it says it sends.
    pub published: BTreeSet<SourceKind>,
    /// False while its media path is down.
    pub connected: bool,
}

/// What became of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Took a seat.
    Joined,
    /// Something about it is different.
    Changed,
    /// Gave up its seat, or was away too long.
    Left,
}

/// What a resumed seat finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumedMedia {
    /// The connection goes on.
    Kept,
    /// Gone: send `join` again.
    Lost,
}

/// A frame that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadFrame {
    /// Over the limit of its kind: close with [`CloseCode::TooLarge`].
    TooLarge,
    /// To be answered with an `error`.
    Refused {
        /// Of the request, if it could be read.
        id: Option<u32>,
        /// What to answer.
        code: ErrorCode,
    },
}

impl ClientMessage {
    /// Reads one text frame.
    ///
    /// # Errors
    /// [`ErrorCode::BadMessage`] for whatever is not the protocol's shape; [`ErrorCode::BadName`],
    /// [`ErrorCode::BadToken`] and [`ErrorCode::BadSdp`] for a `name`, `token` or `offer` that is text but not allowed;
    /// [`BadFrame::TooLarge`] for a frame above 64 KiB that carries no offer, or above 256 KiB.
    pub fn decode(frame: &str) -> Result<Self, BadFrame> {
        let bad = |id, code| BadFrame::Refused { id, code };
        if frame.len() > OFFER_FRAME_BYTES_MAX {
            return Err(BadFrame::TooLarge);
        }
        let value = json::parse(frame, DEPTH_MAX).map_err(|_| bad(None, ErrorCode::BadMessage))?;
        let id = value
            .get("id")
            .and_then(serde_json::Value::as_u64)
            .and_then(|id| u32::try_from(id).ok());
        let carries_offer = matches!(
            value.get("type").and_then(|t| t.as_str()),
            Some("join" | "restart")
        );
        if frame.len() > FRAME_BYTES_MAX && !carries_offer {
            return Err(BadFrame::TooLarge);
        }
        let message: Self = serde_json::from_value(value.clone()).map_err(|_| bad(id, refusal(&value)))?;
        match &message {
            // A source cannot be on without a place in the offer.
            Self::Join(join) if !join.published.iter().all(|kind| join.sources.contains_key(kind)) => {
                Err(bad(id, ErrorCode::BadMessage))
            }
            _ => Ok(message),
        }
    }

    /// As a text frame.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("keys are text and numbers are finite")
    }
}

/// The code of a message that did not fit its type: that of the one word people get wrong, if it is the word.
fn refusal(value: &serde_json::Value) -> ErrorCode {
    let text = |key: &str| value.get(key).and_then(|word| word.as_str()).map(str::to_owned);
    match value.get("type").and_then(|t| t.as_str()) {
        Some("join") if text("name").is_some_and(|raw| DisplayName::try_from(raw).is_err()) => {
            ErrorCode::BadName
        }
        Some("hello") if text("token").is_some_and(|raw| Token::try_from(raw).is_err()) => {
            ErrorCode::BadToken
        }
        Some("join" | "restart") if text("offer").is_some_and(|raw| Offer::try_from(raw).is_err()) => {
            ErrorCode::BadSdp
        }
        _ => ErrorCode::BadMessage,
    }
}

impl ServerMessage {
    /// As a text frame.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("keys are text and numbers are finite")
    }

    /// Reads one text frame, for clients written in Rust.
    ///
    /// # Errors
    /// The frame is not the protocol's shape.
    pub fn decode(frame: &str) -> Result<Self, json::BadJson> {
        let value = json::parse(frame, DEPTH_MAX)?;
        serde_json::from_value(value).map_err(|_| json::BadJson)
    }
}
