//! A packet that arrived for the first time, with all that decisions need of it.

use std::time::Duration;

use super::{
    allocate::LAYERS_MAX,
    descriptor::Carried,
    id::SourceKind,
    packet::Codec,
    seq::{RtpTime, Seq},
};
pub use crate::wire::ext::AudioLevel;
use crate::wire::{
    codec::{av1, h264, vp8, vp9},
    ext::dependency_descriptor::{Descriptor, Indication, Structure},
};

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
    /// Heights of the spatial layers, lowest first, where the packet's dependency descriptor tells them; 0 is none.
    pub heights: Option<[u16; LAYERS_MAX]>,
    /// Its dependency descriptor, where it has one that can go on to receivers.
    pub descriptor: Option<Carried<'p>>,
    /// It came by RTX.
    pub repaired: bool,
}

/// What a packet says of its picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Picture {
    /// Begins a picture. Of H.264 only the parameter sets of a key frame tell.
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
    /// No later picture of a higher temporal layer leans on one of such a layer before this: a decoder may step up to all
    /// of them behind it.
    pub switch_up: bool,
    /// Where the stream has several spatial layers, or could have.
    pub spatial: Option<Spatial>,
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
            picture_id: descriptor.picture_id.map(PictureId::from),
            tl0_pic_idx: descriptor.tl0_pic_idx,
            temporal: descriptor.temporal.map(|(layer, _)| layer),
            layer_sync: descriptor.temporal.is_some_and(|(_, sync)| sync),
            disposable: descriptor.non_reference,
            ..Self::default()
        })
    }

    /// From an H.264 payload (RFC 6184). A key frame begins with its parameter set.
    pub fn of_h264(payload: &[u8]) -> Option<Self> {
        let parsed = h264::Payload::parse(payload)?;
        Some(Self {
            starts_picture: parsed.has_parameters,
            key_frame: parsed.has_parameters,
            disposable: parsed.disposable,
            ..Self::default()
        })
    }

    /// From a VP9 payload descriptor (RFC 9628 §4.2). `svc`: the stream is not one of several of a simulcast, so that its
    /// spatial layers are the layers of the source.
    ///
    /// Browsers set the switching point of a picture above the base layer where it leans on lower layers alone, which is
    /// stricter than the document asks; so one is taken as a layer sync, and of the base layer as what the document says.
    pub fn of_vp9(payload: &[u8], svc: bool) -> Option<Self> {
        let descriptor = vp9::Descriptor::parse(payload)?;
        let layers = descriptor.layers.unwrap_or_default();
        let is_lowest = layers.spatial == 0;
        Some(Self {
            starts_picture: descriptor.starts_frame && is_lowest,
            key_frame: descriptor.starts_key_picture(),
            picture_id: descriptor.picture_id.map(PictureId::from),
            tl0_pic_idx: layers.tl0_pic_idx,
            temporal: descriptor.layers.map(|layers| layers.temporal),
            layer_sync: layers.switching_up && layers.temporal > 0,
            switch_up: layers.switching_up && layers.temporal == 0,
            disposable: false,
            spatial: svc.then_some(Spatial {
                layer: layers.spatial,
                stands_alone: descriptor.starts_frame && !descriptor.inter_picture,
                ends_frame: descriptor.ends_frame,
            }),
        })
    }
}

impl Picture {
    /// From an AV1 payload, and its dependency descriptor where the sender writes one. Without it the layers are known, but
    /// not where a decoder may step up: that is at key frames then. `svc` as in [`Self::of_vp9`].
    pub fn of_av1(payload: &[u8], described: Option<(&Descriptor, &Structure)>, svc: bool) -> Option<Self> {
        let head = av1::Head::parse(payload)?;
        let picture = Self {
            starts_picture: head.starts_sequence,
            key_frame: head.starts_sequence,
            temporal: head.temporal,
            ..Self::default()
        };
        let Some((frame, structure)) = described else {
            return Some(picture);
        };
        let mut above = (0..)
            .zip(structure.targets())
            .filter(|(_, target)| target.spatial == frame.spatial && target.temporal > frame.temporal)
            .peekable();
        let is_switch = |(index, _)| frame.indications.get(index) == Indication::Switch;
        Some(Self {
            temporal: Some(frame.temporal),
            switch_up: above.peek().is_some() && above.all(is_switch),
            spatial: svc.then(|| Spatial {
                layer: frame.spatial,
                // The frames of one picture follow each other.
                stands_alone: frame.starts_frame
                    && frame
                        .references
                        .distances()
                        .iter()
                        .all(|&distance| distance <= frame.spatial.into()),
                ends_frame: frame.ends_frame,
            }),
            ..picture
        })
    }
}

/// Where a packet stands among the spatial layers of its picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spatial {
    /// 0 is the lowest.
    pub layer: u8,
    /// Begins a frame that leans on no earlier picture, only on lower layers of its own: a decoder that has those may step
    /// up here.
    pub stands_alone: bool,
    /// Last packet of the layer's frame.
    pub ends_frame: bool,
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

impl From<vp8::PictureId> for PictureId {
    fn from(id: vp8::PictureId) -> Self {
        Self {
            value: id.get(),
            wide: matches!(id, vp8::PictureId::Bits15(_)),
        }
    }
}
