//! The control protocol between signaling and a media node.
//!
//! The same messages travel over an in-process channel and over a Unix socket, there as one JSON object a line
//! ([`FRAME_BYTES_MAX`]). Commands are idempotent: signaling may say again what the node already knows, and after a
//! restart it reconciles from [`Command::Snapshot`]. Signaling keeps people; the node keeps media and, for each seat,
//! an opaque note ([`Join::seat_note`]) that lets a restarted signaling know who sits where.

mod quality;

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

pub use self::quality::{
    LINES_MAX, LINES_ON_WAY_MAX, LineBudget, LineReport, Network, RoomReport, SITES_MAX,
};
use crate::engine::id::{PointNumber, SlotId, SourceKind, SourceNumber};
pub use crate::engine::{
    id::Rank,
    names::{BadId, LineId, RoomId, SeatId},
    page::{ClientState, SlotChange, Want},
    policy::{RoomPolicy, VIDEO_CODECS_MAX, VideoCodec},
    quality::{LayerOrder, PointReport, SendOrder, SlotQuality, SourceOrder},
    shortfall::Cause,
};

/// Version of this protocol. A node answers [`ControlError::Version`] to any other.
pub const VERSION: u16 = 1;

/// Longest frame in bytes, line feed included. A longer one ends the connection. A snapshot of 2,000 seats with the
/// longest notes is the largest there is.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Longest [`Join::seat_note`] in bytes.
pub const SEAT_BYTES_MAX: usize = 4096;

/// Most pages of which one [`Command::SetClients`] speaks: as many as a node has seats.
pub const CLIENTS_MAX: usize = 2_000;

/// Longest offer in bytes.
pub const OFFER_BYTES_MAX: usize = 256 * 1024;

/// From signaling to the node. Each request gets exactly one [`FromNode::Reply`] with its `id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by signaling, repeated in the reply.
    pub id: u64,
    /// What to do.
    pub command: Command,
}

/// What signaling asks of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// First on every connection. The newest connection is the only one that is served; an older one is closed.
    Hello {
        /// [`VERSION`] of the speaker.
        version: u16,
    },
    /// All rooms and seats the node has.
    Snapshot,
    /// Makes a room, or sets the policy of one that is there.
    OpenRoom {
        /// Which.
        room: RoomId,
        /// How it behaves.
        policy: RoomPolicy,
    },
    /// Ends a room and everybody's media in it. Nothing happens if there is none.
    CloseRoom {
        /// Which.
        room: RoomId,
    },
    /// Takes an offer. If the seat has media already, it is replaced (same number).
    Join(Box<Join>),
    /// ICE restart of a seat's connection.
    Restart {
        /// Where.
        room: RoomId,
        /// Who.
        seat: SeatId,
        /// The new offer: same m-sections and fingerprint, new ufrag.
        offer: String,
    },
    /// ICE restart of a connection whose client speaks of ICE alone (RFC 9725 §4.3.3).
    RestartIce {
        /// Where.
        room: RoomId,
        /// Who.
        seat: SeatId,
        /// Its new ufrag and password, as [`crate::wire::sdpfrag`] reads them. At most [`OFFER_BYTES_MAX`].
        fragment: String,
    },
    /// Ends a seat's media. Nothing happens if there is none.
    Leave {
        /// Where.
        room: RoomId,
        /// Who.
        seat: SeatId,
    },
    /// The pictures a seat wants, the whole list: a slot not named is empty.
    SetView {
        /// Where.
        room: RoomId,
        /// Who.
        seat: SeatId,
        /// At most one want per video slot; a second one for the same slot, or one for a slot it has not, is refused.
        wants: Vec<Want>,
    },
    /// The voice a seat wants in `a0`.
    SetVoice {
        /// Where.
        room: RoomId,
        /// Who.
        seat: SeatId,
        /// A microphone or the sound of a screen; it plays as soon as it is on. None: whatever goes with the picture in `v0`.
        source: Option<SourceNumber>,
    },
    /// A source goes on or off. While off nothing of it is forwarded, whatever arrives.
    SetPublished {
        /// Where.
        room: RoomId,
        /// Who.
        seat: SeatId,
        /// Which source.
        source: SourceKind,
        /// On or off.
        on: bool,
    },
    /// Who has the floor: heard before all others when it speaks, and with a slot kept for it. Whoever it is need not have media now.
    SetFloor {
        /// Where.
        room: RoomId,
        /// Who, or nobody.
        number: Option<PointNumber>,
    },
    /// The lines on the way to each site and what meetings may take of them. Replaces the former network; seats keep
    /// the site they joined from.
    SetNetwork {
        /// All of it.
        network: Network,
    },
    /// What pages say of themselves, each once a second. Who has left meanwhile is passed over.
    SetClients {
        /// Where.
        room: RoomId,
        /// Who says what; at most [`CLIENTS_MAX`].
        clients: Vec<(SeatId, ClientState)>,
    },
    /// Everything known of one room, for operators. Rates and losses are over the time since the last look at them
    /// ([`Command::Metrics`] is one too), at least a second.
    Inspect {
        /// Which.
        room: RoomId,
    },
    /// The node's counters, for signaling's `/metrics`.
    Metrics,
    /// Ends the node cleanly: peers are told by DTLS close, sockets are closed, the process exits with 0.
    Shutdown,
}

/// A point's form, which fixes how many video slots it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// 8 video slots.
    Phone,
    /// 18 video slots.
    Laptop,
    /// 27 video slots: halls and consoles, which have no page of their own yet.
    Tv,
}

impl Profile {
    /// Most video slots of this form; an offer may ask for fewer.
    pub fn video_slots(self) -> u8 {
        match self {
            Self::Phone => 8,
            Self::Laptop => 18,
            Self::Tv => 27,
        }
    }
}

/// Most audio slots of any form: the stage's voice and the loudest of the rest.
pub const AUDIO_SLOTS: u8 = 6;

/// Whose offer it is, and with that what its m-sections become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// A page: what it names are sources, what receives are slots.
    #[default]
    Page,
    /// A WHIP client (RFC 9725): the first sound and the first picture that are sent are microphone and camera, which are on
    /// from the start. It receives nothing.
    Publisher,
    /// A WHEP player: the first sound and the first picture that are received are `a0` and `v0`. It sends nothing, and comes on
    /// top of the points that [`RoomPolicy::points_max`] counts.
    Player,
}

/// An offer to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// Where. The room must be open.
    pub room: RoomId,
    /// Who.
    pub seat: SeatId,
    /// The seat's number in the room: given by signaling, never used for another seat while the room lives.
    pub number: PointNumber,
    /// Site of the topology the point is at, if known.
    pub site: Option<String>,
    /// How much it counts when there is not enough for all.
    #[serde(default)]
    pub rank: Rank,
    /// Whose offer it is.
    #[serde(default)]
    pub client: ClientKind,
    /// How many slots it gets.
    pub profile: Profile,
    /// Which m-section of a page's offer is which source.
    pub sources: BTreeMap<SourceKind, String>,
    /// Sources of a page that are on from the start.
    pub published: Vec<SourceKind>,
    /// SDP offer, at most [`OFFER_BYTES_MAX`].
    pub offer: String,
    /// Opaque to the node, at most [`SEAT_BYTES_MAX`]; given back in a snapshot. Never logged.
    pub seat_note: String,
}

/// From the node to signaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromNode {
    /// The answer to the request of the same id.
    Reply {
        /// Id of the request.
        id: u64,
        /// What came of it.
        result: Result<Reply, ControlError>,
    },
    /// Something happened by itself. Events of one seat keep their order.
    Event(Event),
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To commands that only do.
    Done,
    /// To [`Command::Hello`].
    Welcome {
        /// Process id of the node.
        pid: u32,
        /// Addresses that clients are told to send media to.
        media: Vec<SocketAddr>,
        /// What it was started with, each setting as JSON by its key. A node of another build may have others.
        #[serde(default)]
        settings: BTreeMap<String, String>,
    },
    /// To [`Command::Snapshot`].
    Snapshot {
        /// All rooms.
        rooms: Vec<RoomSnapshot>,
    },
    /// To [`Command::Metrics`].
    Metrics {
        /// Prometheus text, version 0.0.4.
        text: String,
    },
    /// To [`Command::Inspect`].
    Inspected {
        /// The room.
        room: Box<RoomReport>,
    },
    /// To [`Command::Join`].
    Joined {
        /// SDP answer.
        answer: String,
        /// The m-section of each slot.
        slots: BTreeMap<SlotId, String>,
        /// Sources that were accepted.
        #[serde(default)]
        sources: Vec<SourceKind>,
    },
    /// To [`Command::Restart`] and [`Command::RestartIce`].
    Restarted {
        /// SDP answer, or the fragment of one.
        answer: String,
    },
}

/// A room as the node knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomSnapshot {
    /// Which.
    pub room: RoomId,
    /// As set.
    pub policy: RoomPolicy,
    /// The highest number a seat ever had here; 0 if none.
    pub number_max: u32,
    /// As set by [`Command::SetFloor`].
    #[serde(default)]
    pub floor: Option<PointNumber>,
    /// As [`Event::Speaker`] told last, or would have.
    #[serde(default)]
    pub speaker: Option<PointNumber>,
    /// Everybody with media.
    pub seats: Vec<SeatSnapshot>,
}

/// A seat as the node knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatSnapshot {
    /// Who.
    pub seat: SeatId,
    /// As joined.
    pub number: PointNumber,
    /// As joined.
    pub seat_note: String,
    /// Sources that are on.
    pub published: Vec<SourceKind>,
    /// DTLS is up and the client still consents.
    pub connected: bool,
    /// What each slot shows now.
    pub slots: Vec<SlotChange>,
}

/// What happened in the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The media path of a seat came up or went down.
    Media {
        /// Where.
        room: RoomId,
        /// Who.
        seat: SeatId,
        /// How it is now.
        state: MediaState,
    },
    /// Slots of a seat show something else.
    Slots {
        /// Where.
        room: RoomId,
        /// Whose slots.
        seat: SeatId,
        /// Only those that changed.
        changes: Vec<SlotChange>,
    },
    /// Another point is loudest.
    Speaker {
        /// Where.
        room: RoomId,
        /// Who, or nobody.
        number: Option<PointNumber>,
    },
    /// What a seat's slots get, and why if it is less than wanted.
    Quality {
        /// Where.
        room: RoomId,
        /// Whose slots.
        seat: SeatId,
        /// All slots that have something wanted in them, each time.
        slots: Vec<SlotQuality>,
    },
    /// What a seat is to send.
    Send {
        /// Where.
        room: RoomId,
        /// Who.
        seat: SeatId,
        /// All its sources, each time.
        order: SendOrder,
    },
}

impl Event {
    /// Where it happened.
    pub fn room(&self) -> &RoomId {
        match self {
            Self::Media { room, .. }
            | Self::Slots { room, .. }
            | Self::Speaker { room, .. }
            | Self::Quality { room, .. }
            | Self::Send { room, .. } => room,
        }
    }
}

/// State of a seat's media path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaState {
    /// Handshake done, media flows.
    Connected,
    /// Handshake failed, closed by the client, or no consent for 30 s: the seat's media is gone from the node.
    Lost,
}

/// Why a command was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ControlError {
    /// Not this protocol.
    #[error("the media node speaks control protocol {theirs}, not {VERSION}")]
    Version {
        /// What the node speaks.
        theirs: u16,
    },
    /// No such room.
    #[error("no such room")]
    UnknownRoom,
    /// No such seat in the room.
    #[error("no such seat")]
    UnknownSeat,
    /// The room has [`RoomPolicy::points_max`] seats, and [`RoomPolicy::players_max`] besides.
    #[error("room is full")]
    RoomFull,
    /// The number belongs to another seat of the room.
    #[error("the number is taken")]
    NumberTaken,
    /// The offer cannot be answered. The text names the line, never its content.
    #[error("offer refused: {reason}")]
    BadSdp {
        /// For logs.
        reason: String,
    },
    /// Not in this state, such as a restart that is none.
    #[error("not in this state")]
    State,
    /// A value out of its range.
    #[error("value out of range")]
    BadValue,
    /// The node is going down or its shard is gone.
    #[error("node is not available")]
    Unavailable,
}
