//! How good pictures and voices are, and why not better: what slots get, what points are to send, and what is known of each.

use serde::{Deserialize, Serialize};

use super::{
    id::{PointNumber, SlotId, SourceKind},
    names::LineId,
    page::ClientState,
    shortfall::Cause,
    units::Bitrate,
};

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

/// What is known of a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointReport {
    /// Which.
    pub number: PointNumber,
    /// Media flows.
    pub connected: bool,
    /// What the way to it carries; none if it has no slots.
    pub estimate: Option<Bitrate>,
    /// What of that is given to its slots.
    pub allocated: Bitrate,
    /// What it would take to send all as wanted.
    pub wanted: Bitrate,
    /// Round trip in milliseconds; none before one was measured, and so if it has no slots.
    pub rtt_ms: Option<u32>,
    /// Loss on the way to it, in thousandths.
    pub loss_permille: u32,
    /// Loss on the way from it, before repair, in thousandths.
    pub loss_up_permille: u32,
    /// Greatest jitter of its streams on the way to the node, in milliseconds.
    pub jitter_up_ms: u32,
    /// Score of the voices it hears, 1.0 to 4.5 (ITU-T G.107); none if it has no slots for them.
    pub voice_mos: Option<f32>,
    /// As its page said last.
    pub client: ClientState,
    /// What its slots get.
    pub slots: Vec<SlotQuality>,
    /// What it is to send.
    pub send: SendOrder,
}
