//! What a page wants to see, what it says of itself, and what it is told that its slots show.

use serde::{Deserialize, Serialize};

use super::id::{SlotId, SourceNumber};

/// A picture wanted in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// A video slot of the seat.
    pub slot: SlotId,
    /// A camera or screen of the room. One that is not there yet shows as soon as it comes.
    pub source: SourceNumber,
    /// Height of the tile in pixels, 1 to 2160: the lowest layer that is at least as high is wanted, or the highest there is.
    pub height: u16,
    /// The person at the point chose this picture: it comes right after the stage.
    #[serde(default)]
    pub pinned: bool,
}

/// What a slot shows from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotChange {
    /// Which slot.
    pub slot: SlotId,
    /// The source, or nothing.
    pub source: Option<SourceNumber>,
    /// RTP time of the slot's first packet of that source; none when it is empty.
    pub time: Option<u32>,
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
