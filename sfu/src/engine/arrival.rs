//! A packet that arrived for the first time, with all that decisions need of it.

use std::time::Duration;

use super::{
    id::SourceKind,
    packet::Codec,
    seq::{RtpTime, Seq},
};
use crate::wire::codec::vp8;
pub use crate::wire::ext::AudioLevel;

/// A media packet seen for the first time, or restored from RTX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'p> {
    /// Whose.
    pub source: SourceKind,
    /// Which simulcast layer, 0 is the lowest.
    pub layer: u8,
    /// How many layers were negotiated for this source, at least 1. Not all of them need to be live.
    pub layers: u8,
    /// The layer stream within this uplink. A new one when the sender restarts its encoder under another SSRC: numbers
    /// and RTP times of different streams have nothing to do with each other, captures have.
    pub stream: u32,
    /// Its number in the stream.
    pub sequence: Seq,
    /// Its RTP time in the stream.
    pub timestamp: RtpTime,
    /// When it was taken, on the node's clock since the epoch given to the uplink. The same for all packets of one RTP
    /// time, never going back for growing RTP times.
    pub capture: Duration,
    /// Marker bit: last packet of a picture, first of a talk spurt.
    pub marker: bool,
    /// Its codec.
    pub codec: Codec,
    /// The payload, without padding and without RTX's original sequence number. Never empty.
    pub payload: &'p [u8],
    /// Of a picture's packet.
    pub video: Option<Picture>,
    /// RFC 6464, where the sender gives it.
    pub level: Option<AudioLevel>,
    /// It came by RTX.
    pub repaired: bool,
}

/// What a packet says of its picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Picture {
    /// Begins a picture.
    pub starts_picture: bool,
    /// Begins a key frame. Only the first packet of a picture can tell.
    pub key_frame: bool,
    /// Picture id and its width on the wire.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX.
    pub tl0_pic_idx: Option<u8>,
    /// Temporal layer, 0 is the lowest; none when the sender does not tell.
    pub temporal: Option<u8>,
    /// Leans on the temporal base layer only: a decoder may step up to its layer here.
    pub layer_sync: bool,
    /// No other picture leans on it.
    pub disposable: bool,
}

impl Picture {
    /// From a VP8 payload descriptor (RFC 7741 §4.2); none if the payload ends within it.
    pub fn of_vp8(payload: &[u8]) -> Option<Self> {
        let descriptor = vp8::Descriptor::parse(payload)?;
        let starts_picture = descriptor.starts_frame();
        Some(Self {
            starts_picture,
            key_frame: starts_picture && vp8::is_key_frame(payload),
            picture_id: descriptor.picture_id.map(|id| PictureId {
                value: id.get(),
                wide: matches!(id, vp8::PictureId::Bits15(_)),
            }),
            tl0_pic_idx: descriptor.tl0_pic_idx,
            temporal: descriptor.temporal.map(|(layer, _)| layer),
            layer_sync: descriptor.temporal.is_some_and(|(_, sync)| sync),
            disposable: descriptor.non_reference,
        })
    }
}

/// A picture id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    /// 7 or 15 bits.
    pub value: u16,
    /// It has 15 bits.
    pub wide: bool,
}

impl PictureId {
    /// Its width.
    pub const fn bits(self) -> u32 {
        if self.wide { 15 } else { 7 }
    }
}
