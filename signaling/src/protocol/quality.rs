//! How good pictures are, and why not better: what a page says of itself, what its slots get, what it is to send.

use serde::{Deserialize, Serialize};
use sfu::{
    control::{self, Cause, ClientState, LineId},
    engine::{
        id::{SlotId, SourceKind},
        units::Bitrate,
    },
};

use super::Refused;

/// Most frames decoded that a page may name: 27 slots at 60 a second for a minute.
const FRAMES_MAX: u32 = 100_000;

/// Most freezes that a page may name.
const FREEZES_MAX: u32 = 10_000;

/// Longest standstill that a page may name, of all its slots together: an hour.
const FREEZE_MS_MAX: u32 = 3_600_000;

/// All samples of a voice, in millionths.
const CONCEALED_PPM_MAX: u32 = 1_000_000;

/// Longest jitter buffer of voices that a page may name: a minute.
const AUDIO_DELAY_MS_MAX: u16 = 60_000;

/// What a page says of itself since its last report. Every field is there; what a browser cannot tell is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatsFields {
    cpu_limited: bool,
    encoder_limited: bool,
    frames_decoded: u32,
    freezes: u32,
    freeze_ms: u32,
    concealed_ppm: u32,
    audio_delay_ms: u16,
}

/// A page's report, within its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StatsFields", into = "StatsFields")]
pub struct Stats(StatsFields);

impl TryFrom<StatsFields> for Stats {
    type Error = Refused;
    fn try_from(fields: StatsFields) -> Result<Self, Refused> {
        let fits = fields.frames_decoded <= FRAMES_MAX
            && fields.freezes <= FREEZES_MAX
            && fields.freeze_ms <= FREEZE_MS_MAX
            && fields.concealed_ppm <= CONCEALED_PPM_MAX
            && fields.audio_delay_ms <= AUDIO_DELAY_MS_MAX;
        if fits { Ok(Self(fields)) } else { Err(Refused) }
    }
}

impl From<Stats> for StatsFields {
    fn from(stats: Stats) -> Self {
        stats.0
    }
}

impl From<Stats> for ClientState {
    fn from(Stats(fields): Stats) -> Self {
        let StatsFields {
            cpu_limited,
            encoder_limited,
            frames_decoded,
            freezes,
            freeze_ms,
            concealed_ppm,
            audio_delay_ms,
        } = fields;
        Self {
            cpu_limited,
            encoder_limited,
            frames_decoded,
            freezes,
            freeze_ms,
            concealed_ppm,
            audio_delay_ms,
        }
    }
}

/// What a video slot gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotQuality {
    /// Which slot.
    pub slot: SlotId,
    /// Height of the pictures it gets; none if it gets none.
    pub height: Option<u16>,
    /// Share of the source's pictures in a second that it gets, in percent.
    pub rate: u8,
    /// Why that is less than wanted; none if it is not.
    pub cause: Option<Cause>,
    /// Of [`Cause::LineBudget`] and [`Cause::SenderLine`]: which line.
    pub line: Option<LineId>,
    /// Its name for people, if the topology has one.
    pub line_name: Option<String>,
}

/// What is to be sent of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceOrder {
    /// Which.
    pub source: SourceKind,
    /// Its encodings, lowest first.
    pub layers: Vec<LayerOrder>,
    /// Why that is less than receivers want; none if it is not.
    pub cause: Option<Cause>,
    /// Of [`Cause::SenderLine`]: which line.
    pub line: Option<LineId>,
    /// Its name for people, if the topology has one.
    pub line_name: Option<String>,
}

/// What is to be sent of one encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerOrder {
    /// At all.
    pub active: bool,
    /// At most, in bits a second.
    pub bitrate: Bitrate,
    /// Pictures a second, at most.
    pub fps: u8,
}

impl From<control::LayerOrder> for LayerOrder {
    fn from(order: control::LayerOrder) -> Self {
        Self {
            active: order.active,
            bitrate: order.bitrate_max,
            fps: order.fps_max,
        }
    }
}
