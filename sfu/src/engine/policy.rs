//! How a room behaves, as signaling sets it.

use serde::{Deserialize, Serialize};

use super::units::Bitrate;

/// How a room behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomPolicy {
    /// Newcomers above this number of seats are refused. 1 to 1,000.
    pub points_max: u16,
    /// So many seats more are there for players, who only receive (WHEP). 0 to 1,000. Who takes which is signaling's to decide.
    #[serde(default)]
    pub players_max: u16,
    /// What the way to a newcomer is taken to carry until it was measured, a second or so after its join. Signaling leaves it at the default;
    /// benches and simulations begin with ways that are known to be wide.
    #[serde(default = "way_start")]
    pub way_start: Bitrate,
    /// Codecs of pictures, the wanted first: a point sends with the first it can, VP8 being what all can. Other points get
    /// what they can show of them. More than [`VIDEO_CODECS_MAX`] are refused. It counts for those who join from then on.
    #[serde(default = "video_default")]
    pub video: Vec<VideoCodec>,
}

/// Most codecs of [`RoomPolicy::video`].
pub const VIDEO_CODECS_MAX: usize = 4;

fn video_default() -> Vec<VideoCodec> {
    vec![VideoCodec::Vp8]
}

/// A codec of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoCodec {
    /// The common ground: every browser has it.
    Vp8,
    /// Constrained baseline. A Firefox without its plugin has it not.
    H264,
    /// Profile 0.
    Vp9,
    /// Main profile.
    Av1,
}

impl Default for RoomPolicy {
    fn default() -> Self {
        Self {
            points_max: 300,
            players_max: 0,
            video: video_default(),
            way_start: way_start(),
        }
    }
}

/// Voices and a small picture, without harm to the thinnest lines.
fn way_start() -> Bitrate {
    Bitrate::kbps(300)
}
