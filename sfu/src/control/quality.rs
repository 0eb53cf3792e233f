//! How good pictures and voices are, and why not better: lines and their budgets, what slots get, what points are to
//! send, and the figures of a room.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Cause, LineId};
use crate::engine::{
    id::{LineIndex, PointNumber, SlotId, SourceKind},
    units::Bitrate,
};

/// Most lines of a [`Network`].
pub const LINES_MAX: usize = 4_096;
/// Most sites of a [`Network`].
pub const SITES_MAX: usize = 16_384;
/// Most lines between the node and a site.
pub const LINES_ON_WAY_MAX: usize = 8;

/// The lines that meetings share, as this node sees them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// All lines that lie between the node and any site, at most [`LINES_MAX`].
    pub lines: Vec<LineBudget>,
    /// For each site the lines on its way, the nearest to the node first, at most [`LINES_ON_WAY_MAX`], none of
    /// them twice. A site that is not here has none. At most [`SITES_MAX`].
    pub sites: BTreeMap<String, Vec<LineIndex>>,
}

/// What meetings may take of a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineBudget {
    /// Which.
    pub id: LineId,
    /// From the node towards the site.
    pub down: Bitrate,
    /// From the site towards the node.
    pub up: Bitrate,
}

/// What a page says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientState {
    /// Decoding is too much for the machine: pictures get smaller until it is not.
    pub cpu_limited: bool,
    /// Encoding is too much for the machine.
    pub encoder_limited: bool,
    /// Frames decoded in all video slots since the last report.
    pub frames_decoded: u32,
    /// Times a picture stood still, since the last report.
    pub freezes: u32,
    /// Time that pictures stood still, milliseconds since the last report.
    pub freeze_ms: u32,
    /// Samples of voices that were made up, in millionths of all, since the last report.
    pub concealed_ppm: u32,
    /// Jitter buffer of voices, milliseconds.
    pub audio_delay_ms: u16,
}

/// What a video slot gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotQuality {
    /// Which slot.
    pub slot: SlotId,
    /// Height of the pictures it gets; none if it gets none.
    pub height: Option<u16>,
    /// Share of the source's pictures in a second that it gets, in percent.
    pub rate_percent: u8,
    /// Why that is less than wanted; none if it is not.
    pub cause: Option<Cause>,
    /// Of [`Cause::LineBudget`] and [`Cause::SenderLine`]: which line.
    pub line: Option<LineId>,
}

/// What a point is to send: every encoding gets numbers, always.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendOrder {
    /// Pictures.
    pub sources: Vec<SourceOrder>,
    /// Length of voice packets, 20 or 60 ms: long ones where every receiver's way is thin.
    pub voice_ms: u8,
}

/// What is to be sent of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceOrder {
    /// Which.
    pub source: SourceKind,
    /// Its encodings, lowest first.
    pub layers: Vec<LayerOrder>,
    /// Why that is less than receivers want; none if it is not.
    pub cause: Option<Cause>,
    /// Of [`Cause::SenderLine`]: which line.
    pub line: Option<LineId>,
}

/// What is to be sent of one encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerOrder {
    /// At all.
    pub active: bool,
    /// At most, in bits a second.
    pub bitrate_max: Bitrate,
    /// Pictures a second, at most.
    pub fps_max: u8,
}

/// What is known of a room, for operators. No names and no addresses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoomReport {
    /// By number.
    pub points: Vec<PointReport>,
    /// Lines that anybody of the room is behind.
    pub lines: Vec<LineReport>,
}

/// What is known of a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointReport {
    /// Which.
    pub number: PointNumber,
    /// Media flows.
    pub connected: bool,
    /// What the way to it carries; none before it is known.
    pub estimate: Option<Bitrate>,
    /// What of that is given to its slots.
    pub allocated: Bitrate,
    /// What it would take to send all as wanted.
    pub wanted: Bitrate,
    /// Round trip in milliseconds.
    pub rtt_ms: u32,
    /// Loss on the way to it, in thousandths.
    pub loss_permille: u32,
    /// Loss on the way from it, before repair, in thousandths.
    pub loss_up_permille: u32,
    /// Greatest jitter of its streams on the way to the node, in milliseconds.
    pub jitter_up_ms: u32,
    /// Score of the voices it hears, 1.0 to 4.5 (ITU-T G.107).
    pub voice_mos: f32,
    /// As its page said last.
    pub client: ClientState,
    /// What its slots get.
    pub slots: Vec<SlotQuality>,
    /// What it is to send.
    pub send: SendOrder,
}

/// What is known of a line in a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineReport {
    /// Which.
    pub id: LineId,
    /// What this room may take of it downward.
    pub budget_down: Bitrate,
    /// What it takes downward.
    pub used_down: Bitrate,
    /// What this room may take of it upward.
    pub budget_up: Bitrate,
    /// What it takes upward.
    pub used_up: Bitrate,
}
